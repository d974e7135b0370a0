//! Scenarios: a topology, what happens to it, and what is expected of a VPN on it.

use serde::{Deserialize, Serialize};

use super::address::MTU;
use super::event::Event;
use super::gateway::Gateway;
use super::lan::Lan;
use super::link::Link;
use super::nat::Nat;

/// A scenario, checked: every name in it exists.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Scenario {
    /// The name of its file without `.toml`.
    pub name: String,
    /// What people read in a list.
    pub title: String,
    /// Why it matters to somebody who hosts things at home.
    pub description: String,
    /// In the order of the file, which numbers them.
    pub sites: Vec<Site>,
    /// Carriers that several sites share.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub carriers: Vec<Carrier>,
    /// Site by site, which numbers the fabric's cards.
    pub machines: Vec<Machine>,
    /// In the order of the file.
    pub events: Vec<Event>,
    /// What a VPN should reach, by what it claims.
    pub expect: Expect,
    /// The workloads that make sense here, used when none are asked for. May be empty.
    pub workloads: Vec<String>,
    /// The text that it was read from.
    #[serde(skip)]
    pub source: String,
}

/// A carrier with one public address for several sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Carrier {
    /// Also the name of its network namespace, and of the core's interface towards it.
    pub name: String,
    /// How it translates IPv4; IPv6 is routed.
    pub nat: Nat,
}

/// A place with one uplink.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Site {
    /// Also the name of its network namespace, and of the core's interface towards it.
    pub name: String,
    /// What stands between its machines and the core.
    pub gateway: Gateway,
    /// Its uplink.
    pub link: Link,
    /// Who lives there when the scenario starts. May be empty: somewhere to roam to.
    pub machines: Vec<String>,
    /// Whether it has IPv4.
    pub ipv4: bool,
    /// Whether it has IPv6, always routed and never translated.
    pub ipv6: bool,
    /// From the start, the uplink silently drops larger IP packets (bytes).
    pub mtu_black_hole: Option<u16>,
    /// The largest packets that its line carries; who sends larger ones is told so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<LineMtu>,
    /// Whether its router lowers the segment size that TCP connections begin with to what the line carries.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub clamp_mss: bool,
    /// The network of its machines, where it is another than the one that follows from its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lan: Option<Lan>,
    /// What its gateway lets in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forward: Vec<Forward>,
    /// The name of the carrier that it shares with other sites; `gateway.carrier` is then that one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_carrier: Option<String>,
    /// The site whose line its router falls back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// Whether its provider translates what it sends to 64:ff9b::/96 to IPv4 (RFC 6146).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nat64: bool,
    /// The rate in Mbit/s to which its provider polices UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_mbit: Option<f64>,
    /// Whether its machines have names, by which others are told to reach them, and after how many seconds those follow
    /// when the site has another address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_dns: Option<u32>,
}

/// The largest IP packets that a line carries, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LineMtu {
    /// Of IPv4.
    pub ipv4: u16,
    /// Of IPv6.
    pub ipv6: u16,
}

impl Site {
    /// Whether its packets come to another site, by a family in common or by a translator, if the gateways let them.
    pub(crate) fn reaches(&self, to: &Self) -> bool {
        ((self.ipv4 || self.nat64) && to.ipv4) || (self.ipv6 && to.ipv6)
    }

    /// The only family that it has; the first of two.
    pub(crate) fn family(&self) -> &'static str {
        if self.ipv4 { "IPv4" } else { "IPv6" }
    }

    /// The largest IP packet that its line carries, of a family that it has.
    pub(super) fn carries(&self) -> u16 {
        let families = |mtu: LineMtu| {
            let four = (self.ipv4 || self.nat64).then_some(mtu.ipv4);
            four.max(self.ipv6.then_some(mtu.ipv6))
        };
        self.mtu.and_then(families).unwrap_or(MTU)
    }
}

/// What a gateway lets in for a machine of its site, as people set it up: for IPv4 by translation, for IPv6 by letting
/// it pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forward {
    /// The machine.
    pub machine: String,
    /// UDP ports.
    pub udp: Vec<u16>,
    /// TCP ports. Where neither names any, the machine gets all that nobody else has asked for.
    pub tcp: Vec<u16>,
}

impl Forward {
    /// Whether the machine gets everything.
    pub(crate) fn is_everything(&self) -> bool {
        self.udp.is_empty() && self.tcp.is_empty()
    }
}

/// Where a machine is and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    /// Unique in the scenario.
    pub name: String,
    /// The site it starts at.
    pub site: String,
    /// What it runs.
    pub role: Role,
    /// Its number in the networks of its site, from 10.
    pub host: u8,
}

/// What a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Role {
    /// A member of the mesh.
    Peer,
    /// What the module's first role needs: coordinator, lighthouse, relay. Unused without one.
    Coordinator,
}

/// How a VPN gets through NATs, as `module.toml` claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NatTraversal {
    /// Not at all: one side must be reachable.
    None,
    /// Both sides send at once (STUN or a helper of its own).
    HolePunching,
    /// Asks the gateway for a mapping (UPnP, NAT-PMP, PCP).
    PortForward,
}

/// How alice reaches bob over a VPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reach {
    /// Not at all.
    Unreachable,
    /// By a third machine.
    Relayed,
    /// Without one.
    Direct,
}

/// What is expected, by what a VPN claims in `module.toml`. Absent = nothing is expected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Expect {
    /// Endpoints are configured; no NAT traversal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<Reach>,
    /// The gateway is asked for a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_forward: Option<Reach>,
    /// Hole punching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hole_punching: Option<Reach>,
    /// There is a relay to fall back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relay: Option<Reach>,
    /// What is expected once all events have happened, if that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Box<Expect>>,
}

impl Expect {
    /// The best that a VPN with these claims should reach. `None` when nothing is expected.
    pub fn outcome(&self, traversal: NatTraversal, relay: bool) -> Option<Reach> {
        let own = match traversal {
            NatTraversal::None => self.none,
            NatTraversal::PortForward => self.port_forward.or(self.none),
            NatTraversal::HolePunching => self.hole_punching,
        };
        let relayed = if relay { self.relay } else { None };
        own.max(relayed)
    }
}

/// Why a scenario cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// Something in the file is wrong.
    #[error("{file}:{line}:{column}: {reason}")]
    Invalid {
        /// The file as it was named.
        file: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The file cannot be read.
    #[error("cannot read scenario {file}: {reason}")]
    Unreadable {
        /// The file as it was named.
        file: String,
        /// What the system said.
        reason: String,
    },
}

impl Scenario {
    /// Whether those outside reach a machine of the site who have not been spoken to.
    pub fn reachable(&self, machine: &Machine) -> bool {
        let open = |site: &Site| {
            let forwarded = site.forward.iter().any(|forward| forward.machine == machine.name);
            site.gateway.reachable() || (forwarded && site.gateway.carrier.is_none())
        };
        self.site(&machine.site).is_some_and(open)
    }

    /// Ports at which others do not find a machine of these, UDP and TCP, since its gateway lets in others only.
    pub(crate) fn closed(&self, machine: &Machine, ports: [&[u16]; 2]) -> [Vec<u16>; 2] {
        let Some(site) = self.site(&machine.site).filter(|site| !site.gateway.reachable()) else {
            return [Vec::new(), Vec::new()];
        };
        let own = || site.forward.iter().filter(|forward| forward.machine == machine.name);
        let open = |port: &u16, of: fn(&Forward) -> &Vec<u16>| {
            own().any(|forward| forward.is_everything() || of(forward).contains(port))
        };
        let [udp, tcp] = ports;
        let closed = |ports: &[u16], of| ports.iter().copied().filter(|it| !open(it, of)).collect();
        [closed(udp, |forward| &forward.udp), closed(tcp, |forward| &forward.tcp)]
    }

    /// The site of that name.
    pub fn site(&self, name: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.name == name)
    }

    /// As a module meets it that has no coordinator: without the machines for them.
    #[must_use]
    pub(crate) fn without_coordinators(mut self) -> Self {
        let (peers, unused): (Vec<_>, Vec<_>) =
            self.machines.into_iter().partition(|machine| machine.role == Role::Peer);
        self.machines = peers;
        let used = |name: &str| unused.iter().all(|machine| machine.name != name);
        for site in &mut self.sites {
            site.machines.retain(|name| used(name));
            site.forward.retain(|forward| used(&forward.machine));
        }
        self
    }

    /// The wire itself: the same links with public addresses, since without a VPN nothing crosses a NAT
    /// uninvited.
    #[must_use]
    pub(crate) fn on_the_wire(mut self) -> Self {
        for site in &mut self.sites {
            site.gateway = Gateway::none();
            // Nobody would translate for it.
            site.ipv4 |= std::mem::take(&mut site.nat64);
            (site.shared_carrier, site.lan, site.backup) = (None, None, None);
            site.dynamic_dns = None;
            site.forward.clear();
        }
        self.carriers.clear();
        self
    }
}
