use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

/// With fewer samples no interval is given: it would be the range, dressed up.
pub const MIN_INTERVAL_SAMPLES: usize = 3;

/// An interval that is meant to hold the true median.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end, in the unit of the samples.
    pub low: f64,
    /// Upper end, in the unit of the samples.
    pub high: f64,
    /// Coverage aimed at, between 0 and 1.
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

/// The arithmetic mean; nothing of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Jain's index of fairness, from 1 / n, where one has everything, to 1, where all have the same; 1 of nothing.
///
/// Jain, Chiu and Hawe 1984, A quantitative measure of fairness and discrimination.
pub fn fairness(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    if squares > 0.0 { sum * sum / (values.len() as f64 * squares) } else { 1.0 }
}

/// Interval (95 %) that is meant to hold the true median, from as few as [`MIN_INTERVAL_SAMPLES`]
/// values; `None` below, or if one is not finite. Needs no resampling, so no seed.
///
/// From 6 values on, order statistics, interpolated between the two that cover a little more and a
/// little less than 95 %: Hettmansperger and Sheather 1986, Confidence intervals based on
/// interpolated order statistics. Of fewer values even the range covers less than 95 % (75 % of
/// three), so that Student's t is used there, of logarithms where all values are positive, because
/// noise in rates and times is relative. How often either holds what it should is in
/// [`simulation`](super::simulation).
pub fn median_interval(values: &[f64]) -> Option<Interval> {
    let sorted = sorted(values).filter(|sorted| sorted.len() >= MIN_INTERVAL_SAMPLES)?;
    let least = sorted[0];
    let [low, high] = if sorted.len() >= MIN_ORDER_SAMPLES {
        interpolated(&sorted, LEVEL)?
    } else if least > 0.0 {
        let logs: Vec<f64> = sorted.iter().map(|value| value.ln()).collect();
        student(&logs, LEVEL)?.map(f64::exp)
    } else {
        let [low, high] = student(&sorted, LEVEL)?;
        // What is never negative has no negative median.
        [if least >= 0.0 { low.max(0.0) } else { low }, high]
    };
    // Rounding of logarithms may not move the interval past values that are all one.
    let middle = quantile_of_sorted(&sorted, 0.5);
    Some(Interval { low: low.min(middle), high: high.max(middle), level: LEVEL })
}

/// Fewer order statistics do not cover a median with 95 %.
const MIN_ORDER_SAMPLES: usize = 6;

/// Coverage aimed at.
pub(super) const LEVEL: f64 = 0.95;

/// The interval between order statistics that holds the median with this coverage; `None` of too few values.
pub(super) fn interpolated(sorted: &[f64], level: f64) -> Option<[f64; 2]> {
    let n = sorted.len();
    let below = Binomial::new(0.5, n as u64).ok()?;
    let coverage = |drop: usize| 1.0 - 2.0 * below.cdf(drop as u64);
    let drop = (0..n / 2).take_while(|&drop| coverage(drop) >= level).last()?;
    let (wide, narrow) = (coverage(drop), coverage(drop + 1));
    let share = (wide - level) / (wide - narrow);
    let (n, rank) = (n as f64, (drop + 1) as f64);
    let weight = (n - rank) * share / (rank + (n - 2.0 * rank) * share);
    let between = |outer: f64, inner: f64| outer * (1.0 - weight) + inner * weight;
    let last = sorted.len() - 1;
    Some([
        between(sorted[drop], sorted[drop + 1]),
        between(sorted[last - drop], sorted[last - drop - 1]),
    ])
}

/// Student's interval of the mean.
pub(super) fn student(values: &[f64], level: f64) -> Option<[f64; 2]> {
    let (mean, deviation) = moments(values)?;
    let n = values.len() as f64;
    let half = student_quantile(1.0 - (1.0 - level) / 2.0, n - 1.0)? * deviation / n.sqrt();
    Some([mean - half, mean + half])
}

/// Quantile of Student's distribution.
pub(super) fn student_quantile(q: f64, freedom: f64) -> Option<f64> {
    StudentsT::new(0.0, 1.0, freedom).ok().map(|student| student.inverse_cdf(q))
}

/// Mean and standard deviation of a sample; `None` below two values.
pub(super) fn moments(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, (squares / (n - 1.0)).sqrt()))
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
    fn fairness_is_one_where_all_have_the_same_and_a_share_where_one_has_all() {
        assert_eq!(fairness(&[3.0, 3.0, 3.0]), 1.0);
        assert_eq!(fairness(&[0.0, 5.0]), 0.5);
        assert_eq!(fairness(&[]), 1.0);
    }

    #[test]
    fn no_median_of_nothing_and_of_what_is_not_a_number() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
        assert_eq!(median(&[1.0, f64::INFINITY]), None);
        assert_eq!(quantile(&[1.0], 1.1), None);
    }

    #[test]
    fn no_interval_below_three_samples() {
        assert_eq!(median_interval(&[1.0, 2.0]), None);
        assert_eq!(median_interval(&[1.0, 2.0, f64::NAN]), None);
    }

    /// By hand: mean 0, deviation 1, t(0.975; 2) = 4.3027 of logarithms.
    #[test]
    fn three_values_have_the_interval_of_student() {
        let values = [(-1.0_f64).exp(), 1.0, 1.0_f64.exp()];
        let got = median_interval(&values).unwrap();
        let want = (4.302_652_7 / 3.0_f64.sqrt()).exp();
        assert!((got.high - want).abs() < 1e-4 && (got.low * want - 1.0).abs() < 1e-4, "{got:?}");
        let zeros = median_interval(&[0.0, 0.0, 3.0]).unwrap();
        assert_eq!(zeros.low, 0.0);
        assert!(zeros.high > 3.0);
    }

    /// Hettmansperger and Sheather by hand, n = 10: ranks 2 and 9 cover 97.85 %, 3 and 8 89.06 %; share
    /// 0.3245, weight 8 · 0.3245 / (2 + 6 · 0.3245) = 0.6577.
    #[test]
    fn ten_values_have_the_interval_between_order_statistics() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        let got = median_interval(&values).unwrap();
        assert!((got.low - 2.6577).abs() < 1e-3 && (got.high - 8.3423).abs() < 1e-3, "{got:?}");
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_median_and_needs_no_order(
            mut values in prop::collection::vec(-1e6..1e6_f64, 3..20)
        ) {
            let interval = median_interval(&values).unwrap();
            let middle = median(&values).unwrap();
            prop_assert!(interval.low <= middle && middle <= interval.high);
            values.reverse();
            prop_assert_eq!(median_interval(&values), Some(interval));
        }

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
