//! Carriers: gateways between those of sites and the core, of a site alone or of several that share its address.

use meshbench_protocol::Namespace;
use serde::Serialize;

use super::address::{CORE, cidr4, cidr6};
use super::kernel::{conntrack, network4, network6, router, up};
use super::nat::{Firewall, Nat};
use super::ruleset::Rules;
use super::sites::{Seeded, Shared, SiteState, derived};

/// A shared carrier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct CarrierState {
    pub(super) shared: Shared,
    pub(super) nat: Nat,
}

impl CarrierState {
    fn mac(&self, end: u8) -> String {
        format!("02:00:00:00:{:02x}:{end:02x}", self.shared.number)
    }

    /// The wire between it and the core, on which nothing is impaired: the lines are those of its customers.
    pub(super) fn wire(&self) -> String {
        let name = &self.shared.name;
        format!(
            "link add {name} netns {CORE} address {} gso_max_segs 1 type veth peer name wan netns {name} address {} gso_max_segs 1",
            self.mac(1),
            self.mac(2)
        )
    }

    fn customers<'a>(&'a self, sites: &'a [SiteState]) -> impl Iterator<Item = &'a SiteState> {
        sites.iter().filter(|state| state.shared.as_ref() == Some(&self.shared))
    }

    /// The core's end of its uplink.
    pub(super) fn in_core(&self, core: &mut Namespace, sites: &[SiteState]) {
        let (name, own, mac) = (&self.shared.name, self.shared.addresses(), self.mac(2));
        core.ip.extend([
            up(name),
            format!("address add {} dev {name}", cidr4(own.core_v4())),
            format!("address add {} dev {name} nodad", cidr6(own.core_v6())),
            format!("neigh add {} lladdr {mac} dev {name} nud permanent", own.wan_v4()),
            format!("neigh add {} lladdr {mac} dev {name} nud permanent", own.wan_v6()),
        ]);
        let routed = self.customers(sites).filter(|state| state.site.ipv6);
        let route = |state: &SiteState| {
            format!("route add {} via {}", network6(state.addresses()), own.wan_v6())
        };
        core.ip.extend(routed.map(route));
    }

    /// Its gateway.
    pub(super) fn gateway(&self, seed: u64, sites: &[SiteState]) -> Namespace {
        let (own, mac) = (self.shared.addresses(), self.mac(1));
        let mut gateway = Namespace::new(&self.shared.name);
        gateway.ip.extend([
            "link set lo up".to_owned(),
            up("wan"),
            format!("address add {} dev wan", cidr4(own.wan_v4())),
            format!("address add {} dev wan nodad", cidr6(own.wan_v6())),
            format!("neigh add {} lladdr {mac} dev wan nud permanent", own.core_v4()),
            format!("neigh add {} lladdr {mac} dev wan nud permanent", own.core_v6()),
            format!("route add default via {}", own.core_v4()),
            format!("route add default via {}", own.core_v6()),
        ]);
        let rules = Rules {
            nat: Some(&self.nat),
            firewall: Firewall::None,
            wan: own.wan_v4(),
            inside: own.wan_v4(),
            interfaces: ["lan*", "wan"],
            openings: &[],
            nat64: false,
            seed: derived(seed, u64::from(self.shared.number) << 8) as u32,
            restarted: false,
        };
        gateway.nft += &rules.nft();
        self.customers(sites).for_each(|state| state.at_shared(&mut gateway, seed));
        router(&mut gateway);
        conntrack(&mut gateway, Some(self.nat.lifetime));
        gateway
    }
}

impl SiteState {
    /// The rules of the carrier's gateway, which leaves IPv6 alone.
    pub(super) fn carrier_rules(&self, carrier: &Nat, seed: u64) -> String {
        let own = self.addresses();
        Rules {
            nat: Some(carrier),
            firewall: Firewall::None,
            wan: own.wan_v4(),
            inside: own.carrier_v4(2),
            interfaces: ["lan", "wan"],
            openings: &[],
            nat64: false,
            seed: self.seed(seed, Seeded::Carrier) as u32,
            restarted: self.restarts > 0,
        }
        .nft()
    }

    /// The carrier's gateway, if the site is behind one.
    pub(super) fn carrier(&self, seed: u64) -> Option<Namespace> {
        let carrier = self.site.gateway.carrier.as_ref().filter(|_| self.has_own_carrier())?;
        let mut gateway = Namespace::new(self.outer());
        gateway.ip.push("link set lo up".to_owned());
        self.customer(&mut gateway, "lan");
        self.join_core(&mut gateway);
        gateway.nft += &self.carrier_rules(carrier, seed);
        router(&mut gateway);
        conntrack(&mut gateway, Some(carrier.lifetime));
        Some(gateway)
    }

    /// A carrier's end of the line between its gateway and the site's.
    fn customer(&self, carrier: &mut Namespace, device: &str) {
        let (own, mac) = (self.addresses(), self.mac(4));
        // With a carrier of its own, the line is the one between that and the core.
        let mtus = if self.shared.is_some() { self.route_mtus() } else { Default::default() };
        carrier.ip.push(up(device));
        if self.site.ipv4 {
            let [near, site] = [own.carrier_v4(1), own.carrier_v4(2)];
            carrier.ip.push(format!("address add {} dev {device}", cidr4(near)));
            carrier.ip.push(format!("neigh add {site} lladdr {mac} dev {device} nud permanent"));
            let [mtu4, _] = &mtus;
            if self.site.gateway.nat.is_none() {
                carrier.ip.push(format!("route add {} via {site}{mtu4}", network4(own)));
            } else if !mtu4.is_empty() {
                carrier.ip.push(format!("route add {site}/32 dev {device}{mtu4}"));
            }
        }
        if self.site.ipv6 {
            let [near, site] = [own.carrier_v6(1), own.carrier_v6(2)];
            carrier.ip.push(format!("address add {} dev {device} nodad", cidr6(near)));
            carrier.ip.push(format!("neigh add {site} lladdr {mac} dev {device} nud permanent"));
            carrier.ip.push(format!("route add {} via {site}{}", network6(own), mtus[1]));
        }
    }

    /// The end of the line of a site behind a shared carrier.
    pub(super) fn at_shared(&self, carrier: &mut Namespace, seed: u64) {
        let device = self.shared_device();
        self.narrow(carrier, &device);
        self.customer(carrier, &device);
        carrier.nft += &self.copies(false, false);
        carrier.tc.extend(self.site.link.down.tc(&device, self.seed(seed, Seeded::Down)));
    }
}
