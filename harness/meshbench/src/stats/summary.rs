use statrs::distribution::{Binomial, DiscreteCDF};

/// With fewer samples no interval is given: it would be the range, dressed up.
pub const MIN_INTERVAL_SAMPLES: usize = 3;

/// An interval that is meant to hold the true median.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end, in the unit of the samples.
    pub low: f64,
    /// Upper end, in the unit of the samples.
    pub high: f64,
    /// Coverage aimed at (bootstrap) or reached (order statistics), between 0 and 1.
    pub level: f64,
}

/// The median; the mean of the middle two when their number is even. `None` if there are no
/// values, or one is not finite.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The quantile `q` (0 to 1), interpolated linearly between the two nearest values: type 7 of
/// Hyndman and Fan 1996, the default of R and NumPy. `None` if there are no values, one is not
/// finite, or `q` is outside 0 to 1.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&q) {
        return None;
    }
    sorted(values).map(|values| quantile_of_sorted(&values, q))
}

/// Distribution-free interval for the median: the narrowest pair of order statistics, the same
/// number of ranks from either end, that covers the median with at least `level` (0 to 1,
/// exclusive). `None` below [`MIN_INTERVAL_SAMPLES`], or when even the range of the samples does
/// not reach `level`: for 0.95 that is below 6 samples.
///
/// David and Nagaraja, Order Statistics, 3rd edition, section 7.1.
pub fn order_statistic_interval(values: &[f64], level: f64) -> Option<Interval> {
    let values = sorted(values)?;
    if values.len() < MIN_INTERVAL_SAMPLES || !(0.0..1.0).contains(&level) {
        return None;
    }
    let below = Binomial::new(0.5, values.len() as u64).ok()?;
    let coverage = |drop: usize| 1.0 - 2.0 * below.cdf(drop as u64);
    let drop = (0..values.len() / 2).take_while(|&drop| coverage(drop) >= level).last()?;
    Some(Interval {
        low: values[drop],
        high: values[values.len() - 1 - drop],
        level: coverage(drop),
    })
}

fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    Some(values)
}

/// `values` is sorted and not empty, `q` within 0 to 1.
pub(super) fn quantile_of_sorted(values: &[f64], q: f64) -> f64 {
    let at = q * (values.len() - 1) as f64;
    let low = values[at.floor() as usize];
    let high = values[at.ceil() as usize];
    // This form stays within [low, high] and does not overflow.
    let share = at - at.floor();
    if low == high { low } else { low * (1.0 - share) + high * share }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[3.0, 1.0, 2.0], 0.5, 2.0)]
    #[case(&[4.0, 1.0, 2.0, 3.0], 0.5, 2.5)]
    #[case(&[5.0], 0.99, 5.0)]
    // numpy.quantile([1, 2, 4, 8, 16], [0, .1, .9, 1])
    #[case(&[16.0, 1.0, 8.0, 2.0, 4.0], 0.0, 1.0)]
    #[case(&[16.0, 1.0, 8.0, 2.0, 4.0], 0.1, 1.4)]
    #[case(&[16.0, 1.0, 8.0, 2.0, 4.0], 0.9, 12.8)]
    #[case(&[16.0, 1.0, 8.0, 2.0, 4.0], 1.0, 16.0)]
    fn quantiles_are_those_of_numpy(#[case] values: &[f64], #[case] q: f64, #[case] want: f64) {
        let got = quantile(values, q).unwrap();
        assert!((got - want).abs() < 1e-12, "{got} is not {want}");
    }

    #[test]
    fn no_median_of_nothing_and_of_what_is_not_a_number() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
        assert_eq!(median(&[1.0, f64::INFINITY]), None);
        assert_eq!(quantile(&[1.0], 1.1), None);
    }

    /// Coverage by the binomial distribution: 1 - 2·P(B(n, ½) ≤ dropped).
    #[rstest]
    #[case(6, 1.0, 6.0, 0.96875)]
    #[case(8, 1.0, 8.0, 0.992_187_5)]
    #[case(9, 2.0, 8.0, 0.960_937_5)]
    #[case(12, 3.0, 10.0, 0.961_425_781_25)]
    fn order_statistics_cover_as_the_binomial_says(
        #[case] n: u32,
        #[case] low: f64,
        #[case] high: f64,
        #[case] level: f64,
    ) {
        let values: Vec<f64> = (1..=n).rev().map(f64::from).collect();
        let got = order_statistic_interval(&values, 0.95).unwrap();
        assert_eq!((got.low, got.high), (low, high));
        assert!((got.level - level).abs() < 1e-9, "{}", got.level);
    }

    #[test]
    fn five_samples_cannot_reach_95_percent() {
        assert_eq!(order_statistic_interval(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95), None);
        assert_eq!(order_statistic_interval(&[1.0, 2.0], 0.1), None);
    }

    proptest! {
        #[test]
        fn quantiles_rise_and_stay_within_the_values(
            values in prop::collection::vec(-1e12..1e12_f64, 1..40), a in 0.0..=1.0_f64, b in 0.0..=1.0_f64
        ) {
            let (low, high) = (quantile(&values, a.min(b)).unwrap(), quantile(&values, a.max(b)).unwrap());
            let slack = 1e-9 * (1.0 + high.abs());
            prop_assert!(low <= high + slack);
            prop_assert!(quantile(&values, 0.0).unwrap() <= low + slack);
            prop_assert!(high <= quantile(&values, 1.0).unwrap() + slack);
        }
    }
}
