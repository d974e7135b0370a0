//! The named kinds of gateway, and how a scenario names one.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::nat::Behaviour::{
    AddressAndPortDependent as APD, AddressDependent as AD, EndpointIndependent as EI,
};
use super::nat::{Firewall, Nat, Ports};
use crate::name::unknown;

/// Everything between a site's machines and the core.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gateway {
    /// Name of the kind it was made from, or `custom`.
    pub kind: String,
    /// The site's own translation of IPv4, if any.
    pub nat: Option<Nat>,
    /// A second translating gateway, the carrier's, with 100.64.0.0/10 between.
    pub carrier: Option<Nat>,
    /// What passes besides, IPv4 and IPv6.
    pub firewall: Firewall,
}

impl Gateway {
    /// Nothing at all.
    pub(super) fn none() -> Self {
        KINDS[0].gateway()
    }

    /// Whether a packet that nobody asked for reaches the machines behind it over IPv4.
    pub fn reachable(&self) -> bool {
        self.carrier.is_none()
            && match &self.nat {
                None => self.firewall == Firewall::None,
                Some(nat) => nat.one_to_one && self.firewall == Firewall::None,
            }
    }

    /// Whether the Internet does not see the machines' own IPv4 addresses.
    pub(super) fn translates(&self) -> bool {
        self.nat.is_some() || self.carrier.is_some()
    }

    /// Seconds after which the gateway forgets a UDP flow; `None` when it keeps no state.
    pub fn lifetime(&self) -> Option<u32> {
        let stateful = (self.firewall != Firewall::None).then_some(120);
        self.nat.as_ref().map(|nat| nat.lifetime).or(stateful)
    }
}

/// A named kind of gateway.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The name used in scenarios.
    pub name: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    nat: Option<Nat>,
    carrier: Option<Nat>,
    firewall: Firewall,
}

impl Kind {
    const fn natted(name: &'static str, summary: &'static str, nat: Nat) -> Self {
        Self { name, summary, nat: Some(nat), carrier: None, firewall: Firewall::Stateful }
    }

    /// The gateway of this kind.
    pub fn gateway(&self) -> Gateway {
        Gateway {
            kind: self.name.to_owned(),
            nat: self.nat,
            carrier: self.carrier,
            firewall: self.firewall,
        }
    }
}

/// What most homes have: Linux masquerading.
const HOME: Nat = Nat::new(EI, APD, Ports::Preserve);

/// What RFC 6888 asks of a carrier, but for the lifetime.
const CARRIER: Nat = Nat { lifetime: 60, ..Nat::new(EI, APD, Ports::Hash) };

/// The kinds that scenarios may name, in the order of how much they get in the way.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "none",
        summary: "public addresses, nothing filtered",
        nat: None,
        carrier: None,
        firewall: Firewall::None,
    },
    Kind {
        name: "firewall",
        summary: "public addresses behind a stateful firewall",
        nat: None,
        carrier: None,
        firewall: Firewall::Stateful,
    },
    Kind {
        name: "one-to-one",
        summary: "a public address translated to one machine, all ports, as clouds do",
        nat: Some(Nat { one_to_one: true, ..Nat::new(EI, EI, Ports::Preserve) }),
        carrier: None,
        firewall: Firewall::None,
    },
    Kind::natted(
        "full-cone",
        "endpoint-independent mapping and filtering, ports preserved, hairpinning",
        Nat { hairpin: true, ..Nat::new(EI, EI, Ports::Preserve) },
    ),
    Kind::natted(
        "restricted-cone",
        "endpoint-independent mapping, address-dependent filtering, ports preserved",
        Nat::new(EI, AD, Ports::Preserve),
    ),
    Kind::natted(
        "home",
        "endpoint-independent mapping, address-and-port-dependent filtering, ports preserved",
        HOME,
    ),
    Kind::natted(
        "port-mapping",
        "as home, and the gateway grants port forwards by UPnP-IGD, NAT-PMP and PCP",
        Nat { port_mapping: true, ..HOME },
    ),
    Kind::natted(
        "port-restricted-cone",
        "endpoint-independent mapping, address-and-port-dependent filtering, other ports",
        Nat::new(EI, APD, Ports::Hash),
    ),
    Kind::natted(
        "address-dependent",
        "address-dependent mapping and filtering, other ports",
        Nat::new(AD, AD, Ports::Hash),
    ),
    Kind::natted(
        "symmetric-predictable",
        "address-and-port-dependent mapping and filtering, ports counted up",
        Nat::new(APD, APD, Ports::Sequential),
    ),
    Kind::natted(
        "symmetric",
        "address-and-port-dependent mapping and filtering, random ports",
        Nat::new(APD, APD, Ports::Random),
    ),
    Kind {
        name: "cgnat",
        summary: "home behind a carrier's endpoint-independent mapping (RFC 6888), 60 s lifetime",
        nat: Some(HOME),
        carrier: Some(CARRIER),
        firewall: Firewall::Stateful,
    },
    Kind {
        name: "cgnat-symmetric",
        summary: "home behind a carrier's address-and-port-dependent mapping, 60 s lifetime",
        nat: Some(HOME),
        carrier: Some(Nat { lifetime: 60, ..Nat::new(APD, APD, Ports::Random) }),
        firewall: Firewall::Stateful,
    },
    Kind {
        name: "phone",
        summary: "no router of one's own: directly behind a carrier's endpoint-independent mapping, at 100.64.x.x",
        nat: None,
        carrier: Some(CARRIER),
        firewall: Firewall::Stateful,
    },
    Kind {
        name: "udp-blocked",
        summary: "home whose gateway lets no UDP out",
        nat: Some(HOME),
        carrier: None,
        firewall: Firewall::UdpBlocked,
    },
    Kind {
        name: "tcp-443-only",
        summary: "home whose gateway lets only TCP to port 443 out",
        nat: Some(HOME),
        carrier: None,
        firewall: Firewall::Tcp443Only,
    },
];

/// The kind of that name.
///
/// # Errors
/// A sentence with the nearest known name.
pub fn kind(name: &str) -> Result<&'static Kind, String> {
    KINDS
        .iter()
        .find(|kind| kind.name == name)
        .ok_or_else(|| unknown("NAT kind", name, KINDS.iter().map(|kind| kind.name)))
}

/// `nat = "home"` or `nat = { mapping = …, filtering = …, ports = … }`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NatChoice {
    Kind(&'static str),
    Custom(Nat),
}

impl NatChoice {
    /// The single NAT that it is, as a carrier's must be.
    pub(super) fn single(&self) -> Option<Nat> {
        let made = self.gateway();
        made.nat.filter(|nat| made.carrier.is_none() && !nat.one_to_one)
    }

    /// The gateway asked for, before `firewall` and `carrier` of the site are applied.
    pub(super) fn gateway(&self) -> Gateway {
        match self {
            Self::Kind(name) => {
                KINDS.iter().find(|k| k.name == *name).unwrap_or(&KINDS[0]).gateway()
            }
            Self::Custom(nat) => Gateway {
                kind: "custom".to_owned(),
                nat: Some(*nat),
                carrier: None,
                firewall: if nat.one_to_one { Firewall::None } else { Firewall::Stateful },
            },
        }
    }
}

impl<'de> Deserialize<'de> for NatChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;
        impl<'de> Visitor<'de> for Choice {
            type Value = NatChoice;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("the name of a NAT kind, or a table with mapping, filtering and ports")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<NatChoice, E> {
                kind(name).map(|kind| NatChoice::Kind(kind.name)).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NatChoice, A::Error> {
                let nat = Nat::deserialize(MapAccessDeserializer::new(map))?;
                nat.check().map_err(A::Error::custom)?;
                Ok(NatChoice::Custom(nat))
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_built_on_linux() {
        for kind in KINDS {
            for nat in [kind.nat, kind.carrier].into_iter().flatten() {
                nat.check().unwrap_or_else(|why| panic!("{}: {why}", kind.name));
            }
        }
    }

    #[test]
    fn only_public_and_one_to_one_sites_are_reachable() {
        let reachable: Vec<&str> =
            KINDS.iter().filter(|k| k.gateway().reachable()).map(|k| k.name).collect();
        assert_eq!(reachable, ["none", "one-to-one"]);
    }
}
