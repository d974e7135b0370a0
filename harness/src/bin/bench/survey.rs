//! `bench survey`.

use std::path::Path;

use harness::report::{survey, table};
use harness::results;
use harness::stats::DEFAULT_NOISE_FLOOR;

use crate::args::Common;
use crate::error::{Failure, Outcome};
use crate::run::{print, style};

/// Prints a line a module of a finished run, with the findings of its contract test.
pub fn survey(common: &Common, dir: &Path, contract: Option<&Path>) -> Outcome {
    let set = results::load(dir).map_err(Failure::usage)?;
    let contract = contract.map(results::load_contract).transpose().map_err(Failure::usage)?;
    let rows = table::aggregate(&set.run, &set.cells, DEFAULT_NOISE_FLOOR);
    print(&survey::render(&set, &rows, contract.as_deref(), style(common)))
}
