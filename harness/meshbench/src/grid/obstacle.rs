use crate::fabric::Behaviour::{AddressAndPortDependent, EndpointIndependent};
use crate::fabric::{INITIATOR, TARGET, UdpFacts};
use crate::module::spec::{Claims, NatTraversal};

/// Why a VPN with these claims cannot connect the two, if it cannot.
pub(super) fn obstacle(
    claims: &Claims,
    (alice_kind, alice): (&str, Option<UdpFacts>),
    (bob_kind, bob): (&str, Option<UdpFacts>),
) -> Option<String> {
    let blocked = [(INITIATOR, alice_kind, alice), (TARGET, bob_kind, bob)];
    if let Some((site, kind, _)) = blocked.into_iter().find(|(_, _, facts)| facts.is_none()) {
        let why = format!("{site}'s gateway ({kind}) lets no UDP out");
        return (!claims.relay).then_some(why);
    }
    let pair = [(INITIATOR, alice_kind, alice?), (TARGET, bob_kind, bob?)];
    match claims.nat_traversal {
        NatTraversal::None | NatTraversal::PortForward => {
            let one = refused(pair[0], pair[1])?;
            let other = refused(pair[1], pair[0])?;
            Some(format!("endpoints are configured, not found: {one}; {other}"))
        }
        NatTraversal::HolePunching if claims.relay => None,
        NatTraversal::HolePunching => {
            let symmetric = |(_, _, f): (&str, &str, UdpFacts)| f.mapping != EndpointIndependent;
            let strict = |(_, _, f): (&str, &str, UdpFacts)| f.filtering == AddressAndPortDependent;
            let hard = |a, b| symmetric(a) && (symmetric(b) || strict(b));
            (hard(pair[0], pair[1]) || hard(pair[1], pair[0])).then(|| {
                "no hole can be punched where one side's port is another for every peer and the \
                 other side lets in only the port it sent to; there is no relay"
                    .to_owned()
            })
        }
    }
}

/// Why packets from one site do not arrive at the other's configured endpoint, if they do not.
fn refused(
    (from, from_kind, from_facts): (&str, &str, UdpFacts),
    (to, to_kind, to_facts): (&str, &str, UdpFacts),
) -> Option<String> {
    if !to_facts.preserved {
        return Some(format!(
            "{to}'s gateway ({to_kind}) maps its port to another, unknown to {from}"
        ));
    }
    if to_facts.filtering == AddressAndPortDependent && !from_facts.preserved {
        return Some(format!(
            "{to}'s gateway ({to_kind}) admits only the endpoint that {to} was told, and {from}'s \
             gateway ({from_kind}) sends from another port"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric;

    fn facts(kind: &str) -> Option<UdpFacts> {
        fabric::kind(kind).unwrap().gateway().facts().udp
    }

    fn reachable(claims: &Claims, alice: &str, bob: &str) -> bool {
        obstacle(claims, (alice, facts(alice)), (bob, facts(bob))).is_none()
    }

    #[test]
    fn configured_endpoints_reach_where_one_side_keeps_its_port_and_lets_the_other_in() {
        let claims = Claims {
            encryption: true,
            nat_traversal: NatTraversal::None,
            relay: false,
            ipv6_underlay: true,
            several_coordinators: false,
            names: true,
        };
        for (alice, bob, expected) in [
            ("none", "symmetric", true),
            ("home", "home", true),
            ("home", "symmetric", false),
            ("restricted-cone", "symmetric", true),
            ("full-cone", "cgnat", true),
            ("home", "cgnat", false),
            ("symmetric", "symmetric", false),
            ("none", "udp-blocked", false),
        ] {
            assert_eq!(reachable(&claims, alice, bob), expected, "{alice} {bob}");
            assert_eq!(reachable(&claims, bob, alice), expected, "{bob} {alice}");
        }
    }
}
