//! `bench results due`: what is not published as it is today.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshbench::fabric::Scenario;
use meshbench::guest::Provider;
use meshbench::guest::debian::{Debian, ModuleSoftware};
use meshbench::module::spec::Module;
use meshbench::results::{
    CellRecord, Clock, INTERNAL, ModuleRecord, ResultSet, RunRecord, ScenarioRecord,
};
use meshbench::run::{RunSpec, module_sha256, scenario_sha256};

use crate::error::{Failure, Outcome};
use crate::exit;
use crate::output::print;
use crate::workspace::Workspace;

/// Names the modules for which none of these sets has what would be measured today in virtual time, in so many blocks, each
/// with its scenarios of which that is so: first those that were never measured, then whose results are oldest, so that none
/// waits forever for others.
pub fn due<'a>(
    workspace: &Workspace,
    sets: impl Iterator<Item = &'a ResultSet> + Clone,
    blocks: u32,
) -> Outcome {
    let networks = networks(workspace)?;
    let today = Today::of(workspace);
    let mut due = Vec::new();
    for module in workspace.modules()? {
        let buildable = module.spec.software.debian.missing_programs().is_empty();
        if *module.name == *INTERNAL || !buildable {
            continue;
        }
        let own = Present {
            name: &module.name,
            sha256: module_sha256(&module),
            packages: today.packages(&module),
            qemu: today.qemu(),
        };
        let measured = |network: &Network| {
            let mut sets = sets.clone().filter(|set| set.run.blocks >= blocks);
            sets.any(|set| own.is_measured(set, network))
        };
        let lacking: Vec<&str> =
            networks.iter().filter(|it| !measured(it)).map(|it| it.name.as_str()).collect();
        if !lacking.is_empty() {
            let last = last_measured(sets.clone(), &module.name, &networks);
            due.push((last, format!("{} {}", module.name, lacking.join(","))));
        }
    }
    due.sort();
    for (_, line) in due {
        print(&format!("{line}\n"))?;
    }
    Ok(exit::OK)
}

/// When a module was last measured on one of these networks, to whatever end. A grid of NATs is on none of them.
fn last_measured<'a>(
    sets: impl Iterator<Item = &'a ResultSet>,
    module: &str,
    networks: &[Network],
) -> Option<&'a str> {
    let own = |cell: &CellRecord| {
        cell.key.module == *module && networks.iter().any(|it| it.name == cell.key.scenario)
    };
    let has = |set: &&ResultSet| counts(&set.run) && set.cells.iter().any(own);
    sets.filter(has).map(|set| set.run.started.as_str()).max()
}

/// Whether a run is of the kind that is asked for: a first impression is none, and no clock says anything of another.
fn counts(run: &RunRecord) -> bool {
    run.clock == Clock::Virtual && !run.quick
}

/// A scenario as it is now.
struct Network {
    name: String,
    sha256: String,
    /// Names of what is measured there unless one says otherwise.
    workloads: Vec<String>,
}

fn networks(workspace: &Workspace) -> Result<Vec<Network>, Failure> {
    let names = workspace.scenario_names()?;
    let scenarios: Vec<_> =
        names.iter().map(|name| workspace.scenario(name)).collect::<Result<_, _>>()?;
    let spec = RunSpec::new(workspace.modules()?, scenarios.clone(), &[], 0);
    let spec = spec.map_err(Failure::usage)?;
    let network = |scenario: &Arc<Scenario>| Network {
        name: scenario.name.to_string(),
        sha256: scenario_sha256(scenario),
        workloads: spec
            .selection
            .workloads(&scenario.name)
            .iter()
            .map(|workload| workload.name().to_owned())
            .collect(),
    };
    Ok(scenarios.iter().map(network).collect())
}

/// Name and version.
type Packages = BTreeSet<(String, String)>;

/// What would be measured with today, as far as the cache knows: nothing is built or fetched to find out.
struct Today {
    debian: Debian,
    /// Asked for once a guest is found, beside which it is.
    qemu: OnceCell<Option<String>>,
    any: OnceCell<()>,
}

impl Today {
    fn of(workspace: &Workspace) -> Self {
        let debian = Debian::new(&workspace.cache, meshbench::AGENT);
        Self { debian, qemu: OnceCell::new(), any: OnceCell::new() }
    }

    /// What is in the guest of a module; its hash would say more, and another with each change of the harness.
    fn packages(&self, module: &Module) -> Option<Packages> {
        let debian = &module.spec.software.debian;
        let software = [ModuleSoftware {
            name: module.name.to_string(),
            apt: debian.apt.clone(),
            cargo: debian.cargo.clone(),
            go: debian.go.clone(),
            ..ModuleSoftware::default()
        }];
        let image = self.debian.has(&software).then(|| self.debian.image(&software).ok())??;
        let _ = self.any.set(());
        let packages = image.manifest.packages.into_iter();
        Some(packages.map(|it| (it.name, it.version)).collect())
    }

    fn qemu(&self) -> Option<&str> {
        self.any.get()?;
        let ask = || self.debian.qemu().ok().map(|qemu| qemu.version().to_owned());
        self.qemu.get_or_init(ask).as_deref()
    }
}

/// A module as it is now; what is not known of it says nothing.
struct Present<'a> {
    name: &'a str,
    sha256: Option<String>,
    packages: Option<Packages>,
    qemu: Option<&'a str>,
}

impl Present<'_> {
    /// Whether a set measured it as it is, on this network as that is, all that this one is for, in all blocks that were
    /// asked for.
    fn is_measured(&self, set: &ResultSet, network: &Network) -> bool {
        let run = &set.run;
        let own = |it: &ModuleRecord| it.name == *self.name && it.sha256 == self.sha256;
        let there = |it: &ScenarioRecord| {
            it.name == network.name && it.sha256.as_ref() == Some(&network.sha256)
        };
        counts(run)
            && run.modules.iter().any(own)
            && run.scenarios.iter().any(there)
            && network.workloads.iter().all(|it| run.asks_for(&network.name, it))
            && self.has_guest(run)
            && self.qemu.is_none_or(|qemu| run.environment.qemu_version == qemu)
            && is_finished(set, &network.name, self.name)
    }

    fn has_guest(&self, run: &RunRecord) -> bool {
        let Some(packages) = &self.packages else { return true };
        let mut guests = run.guests.iter().filter(|it| it.module == *self.name);
        guests.all(|guest| {
            let had: Packages =
                guest.packages.iter().map(|it| (it.name.clone(), it.version.clone())).collect();
            guest.provider != Provider::Debian.name() || packages.is_subset(&had)
        })
    }
}

/// Whether every block has all of a cluster's cells.
fn is_finished(set: &ResultSet, scenario: &str, module: &str) -> bool {
    let mut cells: BTreeMap<u32, usize> = BTreeMap::new();
    for CellRecord { key, .. } in &set.cells {
        if key.scenario == *scenario && key.module == *module {
            *cells.entry(key.block).or_default() += 1;
        }
    }
    let most = cells.values().max().copied().unwrap_or(0);
    most > 0 && (1..=set.run.blocks).all(|block| cells.get(&block) == Some(&most))
}

#[cfg(test)]
mod tests {
    use meshbench::results::{GuestRecord, PackageRecord};

    use super::*;
    use crate::fixture::Plan;

    fn measured() -> ResultSet {
        let plan = Plan {
            id: "run".into(),
            scenarios: vec!["lan".into()],
            workloads: vec!["ping".into(), "tcp".into()],
            ..Plan::default()
        };
        plan.set()
    }

    fn lan(workloads: &[&str]) -> Network {
        let workloads = workloads.iter().map(ToString::to_string).collect();
        Network { name: "lan".into(), sha256: "bb".repeat(32), workloads }
    }

    fn nebula<'a>(packages: &[(&str, &str)], qemu: &'a str) -> Present<'a> {
        Present {
            name: "nebula",
            sha256: Some("aa".repeat(32)),
            packages: Some(packages.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()),
            qemu: Some(qemu),
        }
    }

    #[test]
    fn only_what_is_measured_as_it_is_and_to_the_end_is_not_due() {
        let set = measured();
        let (network, qemu) = (lan(&["ping", "tcp"]), set.run.environment.qemu_version.clone());
        let present = |packages| nebula(packages, &qemu);
        let is = |present: &Present<'_>, set: &ResultSet| present.is_measured(set, &network);
        assert!(is(&present(&[]), &set));
        let edited = Network { sha256: "other".into(), ..lan(&["ping"]) };
        assert!(!present(&[]).is_measured(&set, &edited));
        assert!(!is(&nebula(&[], "QEMU 11"), &set));

        let mut with = set.clone();
        with.run.guests = vec![GuestRecord {
            module: "nebula".into(),
            provider: "debian".into(),
            nar_hash: "sha256-x".into(),
            packages: vec![PackageRecord { name: "nebula".into(), version: "1.9".into() }],
        }];
        assert!(is(&present(&[("nebula", "1.9")]), &with));
        assert!(!is(&present(&[("nebula", "1.10")]), &with));

        let mut part = set.clone();
        part.cells.retain(|cell| cell.key.module != "nebula" || cell.key.block < 7);
        assert!(!is(&present(&[]), &part));
        let mut cut = set.clone();
        let last = cut.cells.iter().rposition(|cell| cell.key.module == "nebula").unwrap();
        cut.cells.remove(last);
        assert!(!is(&present(&[]), &cut));
    }

    #[test]
    fn a_part_of_the_workloads_or_another_clock_leaves_a_module_due() {
        let set = measured();
        let qemu = set.run.environment.qemu_version.clone();
        let present = nebula(&[], &qemu);
        assert!(present.is_measured(&set, &lan(&["tcp"])));
        assert!(!present.is_measured(&set, &lan(&["ping", "tcp", "connect"])));
        let mut elsewhere = set.clone();
        elsewhere.run.scenarios[0].workloads = vec!["ping".into()];
        assert!(!present.is_measured(&elsewhere, &lan(&["ping", "tcp"])));
        let mut real = set.clone();
        real.run.clock = Clock::Real;
        assert!(!present.is_measured(&real, &lan(&["ping", "tcp"])));
    }

    #[test]
    fn what_was_never_measured_is_due_before_the_oldest() {
        let (mut old, mut new) = (measured(), measured());
        old.run.started = "2026-11-01T00:00:00Z".into();
        new.run.started = "2026-11-08T00:00:00Z".into();
        let sets = [new, old];
        let last = |sets: &[ResultSet], module: &str, networks: &[Network]| {
            last_measured(sets.iter(), module, networks).map(str::to_owned)
        };
        let (networks, nebula) = ([lan(&["ping"])], last(&sets, "nebula", &[lan(&["ping"])]));
        assert_eq!(nebula.as_deref(), Some("2026-11-08T00:00:00Z"));
        assert_eq!(last(&sets, "unknown", &networks), None);
        assert!(None < nebula, "so they sort");
        assert_eq!(last(&sets, "nebula", &[]), None, "a grid is on no network");
        let mut quick = measured();
        quick.run.quick = true;
        assert_eq!(last(&[quick], "nebula", &networks), None);
    }
}
