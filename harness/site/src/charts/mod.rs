//! Pictures, where people would rather look than read. Each says in words what it shows.

mod axis;
mod distribution;
mod dots;
pub(crate) mod grid;
pub(crate) mod network;
pub(crate) mod pictures;
pub(crate) mod recovery;
pub(crate) mod samples;
mod svg;

pub(crate) use axis::Axis;
pub(crate) use svg::Svg;

use crate::board::{Board, Row};
use crate::words::WIRE;

/// A picture and what stands below it.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// Markup.
    pub(crate) svg: String,
    /// What it shows.
    pub(crate) caption: String,
}

/// Whose figures a line or a dot shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose<'a> {
    /// The wire's.
    Wire,
    /// Those of the VPN with that title.
    Vpn(&'a str),
}

impl<'a> Whose<'a> {
    fn title(self) -> &'a str {
        match self {
            Self::Wire => WIRE,
            Self::Vpn(title) => title,
        }
    }

    /// In the style sheet.
    fn class(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Vpn(_) => "vpn",
        }
    }
}

/// The pictures of a network: every row with dots, every latency with its distribution.
pub(crate) fn of_network(board: &Board<'_>, place: usize) -> Vec<Chart> {
    let rows: Vec<&Row> = board.rows_of(place).collect();
    let dots = rows.iter().filter_map(|row| dots::chart(board, row));
    let distributions = rows.iter().filter_map(|row| distribution::chart(board, row));
    distributions.chain(dots).collect()
}
