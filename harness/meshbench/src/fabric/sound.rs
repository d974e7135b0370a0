//! Scenarios whose every word is right, and that cannot work all the same.

use std::collections::BTreeSet;

use super::event::{Action, Event};
use super::plan::Plan;
use super::scenario::{Role, Scenario, Site};

/// Who starts every two-party workload.
pub const INITIATOR: &str = "alice";

/// Who answers.
pub const TARGET: &str = "bob";

/// Whether somebody can be measured: one who starts, and one who answers.
pub(super) fn somebody(scenario: &Scenario) -> Result<(), String> {
    let peer = |name: &str| {
        scenario.machines.iter().any(|known| known.name == name && known.role == Role::Peer)
    };
    let missing: Vec<&str> = [INITIATOR, TARGET].into_iter().filter(|name| !peer(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "there is nobody to measure between: {INITIATOR} starts and {TARGET} answers, and there is no peer `{}`",
        missing.join("` and no peer `")
    ))
}

/// Whether everybody can be reached somehow: by a family in common, or over a machine that has both.
pub(super) fn families(sites: &[Site]) -> Result<(), (usize, String)> {
    let lived_in = || sites.iter().enumerate().filter(|(_, site)| !site.machines.is_empty());
    let four = lived_in().find(|(_, site)| !site.ipv6);
    let six = lived_in().find(|(_, site)| !site.ipv4 && !site.nat64);
    let both = lived_in().any(|(_, site)| site.ipv4 && site.ipv6);
    match (four, six) {
        (Some((_, four)), Some((at, six))) if !both => Err((
            at,
            format!(
                "site `{}` has only IPv6 and site `{}` only IPv4: nothing connects the two; give one of them both, the first nat64 = true, or a third site both and a machine",
                six.name, four.name
            ),
        )),
        _ => Ok(()),
    }
}

/// Whether a coordinator can be found by those outside.
pub(super) fn coordinators(scenario: &Scenario) -> Result<(), (usize, String)> {
    for (at, site) in scenario.sites.iter().enumerate() {
        let here = |machine: &&super::scenario::Machine| {
            machine.role == Role::Coordinator && machine.site == site.name
        };
        if let Some(machine) = scenario.machines.iter().find(here)
            && !scenario.reachable(machine)
        {
            return Err((
                at,
                format!(
                    "the coordinator `{}` is behind a gateway that lets nobody in: give its site nat = \"none\" or \"one-to-one\", or forward = [{{ machine = \"{}\" }}] where no carrier is in front, or the machine the role `peer`",
                    machine.name, machine.name
                ),
            ));
        }
    }
    Ok(())
}

/// Whether those who need the machine reach it at that site.
fn found_at(scenario: &Scenario, machine: &str, site: &str) -> bool {
    let coordinators = scenario.machines.iter().filter(|known| known.role == Role::Coordinator);
    coordinators.filter(|known| known.name == machine).all(|known| {
        let moved = super::scenario::Machine { site: site.to_owned(), ..known.clone() };
        scenario.reachable(&moved)
    })
}

/// Whether each event can happen to what those before it have left. `workloads` is the order in which they
/// run. The index is of the event that cannot.
pub(super) fn events(scenario: &Scenario, workloads: &[&str]) -> Result<(), (usize, String)> {
    let turn = |event: &Event| {
        let known = workloads.iter().position(|known| *known == event.during);
        // Unknown ones run as they come.
        let first = || scenario.events.iter().position(|other| other.during == event.during);
        known.or_else(|| Some(workloads.len() + first()?))
    };
    let mut order: Vec<(usize, &Event)> = scenario.events.iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| turn(a).cmp(&turn(b)).then(a.at.total_cmp(&b.at)));
    let mut plan = Plan::new(scenario, 1);
    let (mut dark, mut asleep) = (BTreeSet::new(), BTreeSet::new());
    for (index, event) in order {
        plan.change(&event.action).map_err(|error| (index, error.reason))?;
        if let Some(machine) = event.action.machine()
            && asleep.contains(machine)
            && !matches!(event.action, Action::Resume { .. })
        {
            return Err((index, format!("machine `{machine}` is suspended by then")));
        }
        match &event.action {
            Action::Roam { machine, to } if !found_at(scenario, machine, to) => {
                return Err((
                    index,
                    format!(
                        "the coordinator `{machine}` would be behind a gateway that lets nobody in"
                    ),
                ));
            }
            Action::Suspend { machine } if machine == INITIATOR => {
                return Err((
                    index,
                    format!(
                        "`{INITIATOR}` cannot be suspended: the measuring is done there; suspend `{TARGET}`"
                    ),
                ));
            }
            Action::Suspend { machine } if dark.contains(machine) => {
                return Err((index, format!("machine `{machine}` has no power by then")));
            }
            Action::Suspend { machine } => {
                asleep.insert(machine.clone());
            }
            Action::Resume { machine } if !asleep.remove(machine.as_str()) => {
                return Err((index, format!("machine `{machine}` is not suspended by then")));
            }
            Action::PowerLoss { machine } if !dark.insert(machine) => {
                return Err((index, format!("machine `{machine}` has no power to lose by then")));
            }
            Action::Reboot { machine } if dark.contains(machine) => {
                return Err((index, format!("machine `{machine}` has no power by then")));
            }
            Action::PowerOn { machine, .. } if !dark.remove(machine) => {
                return Err((index, format!("machine `{machine}` has not lost its power by then")));
            }
            _ => {}
        }
    }
    Ok(())
}
