//! A site as it is now: its place in the network, its addresses, its line.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use super::address::{CORE, MTU, SiteAddresses};
use super::link::Direction;
use super::ruleset::Opening;
use super::scenario::Site;
use crate::stats::rng;

/// A site as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SiteState {
    pub(crate) number: u8,
    pub(crate) site: Site,
    /// How often the uplink has been renumbered.
    pub(crate) epoch: u8,
    /// How often the gateways have been restarted.
    pub(crate) restarts: u32,
    /// The carrier that it shares with others, if it does.
    pub(super) shared: Option<Shared>,
    /// The site whose line its router may fall back to, and whether it has.
    pub(super) backup: Option<Backup>,
    /// The largest packets that its line carries since an event, without a word of it; its own until then.
    pub(super) hole: Option<u16>,
}

/// A carrier that several sites are behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Shared {
    /// Also the name of its namespace, and of the core's interface towards it.
    pub(super) name: String,
    /// As of a site; its uplink is numbered so.
    pub(super) number: u8,
}

/// A second line of a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Backup {
    /// Index of the site that it is the line of.
    pub(super) at: usize,
    /// Whether it is in use.
    pub(super) active: bool,
}

/// Who is behind a gateway.
#[derive(Debug, Clone)]
pub(super) struct Indoors {
    /// Host number of the machine that a one-to-one NAT points to.
    pub(super) first: u8,
    /// What is let in for whom.
    pub(super) openings: Vec<Opening>,
}

/// The machine number of a router at the site whose line it may fall back to.
pub(super) const ROUTER: u8 = 250;

/// What of a site is drawn at random, each from a seed of its own.
#[derive(Clone, Copy)]
pub(super) enum Seeded {
    Up = 1,
    Down = 2,
    Nat = 3,
    Carrier = 4,
}

/// A seed that follows from the run's and a key (splitmix64).
pub(super) fn derived(seed: u64, key: u64) -> u64 {
    rng::mixed(seed.wrapping_add(key.wrapping_mul(rng::STEP)))
}

impl Site {
    /// The addresses of a site of that number, as its provider has numbered it first.
    pub(super) fn addresses(&self, number: u8) -> SiteAddresses {
        let private = match (self.lan, self.gateway.nat.is_some()) {
            _ if !self.gateway.translates() => None,
            (Some(lan), _) => Some(lan.bytes()),
            (None, true) => Some([192, 168, number]),
            (None, false) => Some([100, 64, number]),
        };
        SiteAddresses { number, epoch: 0, private }
    }
}

impl SiteState {
    pub(crate) fn addresses(&self) -> SiteAddresses {
        SiteAddresses { epoch: self.epoch, ..self.site.addresses(self.number) }
    }

    /// The namespace whose `wan` is joined to the core.
    pub(crate) fn outer(&self) -> String {
        match &self.shared {
            Some(shared) => shared.name.clone(),
            None if self.site.gateway.carrier.is_some() => format!("{}-carrier", self.site.name),
            None => self.site.name.clone(),
        }
    }

    /// Whether its uplink has IPv4: its machines' own, or its translator's.
    pub(super) fn ipv4_outside(&self) -> bool {
        self.site.ipv4 || self.site.nat64
    }

    /// Whether a carrier of its own stands between its gateway and the core.
    pub(super) fn has_own_carrier(&self) -> bool {
        self.shared.is_none() && self.site.gateway.carrier.is_some()
    }

    /// The IPv4 address that the Internet sees, where addresses are translated.
    pub(super) fn public_v4(&self) -> Ipv4Addr {
        match &self.shared {
            Some(shared) => shared.addresses().wan_v4(),
            None => self.addresses().wan_v4(),
        }
    }

    /// Where its line ends towards the core: namespace and interface, which sends what comes down.
    pub(crate) fn upstream(&self) -> (String, String) {
        match &self.shared {
            Some(shared) => (shared.name.clone(), self.shared_device()),
            None => (CORE.to_owned(), self.site.name.clone()),
        }
    }

    /// Both ends of the line as packets of both directions see it: where a larger one than it carries is stopped.
    pub(super) fn line(&self) -> [(String, String); 2] {
        let own = if self.shared.is_some() { self.site.name.clone() } else { self.outer() };
        [self.upstream(), (own, "wan".to_owned())]
    }

    /// The shared carrier's interface towards the site.
    pub(super) fn shared_device(&self) -> String {
        format!("lan{}", self.number)
    }

    /// Where a packet goes next that leaves the site, and one that comes to it over the line.
    pub(super) fn hops(&self, up: bool) -> Vec<IpAddr> {
        let own = self.addresses();
        let behind = self.site.gateway.carrier.is_some() && (up || self.shared.is_some());
        let (v4, v6): (IpAddr, IpAddr) = match (behind, up) {
            (true, true) => (own.carrier_v4(1).into(), own.carrier_v6(1).into()),
            (true, false) => (own.carrier_v4(2).into(), own.carrier_v6(2).into()),
            (false, true) => (own.core_v4().into(), own.core_v6().into()),
            (false, false) => (own.wan_v4().into(), own.wan_v6().into()),
        };
        [(self.ipv4_outside(), v4), (self.site.ipv6, v6)]
            .into_iter()
            .filter_map(|(there, hop)| there.then_some(hop))
            .collect()
    }

    pub(crate) fn direction(&self, up: bool) -> &Direction {
        if up { &self.site.link.up } else { &self.site.link.down }
    }

    pub(super) fn mac(&self, end: u8) -> String {
        format!("02:00:00:00:{:02x}:{end:02x}", self.number)
    }

    /// The seed of one of its random sequences.
    pub(super) fn seed(&self, seed: u64, what: Seeded) -> u64 {
        let restarts = match what {
            Seeded::Up | Seeded::Down => 0,
            Seeded::Nat | Seeded::Carrier => u64::from(self.restarts),
        };
        derived(seed, (restarts << 32) | (u64::from(self.number) << 8) | what as u64)
    }

    /// Whether its router uses its second line.
    pub(super) fn is_over(&self) -> bool {
        self.backup.as_ref().is_some_and(|backup| backup.active)
    }

    /// The largest packets that pass the ends of its line as the scenario has it.
    pub(super) fn width(&self) -> u16 {
        let loud = self.site.mtu.filter(|mtu| mtu.ipv4 == mtu.ipv6).map(|mtu| mtu.ipv4);
        self.site.mtu_black_hole.or(loud).unwrap_or(MTU)
    }

    /// What is added to routes over the line when it carries larger packets of one family than of the other.
    pub(super) fn route_mtus(&self) -> [String; 2] {
        let differ = self.site.mtu.filter(|mtu| mtu.ipv4 != mtu.ipv6);
        let words = |mtu: u16| if mtu < MTU { format!(" mtu {mtu}") } else { String::new() };
        differ.map_or_else(Default::default, |mtu| [words(mtu.ipv4), words(mtu.ipv6)])
    }
}

impl Shared {
    pub(super) fn addresses(&self) -> SiteAddresses {
        SiteAddresses { number: self.number, epoch: 0, private: None }
    }
}
