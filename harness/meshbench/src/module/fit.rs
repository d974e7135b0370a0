//! Whether a module can run on a scenario, told before a machine boots for it.

use super::drive::DriveError;
use super::spec::Module;
use crate::fabric::{Role, Scenario};
use crate::results::Clock;

/// Checks what a deployment of the module on this scenario would refuse for.
///
/// # Errors
/// There are more coordinators than the module can have, or names that it does not take; or it cannot be measured by
/// this clock.
pub fn check(module: &Module, scenario: &Scenario, clock: Clock) -> Result<(), DriveError> {
    if let (Clock::Virtual, Some(reason)) = (clock, &module.spec.real_time) {
        let (module, reason) = (module.name.to_string(), reason.clone());
        return Err(DriveError::RealTime { module, reason });
    }
    if scenario.sites.iter().any(|site| site.dynamic_dns.is_some()) && !module.spec.claims.names {
        return Err(DriveError::NoNames { module: module.name.to_string() });
    }
    if !module.spec.has_coordinator() {
        return Ok(());
    }
    let machines = scenario.machines.iter();
    let named = machines.filter(|machine| machine.role == Role::Coordinator);
    coordinators(module, named.map(|machine| machine.name.as_str()))
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

    #[test]
    fn a_module_that_needs_real_time_is_refused_in_virtual_time_with_its_reason() {
        let mut two = module("wireguard");
        two.spec.real_time = Some("it needs two processors".to_owned());
        check(&two, &scenario(&["hub"]), Clock::Real).unwrap();
        let error = check(&two, &scenario(&["hub"]), Clock::Virtual).unwrap_err();
        assert!(error.to_string().ends_with("real time only: it needs two processors"), "{error}");
    }
}
