use std::collections::BTreeMap;
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
}

/// Reads a result directory. The tables and the JUnit report in it are not read: they are made of
/// the rest.
///
/// # Errors
/// If a file cannot be read, or does not hold what it should: not JSON, unknown or missing fields,
/// another format, a name that could be no file name, a cell of a scenario or module that the run
/// does not name, or a file in `cells/` that is none. The error names file, line and reason.
pub fn load(dir: &Path) -> Result<ResultSet, StoreError> {
    let path = dir.join(RUN);
    let run: RunRecord = parse(&path)?;
    run.check().map_err(malformed(&path))?;
    let cells = dir.join(CELLS);
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&cells).map_err(io("list", &cells))? {
        let path = entry.map_err(io("list", &cells))?.path();
        if name(&path).starts_with(TEMPORARY) {
            continue;
        }
        let cell = read_cell(&path, &run)?;
        found.insert(cell.key.clone(), cell);
    }
    Ok(ResultSet { run, cells: found.into_values().collect() })
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
    if !run.scenarios.iter().any(|scenario| scenario.name == key.scenario) {
        return Err(malformed(path)(format!("{RUN} has no scenario {}", key.scenario)));
    }
    if !run.modules.iter().any(|module| module.name == key.module) {
        return Err(malformed(path)(format!("{RUN} has no module {}", key.module)));
    }
    Ok(cell)
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
