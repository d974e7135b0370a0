//! Names of workloads and metrics that tables look for. Whoever tells them and whoever looks for them use these, so
//! that no table loses a column by a name that was changed in one place.

/// The workload that tells when an overlay can be used first.
pub const CONNECT: &str = "connect";

/// Its metric: the time until then.
pub const CONNECT_TIME: &str = "time";

/// The workload of round trips.
pub const PING: &str = "ping";

/// Its metric: the median round trip.
pub const RTT: &str = "rtt";

/// The workload of one TCP stream.
pub const TCP: &str = "tcp";

/// Of what recovers: how long it was silent.
pub const SILENCE: &str = "silence";

/// When each of its silences began: samples in the order of the other's.
pub const SILENCE_BEGINS: &str = "silence-begins";

/// Goodput to the target.
pub const GOODPUT_FORWARD: &str = "goodput-forward";

/// Goodput from the target.
pub const GOODPUT_REVERSE: &str = "goodput-reverse";

/// Goodput of all that a workload sends.
pub const GOODPUT: &str = "goodput";

/// Goodput of a large file.
pub const GOODPUT_LARGE: &str = "goodput-large";

/// Goodput that has all of what limits it: that of one of two directions, or of one of several pairs, has a part that
/// nobody knows.
pub const GOODPUT_ALONE: [&str; 4] = [GOODPUT, GOODPUT_FORWARD, GOODPUT_REVERSE, GOODPUT_LARGE];

/// The workload of QUIC.
pub const QUIC: &str = "quic";

/// Its metric: the time until something has come over a new connection.
pub const FIRST_BYTE: &str = "first-byte";

/// The workload of a binary cache of Nix.
pub const NIX_CACHE: &str = "nix-cache";

/// Its metric: how long all of it takes.
pub const TIME: &str = "time";

/// The workload of round trips beside a full line.
pub const LOADED: &str = "loaded";

/// The workload of what can be read on the way.
pub const LEAK: &str = "leak";

/// How many members there were.
pub const MEMBERS: &str = "members";
