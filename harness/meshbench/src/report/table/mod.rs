//! The table that `bench` prints: module × scenario × workload × metric, over all blocks.

mod draw;
mod host;
mod links;
mod notes;
mod rows;
mod text;
mod units;

use std::collections::BTreeMap;

use super::comparable::comparable;
use crate::results::{CellRecord, INTERNAL, Metric};

pub use draw::Style;
pub use rows::{Doubt, Problem, Row, RowValue, aggregate};
pub use text::{render, time};
pub use units::{bare_interval, humanise, humanise_interval};

pub(super) use draw::{clean, lines, ruled};
pub(super) use notes::problems;
pub(super) use text::{headline, title};
pub(super) use units::factor;

/// The cells with what they cost in place of what they measured, and with what their machines spent beyond those of the same
/// network without a VPN; those of which no cost is known are left out.
pub fn costs(cells: &[CellRecord]) -> Vec<CellRecord> {
    let wire: BTreeMap<_, &CellRecord> = cells
        .iter()
        .filter(|cell| cell.key.module == INTERNAL)
        .map(|cell| (place(cell), cell))
        .collect();
    let told = cells.iter().filter(|cell| !cell.costs.is_empty());
    let with_costs = told.map(|cell| {
        let wire = wire.get(&place(cell)).filter(|wire| comparable(cell, wire));
        let beyond = wire.into_iter().flat_map(|wire| beyond(cell, wire));
        CellRecord { metrics: cell.costs.iter().cloned().chain(beyond).collect(), ..cell.clone() }
    });
    with_costs.collect()
}

/// Where the wire has the same.
fn place(cell: &CellRecord) -> (u32, &str, &str) {
    (cell.key.block, &cell.key.scenario, &cell.key.workload)
}

/// What machines spend for the VPN, wherever: a kernel's own work is in no unit.
fn beyond<'a>(
    cell: &'a CellRecord,
    wire: &'a CellRecord,
) -> impl Iterator<Item = Metric> + use<'a> {
    let of_machines = cell.costs.iter().filter(|cost| cost.name.starts_with(OF_MACHINES));
    of_machines.filter(|_| cell.key.module != INTERNAL).filter_map(|cost| {
        let same = |other: &&Metric| (&other.name, other.unit) == (&cost.name, cost.unit);
        let value = cost.value - wire.costs.iter().find(same)?.value;
        Some(Metric { name: format!("{}{BEYOND}", cost.name), value, ..cost.clone() })
    })
}

const OF_MACHINES: &str = "machine-";
const BEYOND: &str = "-beyond-wire";

/// With fewer blocks a row is marked as preliminary.
pub const RANKED_FROM: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample::{cell, metric};
    use crate::results::{Better, Clock, Unit};

    fn cost(module: &str, value: f64) -> CellRecord {
        let spent = |name| metric(name, Unit::Milliseconds, Better::Lower, value);
        let costs = vec![spent("daemon-cpu"), spent("machine-cpu")];
        CellRecord { costs, ..cell(1, "lan", module, "tcp", Vec::new()) }
    }

    #[test]
    fn what_machines_spend_is_told_without_what_the_wire_costs() {
        let cells = [cost(INTERNAL, 40.0), cost("wireguard", 70.0)];
        let told: Vec<_> = costs(&cells)
            .iter()
            .map(|cell| cell.metrics.last().map(|last| (last.name.clone(), last.value)).unwrap())
            .collect();
        let expected = [("machine-cpu", 40.0), ("machine-cpu-beyond-wire", 30.0)];
        assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value)));
        let other = CellRecord { clock: Clock::Virtual, ..cost(INTERNAL, 40.0) };
        assert_eq!(costs(&[other, cost("wireguard", 70.0)])[1].metrics.len(), 2);
    }
}
