//! What a figure is measured by: the wire where it has a figure of the same, else what would be right for anyone. Never
//! another VPN, so that a score does not depend on who else takes part.

use meshbench::results::{Better, Unit};

use super::about::About;
use crate::questions::Question;
use crate::score::{self, MISSING};

/// By what a row is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reference {
    /// The wire, in the same block.
    Wire,
    /// A figure that would be right.
    Right(f64),
    /// It is right or it is not: a secret that is told once is told.
    AllOrNothing,
    /// Nothing: the row is shown, and has no part in a mean.
    Nothing,
}

impl Reference {
    /// That of a row, whose wire was measured or not.
    pub fn of(question: Question, about: &About, wire_measured: bool) -> Self {
        match (about.better, about.unit) {
            (Better::Neutral, _) => Self::Nothing,
            // The wire keeps no secrets. What a workload costs is none.
            _ if question == Question::Security && !about.cost => Self::AllOrNothing,
            _ if wire_measured => Self::Wire,
            // Nobody works without a cost: what is nothing is right of what goes wrong only.
            _ if about.cost => Self::Nothing,
            (Better::Higher, Unit::Count) => Self::AllOrNothing,
            (Better::Higher, Unit::Percent) => Self::Right(100.0),
            (Better::Lower, Unit::Percent | Unit::Count) => Self::Right(0.0),
            _ => Self::Nothing,
        }
    }

    /// How a value counts, next to what the wire had in the same block; `None` where nothing can be said.
    pub fn counted(self, value: Option<f64>, wire: Option<f64>, about: &About) -> Option<f64> {
        if self == Self::Nothing {
            return None;
        }
        let Some(value) = value else { return Some(MISSING) };
        let badness = match self {
            Self::Wire => score::badness(value, wire?, about.unit, about.better),
            Self::Right(right) => score::badness(value, right, about.unit, about.better),
            Self::AllOrNothing => {
                let right = match about.better {
                    Better::Higher => value >= 1.0,
                    Better::Lower | Better::Neutral => value <= 0.0,
                };
                Some(if right { 1.0 } else { MISSING })
            }
            Self::Nothing => None,
        };
        Some(score::counted(badness))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn about(unit: Unit, better: Better) -> About {
        About { metric: "m".into(), unit, better, cost: false }
    }

    #[rstest]
    #[case::nothing_leaked(0.0, 1.0)]
    #[case::one_packet_in_clear(1.0, MISSING)]
    fn a_secret_is_kept_or_not(#[case] value: f64, #[case] want: f64) {
        let about = about(Unit::Count, Better::Lower);
        let reference = Reference::of(Question::Security, &about, true);
        assert_eq!(reference.counted(Some(value), Some(500.0), &about), Some(want));
    }

    #[test]
    fn what_keeping_a_secret_costs_is_no_secret() {
        let about = About { cost: true, ..about(Unit::NanosecondsPerByte, Better::Lower) };
        let reference = Reference::of(Question::Security, &about, true);
        assert_eq!(reference.counted(Some(24.0), Some(24.0), &about), Some(1.0));
        let alone = Reference::of(Question::Security, &about, false);
        assert_eq!(alone.counted(Some(24.0), None, &about), None);
        let wakeups = About { unit: Unit::Count, ..about };
        let alone = Reference::of(Question::Reliability, &wakeups, false);
        assert_eq!(alone.counted(Some(8121.0), None, &wakeups), None);
    }

    #[rstest]
    #[case::flag(Unit::Count, Better::Higher, 0.0, Some(MISSING))]
    #[case::flag_set(Unit::Count, Better::Higher, 1.0, Some(1.0))]
    #[case::share(Unit::Percent, Better::Higher, 50.0, Some(101.0 / 51.0))]
    #[case::loss(Unit::Percent, Better::Lower, 0.0, Some(1.0))]
    #[case::time(Unit::Milliseconds, Better::Lower, 5.0, None)]
    fn what_the_wire_has_not_is_measured_by_what_is_right_or_not_at_all(
        #[case] unit: Unit,
        #[case] better: Better,
        #[case] value: f64,
        #[case] want: Option<f64>,
    ) {
        let about = about(unit, better);
        let reference = Reference::of(Question::Reliability, &about, false);
        assert_eq!(reference.counted(Some(value), None, &about), want);
        let missing = reference.counted(None, None, &about);
        assert_eq!(missing, want.map(|_| MISSING));
    }
}
