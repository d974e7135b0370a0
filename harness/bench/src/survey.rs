//! `bench survey`.

use std::path::{Path, PathBuf};

use meshbench::report::survey::{self, Surveyed, TwoClocks};
use meshbench::report::table;
use meshbench::results;
use meshbench::stats::DEFAULT_NOISE_FLOOR;

use crate::args::Common;
use crate::error::{Failure, Outcome};
use crate::output::{draw, style};

/// Prints a line a module of finished runs, with the findings of their contract test.
pub fn survey(common: &Common, dirs: &[PathBuf], contract: Option<&Path>) -> Outcome {
    let load = |dir: &PathBuf| {
        let set = results::load(dir).map_err(Failure::usage)?;
        let rows = table::aggregate(&set.run, &set.cells, DEFAULT_NOISE_FLOOR);
        Ok(Surveyed { set, rows })
    };
    let runs: Vec<Surveyed> = dirs.iter().map(load).collect::<Result<_, Failure>>()?;
    let contract = contract.map(results::load_contract).transpose().map_err(Failure::usage)?;
    let text = survey::render(&runs, contract.as_deref(), style(common));
    draw(&text.map_err(|error: TwoClocks| {
        Failure::usage(error).help("call `bench survey` once for the runs of each clock")
    })?)
}
