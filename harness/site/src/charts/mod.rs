//! Pictures, where people would rather look than read. Each says in words what it shows.

mod axis;
mod distribution;
mod dots;
pub mod grid;
pub mod network;
pub mod pictures;
pub mod samples;
mod svg;

pub use axis::Axis;
pub use svg::{Svg, escape};

use crate::board::{Board, Row};

/// A picture and what stands below it.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Markup.
    pub svg: String,
    /// What it shows.
    pub caption: String,
}

/// The pictures of a network: every row with dots, every latency with its distribution.
pub fn of_network(board: &Board<'_>, place: usize) -> Vec<Chart> {
    let rows: Vec<&Row> = board.rows_of(place).collect();
    let dots = rows.iter().filter_map(|row| dots::chart(board, row));
    let distributions = rows.iter().filter_map(|row| distribution::chart(board, row));
    distributions.chain(dots).collect()
}
