//! `bench results`: result sets that are published.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use comfy_table::{Table, presets};
use meshbench::report::Sign;
use meshbench::report::table::RANKED_FROM;
use meshbench::results::{self, Accelerator, Clock, PACKED, Published, ResultSet};
use meshbench_site::board::{Board, kinds};
use meshbench_site::load::{Kind, Problem, misread_by, texts};
use serde_json::json;

use crate::args::ResultsCommand;
use crate::due::due;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::output::{print, print_json, say};
use crate::workspace::Workspace;

/// Adds, lists or checks; only what is due needs to know the modules of today.
pub fn results(
    workspace: impl FnOnce() -> Result<Workspace, Failure>,
    command: &ResultsCommand,
) -> Outcome {
    match command {
        ResultsCommand::Due { dir, blocks } => {
            due(&workspace()?, sets(dir)?.iter().map(|(_, published)| &published.set), *blocks)
        }
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
        let (texts, strange) = texts(dir, &set);
        if let Some(Problem { place, reason, .. }) = strange.into_iter().next() {
            return Err(Failure::usage(format!("{place}: {reason}")));
        }
        let mut published = Published { texts, by: by.trim().into(), set, noise };
        published.set.run.command = for_everyone(&published.set.run.command);
        if let Some(reason) = refusals(&published).into_iter().next() {
            return Err(Failure::usage(format!("{}: {reason}", dir.display())));
        }
        results::save_packed(&path, &published).map_err(Failure::setup)?;
        print(&format!("{}: {}\n", path.display(), summary(&published.set)))?;
        if let Some(part) = published.set.unfinished() {
            say(format!(
                "warning: {} is not finished: {part}; `bench run --resume {}` goes on",
                published.set.run.id,
                dir.display()
            ));
        }
    }
    Ok(exit::OK)
}

/// A command as anybody would give it: without places of the measurer's own machine.
fn for_everyone(command: &[String]) -> Vec<String> {
    const PLACES: [&str; 4] = ["--out", "--resume", "--cache", "--root"];
    let is_place = |word: &str| PLACES.contains(&word);
    let mut words = vec!["bench".to_owned()];
    let mut rest = command.iter().skip(1);
    while let Some(word) = rest.next() {
        let option = word.split_once('=').map_or(word.as_str(), |(option, _)| option);
        if !is_place(option) {
            words.push(word.clone());
        } else if option == word {
            rest.next();
        }
    }
    words
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
    let part = set.unfinished().map(|part| format!("; {part}")).unwrap_or_default();
    format!(
        "{} cells: {ok} ok, {failed} failed, {unsupported} unsupported, {skipped} skipped{part}",
        set.cells.len()
    )
}

/// As much as clocks of two honest hosts may differ.
const CLOCKS_APART: Duration = Duration::from_secs(24 * 3600);

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
    reasons.extend(published.set.cells.iter().find_map(misread_by));
    // Of two editions the later one counts.
    let now = results::rfc3339(SystemTime::now() + CLOCKS_APART);
    if run.started > now {
        reasons.push(format!("it was started in the future, on {}", run.started));
    }
    if run.clock == Clock::Real {
        let blocks = published.set.blocks().len();
        if blocks < RANKED_FROM {
            reasons.push(format!("real time needs {RANKED_FROM} blocks, and it has {blocks}"));
        }
        if run.environment.accelerator != Accelerator::Kvm {
            reasons.push("real time needs KVM: what an emulator takes is nobody's".into());
        }
    }
    reasons
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
            published.set.unfinished().unwrap_or_else(|| run.blocks.to_string()),
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

/// What a new run of a module is compared with.
fn latest(module: &str, dir: &Path) -> Outcome {
    match newest(sets(dir)?, module) {
        Some(path) => print(&format!("{}\n", path.display())),
        None => Ok(exit::NOTHING_SELECTED),
    }
}

/// The last whole run of a module in virtual time, and no grid of NATs.
fn newest(sets: Vec<(PathBuf, Published)>, module: &str) -> Option<PathBuf> {
    let measured = |published: &Published| {
        let ResultSet { run, cells } = &published.set;
        let is_grid = run.scenarios.iter().all(|it| kinds(it).is_some());
        run.clock == Clock::Virtual
            && !run.quick
            && !is_grid
            && cells.iter().any(|cell| cell.key.module == *module)
    };
    let own = sets.into_iter().filter(|(_, published)| measured(published));
    own.max_by(|a, b| a.1.set.run.started.cmp(&b.1.set.run.started)).map(|(path, _)| path)
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
        match sound(path) {
            Ok(text) => print(&format!("{} {text}\n", Sign::Yes))?,
            Err(text) => {
                wrong += 1;
                print(&format!("{} {text}\n", Sign::No))?
            }
        };
    }
    for problem in contradictions(&files) {
        let notice = problem.kind == Kind::Notice;
        wrong += usize::from(!notice);
        let mark = if notice { "·" } else { Sign::No.text() };
        print(&format!("{mark} {}: {}\n", problem.place, problem.reason))?;
    }
    print(&format!("{} sets, {wrong} problems\n", files.len()))?;
    Ok(if wrong == 0 { exit::OK } else { exit::USAGE })
}

/// What a file holds, or what is wrong with it.
fn sound(path: &Path) -> Result<String, String> {
    let published = results::load_packed(path).map_err(|error| error.to_string())?;
    match refusals(&published).as_slice() {
        [] => Ok(format!("{}: {}", path.display(), summary(&published.set))),
        reasons => Err(format!("{}: {}", path.display(), reasons.join("; "))),
    }
}

/// Each file may be sound, and two of them contradict each other.
fn contradictions(files: &[PathBuf]) -> Vec<Problem> {
    let loaded = meshbench_site::load(files);
    let boards = Board::all(&loaded.sources);
    let twice = loaded.problems.iter().filter(|problem| problem.kind == Kind::Twice);
    boards.iter().flat_map(|board| &board.pool.problems).chain(twice).cloned().collect()
}

#[cfg(test)]
mod tests {
    use meshbench::results::{BinaryRecord, save_packed};

    use super::*;
    use crate::fixture::Plan;

    fn small(id: &str) -> Published {
        let plan = Plan {
            id: id.into(),
            scenarios: vec!["lan".into()],
            workloads: vec!["ping".into(), "tcp".into()],
            ..Plan::default()
        };
        let texts = std::collections::BTreeMap::new();
        Published { set: plan.set(), by: "somebody".into(), texts, noise: None }
    }

    fn publish(dir: &Path, published: &Published) -> PathBuf {
        let path = dir.join(format!("{}.{PACKED}", published.set.run.id));
        save_packed(&path, published).unwrap();
        path
    }

    #[test]
    fn a_published_command_names_no_place_of_the_measurers_own() {
        let command = "/home/ada/bench run nebula --out /home/ada/a --seed 1 --cache=/home/ada/c";
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        assert_eq!(for_everyone(&words).join(" "), "bench run nebula --seed 1");
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
        assert!(said.len() == 1 && said[0].kind == Kind::Notice, "{said:?}");
        assert_eq!(verify(&files).unwrap(), exit::OK);

        let mut leaky = small("leaky");
        leaky.set.cells.iter_mut().for_each(|cell| {
            cell.sealed.as_mut().unwrap().said = "ee".repeat(32);
        });
        publish(dir.path(), &leaky);
        assert_eq!(verify(&packed(dir.path()).unwrap()).unwrap(), exit::USAGE);
    }

    #[test]
    fn the_newest_whole_run_in_virtual_time_is_the_latest() {
        let begun = |id: &str, started: &str, change: fn(&mut ResultSet)| {
            let mut published = small(id);
            published.set.run.started = started.into();
            change(&mut published.set);
            (PathBuf::from(id), published)
        };
        let sets = vec![
            begun("newer", "2026-11-08T00:00:00Z", |_| ()),
            begun("old", "2026-11-01T00:00:00Z", |_| ()),
            begun("quick", "2026-11-15T00:00:00Z", |set| set.run.quick = true),
            begun("real", "2026-11-22T00:00:00Z", |set| set.run.clock = Clock::Real),
            begun("others", "2026-11-29T00:00:00Z", |set| {
                set.cells.retain(|cell| cell.key.module != "nebula");
            }),
        ];
        assert_eq!(newest(sets.clone(), "nebula"), Some("newer".into()));
        assert_eq!(newest(sets, "unknown"), None);
    }

    #[test]
    fn a_set_from_the_future_or_with_other_figures_than_its_workloads_is_refused() {
        assert_eq!(refusals(&small("now")), Vec::<String>::new());
        let mut future = small("future");
        future.set.run.started = "2999-01-01T00:00:00Z".into();
        assert!(refusals(&future)[0].contains("in the future"));
        let mut odd = small("odd");
        let rtts = odd.set.cells.iter_mut().flat_map(|cell| &mut cell.metrics);
        for rtt in rtts.filter(|metric| metric.name == "rtt") {
            rtt.better = meshbench::results::Better::Higher;
        }
        assert!(refusals(&odd)[0].starts_with("ping: it told `rtt`"), "{:?}", refusals(&odd));
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
}
