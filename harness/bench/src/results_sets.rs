//! `bench results`: result sets that are published.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use comfy_table::{Table, presets};
use meshbench::results::{
    self, CellRecord, INTERNAL, ModuleRecord, PACKED, Published, ScenarioRecord, exit,
};
use meshbench::run::{module_sha256, scenario_sha256};
use meshbench_site::load::texts;
use serde_json::json;

use crate::args::ResultsCommand;
use crate::error::{Failure, Outcome};
use crate::output::{print, print_json};
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
        let published = Published { texts: texts(dir, &set), by: by.trim().into(), set };
        results::save_packed(&path, &published).map_err(Failure::setup)?;
        print(&format!("{}: {}\n", path.display(), summary(&published.set.cells)))?;
    }
    Ok(exit::OK)
}

fn summary(cells: &[CellRecord]) -> String {
    let [mut ok, mut failed, mut unsupported, mut skipped] = [0; 4];
    for cell in cells {
        *match cell.outcome {
            results::Outcome::Ok {} => &mut ok,
            results::Outcome::Failed { .. } => &mut failed,
            results::Outcome::Unsupported { .. } => &mut unsupported,
            results::Outcome::Skipped { .. } => &mut skipped,
        } += 1;
    }
    format!(
        "{} cells: {ok} ok, {failed} failed, {unsupported} unsupported, {skipped} skipped",
        cells.len()
    )
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
            run.blocks.to_string(),
            summary(&published.set.cells),
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
    for module in workspace.modules()? {
        let buildable = module.spec.software.debian.missing_programs().is_empty();
        if *module.name == *INTERNAL || !buildable {
            continue;
        }
        let hash = module_sha256(&module);
        let measured = |(name, network): &(String, String)| {
            sets.iter().any(|(_, published)| {
                let run = &published.set.run;
                let own = |it: &ModuleRecord| it.name == *module.name && it.sha256 == hash;
                let there =
                    |it: &ScenarioRecord| it.name == *name && it.sha256.as_ref() == Some(network);
                run.modules.iter().any(own) && run.scenarios.iter().any(there)
            })
        };
        if !scenarios.iter().all(measured) {
            print(&format!("{}\n", module.name))?;
        }
    }
    Ok(exit::OK)
}

fn latest(module: &str, dir: &Path) -> Outcome {
    let measured =
        |published: &Published| published.set.cells.iter().any(|cell| cell.key.module == *module);
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
        match results::load_packed(path) {
            Ok(published) => {
                print(&format!("✓ {}: {}\n", path.display(), summary(&published.set.cells)))?;
            }
            Err(error) => {
                wrong += 1;
                print(&format!("✗ {error}\n"))?;
            }
        }
    }
    // Each file may be sound, and two of them contradict each other.
    let loaded = meshbench_site::load(&files);
    let boards = meshbench_site::board::Board::all(&loaded.sources);
    let twice = loaded.problems.iter().filter(|problem| problem.reason.contains("shown already"));
    for problem in boards.iter().flat_map(|board| &board.pool.problems).chain(twice) {
        wrong += 1;
        print(&format!("✗ {}: {}\n", problem.place, problem.reason))?;
    }
    print(&format!("{} sets, {wrong} problems\n", files.len()))?;
    Ok(if wrong == 0 { exit::OK } else { exit::USAGE })
}
