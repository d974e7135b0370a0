//! The table that `bench` prints: module × scenario × workload × metric, over all blocks.

mod links;
mod notes;
mod rows;
mod text;
mod units;

pub use rows::{LinkAlarm, Problem, Row, RowValue, aggregate};
pub use text::{Style, render};
pub use units::{humanise, humanise_interval};

pub(super) use notes::{clean, problems};
pub(super) use text::{headline, lines, ruled, title};
pub(super) use units::{bare_interval, factor};

/// With fewer blocks a row is marked as preliminary.
pub const RANKED_FROM: usize = 7;
