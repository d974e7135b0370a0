//! A scenario compiled to what the fabric machine must be told, and what its members see of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use meshbench_protocol::Namespace;
use serde::Serialize;

use super::address::{CORE, CORE_V4, CORE_V6, MTU, cidr4, cidr6};
use super::carrier::CarrierState;
use super::kernel::{self, FORGET};
use super::link::Direction;
use super::nat::Nat;
use super::ruleset::{Opening, police};
use super::scenario::{Forward, Role, Scenario};
use super::sites::{Backup, Indoors, Shared, SiteState};

/// The network of a scenario as it is now. Fresh from `new` it is as the scenario says;
/// `change` moves it on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Everything random in the fabric follows from it.
    pub seed: u64,
    pub(crate) sites: Vec<SiteState>,
    /// Carriers that sites share.
    pub(super) carriers: Vec<CarrierState>,
    pub(crate) machines: Vec<MachineState>,
    /// Tables of rules that events have added, and where; `heal` removes them.
    pub(super) cuts: BTreeMap<String, Vec<String>>,
}

/// A site's line to its provider.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SiteLink {
    site: String,
    /// The namespace of the provider.
    upstream: String,
    up: Direction,
    down: Direction,
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
    /// Whom it asks for names; nobody where there are none.
    pub resolvers: Vec<IpAddr>,
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
    /// Whether it reaches IPv4 by a translator of its provider.
    pub nat64: bool,
    /// The name by which the Internet knows it.
    pub internet_name: Option<String>,
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
        let after_sites = u8::try_from(scenario.sites.len() + 1).unwrap_or(u8::MAX);
        let carriers: Vec<CarrierState> = scenario
            .carriers
            .iter()
            .zip(after_sites..)
            .map(|(carrier, number)| CarrierState {
                shared: Shared { name: carrier.name.clone(), number },
                nat: carrier.nat,
            })
            .collect();
        let sites: Vec<SiteState> = scenario
            .sites
            .iter()
            .zip(1..)
            .map(|(site, number)| {
                let named =
                    |name: &String| carriers.iter().find(|known| known.shared.name == *name);
                let shared = site.shared_carrier.as_ref().and_then(named);
                let place =
                    |name: &String| scenario.sites.iter().position(|site| site.name == *name);
                let backup = site.backup.as_ref().and_then(place);
                SiteState {
                    number,
                    site: site.clone(),
                    epoch: 0,
                    restarts: 0,
                    shared: shared.map(|known| known.shared.clone()),
                    backup: backup.map(|at| Backup { at, active: false }),
                    hole: None,
                }
            })
            .collect();
        let mut machines = Vec::new();
        for (at, state) in sites.iter().enumerate() {
            for name in &state.site.machines {
                let known = scenario.machines.iter().find(|machine| machine.name == *name);
                machines.push(MachineState {
                    name: name.clone(),
                    role: known.map_or(Role::Peer, |machine| machine.role),
                    card: machines.len(),
                    at,
                    home: (at, known.map_or(10, |machine| machine.host)),
                });
            }
        }
        Self { seed, sites, carriers, machines, cuts: BTreeMap::new() }
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
            resolvers: self.resolvers_of(site),
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
        let v4 = site.site.ipv4.then(|| addresses.lan_v4(machine.host()).into());
        let v6 = site.site.ipv6.then(|| addresses.lan_v6(machine.host()).into());
        let local = v4.into_iter().chain(v6).collect();
        MemberNet {
            name: machine.name.clone(),
            role: machine.role,
            site: site.site.name.clone(),
            local,
            public: self.public(machine),
            // What lets in some ports of TCP is closed for who begins by UDP, as VPNs between peers do.
            nat: !site.site.gateway.reachable()
                && !self.is_let_in(machine, |it| it.is_everything() || !it.udp.is_empty()),
            nat64: site.site.nat64,
            internet_name: self.internet_name(machine),
        }
    }

    /// The addresses of a machine as the Internet sees them, IPv4 first.
    pub(super) fn public(&self, machine: &MachineState) -> Vec<IpAddr> {
        let site = &self.sites[machine.at];
        let addresses = site.addresses();
        let v4 = site.site.ipv4.then(|| match addresses.private {
            Some(_) => self.public_v4(site).into(),
            None => addresses.lan_v4(machine.host()).into(),
        });
        let v6 = site.site.ipv6.then(|| addresses.lan_v6(machine.host()).into());
        v4.into_iter().chain(v6).collect()
    }

    /// The IPv4 address under which the Internet sees what comes from a site that is translated.
    fn public_v4(&self, site: &SiteState) -> std::net::Ipv4Addr {
        match &site.backup {
            Some(backup) if site.is_over() => self.sites[backup.at].second_public_v4(),
            _ => site.public_v4(),
        }
    }

    /// Whether the gateway lets in everything that comes for a machine.
    pub(crate) fn is_exposed(&self, machine: &MachineState) -> bool {
        self.is_let_in(machine, Forward::is_everything)
    }

    /// Whether such a forward lets in what comes for a machine.
    fn is_let_in(&self, machine: &MachineState, which: impl Fn(&Forward) -> bool) -> bool {
        let site = &self.sites[machine.at].site;
        let mut forwards = site.forward.iter().filter(|forward| forward.machine == machine.name);
        machine.at == machine.home.0 && site.gateway.carrier.is_none() && forwards.any(which)
    }

    /// Lowest rate on the way between the sites where two machines are now, in Mbit/s; none where they share one.
    pub(crate) fn bottleneck_mbit(&self, machines: [&str; 2]) -> Option<f64> {
        let rates = self.lines_between(machines)?.map(|line| {
            let rates = [true, false].map(|up| line.direction(up).rate_mbit);
            rates.into_iter().flatten().min_by(f64::total_cmp)
        });
        rates.into_iter().flatten().min_by(f64::total_cmp)
    }

    /// Lowest rate on the way from the first machine to the second one, in Mbit/s: up the one's line, down the other's.
    pub(crate) fn forward_mbit(&self, machines: [&str; 2]) -> Option<f64> {
        let [from, to] = self.lines_between(machines)?;
        let rates = [from.direction(true).rate_mbit, to.direction(false).rate_mbit];
        rates.into_iter().flatten().min_by(f64::total_cmp)
    }

    /// What the lines on the way from the first machine to the second one lose or damage, in percent, as far as the
    /// scenario says so itself; nothing where both machines share a site.
    pub(crate) fn forward_loss_percent(&self, machines: [&str; 2]) -> f64 {
        let Some([from, to]) = self.lines_between(machines) else { return 0.0 };
        let ways = [from.direction(true), to.direction(false)];
        let passes =
            ways.map(|way| (1.0 - way.loss_percent / 100.0) * (1.0 - way.corrupt_percent / 100.0));
        100.0 * (1.0 - passes[0] * passes[1])
    }

    /// The configured delay of both lines, there and back, in ms; nothing where both machines share a site.
    pub(crate) fn round_trip_ms(&self, machines: [&str; 2]) -> f64 {
        let lines = self.lines_between(machines).into_iter().flatten();
        lines.flat_map(|line| [true, false].map(|up| line.direction(up).delay_ms)).sum()
    }

    /// The lines of the sites where two machines are now; none where they share one.
    fn lines_between(&self, machines: [&str; 2]) -> Option<[&SiteState; 2]> {
        let at = |name| self.machines.iter().find(|machine| machine.name == name).map(|m| m.at);
        let [Some(one), Some(other)] = machines.map(at) else { return None };
        let line = |at: usize| match &self.sites[at].backup {
            Some(backup) if self.sites[at].is_over() => &self.sites[backup.at],
            _ => &self.sites[at],
        };
        (one != other).then(|| [line(one), line(other)])
    }

    /// Where a site's uplink is impaired towards the core.
    pub fn up(&self, site: &str) -> Point {
        Point { namespace: site.to_owned(), device: "wan".to_owned() }
    }

    /// Where a site's uplink is impaired towards the site.
    pub fn down(&self, site: &str) -> Point {
        let state = self.sites.iter().find(|state| state.site.name == site);
        let (namespace, device) =
            state.map_or_else(|| (CORE.to_owned(), site.to_owned()), SiteState::upstream);
        Point { namespace, device }
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
        for carrier in &self.carriers {
            all.push(carrier.gateway(self.seed, &self.sites));
        }
        for (index, state) in self.sites.iter().enumerate() {
            all.push(self.gateway(index));
            all.extend(state.carrier(self.seed));
        }
        let own = Namespace { ip: self.wires(&all), ..Namespace::default() };
        all.insert(0, own);
        all
    }

    /// The uplinks of all sites.
    pub(crate) fn site_links(&self) -> Vec<SiteLink> {
        let links = self.sites.iter().map(|state| SiteLink {
            site: state.site.name.clone(),
            upstream: state.upstream().0,
            up: state.direction(true).clone(),
            down: state.direction(false).clone(),
        });
        links.collect()
    }

    /// As [`Plan::namespaces`], as if the seed were none: of two networks that differ in nothing else it is the same.
    pub(crate) fn told(&self) -> Vec<Namespace> {
        Self { seed: 0, ..self.clone() }.namespaces()
    }

    /// Namespaces, the wires between them, and the cards in them.
    fn wires(&self, namespaces: &[Namespace]) -> Vec<String> {
        let mut lines: Vec<String> =
            namespaces.iter().map(|namespace| format!("netns add {}", namespace.name)).collect();
        lines.extend(self.carriers.iter().map(CarrierState::wire));
        for state in &self.sites {
            lines.extend(state.wires());
            let backup = state.backup.as_ref();
            lines.extend(backup.map(|backup| state.second_wire(&self.sites[backup.at])));
        }
        for machine in &self.machines {
            let site = &self.sites[machine.at].site.name;
            lines.push(format!("link set card{} netns {site}", machine.card));
        }
        lines
    }

    /// What makes gateways with room for few flows forget those that they have: whoever comes next is to find the room
    /// that the scenario says.
    pub(crate) fn emptied(&self) -> Vec<Namespace> {
        let few = |nat: Option<Nat>| nat.is_some_and(|nat| nat.flows.is_some());
        let crowded = self.sites.iter().flat_map(|state| {
            let gateway = &state.site.gateway;
            let own = few(gateway.nat).then(|| state.site.name.clone());
            own.into_iter().chain(few(gateway.carrier).then(|| state.outer()))
        });
        // One carrier may be that of many.
        let crowded: BTreeSet<String> = crowded.collect();
        let empty = |name| Namespace { commands: vec![FORGET.to_owned()], ..Namespace::new(name) };
        crowded.into_iter().map(empty).collect()
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
        kernel::router(&mut core);
        for state in &self.sites {
            state.in_core(&mut core, self.seed);
        }
        for carrier in &self.carriers {
            carrier.in_core(&mut core, &self.sites);
        }
        self.name_servers(&mut core);
        core
    }

    /// The namespace of a site: its gateway, with its machines' cards on one bridge.
    fn gateway(&self, index: usize) -> Namespace {
        let state = &self.sites[index];
        let mut gateway = state.gateway(self.seed, &self.indoors(index));
        if let Some(rate) = state.site.udp_mbit {
            gateway.nft += &police(&state.site.name, rate);
        }
        for (other, behind) in self.sites.iter().enumerate() {
            let Some(backup) = &behind.backup else { continue };
            if other == index {
                behind.second_line(&self.sites[backup.at], &mut gateway);
            } else if backup.at == index {
                behind.at_backup(&mut gateway);
            }
        }
        for machine in self.machines.iter().filter(|machine| machine.at == index) {
            gateway.ip.push(kernel::plug(machine.card));
        }
        gateway
    }

    /// Who belongs behind the gateway of a site, as far as it makes a difference to it.
    pub(super) fn indoors(&self, index: usize) -> Indoors {
        // A one-to-one NAT points to its machine also while that is away.
        let own = self.machines.iter().find(|machine| machine.home.0 == index);
        let openings = self.sites[index].site.forward.iter().filter_map(|forward| {
            let state = &self.sites[index];
            let machine = self.machines.iter().find(|machine| machine.name == forward.machine)?;
            let (own, host) = (state.addresses(), machine.home.1);
            let v4 = state.site.ipv4.then(|| own.lan_v4(host).into());
            let v6 = state.site.ipv6.then(|| own.lan_v6(host).into());
            Some(Opening {
                to: v4.into_iter().chain(v6).collect(),
                udp: forward.udp.clone(),
                tcp: forward.tcp.clone(),
            })
        });
        Indoors { first: own.map_or(10, |own| own.home.1), openings: openings.collect() }
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
#[path = "plan_properties_test.rs"]
mod properties;
#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
