//! Carriers that several sites are behind: one gateway with one public address for all of them.

use meshbench_protocol::Namespace;
use serde::Serialize;

use super::address::{CORE, cidr4, cidr6};
use super::nat::{Firewall, Nat};
use super::ruleset::Rules;
use super::sites::{Shared, SiteState, conntrack, draw, network6, router, up};

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
            seed: draw(seed, u64::from(self.shared.number) << 8) as u32,
            restarted: false,
        };
        gateway.nft += &rules.nft();
        self.customers(sites).for_each(|state| state.at_shared(&mut gateway, seed));
        router(&mut gateway);
        conntrack(&mut gateway, Some(self.nat.lifetime));
        gateway
    }
}
