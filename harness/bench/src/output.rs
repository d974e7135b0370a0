//! Standard output: how tables are drawn on it, how text gets there.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use crate::exit;
use meshbench::report::table::Style;
use meshbench::text;
use serde::Serialize;

use crate::args::{Color, Common};
use crate::error::{Failure, Outcome};

/// Columns of a table that goes into a file or to another program, which looks for whole names.
const DEFAULT_WIDTH: u16 = 240;

/// In fewer columns a table cannot be read; better that the terminal wraps it.
const NARROWEST: u16 = 60;

/// How tables are drawn on this output.
pub fn style(common: &Common) -> Style {
    let terminal = std::io::stdout().is_terminal();
    let color = match common.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            terminal && !plain && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    };
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let there = || console::Term::stdout().size_checked().map(|(_, columns)| columns);
    let width = asked.or_else(there).unwrap_or(DEFAULT_WIDTH).max(NARROWEST);
    Style { color, width }
}

/// Tells people something on standard error, whatever is in it.
pub fn say(text: impl Display) {
    aside(&(text::plain(&text.to_string()) + "\n"));
}

/// Writes to standard error as it is. Nobody need read it: a reader that has gone, or a full disk, ends no measurement.
pub fn aside(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints to standard output, whatever is in it; a reader that has gone is no error.
pub fn print(text: &str) -> Outcome {
    write(&text::plain(text))
}

/// As [`print()`], for tables in colours: what is in them is plain.
pub fn draw(table: &str) -> Outcome {
    write(&text::coloured(table))
}

/// Prints a value as JSON for programs, which read the same text again.
pub fn print_json(value: &impl Serialize) -> Outcome {
    let json = serde_json::to_string_pretty(value).map_err(Failure::setup)?;
    write(&(text::json(&json) + "\n"))
}

fn write(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes());
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::setup(error)),
        _ => Ok(exit::OK),
    }
}
