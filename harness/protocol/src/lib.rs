//! The frames and messages that the harness and the agent in a machine exchange.
//!
//! One virtio-serial port carries every conversation with a machine. Each frame belongs to a channel;
//! the harness opens a channel with one [`Request`] and the agent closes it with one [`Reply`].
//! Between the two, either side may send data frames.

pub mod container;
pub mod frame;
pub mod message;
pub mod namespace;
pub mod sealed;

pub use container::Container;
pub use frame::{Frame, FrameError, Kind};
pub use message::*;
pub use namespace::Namespace;

/// Version of frames and messages; both sides must agree.
pub const PROTOCOL: u32 = 5;

/// Name of the virtio-serial port on which the agent listens.
pub const PORT_NAME: &str = "org.meshbench.agent";

/// In a container, the directory that whoever made it shares with it; there the agent listens.
pub const CONTAINER_DIR: &str = "/run/meshbench";

/// Name of the unix socket in a container's directory on which its agent listens.
pub const SOCKET_NAME: &str = "agent";

/// The folder of this package, for build scripts that make the agent for guests.
pub const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
