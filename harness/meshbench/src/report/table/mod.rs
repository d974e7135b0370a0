//! The table that `bench` prints: module × scenario × workload × metric, over all blocks.

mod costs;
mod draw;
mod host;
mod links;
mod notes;
mod rows;
mod text;
mod units;

pub use costs::costs;
pub use draw::Style;
pub use rows::{Doubt, Problem, Row, RowValue, aggregate};
pub use text::{render, time};
pub use units::{bare_interval, humanise, humanise_interval};

pub(super) use draw::{clean, lines, ruled};
pub(super) use notes::problems;
pub(super) use text::{headline, title};
pub(super) use units::factor;

/// With fewer blocks a row is marked as preliminary.
pub const RANKED_FROM: usize = 7;
