//! What the harness asks and the agent answers, as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{Container, Namespace};

/// The agent's first frame after it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::PROTOCOL`] of the agent.
    pub protocol: u32,
}

/// What the harness asks; opens a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Does nothing: measures the round trip to the agent.
    Echo,
    /// Runs a program. Output is streamed; replies [`Reply::Exited`].
    Exec(Exec),
    /// Writes the channel's input to a file; replies [`Reply::Done`].
    WriteFile {
        /// Absolute path; missing directories are created.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Sends a file as output; replies [`Reply::Done`].
    ReadFile {
        /// Absolute path.
        path: String,
    },
    /// Waits inside the machine; replies [`Reply::Reached`], on expiry [`Reply::Silent`] where an answer was waited
    /// for and an error for all else.
    Wait {
        /// For what.
        condition: Condition,
        /// How long, in milliseconds.
        deadline_ms: u64,
    },
    /// Makes network namespaces what they are told to be, in this order; replies [`Reply::Done`].
    Network(Vec<Namespace>),
    /// Gives a forked or freshly booted machine its own identity; replies [`Reply::Done`].
    Identify(Identity),
    /// Starts a unit and probes an address until it answers; replies [`Reply::Connected`] or [`Reply::Silent`].
    Connect(Connect),
    /// Sends numbered datagrams from one network namespace to another of the same machine, so that
    /// one clock stamps both ends; replies [`Reply::Trains`].
    Trains(Vec<Train>),
    /// Serves NAT probes until it is cancelled. Sends a byte of output once it listens; replies
    /// [`Reply::Done`].
    NatServers {
        /// Name of the network namespace to serve in, as `ip netns` knows it.
        namespace: String,
        /// Where to listen; any of them may answer for any other.
        endpoints: Vec<SocketAddr>,
    },
    /// Finds out what the gateways between this machine and the servers do to UDP; replies
    /// [`Reply::Nat`].
    NatProbe(NatProbe),
    /// Replies [`Reply::Clock`].
    Clock,
    /// Runs a container until its first process ends, or until the request is cancelled, which is a loss of power
    /// for its processes; it also ends with the connection. Sends a byte of output once the first process runs;
    /// replies [`Reply::Exited`] when nothing of it is left. Signals 1 and 2 say that it wants to be started anew
    /// or to be off (reboot(2)).
    Container(Container),
}

/// A NAT to be probed from behind, in the terms of RFC 4787.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NatProbe {
    /// Three addresses with two ports each: 1:a, 1:b, 2:a, 2:b, 3:a, 3:b.
    pub servers: Vec<SocketAddr>,
    /// The machine's own address.
    pub own: IpAddr,
    /// Another free address of its network, with prefix length, to play a second machine with.
    pub second: Option<String>,
    /// How often something is asked before silence is believed.
    pub attempts: u32,
    /// How long each answer may take, in milliseconds.
    pub patience_ms: u64,
    /// Seconds after which a mapping should be forgotten; tested only if given.
    pub lifetime_s: Option<u32>,
}

/// What a NAT's choice was seen to depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dependence {
    /// Nothing.
    Endpoint,
    /// The remote address.
    Address,
    /// The remote address and port.
    AddressAndPort,
}

/// What passes between a machine and the servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatSeen {
    /// UDP; `None` when none of it was answered.
    pub udp: Option<UdpSeen>,
    /// Whether TCP to port 443 gets there.
    pub tcp_443: bool,
    /// Whether TCP to port 80 gets there.
    pub tcp_80: bool,
}

/// What was seen to happen to UDP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpSeen {
    /// One socket as the servers saw it, in their order.
    pub mapped: Vec<SocketAddr>,
    /// That socket itself.
    pub own: SocketAddr,
    /// What the mapping depends on.
    pub mapping: Dependence,
    /// From whom packets are let in, relative to whom was sent to.
    pub filtering: Dependence,
    /// Whether the source of a packet to the machine's own mapped endpoint was as the servers see
    /// it; `None` when no such packet came back.
    pub hairpin: Option<bool>,
    /// Whether a mapping stayed what it would have been when a packet from outside came before it;
    /// `None` where it is another one for every endpoint anyway.
    pub clash_held: Option<bool>,
    /// Whether two machines with the same port shared one mapped endpoint (RFC 4787 REQ-3).
    pub overloads: Option<bool>,
    /// Whether a mapping was alive after half of the time, and after all of it.
    pub lifetime: Option<(bool, bool)>,
}

/// One direction of one link to be measured, in the machine that holds both of its ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Train {
    /// Namespace and address of the sender.
    pub from: End,
    /// Namespace and address of the receiver.
    pub to: End,
    /// UDP port of both ends.
    pub port: u16,
    /// Datagrams to send.
    pub count: u32,
    /// UDP payload, in bytes; at least 12.
    pub size: u16,
    /// Microseconds between two datagrams; 0 sends them back to back.
    pub interval_us: u64,
    /// How long after the last datagram the receiver still waits, in milliseconds.
    pub patience_ms: u64,
}

/// Where a train starts or ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct End {
    /// Name of the network namespace, as `ip netns` knows it.
    pub namespace: String,
    /// The local address.
    pub address: IpAddr,
}

/// What arrived of a [`Train`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// Datagrams sent.
    pub sent: u32,
    /// What arrived, in order of arrival.
    pub received: Vec<Datagram>,
}

/// A program to run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Exec {
    /// Program and arguments; the program is looked up in PATH.
    pub argv: Vec<String>,
    /// Variables added to the agent's environment.
    pub env: BTreeMap<String, String>,
    /// Working directory; `/` when empty.
    pub cwd: String,
    /// Whether input frames follow; otherwise standard input is empty.
    pub stdin: bool,
    /// After this many milliseconds its process group is killed; 0 means never.
    pub timeout_ms: u64,
}

/// Something to wait for inside a machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// systemd has started everything it wanted to at boot.
    Booted,
    /// A systemd unit is neither active nor activating. An event: nothing is asked while the unit runs.
    UnitEnded(String),
    /// The address answers an ICMP echo.
    Reachable(IpAddr),
    /// The command exits with 0.
    Succeeds(Exec),
}

/// As in "waiting until …".
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Booted => f.write_str("the system is up"),
            Self::UnitEnded(unit) => write!(f, "{unit} has ended"),
            Self::Reachable(address) => write!(f, "{address} answers"),
            Self::Succeeds(exec) => write!(f, "`{}` succeeds", exec.argv.join(" ")),
        }
    }
}

/// What makes a machine itself rather than a copy of its template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    /// Host name.
    pub name: String,
    /// 32 hexadecimal digits, for /etc/machine-id.
    pub machine_id: String,
    /// A UUID, shown as the kernel's boot id.
    pub boot_id: String,
    /// Wall clock to set: nanoseconds since the Unix epoch.
    pub realtime_ns: u64,
    /// Random bytes, hexadecimal, mixed into the kernel's generator, which is then reseeded.
    pub entropy: String,
    /// Network cards to address.
    pub cards: Vec<Card>,
}

/// One network card of a machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// The MAC address it gets, as `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// Addresses with prefix length, as `192.168.1.10/24`.
    pub addresses: Vec<String>,
    /// Default gateways, IPv4 or IPv6.
    pub gateways: Vec<IpAddr>,
    /// Whom the machine asks for names, over this card.
    pub resolvers: Vec<IpAddr>,
}

/// The `connect` probe.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connect {
    /// What starts the daemon, run when the clock starts; nothing is started when empty.
    pub start: Exec,
    /// The overlay address that shall answer.
    pub target: IpAddr,
    /// Time between two probes, in milliseconds.
    pub interval_ms: u64,
    /// When to give up, in milliseconds.
    pub deadline_ms: u64,
}

/// One datagram of a [`Train`] that arrived. Written as three numbers: there are thousands in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u64, u64)", into = "(u32, u64, u64)")]
pub struct Datagram {
    /// Its place in the train, from 0.
    pub number: u32,
    /// One-way delay in microseconds.
    pub delay_us: u64,
    /// Arrival in microseconds after the train was asked for, by the monotonic clock.
    pub arrived_us: u64,
}

impl From<(u32, u64, u64)> for Datagram {
    fn from((number, delay_us, arrived_us): (u32, u64, u64)) -> Self {
        Self { number, delay_us, arrived_us }
    }
}

impl From<Datagram> for (u32, u64, u64) {
    fn from(datagram: Datagram) -> Self {
        (datagram.number, datagram.delay_us, datagram.arrived_us)
    }
}

/// Probes that nobody answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// How many there were.
    pub probes: u32,
    /// For how long an answer was waited for, in milliseconds.
    pub patience_ms: u64,
    /// Why the machine never had a way to the address, as while a VPN has not come up: nobody was asked then.
    pub no_way: Option<String>,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (probes, seconds) = (self.probes, self.patience_ms as f64 / 1e3);
        match &self.no_way {
            None => write!(f, "nobody answered {probes} probes in {seconds} s"),
            Some(why) => {
                write!(f, "not one of {probes} probes in {seconds} s could be sent: {why}")
            }
        }
    }
}

/// What closes a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done,
    /// A program ended.
    Exited {
        /// Exit code, or `None` when a signal ended it.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
        /// Whether the agent killed it at its timeout.
        timed_out: bool,
    },
    /// The condition holds.
    Reached {
        /// Monotonic nanoseconds between request and fulfilment.
        after_ns: u64,
    },
    /// The probe was answered.
    Connected {
        /// Monotonic nanoseconds from the daemon's start to the arrival of the first answer.
        after_ns: u64,
        /// Probes sent until then.
        probes: u32,
    },
    /// One arrival for each train, in the order asked.
    Trains(Vec<Arrival>),
    /// Nobody answered in time, and nothing else went wrong.
    Silent(Silence),
    /// What a NAT does.
    Nat(NatSeen),
    /// The clock.
    Clock {
        /// The kernel's current clock source.
        source: String,
    },
    /// It could not be done; the reason.
    Failed(String),
}

/// What it is, in a few words.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("it is done"),
            Self::Exited { code: Some(code), .. } => write!(f, "it exited with {code}"),
            Self::Exited { signal: Some(signal), .. } => write!(f, "signal {signal} ended it"),
            Self::Exited { .. } => f.write_str("it ended"),
            Self::Reached { .. } => f.write_str("it holds"),
            Self::Connected { .. } => f.write_str("it is connected"),
            Self::Silent(silence) => silence.fmt(f),
            Self::Trains(_) => f.write_str("datagrams were sent"),
            Self::Nat(_) => f.write_str("a NAT was probed"),
            Self::Clock { .. } => f.write_str("the time"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_told_in_words() {
        let argv = ["systemctl", "is-active", "vpn"].map(str::to_owned).to_vec();
        let told = |condition: Condition| condition.to_string();
        let exec = Exec { argv, ..Exec::default() };
        assert_eq!(told(Condition::Succeeds(exec)), "`systemctl is-active vpn` succeeds");
        assert_eq!(told(Condition::Reachable([10, 77, 0, 2].into())), "10.77.0.2 answers");
    }
}
