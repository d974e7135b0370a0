//! Whether a module can run on a scenario, told before a machine boots for it.

use super::drive::DriveError;
use super::spec::{INTERNAL, Module, Part, Ports};
use crate::fabric::{INITIATOR, Role, Scenario, Site, TARGET};
use crate::results::Clock;

/// Checks what a deployment of the module on this scenario would refuse for.
///
/// # Errors
/// There are more coordinators than the module can have, none where it needs one, none that is found at its ports, or names
/// that it does not take; nothing connects the two that are measured; or it cannot be measured by this clock.
pub fn check(module: &Module, scenario: &Scenario, clock: Clock) -> Result<(), DriveError> {
    if let (Clock::Virtual, Some(reason)) = (clock, &module.spec.real_time) {
        let (module, reason) = (module.name.to_string(), reason.clone());
        return Err(DriveError::RealTime { module, reason });
    }
    if scenario.sites.iter().any(|site| site.dynamic_dns.is_some()) && !module.spec.claims.names {
        return Err(DriveError::NoNames { module: module.name.to_string() });
    }
    connected(module, &as_met(scenario, module))?;
    let Some(part) = module.spec.coordinator() else { return Ok(()) };
    let named = || scenario.machines.iter().filter(|machine| machine.role == Role::Coordinator);
    if named().next().is_none() {
        return Err(DriveError::NoCoordinator { module: module.name.to_string() });
    }
    coordinators(module, named().map(|machine| machine.name.as_str()))?;
    found(module, part, scenario)
}

/// The scenario as a module meets it: without coordinators where it has none, and without a VPN on the wire itself.
pub(crate) fn as_met(scenario: &Scenario, module: &Module) -> Scenario {
    let mut met = scenario.clone();
    if !module.spec.has_coordinator() {
        met = met.without_coordinators();
    }
    if module.name == INTERNAL {
        met = met.on_the_wire();
    }
    met
}

/// Whether packets can come from one of those who are measured to the other, by themselves or over somebody.
fn connected(module: &Module, met: &Scenario) -> Result<(), DriveError> {
    let site = |name: &str| {
        let machine = met.machines.iter().find(|machine| machine.name == name);
        machine.and_then(|machine| met.site(&machine.site))
    };
    // Whether they are there at all is asked elsewhere.
    let (Some(from), Some(to)) = (site(INITIATOR), site(TARGET)) else { return Ok(()) };
    let meet = |site: &Site| from.reaches(site) && to.reaches(site);
    let relays = || met.machines.iter().filter_map(|machine| met.site(&machine.site));
    // Whoever is reached answers, also where it could not have begun.
    if from.reaches(to) || to.reaches(from) || (module.spec.claims.relay && relays().any(meet)) {
        return Ok(());
    }
    let (from_family, to_family) = (from.family(), to.family());
    let (from, to) = (INITIATOR.to_owned(), TARGET.to_owned());
    Err(DriveError::NoWay { module: module.name.to_string(), from, from_family, to, to_family })
}

/// Whether one of the coordinators is found at the ports that the module says it needs.
fn found(module: &Module, part: &Part, scenario: &Scenario) -> Result<(), DriveError> {
    let Ports { udp, tcp } = &part.ports;
    let mut missing = None;
    for machine in scenario.machines.iter().filter(|machine| machine.role == Role::Coordinator) {
        let closed = scenario.closed(machine, [udp, tcp]);
        if closed.iter().all(Vec::is_empty) {
            return Ok(());
        }
        missing.get_or_insert((machine.name.clone(), in_words(&closed)));
    }
    let Some((coordinator, ports)) = missing else { return Ok(()) };
    Err(DriveError::PortsClosed { module: module.name.to_string(), coordinator, ports })
}

/// `UDP 3478 and TCP 443`
fn in_words(ports: &[Vec<u16>; 2]) -> String {
    let words = ["UDP", "TCP"].iter().zip(ports);
    let words =
        words.flat_map(|(kind, ports)| ports.iter().map(move |port| format!("{kind} {port}")));
    words.collect::<Vec<_>>().join(" and ")
}

/// Each of several coordinators would make a world of its own, unless the module joins them.
pub(super) fn coordinators<'a>(
    module: &Module,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), DriveError> {
    let coordinators: Vec<String> = names.map(str::to_owned).collect();
    if coordinators.len() < 2 || module.spec.claims.several_coordinators {
        return Ok(());
    }
    Err(DriveError::SeveralCoordinators { module: module.name.to_string(), coordinators })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::spec;
    use super::*;

    fn module(name: &str) -> Module {
        spec::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../modules"), name).unwrap()
    }

    fn scenario(coordinators: &[&str]) -> Scenario {
        let site = |name: &&str| format!("[[site]]\nname = \"{name}\"\n");
        let role =
            |name: &&str| format!("[[machine]]\nname = \"{name}\"\nrole = \"coordinator\"\n");
        let text: String = ["alice", "bob"].iter().chain(coordinators).map(site).collect();
        let text = text + &coordinators.iter().map(role).collect::<String>();
        let text = format!("title = \"t\"\ndescription = \"t\"\n{text}");
        Scenario::parse("test", "test.toml", &text, &[]).unwrap()
    }

    #[test]
    fn several_coordinators_are_refused_unless_claimed() {
        let headscale = module("tailscale");
        check(&headscale, &scenario(&["hub"]), Clock::Virtual).unwrap();
        let error = check(&headscale, &scenario(&["hub", "spare"]), Clock::Real).unwrap_err();
        assert!(error.to_string().ends_with("there are hub, spare"), "{error}");
        check(&module("nebula"), &scenario(&["hub", "spare"]), Clock::Real).unwrap();
    }

    /// Each member would begin a world of its own, and the VPN be blamed.
    #[test]
    fn who_needs_a_coordinator_is_refused_where_there_is_none() {
        check(&module("wireguard"), &scenario(&[]), Clock::Virtual).unwrap();
        let error = check(&module("nebula"), &scenario(&[]), Clock::Virtual).unwrap_err();
        assert!(error.to_string().starts_with("nebula needs a coordinator"), "{error}");
    }

    #[test]
    fn a_module_without_coordinators_never_meets_them() {
        check(&module("wireguard"), &scenario(&["hub", "spare"]), Clock::Real).unwrap();
    }

    #[test]
    fn who_takes_addresses_only_is_refused_where_members_have_names() {
        let text = "title = \"t\"\ndescription = \"t\"\n[[site]]\nname = \"alice\"\n\
                    [[site]]\nname = \"bob\"\ndynamic-dns = 60\n";
        let named = Scenario::parse("test", "test.toml", text, &[]).unwrap();
        check(&module("wireguard"), &named, Clock::Real).unwrap();
        let error = check(&module("mycelium"), &named, Clock::Real).unwrap_err();
        assert!(error.to_string().contains("names"), "{error}");
    }

    fn read(text: &str) -> Scenario {
        let text = format!("title = \"t\"\ndescription = \"t\"\n{text}");
        Scenario::parse("test", "test.toml", &text, &[]).unwrap()
    }

    const SIX: &str = "ipv4 = false\nipv6 = true\n";

    /// The hub has both, so that who has one can relay there.
    #[test]
    fn who_has_no_way_from_one_family_to_the_other_is_refused_there() {
        let apart = |more: &str| {
            read(&format!(
                "[[site]]\nname = \"alice\"\n{SIX}{more}[[site]]\nname = \"bob\"\n[[site]]\nname = \"hub\"\nipv6 = true\n"
            ))
        };
        let said = |name: &str, scenario: &Scenario| {
            check(&module(name), scenario, Clock::Real).map_err(|error| error.to_string())
        };
        for name in ["internal", "wireguard", "innernet"] {
            let refused = said(name, &apart("")).unwrap_err();
            assert!(refused.contains("one has only IPv6, the other only IPv4"), "{refused}");
            assert_eq!(said(name, &apart("nat64 = true\n")), Ok(()));
        }
        for name in ["tailscale", "nebula"] {
            assert_eq!(said(name, &apart("")), Ok(()));
        }
    }

    #[test]
    fn nobody_is_refused_a_way_in_a_scenario_of_the_project() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let modules = spec::load_all(&folder.join("modules")).unwrap();
        for entry in std::fs::read_dir(folder.join("checks")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "toml") {
                continue;
            }
            let scenario = Scenario::load(&path, &[]).unwrap();
            for module in &modules {
                let checked = check(module, &scenario, Clock::Real);
                let no_way = matches!(
                    checked,
                    Err(DriveError::NoWay { .. } | DriveError::PortsClosed { .. })
                );
                assert!(!no_way, "{}: {checked:?}", path.display());
            }
        }
    }

    #[test]
    fn a_coordinator_is_found_where_its_own_ports_are_let_in() {
        let house = |forward: &str| {
            read(&format!(
                "[[site]]\nname = \"house\"\nnat = \"home\"\nmachines = [\"alice\", \"hub\"]\nforward = [{forward}]\n[[site]]\nname = \"bob\"\n"
            ))
        };
        let said = |name: &str, forward: &str| {
            let checked = check(&module(name), &house(forward), Clock::Real);
            checked.map_err(|error| error.to_string())
        };
        let one = "{ machine = \"hub\", udp = 4242 }";
        assert_eq!(said("nebula", one), Ok(()));
        let refused = said("tailscale", one).unwrap_err();
        assert!(refused.contains("needs UDP 3478 and TCP 443 of `hub`"), "{refused}");
        assert_eq!(said("wireguard", one), Ok(()), "it has none");
        assert_eq!(said("mycelium", one), Ok(()), "it does not say");
        let all = "{ machine = \"hub\" }";
        let both = "{ machine = \"hub\", udp = 3478 }, { machine = \"hub\", tcp = 443 }";
        for forward in [all, both] {
            assert_eq!(said("tailscale", forward), Ok(()));
        }
    }

    #[test]
    fn a_module_that_needs_real_time_is_refused_in_virtual_time_with_its_reason() {
        let mut two = module("wireguard");
        two.spec.real_time = Some("it needs two processors".to_owned());
        check(&two, &scenario(&["hub"]), Clock::Real).unwrap();
        let error = check(&two, &scenario(&["hub"]), Clock::Virtual).unwrap_err();
        assert!(error.to_string().ends_with("real time only: it needs two processors"), "{error}");
    }
}
