//! `bench show` and `bench import`: finished runs, and figures of others beside them.

use std::path::{Path, PathBuf};

use meshbench::file;
use meshbench::report::{external, table};
use meshbench::results;
use meshbench::stats::DEFAULT_NOISE_FLOOR;

use crate::args::{Common, Import, ImportArgs};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::output::{draw, say, style};

/// Prints the table of a finished run, or of a file of imported figures.
pub fn show(common: &Common, place: &Path, costs: bool, beside: &[PathBuf]) -> Outcome {
    let packed = place.extension().is_some_and(|extension| extension == results::PACKED);
    if place.is_file() && !packed {
        let set = results::load_external(place).map_err(Failure::usage)?;
        return draw(&external::render(&set, style(common)));
    }
    let mut set = results::open(place).map_err(Failure::usage)?;
    if costs {
        set.cells = table::costs(&set.cells);
    }
    let rows = table::aggregate(&set.run, &set.cells, DEFAULT_NOISE_FLOOR);
    let mut text = table::render(&set.run, &rows, style(common));
    for file in beside {
        let others = results::load_external(file).map_err(Failure::usage)?;
        text += &external::render_beside(&rows, &others, style(common));
    }
    draw(&text)
}

/// Imports figures of others into a file that `bench show` can show.
pub fn import(arguments: &ImportArgs) -> Outcome {
    let ImportArgs { kind, file: place, out } = arguments;
    let wrong = |reason: String| Failure::usage(format!("{}: {reason}", place.display()));
    let text = file::read_text(place).map_err(|error| wrong(error.to_string()))?;
    let set = match kind {
        Import::Thesis => results::import_thesis(&text).map_err(wrong)?,
    };
    results::save_external(out, &set).map_err(Failure::usage)?;
    say(format!("{} rows of {}: {}", set.rows.len(), set.name, out.display()));
    Ok(exit::OK)
}
