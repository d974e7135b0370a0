//! Figures of records, as every table counts them.

use serde::Serialize;

use crate::results::{CellRecord, Metric, Outcome, Unit};

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

/// Why there is no figure, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Lack {
    /// It should have worked.
    Failed,
    /// The module says that it cannot.
    Unsupported,
    /// It was not tried.
    Skipped,
    /// Nothing is said of it.
    Missing,
}

impl Lack {
    /// That of an outcome; none where there are figures.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Ok {} => None,
            Outcome::Failed { .. } => Some(Self::Failed),
            Outcome::Unsupported { .. } => Some(Self::Unsupported),
            Outcome::Skipped { .. } => Some(Self::Skipped),
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Unsupported => "unsupported",
            Self::Skipped => "skipped",
            Self::Missing => "missing",
        }
    }
}

/// The worst that happened; none where all is well.
pub(super) fn worst<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Option<Lack> {
    outcomes.filter_map(Lack::of).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_that_of_the_outcome() {
        let reason = String::new;
        let unsupported = Outcome::Unsupported { reason: reason() };
        for outcome in [unsupported, Outcome::Skipped { reason: reason() }] {
            let lack = Lack::of(&outcome).unwrap();
            assert_eq!(lack.word(), outcome.word());
            assert_eq!(serde_json::to_value(lack).unwrap(), outcome.word());
        }
    }

    #[test]
    fn a_failure_outweighs_what_was_left_out() {
        let skipped = || Outcome::Skipped { reason: String::new() };
        let unsupported = || Outcome::Unsupported { reason: String::new() };
        let all = [Outcome::Ok {}, skipped(), unsupported()];
        assert_eq!(worst(all.iter()), Some(Lack::Unsupported));
        assert_eq!(worst([skipped(), Outcome::Ok {}].iter()), Some(Lack::Skipped));
        assert_eq!(worst([Outcome::Ok {}].iter()), None);
    }
}
