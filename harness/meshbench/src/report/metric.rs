//! Figures of records, as every table counts them.

use crate::results::{CellRecord, Metric, Outcome, Unit};

/// From bad to less so.
const PROBLEMS: [&str; 3] = ["failed", "unsupported", "skipped"];

/// Each metric once, in the order of the first record that has it.
pub(super) fn distinct<'a>(records: impl Iterator<Item = &'a CellRecord>) -> Vec<&'a Metric> {
    let mut found: Vec<&Metric> = Vec::new();
    for metric in records.flat_map(|record| &record.metrics) {
        if !found.iter().any(|other| other.name == metric.name) {
            found.push(metric);
        }
    }
    found
}

/// What was measured of a metric; none if the cell is not `ok`, or the unit is another.
pub(super) fn number(record: &CellRecord, name: &str, unit: Unit) -> Option<f64> {
    let same = |metric: &&Metric| metric.name == name && metric.unit == unit;
    record.outcome.is_ok().then(|| record.metrics.iter().find(same))?.map(|metric| metric.value)
}

/// The worst that happened, in a word; none where all is well.
pub(super) fn worst<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Option<&'static str> {
    let words: Vec<&str> = outcomes.map(Outcome::word).collect();
    PROBLEMS.into_iter().find(|word| words.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outweighs_what_was_left_out() {
        let skipped = || Outcome::Skipped { reason: String::new() };
        let unsupported = || Outcome::Unsupported { reason: String::new() };
        let all = [Outcome::Ok {}, skipped(), unsupported()];
        assert_eq!(worst(all.iter()), Some("unsupported"));
        assert_eq!(worst([skipped(), Outcome::Ok {}].iter()), Some("skipped"));
        assert_eq!(worst([Outcome::Ok {}].iter()), None);
    }
}
