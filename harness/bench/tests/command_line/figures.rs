//! Runs in virtual time, and what is in their results.

use std::path::Path;

use meshbench::results::{self, CellRecord, Metric, ResultSet};

use crate::common::run;
use crate::program::bench;

/// Measures in virtual time with a seed that is always the same.
pub fn measured(words: &str, code: u8) -> ResultSet {
    measured_at(tempfile::tempdir().unwrap().path(), words, code)
}

pub fn measured_at(out: &Path, words: &str, code: u8) -> ResultSet {
    let place = out.to_string_lossy().into_owned();
    let always = ["--quick", "--clock", "virtual", "--jobs", "2", "--seed", "5", "--out", &place];
    let arguments: Vec<&str> = words.split(' ').chain(always).collect();
    let ended = run(&mut bench(&arguments));
    assert_eq!(ended.code, Some(code.into()), "{}{}", ended.stdout, ended.stderr);
    results::load(out).unwrap()
}

pub fn cell<'a>(set: &'a ResultSet, module: &str, workload: &str) -> &'a CellRecord {
    let found = set.cells.iter().find(|cell| {
        let key = &cell.key;
        (key.module.as_str(), key.workload.as_str()) == (module, workload)
    });
    found.unwrap_or_else(|| panic!("no cell {module} {workload}"))
}

pub fn value(metrics: &[Metric], name: &str) -> f64 {
    let found = metrics.iter().find(|metric| metric.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {metrics:?}")).value
}

/// The cell of a scenario, a module and a workload.
pub fn cell_of<'a>(set: &'a ResultSet, place: [&str; 3]) -> &'a CellRecord {
    let found = set.cells.iter().find(|cell| {
        let key = &cell.key;
        [key.scenario.as_str(), &key.module, &key.workload] == place
    });
    found.unwrap_or_else(|| panic!("no cell {place:?}"))
}
