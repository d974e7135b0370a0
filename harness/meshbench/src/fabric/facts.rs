//! What a probe finds behind a gateway: how it treats what passes it.

use std::fmt;

use super::gateway::Gateway;
use super::nat::{Behaviour, Firewall, Nat, Ports};
use super::plan::Plan;
use super::sites::SiteState;

/// How a gateway treats what passes it. Two gateways with the same facts cannot be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What happens to UDP; `None` when it is blocked.
    pub udp: Option<UdpFacts>,
    /// Whether TCP to port 443 passes.
    pub tcp_443: bool,
    /// Whether TCP to other ports passes.
    pub tcp_80: bool,
}

/// How a gateway treats UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpFacts {
    /// Whether addresses are translated.
    pub translated: bool,
    /// What the mapping depends on.
    pub mapping: Behaviour,
    /// What the filter depends on.
    pub filtering: Behaviour,
    /// Whether the external port is the internal one.
    pub preserved: bool,
    /// Whether external ports are counted up.
    pub sequential: bool,
    /// Whether machines behind it reach each other by its address, under their mapped endpoints.
    pub hairpin: bool,
    /// Whether a mapping is the same when a packet from outside comes first.
    pub clash_held: Option<bool>,
    /// Whether two machines with the same port share a mapped endpoint.
    pub overloads: Option<bool>,
}

impl Facts {
    /// Nothing is translated, nothing is filtered.
    pub(crate) const PLAIN: Self = Self {
        udp: Some(UdpFacts {
            translated: false,
            mapping: Behaviour::EndpointIndependent,
            filtering: Behaviour::EndpointIndependent,
            preserved: true,
            sequential: false,
            hairpin: false,
            clash_held: Some(true),
            overloads: None,
        }),
        tcp_443: true,
        tcp_80: true,
    };
}

impl Facts {
    /// As they are for a machine beside one that gets all that nobody else has asked for: what comes from outside before
    /// a mapping is made is the other's.
    #[must_use]
    pub(crate) fn beside_exposed(mut self) -> Self {
        if let Some(udp) = &mut self.udp {
            udp.clash_held = udp.clash_held.map(|_| false);
        }
        self
    }

    /// As they are for a machine that the gateway lets everything in for.
    #[must_use]
    pub(crate) fn exposed(mut self, exposed: bool) -> Self {
        if let Some(udp) = self.udp.as_mut().filter(|_| exposed) {
            udp.filtering = Behaviour::EndpointIndependent;
        }
        self
    }
}

impl Plan {
    /// Sites that nobody is at, with gateways that do something: only from a machine that moves in can they
    /// be probed.
    pub(crate) fn vacant(&self) -> Vec<String> {
        let acts = |state: &SiteState| {
            (state.site.ipv4 && state.facts(false) != Facts::PLAIN)
                || (state.site.ipv6 && state.facts(true) != Facts::PLAIN)
        };
        let empty = |at: usize| self.machines.iter().all(|machine| machine.at != at);
        let sites = self.sites.iter().enumerate();
        let vacant = sites.filter(|(at, state)| empty(*at) && acts(state));
        vacant.map(|(_, state)| state.site.name.clone()).collect()
    }
}

impl SiteState {
    /// What the plan says of a site's gateways now.
    pub(crate) fn facts(&self, ipv6: bool) -> Facts {
        let gateway = &self.site.gateway;
        if ipv6 {
            return gateway_facts(None, None, gateway.firewall, false);
        }
        let restarted = self.restarts > 0;
        gateway_facts(gateway.nat.as_ref(), gateway.carrier.as_ref(), gateway.firewall, restarted)
    }
}

impl Gateway {
    /// What a probe over IPv4 finds behind it.
    pub(crate) fn facts(&self) -> Facts {
        gateway_facts(self.nat.as_ref(), self.carrier.as_ref(), self.firewall, false)
    }
}

/// What two gateways in a row do, or one, or none.
fn gateway_facts(
    nat: Option<&Nat>,
    carrier: Option<&Nat>,
    firewall: Firewall,
    restarted: bool,
) -> Facts {
    let nats: Vec<&Nat> = nat.into_iter().chain(carrier).collect();
    // A restarted gateway hands out other ports, which it can only do by hashing.
    let preserves = |nat: &Nat| nat.ports == Ports::Preserve && (!restarted || nat.one_to_one);
    let mapping =
        nats.iter().map(|nat| nat.mapping).max().unwrap_or(Behaviour::EndpointIndependent);
    let own_filter = match firewall {
        _ if nat.is_some() => Behaviour::EndpointIndependent,
        Firewall::None => Behaviour::EndpointIndependent,
        _ => Behaviour::AddressAndPortDependent,
    };
    let filtering =
        nats.iter().map(|nat| nat.filtering).max().unwrap_or(own_filter).max(own_filter);
    let udp = UdpFacts {
        translated: !nats.is_empty(),
        mapping,
        filtering,
        preserved: nats.iter().all(|nat| preserves(nat)),
        sequential: nats.last().is_some_and(|nat| nat.ports == Ports::Sequential),
        hairpin: match carrier {
            Some(carrier) => carrier.hairpin,
            None => nat.is_some_and(|nat| nat.hairpin),
        },
        clash_held: (mapping != Behaviour::AddressAndPortDependent).then_some(true),
        // Linux gives one port to two machines when their peers differ; behind the first gateway
        // they are then one to the second. A hash over the machine's address keeps them apart.
        overloads: nats
            .first()
            .map(|nat| preserves(nat) && mapping == Behaviour::EndpointIndependent),
    };
    let blocked = matches!(firewall, Firewall::UdpBlocked | Firewall::Tcp443Only);
    Facts {
        udp: (!blocked).then_some(udp),
        tcp_443: true,
        tcp_80: firewall != Firewall::Tcp443Only,
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.udp {
            Some(udp) => write!(f, "{udp}")?,
            None => f.write_str("no UDP")?,
        }
        match (self.tcp_443, self.tcp_80) {
            (true, true) => Ok(()),
            (true, false) => f.write_str(", TCP only to 443"),
            (false, true) => f.write_str(", no TCP to 443"),
            (false, false) => f.write_str(", no TCP"),
        }
    }
}

impl fmt::Display for UdpFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = match (self.translated, self.preserved, self.sequential) {
            (false, ..) => "not translated",
            (true, true, _) => "ports preserved",
            (true, false, true) => "ports counted up",
            (true, false, false) => "other ports",
        };
        write!(
            f,
            "mapping {}, filtering {}, {ports}",
            self.mapping.short(),
            self.filtering.short()
        )?;
        let mut also = |holds: bool, what: &str| if holds { write!(f, ", {what}") } else { Ok(()) };
        also(self.hairpin, "hairpin")?;
        also(self.clash_held == Some(false), "mappings clash")?;
        also(self.overloads == Some(true), "overloads")
    }
}

#[cfg(test)]
mod tests {
    use super::super::gateway::{KINDS, kind};

    #[test]
    fn only_kinds_that_no_probe_can_tell_apart_have_the_same_facts() {
        let facts = |name: &str| kind(name).unwrap().gateway().facts();
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let mut alike = Vec::new();
        for (at, one) in names.iter().enumerate() {
            let others = names[at + 1..].iter().filter(|other| facts(one) == facts(other));
            alike.extend(others.map(|other| (*one, *other)));
        }
        // Forwards are granted on request only; a second gateway that changes ports hides the first, and where there
        // is none cannot be told from outside.
        let expected = [
            ("home", "port-mapping"),
            ("port-restricted-cone", "phone"),
            ("symmetric", "cgnat-symmetric"),
        ];
        assert_eq!(alike, expected);
    }
}
