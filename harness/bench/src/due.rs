//! `bench results due`: what is not published as it is today.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use meshbench::guest::debian::{Debian, ModuleSoftware};
use meshbench::module::spec::Module;
use meshbench::results::{
    CellRecord, Clock, INTERNAL, ModuleRecord, ResultSet, RunRecord, ScenarioRecord,
};
use meshbench::run::{module_sha256, scenario_sha256};

use crate::error::Outcome;
use crate::exit;
use crate::output::print;
use crate::workspace::Workspace;

/// Names the modules for which none of these sets has what would be measured today.
pub fn due<'a>(
    workspace: &Workspace,
    sets: impl Iterator<Item = &'a ResultSet> + Clone,
) -> Outcome {
    let names = workspace.scenario_names()?;
    let scenario =
        |name: &String| workspace.scenario(name).map(|it| (name.clone(), scenario_sha256(&it)));
    let scenarios: Vec<(String, String)> = names.iter().map(scenario).collect::<Result<_, _>>()?;
    let today = Today::of(workspace);
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
        let measured = |(name, network): &(String, String)| {
            sets.clone().any(|set| own.is_measured(set, name, network))
        };
        if !scenarios.iter().all(measured) {
            print(&format!("{}\n", module.name))?;
        }
    }
    Ok(exit::OK)
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
    /// Whether a set measured it as it is, on this network as that is, in all blocks that were asked for.
    fn is_measured(&self, set: &ResultSet, scenario: &str, network: &str) -> bool {
        let run = &set.run;
        let own = |it: &ModuleRecord| it.name == *self.name && it.sha256 == self.sha256;
        let there =
            |it: &ScenarioRecord| it.name == *scenario && it.sha256.as_deref() == Some(network);
        !run.quick
            && run.modules.iter().any(own)
            && run.scenarios.iter().any(there)
            && self.has_guest(run)
            && self.has_qemu(run)
            && is_finished(set, scenario, self.name)
    }

    fn has_guest(&self, run: &RunRecord) -> bool {
        let Some(packages) = &self.packages else { return true };
        let mut guests = run.guests.iter().filter(|it| it.module == *self.name);
        guests.all(|guest| {
            let had: Packages =
                guest.packages.iter().map(|it| (it.name.clone(), it.version.clone())).collect();
            guest.provider != "debian" || packages.is_subset(&had)
        })
    }

    fn has_qemu(&self, run: &RunRecord) -> bool {
        let same = |qemu| run.environment.qemu_version == qemu;
        run.clock != Clock::Virtual || self.qemu.is_none_or(same)
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
    use super::*;
    use crate::fixture::Plan;

    #[test]
    fn only_what_is_measured_as_it_is_and_to_the_end_is_not_due() {
        let set = Plan {
            id: "run".into(),
            scenarios: vec!["lan".into()],
            workloads: vec!["ping".into(), "tcp".into()],
            ..Plan::default()
        };
        let set = set.set();
        let (network, qemu) = ("bb".repeat(32), set.run.environment.qemu_version.clone());
        let present = |packages: &[(&str, &str)]| Present {
            name: "nebula",
            sha256: Some("aa".repeat(32)),
            packages: Some(packages.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()),
            qemu: Some(&qemu),
        };
        let is = |present: &Present<'_>, set: &ResultSet| present.is_measured(set, "lan", &network);
        assert!(is(&present(&[]), &set));
        assert!(!present(&[]).is_measured(&set, "lan", "other"));
        assert!(!is(&Present { qemu: Some("QEMU 11"), ..present(&[]) }, &set));

        let mut with = set.clone();
        with.run.guests = vec![meshbench::results::GuestRecord {
            module: "nebula".into(),
            provider: "debian".into(),
            nar_hash: "sha256-x".into(),
            packages: vec![meshbench::results::PackageRecord {
                name: "nebula".into(),
                version: "1.9".into(),
            }],
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
}
