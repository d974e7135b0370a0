//! Scenarios whose every word is right, and that cannot work all the same.

use std::collections::BTreeMap;

use super::event::{Action, Event};
use super::nat::Firewall;
use super::plan::Plan;
use super::scenario::{Machine, Role, Scenario, Site};

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

/// Whether everybody can be reached somehow: by a family in common, or over a machine that has both, and a coordinator
/// by all. The index is of the site that cannot.
pub(super) fn families(scenario: &Scenario) -> Result<(), (usize, String)> {
    let at = |machine: &Machine| {
        scenario.sites.iter().position(|site| site.name == machine.site).unwrap_or_default()
    };
    let places: Vec<Place> =
        scenario.machines.iter().map(|machine| (machine, &scenario.sites[at(machine)])).collect();
    apart(&places).map_or(Ok(()), |(machine, why)| Err((at(machine), why)))
}

/// The same where everybody is when all has happened that happens during a workload: the next one begins there, also if
/// somebody comes back later. `workloads` is the order in which they run; the index is of the event that brought somebody
/// where nothing connects.
pub(super) fn families_after(
    scenario: &Scenario,
    workloads: &[&str],
) -> Result<(), (usize, String)> {
    let order = in_order(scenario, workloads);
    let mut away: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (at, (index, event)) in order.iter().enumerate() {
        if let Action::Roam { machine, to } = &event.action {
            away.insert(machine, (*index, to));
        }
        let next = order.get(at + 1).map(|(_, next)| next);
        if next.is_some_and(|next| next.during == event.during) {
            continue;
        }
        let there = |machine: &Machine| away.get(machine.name.as_str()).map(|(_, to)| *to);
        let place = |machine| scenario.site(there(machine).unwrap_or(&machine.site));
        let places = scenario.machines.iter().filter_map(|it| Some((it, place(it)?)));
        let places: Vec<Place> = places.collect();
        let Some((machine, why)) = apart(&places) else { continue };
        let last = away.get(machine.name.as_str()).or_else(|| away.values().next());
        let Some((index, _)) = last else { continue };
        let during = next.map(|_| format!(" during `{}`", event.during)).unwrap_or_default();
        return Err((*index, format!("when all has happened{during}, {why}")));
    }
    Ok(())
}

/// Its events with their numbers, as they happen where workloads run in this order.
fn in_order<'a>(scenario: &'a Scenario, workloads: &[&str]) -> Vec<(usize, &'a Event)> {
    let turn = |event: &Event| {
        let known = workloads.iter().position(|known| *known == event.during);
        // Unknown ones run as they come.
        let first = || scenario.events.iter().position(|other| other.during == event.during);
        known.or_else(|| Some(workloads.len() + first()?))
    };
    let mut order: Vec<(usize, &Event)> = scenario.events.iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| turn(a).cmp(&turn(b)).then(a.at.total_cmp(&b.at)));
    order
}

/// A machine and where it is.
type Place<'a> = (&'a Machine, &'a Site);

/// Who is reached by nobody's family, or reaches no coordinator by its own, and why.
fn apart<'a>(places: &[Place<'a>]) -> Option<(&'a Machine, String)> {
    let four = places.iter().find(|(_, site)| !site.ipv6);
    let six = places.iter().find(|(_, site)| !site.ipv4 && !site.nat64);
    let both = places.iter().any(|(_, site)| site.ipv4 && site.ipv6);
    if let (Some((_, four)), Some((machine, six)), false) = (four, six, both) {
        return Some((
            machine,
            format!(
                "site `{}` has only IPv6 and site `{}` only IPv4: nothing connects the two; give one of them both, the first nat64 = true, or a third site both and a machine",
                six.name, four.name
            ),
        ));
    }
    let with = |role: Role| places.iter().filter(move |(machine, _)| machine.role == role);
    let lost = |hub: &Site| with(Role::Peer).find(|(_, site)| !site.reaches(hub));
    // One that everybody reaches is enough.
    let hubs = with(Role::Coordinator).map(|(hub, at)| (hub, at, lost(at)));
    let hubs: Vec<_> = hubs.collect();
    let (hub, at, (machine, site)) = match hubs.first()? {
        _ if hubs.iter().any(|(_, _, lost)| lost.is_none()) => return None,
        (hub, at, lost) => (hub, at, (*lost)?),
    };
    Some((
        machine,
        format!(
            "site `{}` has only {} and the coordinator `{}` at site `{}` only {}: whoever needs it does not reach it; give the latter both{}",
            site.name,
            site.family(),
            hub.name,
            at.name,
            at.family(),
            if site.ipv4 { "" } else { ", or the first nat64 = true" }
        ),
    ))
}

/// Whether a coordinator can be found by those outside.
pub(super) fn coordinators(scenario: &Scenario) -> Result<(), (usize, String)> {
    for (at, site) in scenario.sites.iter().enumerate() {
        let here =
            |machine: &&Machine| machine.role == Role::Coordinator && machine.site == site.name;
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
        let moved = Machine { site: site.to_owned(), ..known.clone() };
        scenario.reachable(&moved)
    })
}

impl Scenario {
    /// Whether events can happen where these workloads run, in this order, and no others: of two that belong together one may
    /// be left out. A sentence says which cannot.
    pub(crate) fn events_hold(&self, workloads: &[&str]) -> Result<(), String> {
        let mut those = self.clone();
        those.events.retain(|event| workloads.contains(&event.during.as_str()));
        let cannot = |(at, why): (usize, String)| {
            let event: &Event = &those.events[at];
            let during = &event.during;
            format!(
                "an event during `{during}` at {} s: {why}, where only {} are measured",
                event.at,
                workloads.join(", ")
            )
        };
        events(&those, workloads).map_err(cannot)
    }
}

/// Whether each event can happen to what those before it have left, and leaves somebody to measure. `workloads` is the
/// order in which they run. The index is of the event that cannot.
pub(super) fn events(scenario: &Scenario, workloads: &[&str]) -> Result<(), (usize, String)> {
    let order = in_order(scenario, workloads);
    let mut plan = Plan::new(scenario, 1);
    let mut standing = Standing::default();
    for (at, (index, event)) in order.iter().enumerate() {
        let cannot = |why: String| (*index, why);
        line_is_down(&plan, &event.action).map_err(cannot)?;
        nobody_sleeps_through(&plan, &standing, &event.action).map_err(cannot)?;
        names_are_told(scenario, &event.action).map_err(cannot)?;
        plan.change(&event.action).map_err(|error| cannot(error.reason))?;
        if let Action::Roam { machine, to } = &event.action
            && !found_at(scenario, machine, to)
        {
            let why = "would be behind a gateway that lets nobody in";
            return Err(cannot(format!("the coordinator `{machine}` {why}")));
        }
        standing.take(*index, &event.action).map_err(cannot)?;
        if order.get(at + 1).is_none_or(|(_, next)| next.during != event.during) {
            standing.back(&event.during)?;
        }
    }
    Ok(())
}

/// A machine that is suspended takes no other address, and would have the old one when it wakes.
fn nobody_sleeps_through(
    plan: &Plan,
    standing: &Standing<'_>,
    action: &Action,
) -> Result<(), String> {
    let Action::Readdress { site } = action else { return Ok(()) };
    let members = plan.members();
    let there = |name: &str| members.iter().any(|net| net.name == name && net.site == *site);
    match standing.asleep.keys().find(|name| there(name)) {
        Some(name) => {
            Err(format!("machine `{name}` is suspended by then, and would not hear of it"))
        }
        None => Ok(()),
    }
}

/// A site whose machines have names.
fn named(scenario: &Scenario) -> Option<&Site> {
    scenario.sites.iter().find(|site| site.dynamic_dns.is_some())
}

/// The resolvers of names are on the Internet, and are asked by UDP.
fn names_are_told(scenario: &Scenario, action: &Action) -> Result<(), String> {
    match (action, named(scenario)) {
        (Action::BlockUdp { .. }, Some(site)) => Err(format!(
            "site `{}` has `dynamic-dns`, whose resolver is asked by UDP: who is blocked could reach nobody by name",
            site.name
        )),
        _ => Ok(()),
    }
}

/// The same of gateways that never let UDP out. The index is of the site.
pub(super) fn resolvers(scenario: &Scenario) -> Result<(), (usize, String)> {
    let is_mute =
        |site: &Site| matches!(site.gateway.firewall, Firewall::UdpBlocked | Firewall::Tcp443Only);
    match scenario.sites.iter().position(is_mute) {
        Some(at) if named(scenario).is_some() => Err((
            at,
            format!(
                "site `{}` lets no UDP out, and the resolver of `dynamic-dns` is asked by it",
                scenario.sites[at].name
            ),
        )),
        _ => Ok(()),
    }
}

/// A line that works cannot come back.
fn line_is_down(plan: &Plan, action: &Action) -> Result<(), String> {
    match action {
        Action::LinkUp { site } if !plan.is_cut(site) => {
            Err(format!("the line of site `{site}` is not down by then"))
        }
        _ => Ok(()),
    }
}

/// How machines stand between two events: each with the number of the event that brought it there.
#[derive(Default)]
struct Standing<'a> {
    dark: BTreeMap<&'a str, usize>,
    asleep: BTreeMap<&'a str, usize>,
    /// Their daemons are; those come back with the power that they lost, and not by themselves.
    stopped: BTreeMap<&'a str, usize>,
}

impl<'a> Standing<'a> {
    /// Notes what comes of an event, if it can happen.
    fn take(&mut self, index: usize, action: &'a Action) -> Result<(), String> {
        let Some(machine) = action.machine() else { return Ok(()) };
        let not = |why: &str| Err(format!("machine `{machine}` {why} by then"));
        let done = |noted: Option<usize>, why: &str| noted.map_or_else(|| not(why), |_| Ok(()));
        let dark = self.dark.contains_key(machine);
        if let Some(what) = disturbing(action).filter(|_| machine == INITIATOR) {
            let why = format!("the measuring is done there; let it happen to `{TARGET}`");
            return Err(format!("`{INITIATOR}` cannot {what}: {why}"));
        }
        match action {
            Action::Resume { .. } => done(self.asleep.remove(machine), "is not suspended"),
            _ if self.asleep.contains_key(machine) => not("is suspended"),
            Action::PowerOn { .. } => done(self.dark.remove(machine), "has not lost its power"),
            Action::PowerLoss { .. } if dark => not("has no power to lose"),
            Action::PowerLoss { .. } => fresh(&mut self.dark, machine, index),
            // Elsewhere it gets its addresses when it boots.
            Action::Roam { .. } => Ok(()),
            _ if dark => not("has no power"),
            Action::Suspend { .. } => fresh(&mut self.asleep, machine, index),
            Action::DaemonStop { .. } if self.stopped.contains_key(machine) => {
                not("runs no daemon to stop")
            }
            Action::DaemonStop { .. } => fresh(&mut self.stopped, machine, index),
            Action::DaemonStart { .. } => {
                done(self.stopped.remove(machine), "has its daemon running")
            }
            _ => Ok(()),
        }
    }

    /// Whether those two are back between whom all is measured, when all has happened that happens during a workload.
    fn back(&self, during: &str) -> Result<(), (usize, String)> {
        for machine in [INITIATOR, TARGET] {
            for (gone, is, undo) in [
                (&self.dark, "has no power", "power-on"),
                (&self.asleep, "is suspended", "resume"),
                (&self.stopped, "runs no daemon", "daemon-start"),
            ] {
                if let Some(index) = gone.get(machine) {
                    let why = format!(
                        "`{machine}` {is} when all has happened, and is needed for whatever is measured: let `{undo}` follow during `{during}`"
                    );
                    return Err((*index, why));
                }
            }
        }
        Ok(())
    }
}

fn fresh<'a>(
    noted: &mut BTreeMap<&'a str, usize>,
    machine: &'a str,
    index: usize,
) -> Result<(), String> {
    noted.insert(machine, index);
    Ok(())
}

/// What befalls a machine that then measures nothing, in words.
fn disturbing(action: &Action) -> Option<&'static str> {
    match action {
        Action::Suspend { .. } => Some("be suspended"),
        Action::PowerLoss { .. } => Some("lose its power"),
        Action::Reboot { .. } => Some("boot again"),
        _ => None,
    }
}

#[cfg(test)]
#[path = "sound_test.rs"]
mod tests;
