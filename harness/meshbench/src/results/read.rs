use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::file::{CELLS, RUN, TEMPORARY, io, malformed, parse};
use super::{CellKey, CellRecord, RunRecord, StoreError};

/// A run and all its cells, in the order of their keys.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultSet {
    /// `run.json`.
    pub run: RunRecord,
    /// The files of `cells/`.
    pub cells: Vec<CellRecord>,
}

impl ResultSet {
    /// The record of a key, if it is there.
    pub fn cell(&self, key: &CellKey) -> Option<&CellRecord> {
        self.cells.iter().find(|cell| cell.key == *key)
    }

    /// Numbers of the blocks that it has cells of.
    pub fn blocks(&self) -> BTreeSet<u32> {
        self.cells.iter().map(|cell| cell.key.block).collect()
    }

    /// What there is of a run that was asked for more, as `1 of 5 blocks`, or `27 of 28 cells` where each block is begun.
    pub fn unfinished(&self) -> Option<String> {
        let run = &self.run;
        let (some, all) = (self.blocks().len(), run.blocks as usize);
        if some < all {
            return Some(format!("{some} of {all} blocks"));
        }
        let asked = |scenario: &str| {
            run.workloads.iter().filter(|workload| run.asks_for(scenario, workload)).count()
        };
        let a_module: usize = run.scenarios.iter().map(|scenario| asked(&scenario.name)).sum();
        let (some, all) = (self.cells.len(), a_module * run.modules.len() * all);
        (some < all).then(|| format!("{some} of {all} cells"))
    }
}

/// Reads a result directory. The tables and the JUnit report in it are not read: they are made of
/// the rest.
///
/// # Errors
/// If a file cannot be read, or does not hold what it should: not JSON, unknown or missing fields,
/// another format, a name that could be no file name, a cell of a scenario, module, workload or block that
/// the run does not name or of another clock, or a file in `cells/` that is none. The error names file, line
/// and reason.
pub fn load(dir: &Path) -> Result<ResultSet, StoreError> {
    let (set, problems) = salvage(dir)?;
    problems.into_iter().next().map_or(Ok(set), Err)
}

/// Reads what is sound in a result directory, and tells what is not.
///
/// # Errors
/// If `run.json` is not what it should be, without which no cell means anything, or the cells cannot be
/// listed.
pub fn salvage(dir: &Path) -> Result<(ResultSet, Vec<StoreError>), StoreError> {
    let path = dir.join(RUN);
    let run: RunRecord = parse(&path)?;
    run.check().map_err(malformed(&path))?;
    let cells = dir.join(CELLS);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&cells).map_err(io("list", &cells))? {
        paths.push(entry.map_err(io("list", &cells))?.path());
    }
    paths.retain(|path| !name(path).starts_with(TEMPORARY));
    paths.sort_unstable();
    let (mut found, mut problems) = (BTreeMap::new(), Vec::new());
    for path in paths {
        match read_cell(&path, &run) {
            Ok(cell) => drop(found.insert(cell.key.clone(), cell)),
            Err(error) => problems.push(error),
        }
    }
    Ok((ResultSet { run, cells: found.into_values().collect() }, problems))
}

fn read_cell(path: &Path, run: &RunRecord) -> Result<CellRecord, StoreError> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return Err(malformed(path)("this is no result file: move it away".into()));
    }
    let cell: CellRecord = parse(path)?;
    cell.check().map_err(malformed(path))?;
    let key = &cell.key;
    if name(path) != key.file_name() {
        let reason = format!("its key is that of {}", key.file_name());
        return Err(malformed(path)(reason));
    }
    belongs(&cell, run).map_err(malformed(path))?;
    Ok(cell)
}

/// Checks that a cell does not contradict its run. The error says in what it does.
pub(super) fn belongs(cell: &CellRecord, run: &RunRecord) -> Result<(), String> {
    let key = &cell.key;
    if !run.scenarios.iter().any(|scenario| scenario.name == key.scenario) {
        return Err(format!("{RUN} has no scenario {}", key.scenario));
    }
    if !run.modules.iter().any(|module| module.name == key.module) {
        return Err(format!("{RUN} has no module {}", key.module));
    }
    if key.block > run.blocks {
        return Err(format!("{RUN} has {} blocks, and this is of block {}", run.blocks, key.block));
    }
    if !run.asks_for(&key.scenario, &key.workload) {
        return Err(format!("{RUN} asks for no {} on {}", key.workload, key.scenario));
    }
    if cell.clock != run.clock {
        let (own, whole) = (cell.clock.word(), run.clock.word());
        return Err(format!("it was measured by the clock `{own}`, {RUN} says `{whole}`"));
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
