use statrs::distribution::{ContinuousCDF, Normal};

use super::quantile;
use super::rng::SplitMix;

/// A difference with a smaller p-value is called one.
pub const SIGNIFICANT: f64 = 0.05;

/// From this many blocks on, blocks are compared in pairs; below, as two groups, because a paired
/// test of few pairs cannot reach a small p-value. The number of blocks alone decides.
pub const PAIRED_FROM: usize = 12;

/// A relative difference below this is nothing to report when no A/A run has measured the floor.
pub const DEFAULT_NOISE_FLOOR: f64 = 0.01;

/// With more pairs than this, signs are drawn at random instead of tried all.
const EXACT_PAIRS: usize = 16;
const RANDOM_FLIPS: usize = 9_999;
/// Exact null distribution up to this many values in both groups.
const EXACT_VALUES: usize = 60;

/// Which test gave a p-value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// [`sign_flip`] on the differences of each block.
    SignFlip,
    /// [`mann_whitney`] on the two groups.
    MannWhitney,
}

/// What the blocks say about two entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The values are larger than the baseline's.
    Larger,
    /// The values are smaller than the baseline's.
    Smaller,
    /// The difference is not significant, or is below the noise floor: written `≈`.
    Alike,
    /// So few blocks that no difference, however large, could be significant.
    TooFew,
}

/// Two entries compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The test, chosen by the number of blocks before seeing a value.
    pub test: Test,
    /// Two-sided p-value.
    pub p: f64,
    /// What may be said of this comparison alone.
    pub verdict: Verdict,
    /// The smallest p-value that so many blocks can give.
    smallest: f64,
    /// What the difference is if it is significant.
    difference: Verdict,
}

impl Comparison {
    fn new(test: Test, p: f64, smallest: f64, difference: Verdict) -> Self {
        let alone = Self { test, p, verdict: Verdict::Alike, smallest, difference };
        Self { verdict: alone.among(p, 1), ..alone }
    }

    /// What may be said of it among `count` comparisons, in which [`holm`] makes its p-value
    /// `adjusted`.
    pub fn among(&self, adjusted: f64, count: usize) -> Verdict {
        if adjusted < SIGNIFICANT {
            self.difference
        } else if self.smallest * count as f64 >= SIGNIFICANT {
            Verdict::TooFew
        } else {
            Verdict::Alike
        }
    }
}

/// Compares values with their baseline, pair by pair of one block. A difference counts when it is
/// significant at [`SIGNIFICANT`] *and* its median is beyond `noise_floor` (relative, 0.01 = 1 %;
/// a change from or to zero is beyond any floor). `None` without pairs, or if a value is not
/// finite.
pub fn compare(pairs: &[(f64, f64)], noise_floor: f64, seed: u64) -> Option<Comparison> {
    let finite = |&(value, baseline): &(f64, f64)| value.is_finite() && baseline.is_finite();
    if pairs.is_empty() || !pairs.iter().all(finite) {
        return None;
    }
    let changes = changes(pairs);
    let test = if pairs.len() >= PAIRED_FROM { Test::SignFlip } else { Test::MannWhitney };
    let (p, smallest) = match test {
        Test::SignFlip => (sign_flip(&changes, seed)?, smallest_sign_flip(pairs.len())),
        Test::MannWhitney => {
            let (values, baseline): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            (mann_whitney(&values, &baseline)?, 2.0 / binomial(2 * pairs.len(), pairs.len()))
        }
    };
    let scale = if positive(pairs) { (1.0 + noise_floor).ln() } else { 0.0 };
    let difference = difference(quantile(&changes, 0.5)?, scale);
    Some(Comparison::new(test, p, smallest, difference))
}

/// Compares values with a baseline measured in other blocks, as those of another run are. A
/// difference counts as in [`compare`], by the ratio of the medians. `None` if a side is empty or
/// a value is not finite.
pub fn compare_groups(values: &[f64], baseline: &[f64], noise_floor: f64) -> Option<Comparison> {
    let p = mann_whitney(values, baseline)?;
    let (value, base) = (quantile(values, 0.5)?, quantile(baseline, 0.5)?);
    let difference = if value > 0.0 && base > 0.0 {
        difference((value / base).ln(), (1.0 + noise_floor).ln())
    } else {
        difference(value - base, 0.0)
    };
    let smallest = 2.0 / binomial(values.len() + baseline.len(), baseline.len());
    Some(Comparison::new(Test::MannWhitney, p, smallest, difference))
}

fn difference(change: f64, floor: f64) -> Verdict {
    if change.abs() <= floor {
        Verdict::Alike
    } else if change > 0.0 {
        Verdict::Larger
    } else {
        Verdict::Smaller
    }
}

/// Holm's adjusted p-values, in the order given: with these, one false difference among all
/// comparisons is as likely as it is with one comparison alone.
///
/// Holm 1979, A simple sequentially rejective multiple test procedure.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut least = 0.0_f64;
    for (rank, &at) in order.iter().enumerate() {
        least = least.max(p[at] * (p.len() - rank) as f64).min(1.0);
        adjusted[at] = least;
    }
    adjusted
}

/// Log ratios where they exist, because noise in rates and times is relative; else differences.
fn changes(pairs: &[(f64, f64)]) -> Vec<f64> {
    let log = positive(pairs);
    let change = |&(value, baseline): &(f64, f64)| {
        if log { (value / baseline).ln() } else { value - baseline }
    };
    pairs.iter().map(change).collect()
}

fn positive(pairs: &[(f64, f64)]) -> bool {
    pairs.iter().all(|&(value, baseline)| value > 0.0 && baseline > 0.0)
}

/// Two-sided permutation test that paired differences are symmetric about zero: the share of sign
/// assignments whose sum is as far from zero as the observed. All assignments up to 16 pairs, above
/// that 9 999 random ones and the observed. `None` without differences, or if one is not finite.
pub fn sign_flip(differences: &[f64], seed: u64) -> Option<f64> {
    if differences.is_empty() || differences.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let n = differences.len();
    let sum_with = |signs: &dyn Fn(usize) -> bool| -> f64 {
        differences.iter().enumerate().map(|(i, d)| if signs(i) { *d } else { -*d }).sum()
    };
    // Sums of the same numbers in another order of signs differ by rounding only.
    let slack = 1e-9 * differences.iter().map(|value| value.abs()).sum::<f64>();
    let observed = differences.iter().sum::<f64>().abs() - slack;
    let extreme = |signs: &dyn Fn(usize) -> bool| sum_with(signs).abs() >= observed;
    if n <= EXACT_PAIRS {
        let all = 1_u32 << n;
        let hits = (0..all).filter(|mask| extreme(&|i| mask >> i & 1 == 1)).count();
        return Some(hits as f64 / f64::from(all));
    }
    let mut rng = SplitMix::new(seed);
    let hits = (0..RANDOM_FLIPS)
        .filter(|_| {
            let words: Vec<u64> = (0..n.div_ceil(64)).map(|_| rng.next()).collect();
            extreme(&|i| words[i / 64] >> (i % 64) & 1 == 1)
        })
        .count();
    Some((hits + 1) as f64 / (RANDOM_FLIPS + 1) as f64)
}

fn smallest_sign_flip(pairs: usize) -> f64 {
    if pairs <= EXACT_PAIRS {
        2.0 / f64::from(1_u32 << pairs)
    } else {
        1.0 / (RANDOM_FLIPS + 1) as f64
    }
}

/// Two-sided Mann-Whitney U test that two groups come from one distribution. Exact, ties included,
/// up to 60 values together; the normal approximation above. `None` if a group is empty or a value
/// is not finite.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> Option<f64> {
    let finite = |values: &[f64]| !values.is_empty() && values.iter().all(|v| v.is_finite());
    if !finite(a) || !finite(b) {
        return None;
    }
    let ranks = doubled_midranks(a, b);
    if ranks.len() <= EXACT_VALUES {
        Some(exact_mann_whitney(&ranks, a.len()))
    } else {
        Some(approximate_mann_whitney(&ranks, a.len()))
    }
}

/// Normal approximation of the rank sum of the first `group` values, corrected for ties (by using
/// the variance of the ranks themselves) and for continuity.
fn approximate_mann_whitney(ranks: &[usize], group: usize) -> f64 {
    let n = ranks.len() as f64;
    let ranks: Vec<f64> = ranks.iter().map(|&doubled| doubled as f64 / 2.0).collect();
    let mean = (n + 1.0) / 2.0;
    let spread: f64 = ranks.iter().map(|rank| (rank - mean).powi(2)).sum();
    if spread == 0.0 {
        return 1.0;
    }
    let (group, other) = (group as f64, n - group as f64);
    let deviation = (group * other * spread / (n * (n - 1.0))).sqrt();
    let sum: f64 = ranks[..group as usize].iter().sum();
    let z = ((sum - group * mean).abs() - 0.5).max(0.0) / deviation;
    2.0 * Normal::standard().sf(z)
}

/// Counts, over all ways to choose the group, the rank sums as far from their mean as that of the
/// first `group` ranks.
fn exact_mann_whitney(ranks: &[usize], group: usize) -> f64 {
    let observed: usize = ranks[..group].iter().sum();
    let total: usize = ranks.iter().sum();
    // ways[k][s]: subsets of k values whose doubled ranks sum to s.
    let mut ways = vec![vec![0.0_f64; total + 1]; group + 1];
    ways[0][0] = 1.0;
    for &rank in ranks {
        for k in (1..=group).rev() {
            let (smaller, larger) = ways.split_at_mut(k);
            for s in rank..=total {
                larger[0][s] += smaller[k - 1][s - rank];
            }
        }
    }
    // Mean rank sum is total·|a|/n; both sides are multiplied by n to stay in whole numbers.
    let distance = |sum: usize| (sum * ranks.len()).abs_diff(total * group);
    let counts = &ways[group];
    let extreme: f64 =
        (0..=total).filter(|&sum| distance(sum) >= distance(observed)).map(|sum| counts[sum]).sum();
    extreme / counts.iter().sum::<f64>()
}

/// Twice the rank of each value of `a`, then of `b`, among all; equal values share their mean rank.
fn doubled_midranks(a: &[f64], b: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let rank = |value: &f64| {
        let smaller = all.iter().filter(|other| *other < value).count();
        let equal = all.iter().filter(|other| *other == value).count();
        2 * smaller + equal + 1
    };
    all.iter().map(rank).collect()
}

fn binomial(n: usize, k: usize) -> f64 {
    (1..=k).map(|i| (n - k + i) as f64 / i as f64).product()
}

/// The relative difference that measuring one thing twice shows anyway: the 95th percentile of
/// `|value / value'|` over A/A pairs, less 1 (0.03 = 3 %). `None` without pairs or if a number is
/// not positive and finite.
pub fn noise_floor(same: &[(f64, f64)]) -> Option<f64> {
    if !positive(same) {
        return None;
    }
    let spread: Vec<f64> = same.iter().map(|(a, b)| (a / b).ln().abs()).collect();
    quantile(&spread, 0.95).map(f64::exp_m1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "{got} is not {want}");
    }

    /// The smallest p-value that n pairs can give is 2/2^n.
    #[rstest]
    #[case(3, 0.25)]
    #[case(6, 0.031_25)]
    #[case(12, 2.0 / 4096.0)]
    fn sign_flip_reaches_its_smallest_p(#[case] n: usize, #[case] want: f64) {
        let differences: Vec<f64> = (1..=n).map(|i| i as f64).collect();
        close(sign_flip(&differences, 0).unwrap(), want);
    }

    /// By hand: of the 8 signings of {1, 2, -3} two have |sum| = 6, two 4, two 2, two 0.
    #[test]
    fn sign_flip_of_three_counted_by_hand() {
        close(sign_flip(&[1.0, 2.0, -3.0], 0).unwrap(), 1.0);
        close(sign_flip(&[1.0, -2.0, -3.0], 0).unwrap(), 0.5);
    }

    #[test]
    fn random_flips_agree_with_a_clear_case_and_a_null_case() {
        let clear: Vec<f64> = (1..=30).map(f64::from).collect();
        close(sign_flip(&clear, 5).unwrap(), 0.0001);
        let null: Vec<f64> =
            (1..=30).map(|i| f64::from(i) * if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert!(sign_flip(&null, 5).unwrap() > 0.5);
    }

    /// The smallest p-value of two groups of n is 2/C(2n, n).
    #[rstest]
    #[case(3, 0.1)]
    #[case(4, 2.0 / 70.0)]
    #[case(7, 2.0 / 3432.0)]
    fn mann_whitney_reaches_its_smallest_p(#[case] n: usize, #[case] want: f64) {
        let a: Vec<f64> = (0..n).map(|i| i as f64).collect();
        let b: Vec<f64> = (0..n).map(|i| 100.0 + i as f64).collect();
        close(mann_whitney(&a, &b).unwrap(), want);
        close(mann_whitney(&b, &a).unwrap(), want);
    }

    /// scipy.stats.mannwhitneyu([19, 22, 16, 29, 24], [20, 11, 17, 12], method="exact"): the
    /// example of its documentation.
    #[test]
    fn mann_whitney_agrees_with_scipy() {
        let p = mann_whitney(&[19.0, 22.0, 16.0, 29.0, 24.0], &[20.0, 11.0, 17.0, 12.0]).unwrap();
        close(p, 0.111_111_111_111);
    }

    #[test]
    fn equal_groups_are_alike_however_many_ties() {
        close(mann_whitney(&[1.0; 5], &[1.0; 5]).unwrap(), 1.0);
        close(mann_whitney(&[1.0; 40], &[1.0; 40]).unwrap(), 1.0);
    }

    #[test]
    fn three_blocks_are_too_few_and_four_are_not() {
        let pairs = [(50.0, 100.0), (51.0, 101.0), (52.0, 102.0), (53.0, 103.0)];
        assert_eq!(compare(&pairs[..3], 0.01, 0).unwrap().verdict, Verdict::TooFew);
        assert_eq!(compare(&pairs, 0.01, 0).unwrap().verdict, Verdict::Smaller);
    }

    #[test]
    fn a_significant_difference_below_the_noise_floor_is_none() {
        let pairs: Vec<(f64, f64)> =
            (0..12).map(|i| (1005.0 + f64::from(i), 1000.0 + f64::from(i))).collect();
        let got = compare(&pairs, 0.01, 0).unwrap();
        assert!(got.p < 0.001);
        assert_eq!((got.test, got.verdict), (Test::SignFlip, Verdict::Alike));
        assert_eq!(compare(&pairs, 0.001, 0).unwrap().verdict, Verdict::Larger);
    }

    #[test]
    fn loss_that_was_zero_without_the_vpn_is_compared_by_difference() {
        let pairs: Vec<(f64, f64)> = (1..=8).map(|i| (f64::from(i), 0.0)).collect();
        assert_eq!(compare(&pairs, 0.01, 0).unwrap().verdict, Verdict::Larger);
    }

    #[test]
    fn same_entry_twice_is_called_different_at_about_the_nominal_rate() {
        let mut rng = SplitMix::new(11);
        for blocks in [8, 12] {
            let called = (0..1000)
                .filter(|_| {
                    let mut draw = || 100.0 + rng.below(1_000_000) as f64 / 10_000.0;
                    let pairs: Vec<(f64, f64)> = (0..blocks).map(|_| (draw(), draw())).collect();
                    compare(&pairs, 0.0, 0).unwrap().p < SIGNIFICANT
                })
                .count();
            assert!((20..75).contains(&called), "{called} of 1000 with {blocks} blocks");
        }
    }

    /// statsmodels.stats.multitest.multipletests([.01, .04, .03, .005], method="holm")
    #[test]
    fn holm_agrees_with_statsmodels() {
        let got = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (got, want) in got.into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
            close(got, want);
        }
        assert_eq!(holm(&[0.6, 0.9]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn what_is_a_difference_alone_may_be_none_among_many() {
        let (a, b) = ([10.0, 11.0, 12.0, 13.0], [20.0, 21.0, 22.0, 23.0]);
        let got = compare_groups(&b, &a, 0.01).unwrap();
        assert_eq!((got.test, got.verdict), (Test::MannWhitney, Verdict::Larger));
        assert_eq!(got.among(got.p * 2.0, 2), Verdict::TooFew);
        let (a, b): (Vec<f64>, Vec<f64>) =
            ((0..8).map(f64::from).collect(), (6..14).map(f64::from).collect());
        let got = compare_groups(&b, &a, 0.01).unwrap();
        assert_eq!((got.verdict, got.among(0.06, 20)), (Verdict::Larger, Verdict::Alike));
    }

    #[test]
    fn groups_of_unequal_size_and_zeros_are_compared() {
        let got = compare_groups(&[1.0; 6], &[0.0; 9], 0.01).unwrap();
        assert_eq!(got.verdict, Verdict::Larger);
        assert_eq!(compare_groups(&[0.0; 6], &[0.0; 9], 0.01).unwrap().verdict, Verdict::Alike);
        assert_eq!(compare_groups(&[], &[1.0], 0.01), None);
        let close = [100.4, 100.5, 100.6, 100.7, 100.8, 100.9];
        let base = [100.0, 100.01, 100.02, 100.03, 100.04, 100.05];
        let got = compare_groups(&close, &base, 0.01).unwrap();
        assert!(got.p < 0.01 && got.verdict == Verdict::Alike);
    }

    #[test]
    fn the_noise_floor_is_the_spread_of_a_thing_measured_twice() {
        close(noise_floor(&[(100.0, 100.0), (100.0, 100.0)]).unwrap(), 0.0);
        close(noise_floor(&[(110.0, 100.0)]).unwrap(), 0.1);
        close(noise_floor(&[(100.0, 110.0)]).unwrap(), 0.1);
        assert_eq!(noise_floor(&[]), None);
        assert_eq!(noise_floor(&[(1.0, 0.0)]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn exact_agrees_with_trying_every_group(
            values in prop::collection::vec(0_u8..6, 5..11), group in 1..5_usize
        ) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let ranks = doubled_midranks(&values[..group], &values[group..]);
            let mean = group as f64 * (values.len() + 1) as f64;
            let distance = |sum: usize| (sum as f64 - mean).abs();
            let observed = distance(ranks[..group].iter().sum());
            let groups: Vec<f64> = (0_u32..1 << ranks.len())
                .filter(|mask| mask.count_ones() as usize == group)
                .map(|mask| distance((0..ranks.len()).filter(|i| mask >> i & 1 == 1).map(|i| ranks[i]).sum()))
                .collect();
            let extreme = groups.iter().filter(|&&d| d >= observed - 1e-9).count();
            let want = extreme as f64 / groups.len() as f64;
            prop_assert!((exact_mann_whitney(&ranks, group) - want).abs() < 1e-9);
        }

        #[test]
        fn the_approximation_is_near_the_exact_value(
            a in prop::collection::vec(0_u8..50, 25), b in prop::collection::vec(5_u8..60, 25)
        ) {
            let floats = |values: Vec<u8>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
            let ranks = doubled_midranks(&floats(a), &floats(b));
            let gap = exact_mann_whitney(&ranks, 25) - approximate_mann_whitney(&ranks, 25);
            prop_assert!(gap.abs() < 0.01, "{gap}");
        }

        #[test]
        fn swapping_sides_swaps_the_verdict(
            pairs in prop::collection::vec((0.1..100.0_f64, 0.1..100.0_f64), 1..16)
        ) {
            let swapped: Vec<(f64, f64)> = pairs.iter().map(|&(a, b)| (b, a)).collect();
            let opposite = match compare(&pairs, 0.01, 3).unwrap().verdict {
                Verdict::Larger => Verdict::Smaller,
                Verdict::Smaller => Verdict::Larger,
                same => same,
            };
            prop_assert_eq!(compare(&swapped, 0.01, 3).unwrap().verdict, opposite);
        }
    }
}
