//! Address translation and firewalls of a site, in the words of RFC 4787.

use serde::{Deserialize, Serialize};

/// Room for what a probe has open at once, the agent's `nat.rs`: up to 19 flows of IPv4 and 10 of IPv6.
pub(super) const PROOF_FLOWS: u32 = 32;

/// What a choice of the NAT depends on (RFC 4787 sections 4.1 and 5): for a mapping, when a new
/// external port is used; for a filter, from whom packets to that port are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Behaviour {
    /// The same for every remote endpoint.
    EndpointIndependent,
    /// The same for every port of one remote address.
    AddressDependent,
    /// Apart for every remote address and port.
    AddressAndPortDependent,
}

impl Behaviour {
    /// The usual short form: `EI`, `AD`, `APD`.
    pub fn short(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "EI",
            Self::AddressDependent => "AD",
            Self::AddressAndPortDependent => "APD",
        }
    }
}

/// How the external port of a new mapping is chosen (RFC 4787 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ports {
    /// The internal port, when it is free. Only with endpoint-independent mapping.
    Preserve,
    /// Another than the internal port: derived from the mapping's key and the seed, and repeatable;
    /// with endpoint-independent mapping drawn once for each internal endpoint.
    Hash,
    /// Drawn anew for each flow. Only with address-and-port-dependent mapping.
    Random,
    /// One after the other, as some gateways do, so that a peer can guess the next.
    /// Only with address-and-port-dependent mapping.
    Sequential,
}

/// One translating gateway for IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Nat {
    /// When a new external port is used.
    pub mapping: Behaviour,
    /// Who may send to it (UDP; TCP is always filtered by address and port).
    pub filtering: Behaviour,
    /// How the external port is chosen.
    pub ports: Ports,
    /// Whether machines behind the gateway reach each other by its external address
    /// (RFC 4787 section 6; UDP).
    #[serde(default)]
    pub hairpin: bool,
    /// Seconds without a packet after which a UDP mapping is forgotten (RFC 4787 section 4.3).
    #[serde(default = "default_lifetime")]
    pub lifetime: u32,
    /// The whole external address belongs to one machine; then mapping, filtering and ports say
    /// endpoint-independent and preserved.
    #[serde(default)]
    pub one_to_one: bool,
    /// The gateway grants port forwards by UPnP-IGD, NAT-PMP and PCP.
    #[serde(default)]
    pub port_mapping: bool,
    /// Flows that the gateway has room for; a new one beyond them is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u32>,
}

/// RFC 4787 REQ-5: not below two minutes.
fn default_lifetime() -> u32 {
    120
}

impl Nat {
    /// A gateway with this behaviour, no hairpin, and a lifetime of 120 s.
    pub const fn new(mapping: Behaviour, filtering: Behaviour, ports: Ports) -> Self {
        Self {
            mapping,
            filtering,
            ports,
            hairpin: false,
            lifetime: 120,
            one_to_one: false,
            port_mapping: false,
            flows: None,
        }
    }

    /// Why no stock Linux gateway can behave so, or `Ok`.
    ///
    /// # Errors
    /// A sentence for the person who wrote the scenario.
    pub fn check(&self) -> Result<(), String> {
        use Behaviour::{AddressAndPortDependent, EndpointIndependent};
        let mapping = self.mapping;
        if self.ports == Ports::Preserve && mapping != EndpointIndependent {
            return Err("ports = \"preserve\" needs mapping = \"endpoint-independent\"".into());
        }
        if matches!(self.ports, Ports::Random | Ports::Sequential)
            && mapping != AddressAndPortDependent
        {
            return Err("ports = \"random\" and \"sequential\" need mapping = \
                        \"address-and-port-dependent\"; use \"hash\""
                .into());
        }
        if self.one_to_one
            && (mapping != EndpointIndependent
                || self.filtering != EndpointIndependent
                || self.ports != Ports::Preserve)
        {
            return Err("one-to-one means endpoint-independent mapping and filtering, and \
                        preserved ports"
                .into());
        }
        if self.one_to_one && self.hairpin {
            return Err(
                "one-to-one has no hairpin here: whoever has the whole address is alone behind it"
                    .into(),
            );
        }
        if let Some(flows) = self.flows.filter(|flows| !(PROOF_FLOWS..=1_000_000).contains(flows)) {
            return Err(format!(
                "flows is {flows}; it must be {PROOF_FLOWS} to 1000000: the proof of the gateway needs as many itself"
            ));
        }
        if !(1..=86_400).contains(&self.lifetime) {
            return Err(format!("lifetime is {} s; it must be 1 to 86400", self.lifetime));
        }
        Ok(())
    }
}

/// What a site's gateway lets through besides what its NAT decides, for IPv4 and IPv6 alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Firewall {
    /// Everything passes.
    None,
    /// Only answers come in (RFC 6092 for IPv6).
    Stateful,
    /// As `stateful`, and no UDP goes out.
    UdpBlocked,
    /// As `stateful`, and nothing goes out but TCP to port 443.
    #[serde(rename = "tcp-443-only")]
    Tcp443Only,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nat_that_linux_cannot_be_is_refused() {
        use Behaviour::{AddressAndPortDependent, EndpointIndependent};
        let preserving =
            Nat::new(AddressAndPortDependent, AddressAndPortDependent, Ports::Preserve);
        assert!(preserving.check().is_err_and(|why| why.contains("preserve")));
        let random = Nat::new(EndpointIndependent, AddressAndPortDependent, Ports::Random);
        assert!(random.check().is_err_and(|why| why.contains("random")));
        let forever =
            Nat { lifetime: 0, ..Nat::new(EndpointIndependent, EndpointIndependent, Ports::Hash) };
        assert!(forever.check().is_err_and(|why| why.contains("lifetime")));
        let alone = Nat {
            one_to_one: true,
            hairpin: true,
            ..Nat::new(EndpointIndependent, EndpointIndependent, Ports::Preserve)
        };
        assert!(alone.check().is_err_and(|why| why.contains("hairpin")));
    }
}
