//! Whether VPNs took the way that their claims let expect.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::fabric::{Event, Expect, Reach, Scenario};
use crate::module::spec::{Claims, Module};
use crate::results::{CellKey, CellRecord, OverlayPath};
use crate::workload::Workload;

/// What a VPN with these claims should reach in the scenario; `None` when nothing is expected.
pub fn expected(scenario: &Scenario, claims: &Claims) -> Option<Reach> {
    of_claims(&scenario.expect, claims)
}

/// The same once all that the scenario makes happen has happened.
pub(crate) fn expected_after(scenario: &Scenario, claims: &Claims) -> Option<Reach> {
    of_claims(scenario.expect.after.as_deref().unwrap_or(&scenario.expect), claims)
}

/// What it should reach while it comes up: where all that happens in the scenario happens then, that is after it.
pub(crate) fn expected_at_first(scenario: &Scenario, claims: &Claims) -> Option<Reach> {
    let mut events = scenario.events.iter();
    match happens_at_first(scenario) && events.all(is_at_first) {
        true => expected_after(scenario, claims),
        false => expected(scenario, claims),
    }
}

/// Whether anything happens before an overlay is there whose path could be seen.
fn happens_at_first(scenario: &Scenario) -> bool {
    scenario.events.iter().any(is_at_first)
}

fn is_at_first(event: &Event) -> bool {
    event.during == Workload::CONNECT.name()
}

fn of_claims(expect: &Expect, claims: &Claims) -> Option<Reach> {
    expect.outcome(claims.nat_traversal, claims.relay)
}

/// A cluster on which a VPN was relayed though a direct path was expected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Detour {
    /// Number of the block.
    pub block: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the module.
    pub module: String,
    /// Whether it is of the path after all that happened, as `[expect.after]` has it.
    pub after: bool,
}

impl fmt::Display for Detour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block, scenario, module, after } = self;
        let when = if *after { "after what happened" } else { "to the end" };
        write!(
            formatter,
            "{module} on {scenario}, block {block}: relayed {when}, direct was expected"
        )
    }
}

/// Clusters whose cells were all relayed where a direct path was expected, and those relayed after all events where it
/// was expected then. A path that the VPN does not tell is not judged, one that became direct in time is no detour, and
/// where something happened while it came up, its path before that was never seen.
pub fn detours(
    cells: &[CellRecord],
    modules: &[Arc<Module>],
    scenarios: &[Arc<Scenario>],
) -> Vec<Detour> {
    let mut clusters: BTreeMap<Detour, Vec<&CellRecord>> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| cell.outcome.is_ok()) {
        let CellKey { block, scenario, module, .. } = cell.key.clone();
        let cluster = Detour { block, scenario, module, after: false };
        clusters.entry(cluster).or_default().push(cell);
    }
    let mut found = Vec::new();
    for (cluster, mut cells) in clusters {
        let module = modules.iter().find(|module| *module.name == cluster.module);
        let scenario = scenarios.iter().find(|scenario| *scenario.name == cluster.scenario);
        let (Some(module), Some(scenario)) = (module, scenario) else { continue };
        cells.sort_by_key(|cell| Workload::named(&cell.key.workload));
        let direct = |expected| expected == Some(Reach::Direct);
        let undisturbed = !happens_at_first(scenario);
        if undisturbed && direct(expected(scenario, &module.spec.claims)) && are_relayed(&cells) {
            found.push(cluster.clone());
        }
        if direct(expected_after(scenario, &module.spec.claims)) && stays_relayed(&cells) {
            found.push(Detour { after: true, ..cluster });
        }
    }
    found
}

fn are_relayed(cells: &[&CellRecord]) -> bool {
    cells.iter().all(|cell| cell.path == OverlayPath::Relayed)
}

/// Whether it was relayed when all had happened, and no later cell says otherwise.
fn stays_relayed(cells: &[&CellRecord]) -> bool {
    let last = cells.iter().enumerate().rev().find_map(|(at, cell)| Some((at, cell.after?)));
    last.is_some_and(|(at, after)| {
        after.path == OverlayPath::Relayed && are_relayed(&cells[at + 1..])
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path as File;

    use super::*;
    use crate::fabric::Action;
    use crate::module::spec;
    use crate::results::{After, Clock, FORMAT, Metric, Outcome};
    use crate::workload;

    fn cell(scenario: &str, module: &str, workload: &str, path: OverlayPath) -> CellRecord {
        let key = CellKey {
            block: 1,
            scenario: scenario.into(),
            module: module.into(),
            workload: workload.into(),
        };
        let metrics: Vec<Metric> =
            vec![workload::connect_metric(std::time::Duration::from_secs(1))];
        CellRecord {
            format: FORMAT,
            key,
            started: "2026-01-01T00:00:00Z".into(),
            duration_seconds: 1.0,
            outcome: Outcome::ok(),
            metrics,
            costs: Vec::new(),
            path,
            inner_mtu: None,
            underlay: None,
            links: Vec::new(),
            nats: Vec::new(),
            clock: Clock::Real,
            events: Vec::new(),
            standing: Vec::new(),
            after: None,
            sealed: None,
        }
    }

    #[test]
    fn only_a_relay_to_the_end_or_after_what_happened_where_direct_was_expected_is_a_detour() {
        let root = File::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let module = |name| Arc::new(spec::load(&root.join("modules"), name).unwrap());
        let scenario = |name| {
            Arc::new(Scenario::load(&root.join(format!("checks/{name}.toml")), &[]).unwrap())
        };
        let modules = [module("wireguard"), module("tailscale")];
        let scenarios = [scenario("lan"), scenario("symmetric-both")];
        let cells = [
            cell("lan", "wireguard", "connect", OverlayPath::Relayed),
            cell("lan", "wireguard", "ping", OverlayPath::Relayed),
            // Found its way later.
            cell("lan", "tailscale", "connect", OverlayPath::Relayed),
            cell("lan", "tailscale", "ping", OverlayPath::Direct),
            // A relay is the best there.
            cell("symmetric-both", "tailscale", "ping", OverlayPath::Relayed),
        ];
        let found = detours(&cells, &modules, &scenarios);
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["wireguard on lan, block 1: relayed to the end, direct was expected"]);
        let healed = [CellRecord {
            after: Some(After { path: OverlayPath::Relayed, inner_mtu: None }),
            ..cell("lan", "wireguard", "recover", OverlayPath::Direct)
        }];
        let found = detours(&healed, &modules, &scenarios);
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            ["wireguard on lan, block 1: relayed after what happened, direct was expected"]
        );
        // Who had found the way by the next cell is on none.
        let later = cell("lan", "wireguard", "direct", OverlayPath::Direct);
        let found_it = [healed[0].clone(), later];
        assert_eq!(detours(&found_it, &modules, &scenarios), []);
        // What was cut before it came up is judged by what is expected after that.
        let mut cut = (*scenarios[0]).clone();
        let action = Action::LinkDown { site: "bob".into(), direction: None };
        cut.events.push(Event { during: "connect".into(), at: 0.0, action });
        let relayed = Some(Box::new(Expect { none: Some(Reach::Relayed), ..Expect::default() }));
        cut.expect.after = relayed;
        assert_eq!(detours(&cells[..1], &modules, &[Arc::new(cut.clone())]), []);
        cut.expect.after = None;
        let after = Some(After { path: OverlayPath::Relayed, inner_mtu: None });
        let at_first = [CellRecord { after, ..cells[0].clone() }];
        assert_eq!(detours(&at_first, &modules, &[Arc::new(cut)]).len(), 1);
        let unknown = [cell("lan", "wireguard", "ping", OverlayPath::Unknown)];
        assert_eq!(detours(&unknown, &modules, &scenarios), []);
    }
}
