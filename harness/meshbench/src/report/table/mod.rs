//! The table that `bench` prints: module × scenario × workload × metric, over all blocks.

mod draw;
mod host;
mod links;
mod notes;
mod rows;
mod text;
mod units;

use crate::results::CellRecord;

pub use draw::Style;
pub use rows::{Doubt, Problem, Row, RowValue, aggregate};
pub use text::{render, time};
pub use units::{bare_interval, humanise, humanise_interval};

pub(super) use draw::{clean, lines, ruled};
pub(super) use notes::problems;
pub(super) use text::{headline, title};
pub(super) use units::factor;

/// The cells with what they cost in place of what they measured; those of which no cost is known are left out.
pub fn costs(cells: &[CellRecord]) -> Vec<CellRecord> {
    let cells = cells.iter().filter(|cell| !cell.costs.is_empty());
    cells.map(|cell| CellRecord { metrics: cell.costs.clone(), ..cell.clone() }).collect()
}

/// With fewer blocks a row is marked as preliminary.
pub const RANKED_FROM: usize = 7;
