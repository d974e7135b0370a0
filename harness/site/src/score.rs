//! How bad a figure is next to the wire, on one scale for all units; what is missing is the worst there is.

use meshbench::results::{Better, Unit};

/// A cell without figures counts as this many times as bad as the wire, and none counts as worse: so a figure, however
/// bad, never counts for less than none.
pub const MISSING: f64 = 100.0;

/// What is added to both sides of a ratio, in the unit: what is zero at times (loss, retransmits) would else be
/// infinitely worse.
fn softening(unit: Unit, better: Better) -> f64 {
    match unit {
        // One of one is all there is.
        Unit::Count if better == Better::Higher => 0.01,
        Unit::Percent
        | Unit::NanosecondsPerByte
        | Unit::InstructionsPerByte
        | Unit::InstructionsPerPacket
        | Unit::PerMinute => 1.0,
        Unit::Count | Unit::PerSecond => 10.0,
        Unit::Bytes | Unit::BitsPerSecond => 1000.0,
        Unit::Milliseconds | Unit::Ratio | Unit::OpinionScore => 0.01,
    }
}

/// How many times as bad as the wire. `None` for a metric that has no better side.
pub fn badness(value: f64, wire: f64, unit: Unit, better: Better) -> Option<f64> {
    let soft = softening(unit, better);
    let (value, wire) = (value.max(0.0) + soft, wire.max(0.0) + soft);
    match better {
        Better::Lower => Some(value / wire),
        Better::Higher => Some(wire / value),
        Better::Neutral => None,
    }
}

/// As it counts: a VPN that beats the wire is an alarm and no win, and nothing is worse than nothing.
pub fn counted(badness: Option<f64>) -> f64 {
    badness.unwrap_or(MISSING).clamp(1.0, MISSING)
}

/// A factor to the digits that the page's script is given, so that what it computes is what is computed here.
pub fn rounded(factor: f64) -> f64 {
    let steps = if factor < 10.0 { 1e4 } else { 1e3 };
    (factor * steps).round() / steps
}

/// A geometric mean with weights; `None` of nothing.
pub fn geometric_mean(factors: impl IntoIterator<Item = (f64, f64)>) -> Option<f64> {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (factor, weight) in factors {
        sum += weight * factor.ln();
        weights += weight;
    }
    (weights > 0.0).then(|| (sum / weights).exp())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::half_the_rate(50e6, 100e6, Unit::BitsPerSecond, Better::Higher, 2.0)]
    #[case::twice_the_time(84.0, 42.0, Unit::Milliseconds, Better::Lower, 2.0)]
    #[case::no_loss(0.0, 0.0, Unit::Percent, Better::Lower, 1.0)]
    #[case::loss_where_there_was_none(3.0, 0.0, Unit::Percent, Better::Lower, 4.0)]
    fn a_factor_says_how_many_times_as_bad(
        #[case] value: f64,
        #[case] wire: f64,
        #[case] unit: Unit,
        #[case] better: Better,
        #[case] want: f64,
    ) {
        let got = badness(value, wire, unit, better).unwrap();
        assert!((got - want).abs() < 0.001, "{got}");
    }

    #[test]
    fn nothing_counts_as_worse_than_nothing_and_beating_the_wire_is_no_win() {
        assert_eq!(counted(None), MISSING);
        assert_eq!(counted(Some(1e9)), MISSING);
        assert_eq!(counted(Some(0.2)), 1.0);
        assert_eq!(badness(1.0, 1.0, Unit::Count, Better::Neutral), None);
    }

    /// js-framework-benchmark divides by the weights of what is missing, too: nine factors of 2 are 2.00, eight of
    /// them 1.80 there.
    #[test]
    fn a_mean_of_fewer_is_divided_by_the_weights_of_those() {
        let nine = geometric_mean([(2.0, 1.0); 9]).unwrap();
        let three = geometric_mean([(2.0, 0.4), (2.0, 0.2), (2.0, 0.7)]).unwrap();
        assert!((nine - 2.0).abs() < 1e-12 && (three - 2.0).abs() < 1e-12);
        assert_eq!(geometric_mean([]), None);
    }

    #[test]
    fn factors_are_written_as_short_as_they_are_rounded() {
        assert_eq!(rounded(1.0).to_string(), "1");
        assert_eq!(rounded(1.204_72).to_string(), "1.2047");
        assert_eq!(rounded(47.299_96).to_string(), "47.3");
    }

    #[test]
    fn losing_a_figure_never_helps() {
        let all = geometric_mean([(1.1, 1.0), (9.0, 1.0)]).unwrap();
        let lost = geometric_mean([(1.1, 1.0), (counted(None), 1.0)]).unwrap();
        assert!(lost > all);
    }
}
