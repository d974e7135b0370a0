//! What was spent, in place of what was measured.

use std::collections::BTreeMap;

use crate::report::comparable::comparable;
use crate::results::{CellRecord, INTERNAL, Metric};

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
    let of_machines = cell.costs.iter().filter(|cost| OF_MACHINES.contains(&cost.name.as_str()));
    of_machines.filter(|_| cell.key.module != INTERNAL).filter_map(|cost| {
        let same = |other: &&Metric| (&other.name, other.unit) == (&cost.name, cost.unit);
        let value = cost.value - wire.costs.iter().find(same)?.value;
        Some(Metric { name: format!("{}{BEYOND}", cost.name), value, ..cost.clone() })
    })
}

/// Those of one thing done, with a VPN and without: a packet of the one is not one of the other.
const OF_MACHINES: [&str; 2] = ["machine-cpu", "machine-cpu-per-byte"];
const BEYOND: &str = "-beyond-wire";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample::{cell, metric};
    use crate::results::{Better, Clock, Unit};

    fn cost(module: &str, value: f64) -> CellRecord {
        let spent = |name| metric(name, Unit::Milliseconds, Better::Lower, value);
        let costs = ["daemon-cpu", "machine-cpu-per-packet", "machine-cpu"].map(spent).to_vec();
        CellRecord { costs, ..cell(1, "lan", module, "tcp", Vec::new()) }
    }

    #[test]
    fn what_machines_spend_is_told_without_what_the_wire_costs() {
        let cells = [cost(INTERNAL, 40.0), cost("wireguard", 70.0)];
        let told: Vec<_> = costs(&cells)
            .iter()
            .map(|cell| cell.metrics.last().map(|last| (last.name.clone(), last.value)).unwrap())
            .collect();
        assert_eq!(costs(&cells)[1].metrics.len(), 4, "of packets there is no difference");
        let expected = [("machine-cpu", 40.0), ("machine-cpu-beyond-wire", 30.0)];
        assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value)));
        let other = CellRecord { clock: Clock::Virtual, ..cost(INTERNAL, 40.0) };
        assert_eq!(costs(&[other, cost("wireguard", 70.0)])[1].metrics.len(), 3);
    }
}
