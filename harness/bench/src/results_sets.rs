//! `bench results`: result sets that are published.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use comfy_table::{Table, presets};
use meshbench::guest::debian::{Debian, ModuleSoftware};
use meshbench::module::spec::Module;
use meshbench::report::table::RANKED_FROM;
use meshbench::results::{
    self, Accelerator, CellRecord, Clock, INTERNAL, ModuleRecord, PACKED, Published, ResultSet,
    RunRecord, ScenarioRecord, exit,
};
use meshbench::run::{module_sha256, scenario_sha256};
use meshbench_site::board::{Board, kinds};
use meshbench_site::load::{Problem, texts};
use serde_json::json;

use crate::args::ResultsCommand;
use crate::error::{Failure, Outcome};
use crate::output::{print, print_json, say};
use crate::workspace::Workspace;

/// Adds, lists or checks; only what is due needs to know the modules of today.
pub fn results(
    workspace: impl FnOnce() -> Result<Workspace, Failure>,
    command: &ResultsCommand,
) -> Outcome {
    match command {
        ResultsCommand::Due { dir } => due(&workspace()?, dir),
        ResultsCommand::Latest { module, dir } => latest(module, dir),
        ResultsCommand::Add { dirs, by, to } => add(dirs, by, to),
        ResultsCommand::List { dir, json } => list(dir, *json),
        ResultsCommand::Verify { places } => verify(places),
    }
}

fn add(dirs: &[PathBuf], by: &str, to: &Path) -> Outcome {
    if by.trim().is_empty() {
        return Err(Failure::usage("nobody is named as the one who measured")
            .help("say who and on what, as in --by \"Ada, a laptop with an i7-1260P\""));
    }
    fs::create_dir_all(to).map_err(|error| {
        Failure::setup(format!("cannot make the directory {}: {error}", to.display()))
    })?;
    for dir in dirs {
        let set = results::load(dir).map_err(Failure::usage)?;
        if set.cells.is_empty() {
            return Err(Failure::usage(format!("{} has no cells", dir.display())));
        }
        let path = to.join(format!("{}.{PACKED}", set.run.id));
        if path.exists() {
            return Err(Failure::usage(format!("{} is published already", path.display()))
                .help("remove it first, if that is what you want"));
        }
        let noise = results::load_noise(dir).map_err(Failure::usage)?;
        let published = Published { texts: texts(dir, &set), by: by.trim().into(), set, noise };
        if let Some(reason) = refusals(&published).into_iter().next() {
            return Err(Failure::usage(format!("{}: {reason}", dir.display())));
        }
        results::save_packed(&path, &published).map_err(Failure::setup)?;
        print(&format!("{}: {}\n", path.display(), summary(&published.set)))?;
        if let Some(part) = unfinished(&published.set) {
            say(format!(
                "warning: {} is not finished: {part}; `bench run --resume {}` goes on",
                published.set.run.id,
                dir.display()
            ));
        }
    }
    Ok(exit::OK)
}

fn summary(set: &ResultSet) -> String {
    let [mut ok, mut failed, mut unsupported, mut skipped] = [0; 4];
    for cell in &set.cells {
        *match cell.outcome {
            results::Outcome::Ok {} => &mut ok,
            results::Outcome::Failed { .. } => &mut failed,
            results::Outcome::Unsupported { .. } => &mut unsupported,
            results::Outcome::Skipped { .. } => &mut skipped,
        } += 1;
    }
    let part = unfinished(set).map(|part| format!("; {part}")).unwrap_or_default();
    format!(
        "{} cells: {ok} ok, {failed} failed, {unsupported} unsupported, {skipped} skipped{part}",
        set.cells.len()
    )
}

/// Why a set is not to be published.
fn refusals(published: &Published) -> Vec<String> {
    let run = &published.set.run;
    let mut reasons = Vec::new();
    for binary in run.modules.iter().flat_map(|module| &module.binaries) {
        if !published.by.contains(&binary.name) {
            reasons.push(format!(
                "it was measured with a program of the measurer's own: --by has to say of what `{}` was built",
                binary.name
            ));
        }
    }
    if run.clock == Clock::Real {
        let blocks = blocks(&published.set).len();
        if blocks < RANKED_FROM {
            reasons.push(format!("real time needs {RANKED_FROM} blocks, and it has {blocks}"));
        }
        if run.environment.accelerator != Accelerator::Kvm {
            reasons.push("real time needs KVM: what an emulator takes is nobody's".into());
        }
    }
    reasons
}

/// What there is of a run that was asked for more.
fn unfinished(set: &ResultSet) -> Option<String> {
    let (some, all) = (blocks(set).len(), set.run.blocks);
    (some < all as usize).then(|| format!("{some} of {all} blocks"))
}

/// Numbers of the blocks that there are.
fn blocks(set: &ResultSet) -> BTreeSet<u32> {
    set.cells.iter().map(|cell| cell.key.block).collect()
}

fn list(dir: &Path, as_json: bool) -> Outcome {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["set", "started", "clock", "modules", "scenarios", "blocks", "cells", "by"]);
    let mut entries = Vec::new();
    for (path, published) in sets(dir)? {
        let run = &published.set.run;
        let modules: BTreeSet<&str> = run.modules.iter().map(|it| it.name.as_str()).collect();
        let scenarios: BTreeSet<&str> = run.scenarios.iter().map(|it| it.name.as_str()).collect();
        table.add_row([
            path.display().to_string(),
            run.started.clone(),
            run.clock.word().into(),
            modules.len().to_string(),
            scenarios.len().to_string(),
            unfinished(&published.set).unwrap_or_else(|| run.blocks.to_string()),
            summary(&published.set),
            published.by.clone(),
        ]);
        entries.push(json!({
            "file": path, "id": run.id, "started": run.started, "clock": run.clock, "modules": modules,
            "scenarios": scenarios, "blocks": run.blocks, "cells": published.set.cells.len(), "by": published.by,
        }));
    }
    if as_json {
        return print_json(&entries);
    }
    print(&format!("{table}\n"))
}

fn due(workspace: &Workspace, dir: &Path) -> Outcome {
    let sets = sets(dir)?;
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
            sets.iter().any(|(_, published)| own.is_measured(&published.set, name, network))
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

/// The last whole run of it, and no grid of NATs: what a new one is compared with.
fn latest(module: &str, dir: &Path) -> Outcome {
    let measured = |published: &Published| {
        let ResultSet { run, cells } = &published.set;
        let is_grid = run.scenarios.iter().all(|it| kinds(it).is_some());
        !run.quick && !is_grid && cells.iter().any(|cell| cell.key.module == *module)
    };
    let own = sets(dir)?.into_iter().filter(|(_, published)| measured(published));
    match own.max_by(|a, b| a.1.set.run.started.cmp(&b.1.set.run.started)) {
        Some((path, _)) => print(&format!("{}\n", path.display())),
        None => Ok(exit::NOTHING_SELECTED),
    }
}

fn sets(dir: &Path) -> Result<Vec<(PathBuf, Published)>, Failure> {
    let load = |path: PathBuf| {
        let published = results::load_packed(&path).map_err(Failure::usage)?;
        Ok((path, published))
    };
    packed(dir)?.into_iter().map(load).collect()
}

fn packed(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::usage(format!("cannot list {}: {error}", dir.display()));
    let entries = fs::read_dir(dir).map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == PACKED));
    paths.sort_unstable();
    Ok(paths)
}

fn verify(places: &[PathBuf]) -> Outcome {
    let mut files = Vec::new();
    for place in places {
        if place.is_dir() { files.extend(packed(place)?) } else { files.push(place.clone()) }
    }
    let mut wrong = 0;
    for path in &files {
        let (mark, text) = match results::load_packed(path) {
            Ok(published) => match refusals(&published).as_slice() {
                [] => ("✓", format!("{}: {}", path.display(), summary(&published.set))),
                reasons => ("✗", format!("{}: {}", path.display(), reasons.join("; "))),
            },
            Err(error) => ("✗", error.to_string()),
        };
        wrong += usize::from(mark == "✗");
        print(&format!("{mark} {text}\n"))?;
    }
    for problem in contradictions(&files) {
        wrong += usize::from(!problem.notice);
        let mark = if problem.notice { "·" } else { "✗" };
        print(&format!("{mark} {}: {}\n", problem.place, problem.reason))?;
    }
    print(&format!("{} sets, {wrong} problems\n", files.len()))?;
    Ok(if wrong == 0 { exit::OK } else { exit::USAGE })
}

/// Each file may be sound, and two of them contradict each other.
fn contradictions(files: &[PathBuf]) -> Vec<Problem> {
    let loaded = meshbench_site::load(files);
    let boards = Board::all(&loaded.sources);
    let twice = loaded.problems.iter().filter(|problem| problem.reason.contains("shown already"));
    boards.iter().flat_map(|board| &board.pool.problems).chain(twice).cloned().collect()
}

#[cfg(test)]
#[path = "../../site/tests/common/fixture.rs"]
mod fixture;

#[cfg(test)]
mod tests {
    use meshbench::results::{BinaryRecord, save_packed};

    use super::fixture::Plan;
    use super::*;

    fn small(id: &str) -> Published {
        let plan = Plan {
            id: id.into(),
            scenarios: vec!["lan".into()],
            workloads: vec!["ping".into(), "tcp".into()],
            ..Plan::default()
        };
        let texts = BTreeMap::new();
        Published { set: plan.set(), by: "somebody".into(), texts, noise: None }
    }

    fn publish(dir: &Path, published: &Published) -> PathBuf {
        let path = dir.join(format!("{}.{PACKED}", published.set.run.id));
        save_packed(&path, published).unwrap();
        path
    }

    #[test]
    fn a_changed_scenario_is_no_problem_and_a_contradiction_is() {
        let dir = tempfile::tempdir().unwrap();
        let (mut old, new) = (small("old"), small("new"));
        old.set.run.started = "2026-11-01T00:00:00Z".into();
        old.set.run.scenarios[0].sha256 = Some("dd".repeat(32));
        publish(dir.path(), &old);
        publish(dir.path(), &new);
        let files = packed(dir.path()).unwrap();
        let said = contradictions(&files);
        assert!(said.len() == 1 && said[0].notice, "{said:?}");
        assert_eq!(verify(&files).unwrap(), exit::OK);

        let mut leaky = small("leaky");
        leaky.set.cells.iter_mut().for_each(|cell| {
            cell.sealed.as_mut().unwrap().said = "ee".repeat(32);
        });
        publish(dir.path(), &leaky);
        assert_eq!(verify(&packed(dir.path()).unwrap()).unwrap(), exit::USAGE);
    }

    #[test]
    fn a_program_of_ones_own_is_named_and_real_time_has_its_blocks() {
        let mut own = small("own");
        let binaries = vec![BinaryRecord { name: "nebula".into(), sha256: "aa".repeat(32) }];
        own.set.run.modules[1].binaries = binaries;
        assert!(refusals(&own)[0].contains("of what `nebula` was built"));
        own.by = "somebody, with nebula of the branch fast".into();
        assert_eq!(refusals(&own), Vec::<String>::new());
        own.set.run.clock = Clock::Real;
        assert!(refusals(&own)[0].contains("needs KVM"));
        own.set.cells.retain(|cell| cell.key.block < 4);
        assert!(refusals(&own)[0].contains("needs 7 blocks, and it has 3"));
    }

    #[test]
    fn only_what_is_measured_as_it_is_and_to_the_end_is_not_due() {
        let Published { set, .. } = small("run");
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
