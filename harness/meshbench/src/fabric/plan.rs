//! A scenario compiled to what the fabric machine must be told, and what its members see of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use meshbench_protocol::Namespace;
use serde::Serialize;

use super::address::{CORE, CORE_V4, CORE_V6, cidr4, cidr6};
use super::scenario::{Role, Scenario};
use super::sites::{self, SiteState};

/// The interface MTU of every card and link, bytes.
pub const MTU: u16 = 1500;

/// The network of a scenario as it is now. Fresh from `new` it is as the scenario says;
/// `change` moves it on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Everything random in the fabric follows from it.
    pub seed: u64,
    pub(crate) sites: Vec<SiteState>,
    pub(crate) machines: Vec<MachineState>,
    /// Tables of rules that events have added, and where; `heal` removes them.
    pub(super) cuts: BTreeMap<String, Vec<String>>,
}

/// A machine as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MachineState {
    pub(crate) name: String,
    pub(super) role: Role,
    pub(super) card: usize,
    /// Index of the site where it is.
    pub(crate) at: usize,
    /// Index of the site where it started, and its host number there.
    pub(super) home: (usize, u8),
}

/// How a machine's only network card is to be set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineNet {
    /// The machine.
    pub name: String,
    /// The fabric's card at the other end of its wire: `card0`, `card1`, …
    pub card: usize,
    /// Addresses with prefix length, IPv4 first. IPv6 is to be added without duplicate detection.
    pub addresses: Vec<String>,
    /// Default routes, at most one per family.
    pub gateways: Vec<IpAddr>,
    /// Bytes.
    pub mtu: u16,
}

/// How a member of the cluster is seen by the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberNet {
    /// The machine.
    pub name: String,
    /// What it runs.
    pub role: Role,
    /// The site where it is.
    pub site: String,
    /// Addresses on the machine itself, IPv4 first.
    pub local: Vec<IpAddr>,
    /// Its addresses as the Internet sees them, IPv4 first.
    pub public: Vec<IpAddr>,
    /// Whether packets to `public` that nobody asked for are dropped.
    pub nat: bool,
}

/// Where the frames of one direction of an uplink are sent from: where they are impaired, and
/// where to capture or count them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// The namespace.
    pub namespace: String,
    /// The interface that sends them.
    pub device: String,
}

impl Plan {
    /// Compiles a scenario. The same seed gives the same plan.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let sites: Vec<SiteState> = scenario
            .sites
            .iter()
            .zip(1..)
            .map(|(site, number)| SiteState { number, site: site.clone(), epoch: 0, restarts: 0 })
            .collect();
        let mut machines = Vec::new();
        for (at, state) in sites.iter().enumerate() {
            for (name, host) in state.site.machines.iter().zip(10..) {
                let role = scenario.machines.iter().find(|machine| machine.name == *name);
                machines.push(MachineState {
                    name: name.clone(),
                    role: role.map_or(Role::Peer, |machine| machine.role),
                    card: machines.len(),
                    at,
                    home: (at, host),
                });
            }
        }
        Self { seed, sites, machines, cuts: BTreeMap::new() }
    }

    /// Cards that the fabric machine needs.
    pub fn cards(&self) -> usize {
        self.machines.len()
    }

    /// How every machine is to be set up, in the order of cards.
    pub fn machines(&self) -> Vec<MachineNet> {
        self.machines.iter().map(|machine| self.machine(machine)).collect()
    }

    pub(super) fn machine(&self, machine: &MachineState) -> MachineNet {
        let site = &self.sites[machine.at];
        let (addresses, host) = (site.addresses(), machine.host());
        let mut net = MachineNet {
            name: machine.name.clone(),
            card: machine.card,
            addresses: Vec::new(),
            gateways: Vec::new(),
            mtu: MTU,
        };
        if site.site.ipv4 {
            net.addresses.push(cidr4(addresses.lan_v4(host)));
            net.gateways.push(addresses.lan_v4(1).into());
        }
        if site.site.ipv6 {
            net.addresses.push(cidr6(addresses.lan_v6(host)));
            net.gateways.push(addresses.lan_v6(1).into());
        }
        net
    }

    /// How every machine is seen by the others, in the order of cards.
    pub fn members(&self) -> Vec<MemberNet> {
        self.machines.iter().map(|machine| self.member(machine)).collect()
    }

    fn member(&self, machine: &MachineState) -> MemberNet {
        let site = &self.sites[machine.at];
        let addresses = site.addresses();
        let mut local: Vec<IpAddr> = Vec::new();
        let mut public: Vec<IpAddr> = Vec::new();
        if site.site.ipv4 {
            let own = addresses.lan_v4(machine.host());
            local.push(own.into());
            public.push(if addresses.translated { addresses.wan_v4() } else { own }.into());
        }
        if site.site.ipv6 {
            let own = addresses.lan_v6(machine.host());
            local.push(own.into());
            public.push(own.into());
        }
        MemberNet {
            name: machine.name.clone(),
            role: machine.role,
            site: site.site.name.clone(),
            local,
            public,
            nat: !site.site.gateway.reachable(),
        }
    }

    /// Where a site's uplink is impaired towards the core.
    pub fn up(&self, site: &str) -> Point {
        Point { namespace: site.to_owned(), device: "wan".to_owned() }
    }

    /// Where a site's uplink is impaired towards the site.
    pub fn down(&self, site: &str) -> Point {
        Point { namespace: CORE.to_owned(), device: site.to_owned() }
    }

    /// Where a site meets the Internet: what its gateways, the carrier's included, make of packets.
    pub fn uplink(&self, site: &str) -> Point {
        let state = self.sites.iter().find(|state| state.site.name == site);
        let namespace = state.map_or_else(|| site.to_owned(), SiteState::outer);
        Point { namespace, device: "wan".to_owned() }
    }

    /// The names of all sites, in the order of the scenario.
    pub(crate) fn site_names(&self) -> impl Iterator<Item = &str> {
        self.sites.iter().map(|state| state.site.name.as_str())
    }

    /// What builds all of it, once: first the machine's own namespace, then the core's, then those
    /// of the sites. The cards must be called `card0`, `card1`, …
    pub(crate) fn namespaces(&self) -> Vec<Namespace> {
        let mut all = vec![self.core()];
        for (index, state) in self.sites.iter().enumerate() {
            all.push(self.gateway(index));
            all.extend(state.carrier(self.seed));
        }
        let own = Namespace { ip: self.wires(&all), ..Namespace::default() };
        all.insert(0, own);
        all
    }

    /// Namespaces, the wires between them, and the cards in them.
    fn wires(&self, namespaces: &[Namespace]) -> Vec<String> {
        let mut lines: Vec<String> =
            namespaces.iter().map(|namespace| format!("netns add {}", namespace.name)).collect();
        for state in &self.sites {
            lines.extend(state.wires());
        }
        for machine in &self.machines {
            let site = &self.sites[machine.at].site.name;
            lines.push(format!("link set card{} netns {site}", machine.card));
        }
        lines
    }

    fn core(&self) -> Namespace {
        let mut core = Namespace::new(CORE);
        core.ip.push("link set lo up".to_owned());
        core.ip.extend(CORE_V4.iter().map(|own| format!("address add {own}/32 dev lo")));
        core.ip.extend(CORE_V6.iter().map(|own| format!("address add {own}/128 dev lo")));
        // Nothing private crosses the core; as sources the reverse-path filter stops them.
        for private in ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"] {
            core.ip.push(format!("route add blackhole {private}"));
        }
        core.ip.push("route add blackhole fc00::/7".to_owned());
        sites::router(&mut core);
        for state in &self.sites {
            state.in_core(&mut core, self.seed);
        }
        core
    }

    /// The namespace of a site: its gateway, with its machines' cards on one bridge.
    fn gateway(&self, index: usize) -> Namespace {
        let state = &self.sites[index];
        let mut gateway = state.gateway(self.seed, self.inside(index));
        for machine in self.machines.iter().filter(|machine| machine.at == index) {
            gateway.ip.push(sites::plug(machine.card));
        }
        gateway
    }

    /// The host number that a one-to-one NAT of the site points to.
    pub(super) fn inside(&self, index: usize) -> u8 {
        let here = self.machines.iter().find(|machine| machine.at == index);
        here.map_or(10, MachineState::host)
    }
}

impl MachineState {
    /// Its host number at the site where it is. Visitors are numbered by card, so that they never
    /// meet an address in use.
    pub(crate) fn host(&self) -> u8 {
        if self.at == self.home.0 {
            self.home.1
        } else {
            100 + u8::try_from(self.card).unwrap_or(u8::MAX - 100)
        }
    }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
