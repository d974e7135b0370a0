use crate::results::{CellRecord, FABRIC_BUSY, HOST_BUSY, HOST_STOLEN};

/// Percent from which a host had nothing to spare: what was measured may be the host.
const FULL: f64 = 95.0;

/// Percent from which what others took is more than noise.
const TAKEN: f64 = 2.0;

/// Why the host of a cell puts its figures in doubt, in words.
pub(super) fn doubts(cell: &CellRecord) -> impl Iterator<Item = String> {
    let percent =
        |name: &str| cell.costs.iter().find(|cost| cost.name == name).map(|cost| cost.value);
    let full = percent(HOST_BUSY).filter(|busy| *busy >= FULL).map(|busy| {
        format!("{}: all processors of the host were busy ({busy:.0} %)", cell.key.workload)
    });
    let taken = percent(HOST_STOLEN).filter(|stolen| *stolen >= TAKEN).map(|stolen| {
        format!("{}: the host was not given {stolen:.0} % of its processors", cell.key.workload)
    });
    let narrow = percent(FABRIC_BUSY).filter(|busy| *busy >= FULL).map(|busy| {
        format!(
            "{}: the machine that is the network had nothing to spare ({busy:.0} %)",
            cell.key.workload
        )
    });
    full.into_iter().chain(taken).chain(narrow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample::{cell, metric};
    use crate::results::{Better, Unit};

    #[test]
    fn a_host_that_had_nothing_to_spare_or_was_robbed_is_told() {
        let told = |busy, stolen| {
            let costs = [(HOST_BUSY, busy), (HOST_STOLEN, stolen), (FABRIC_BUSY, busy)];
            let costs = costs.map(|(name, it)| metric(name, Unit::Percent, Better::Lower, it));
            let cell = cell(1, "lan", "wireguard", "tcp", Vec::new());
            doubts(&CellRecord { costs: costs.to_vec(), ..cell }).count()
        };
        assert_eq!([told(80.0, 0.0), told(99.0, 0.0), told(99.0, 7.0)], [0, 2, 3]);
    }
}
