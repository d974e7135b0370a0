use super::rng::SplitMix;
use super::summary::{Interval, MIN_INTERVAL_SAMPLES, median, quantile_of_sorted};

const RESAMPLES: usize = 10_000;
const LEVEL: f64 = 0.95;

/// A value as a multiple of a baseline measured in the same blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Median of the per-block ratios.
    pub median: f64,
    /// Its 95 % interval; `None` below [`MIN_INTERVAL_SAMPLES`] blocks.
    pub interval: Option<Interval>,
}

/// Percentile-bootstrap interval (95 %, 10 000 resamples) of the median. The same seed and values
/// give the same interval. `None` below [`MIN_INTERVAL_SAMPLES`], or if a value is not finite.
///
/// Below about 10 samples it is a little narrow; see
/// [`order_statistic_interval`](super::order_statistic_interval) for one that is not.
pub fn bootstrap_median(values: &[f64], seed: u64) -> Option<Interval> {
    if values.len() < MIN_INTERVAL_SAMPLES || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut rng = SplitMix::new(seed);
    let mut resample = vec![0.0; values.len()];
    let medians = (0..RESAMPLES)
        .map(|_| {
            resample.fill_with(|| values[rng.below(values.len())]);
            resample.sort_unstable_by(f64::total_cmp);
            quantile_of_sorted(&resample, 0.5)
        })
        .collect();
    Some(percentiles(medians))
}

/// The ratio of each pair (`value`, `baseline`) of one block, and the interval of their median.
/// Whole blocks are resampled, so what disturbs a block as a whole cancels out. `None` without
/// pairs, or if a ratio has no meaning: a baseline of zero (0 % loss), a negative or not finite
/// number.
pub fn ratio_to(pairs: &[(f64, f64)], seed: u64) -> Option<Ratio> {
    let sound = |&(value, baseline): &(f64, f64)| {
        value >= 0.0 && baseline > 0.0 && (value / baseline).is_finite()
    };
    if !pairs.iter().all(sound) {
        return None;
    }
    let ratios: Vec<f64> = pairs.iter().map(|(value, baseline)| value / baseline).collect();
    Some(Ratio { median: median(&ratios)?, interval: bootstrap_median(&ratios, seed) })
}

/// The ratio of the medians of values and of a baseline measured in other blocks, with the interval
/// (95 %, 10 000 resamples of each side on its own) of that ratio. `None` as in [`ratio_to`]; no
/// interval if a side has fewer than [`MIN_INTERVAL_SAMPLES`] values or resamples to a median of
/// zero.
pub fn ratio_of_medians(values: &[f64], baseline: &[f64], seed: u64) -> Option<Ratio> {
    let sound = |value: &f64| value.is_finite() && *value >= 0.0;
    if !values.iter().chain(baseline).all(sound) {
        return None;
    }
    let (value, base) = (median(values)?, median(baseline)?);
    if base <= 0.0 {
        return None;
    }
    let interval = (values.len().min(baseline.len()) >= MIN_INTERVAL_SAMPLES)
        .then(|| {
            let mut rng = SplitMix::new(seed);
            let mut of = |values: &[f64]| {
                let mut resample = values.to_vec();
                resample.fill_with(|| values[rng.below(values.len())]);
                resample.sort_unstable_by(f64::total_cmp);
                quantile_of_sorted(&resample, 0.5)
            };
            let ratios = (0..RESAMPLES).map(|_| of(values) / of(baseline));
            percentiles(ratios.collect())
        })
        .filter(|interval| interval.high.is_finite());
    Some(Ratio { median: value / base, interval })
}

fn percentiles(mut values: Vec<f64>) -> Interval {
    values.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - LEVEL) / 2.0;
    Interval {
        low: quantile_of_sorted(&values, tail),
        high: quantile_of_sorted(&values, 1.0 - tail),
        level: LEVEL,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values drawn from a log-normal-like shape: skewed, as throughput and latency are.
    fn skewed(rng: &mut SplitMix) -> f64 {
        let unit = |rng: &mut SplitMix| (rng.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let sum: f64 = (0..12).map(|_| unit(rng)).sum();
        (sum - 6.0).exp()
    }

    #[test]
    fn the_interval_covers_the_true_median_nearly_as_often_as_it_says() {
        let mut rng = SplitMix::new(1);
        let trials = 200;
        let hits = (0..trials)
            .filter(|&trial| {
                let values: Vec<f64> = (0..12).map(|_| skewed(&mut rng)).collect();
                let interval = bootstrap_median(&values, trial).unwrap();
                interval.low <= 1.0 && 1.0 <= interval.high
            })
            .count();
        assert!((180..=199).contains(&hits), "covered {hits} of {trials}");
    }

    #[test]
    fn no_interval_below_three_samples() {
        assert_eq!(bootstrap_median(&[1.0, 2.0], 1), None);
        let ratio = ratio_to(&[(1.0, 2.0), (3.0, 2.0)], 1).unwrap();
        assert_eq!((ratio.median, ratio.interval), (1.0, None));
    }

    #[test]
    fn the_median_of_three_is_most_often_the_middle_so_the_interval_is_the_range() {
        let interval = bootstrap_median(&[30.0, 10.0, 20.0], 9).unwrap();
        assert_eq!((interval.low, interval.high), (10.0, 30.0));
    }

    #[test]
    fn a_drift_that_both_share_leaves_the_ratio_exact() {
        let ratio = ratio_to(&[(50.0, 100.0), (100.0, 200.0), (10.0, 20.0)], 3).unwrap();
        let interval = ratio.interval.unwrap();
        assert_eq!((ratio.median, interval.low, interval.high), (0.5, 0.5, 0.5));
    }

    #[test]
    fn no_ratio_to_a_baseline_of_zero() {
        assert_eq!(ratio_to(&[(1.0, 1.0), (1.0, 0.0)], 1), None);
        assert_eq!(ratio_to(&[], 1), None);
        assert!(ratio_to(&[(0.0, 2.0)], 1).is_some_and(|ratio| ratio.median == 0.0));
    }

    #[test]
    fn the_ratio_of_two_runs_covers_the_true_ratio_nearly_as_often_as_it_says() {
        let mut rng = SplitMix::new(2);
        let hits = (0..200)
            .filter(|&trial| {
                let mut draw = |n| (0..n).map(|_| skewed(&mut rng)).collect::<Vec<f64>>();
                let (values, baseline) = (draw(12), draw(10));
                let doubled: Vec<f64> = values.iter().map(|value| 2.0 * value).collect();
                let interval = ratio_of_medians(&doubled, &baseline, trial).unwrap().interval;
                interval.is_some_and(|it| it.low <= 2.0 && 2.0 <= it.high)
            })
            .count();
        assert!((180..=199).contains(&hits), "covered {hits} of 200");
    }

    #[test]
    fn a_ratio_of_medians_has_no_interval_where_a_resample_has_no_median() {
        let ratio = ratio_of_medians(&[4.0, 4.0, 4.0], &[2.0, 2.0], 1).unwrap();
        assert_eq!((ratio.median, ratio.interval), (2.0, None));
        let ratio = ratio_of_medians(&[1.0; 3], &[0.0, 1.0, 1.0], 1).unwrap();
        assert_eq!((ratio.median, ratio.interval), (1.0, None));
        assert_eq!(ratio_of_medians(&[1.0; 3], &[0.0; 3], 1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_interval_holds_the_median_and_repeats_with_its_seed(
            values in prop::collection::vec(-1e6..1e6_f64, 3..20), seed: u64
        ) {
            let interval = bootstrap_median(&values, seed).unwrap();
            let middle = median(&values).unwrap();
            prop_assert!(interval.low <= middle && middle <= interval.high);
            prop_assert_eq!(bootstrap_median(&values, seed), Some(interval));
        }
    }
}
