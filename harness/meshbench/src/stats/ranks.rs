use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::rng::SplitMix;
use super::summary::moments;

/// With more pairs than this, signs are drawn at random instead of tried all.
const EXACT_PAIRS: usize = 16;
const RANDOM_FLIPS: usize = 9_999;
/// Exact null distribution up to this many values in both groups.
const EXACT_VALUES: usize = 60;

/// Holm's adjusted p-values, in the order given: with these, one false difference among all
/// comparisons is as likely as it is with one comparison alone.
///
/// Holm 1979, A simple sequentially rejective multiple test procedure.
pub(super) fn holm(p: &[f64]) -> Vec<f64> {
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

/// Two-sided permutation test that paired differences are symmetric about zero: the share of sign
/// assignments whose sum is as far from zero as the observed. All assignments up to 16 pairs, above
/// that 9 999 random ones and the observed. `None` without differences, or if one is not finite.
pub(super) fn sign_flip(differences: &[f64], seed: u64) -> Option<f64> {
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

/// The smallest p-value of so many pairs.
pub(super) fn smallest_sign_flip(pairs: usize) -> f64 {
    if pairs <= EXACT_PAIRS {
        2.0 / f64::from(1_u32 << pairs)
    } else {
        1.0 / (RANDOM_FLIPS + 1) as f64
    }
}

/// Two-sided Mann-Whitney U test that two groups come from one distribution. Exact, ties included,
/// up to 60 values together; the normal approximation above. `None` if a group is empty or a value
/// is not finite.
pub(super) fn mann_whitney(a: &[f64], b: &[f64]) -> Option<f64> {
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
    // Without ties they need no doubling, and half as much is counted.
    let divisor = if ranks.iter().all(|rank| rank % 2 == 0) { 2 } else { 1 };
    let ranks: Vec<usize> = ranks.iter().map(|rank| rank / divisor).collect();
    let observed: usize = ranks[..group].iter().sum();
    let total: usize = ranks.iter().sum();
    // ways[k][s]: subsets of k values whose doubled ranks sum to s.
    let mut ways = vec![vec![0.0_f64; total + 1]; group + 1];
    ways[0][0] = 1.0;
    let mut largest = 0;
    for &rank in &ranks {
        largest += rank;
        for k in (1..=group).rev() {
            let (smaller, larger) = ways.split_at_mut(k);
            for s in rank..=largest {
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

/// The smallest p-value of two groups of these sizes.
pub(super) fn smallest_mann_whitney(a: usize, b: usize) -> f64 {
    2.0 / binomial(a + b, a.min(b))
}

/// Student's t test that the mean is zero. No spread at all is no chance at all. `None` below two values.
pub(super) fn student_test(values: &[f64]) -> Option<f64> {
    let (mean, deviation) = moments(values)?;
    let n = values.len() as f64;
    tail(mean, deviation / n.sqrt(), n - 1.0)
}

/// Welch's t test that two groups have one mean. `None` below two values in either.
pub(super) fn welch_test(a: &[f64], b: &[f64]) -> Option<f64> {
    let welch = Welch::of(a, b)?;
    tail(welch.difference, welch.error, welch.freedom)
}

/// What Welch's test and interval are made of.
pub(super) struct Welch {
    pub(super) difference: f64,
    pub(super) error: f64,
    pub(super) freedom: f64,
}

impl Welch {
    pub(super) fn of(a: &[f64], b: &[f64]) -> Option<Self> {
        let ((a_mean, a_deviation), (b_mean, b_deviation)) = (moments(a)?, moments(b)?);
        let (n, m) = (a.len() as f64, b.len() as f64);
        let (one, other) = (a_deviation.powi(2) / n, b_deviation.powi(2) / m);
        let variance = one + other;
        // Welch and Satterthwaite.
        let weights = one.powi(2) / (n - 1.0) + other.powi(2) / (m - 1.0);
        let freedom = if weights > 0.0 { variance.powi(2) / weights } else { n + m - 2.0 };
        Some(Self { difference: a_mean - b_mean, error: variance.sqrt(), freedom })
    }
}

/// Two-sided p-value of a difference with its standard error.
fn tail(difference: f64, error: f64, freedom: f64) -> Option<f64> {
    if error <= 1e-12 * difference.abs() || difference == 0.0 {
        return Some(if difference == 0.0 { 1.0 } else { 0.0 });
    }
    let student = StudentsT::new(0.0, 1.0, freedom).ok()?;
    Some(2.0 * student.sf((difference / error).abs()))
}

/// How many differences between two groups lie beyond either end of the interval of their shift: the
/// largest number for which the rank-sum test at `alpha` does not exclude what lies within. `None`
/// where even none is too narrow.
///
/// Lehmann, Nonparametrics: Statistical Methods Based on Ranks, section 2.6.
pub(super) fn beyond_shift_interval(a: usize, b: usize, alpha: f64) -> Option<usize> {
    if a + b > EXACT_VALUES {
        let (n, m) = (a as f64, b as f64);
        let deviation = (n * m * (n + m + 1.0) / 12.0).sqrt();
        let z = Normal::standard().inverse_cdf(1.0 - alpha / 2.0);
        return Some((n * m / 2.0 - z * deviation - 0.5).max(0.0) as usize);
    }
    let ways = u_distribution(a, b);
    let all: f64 = ways.iter().sum();
    let mut below = 0.0;
    let cut = ways.iter().take_while(|count| {
        below += **count;
        2.0 * below / all <= alpha
    });
    cut.count().checked_sub(1)
}

/// In how many ways two groups without ties have each value of the Mann-Whitney statistic.
fn u_distribution(a: usize, b: usize) -> Vec<f64> {
    let mut ways = vec![vec![0.0_f64; a * b + 1]; a + 1];
    ways[0][0] = 1.0;
    // Each value of the second group put in order; `k` counts the first group's below it.
    for rank in 1..=a + b {
        for k in (1..=a.min(rank)).rev() {
            let others = rank - k;
            if others > b {
                continue;
            }
            let (smaller, larger) = ways.split_at_mut(k);
            for u in (others..=a * b).rev() {
                larger[0][u] += smaller[k - 1][u - others];
            }
        }
    }
    ways.swap_remove(a)
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

    /// R: t.test(c(1, 2, 4))$p.value, and t.test(c(1, 2, 4), c(5, 7, 6, 9))$p.value, by hand.
    #[test]
    fn t_tests_agree_with_their_formulas() {
        let p = student_test(&[1.0, 2.0, 4.0]).unwrap();
        // t = 2.6458 with 2 degrees: p = 1 - t / sqrt(2 + t²).
        let t = 7.0 / 3.0 / (7.0_f64 / 3.0).sqrt() * 3.0_f64.sqrt();
        close(p, 1.0 - t / (2.0 + t * t).sqrt());
        assert!(welch_test(&[1.0, 2.0, 4.0], &[5.0, 7.0, 6.0, 9.0]).unwrap() < 0.02);
        close(welch_test(&[1.0; 3], &[1.0; 3]).unwrap(), 1.0);
        close(welch_test(&[1.0; 3], &[2.0; 3]).unwrap(), 0.0);
    }

    /// Tables of the rank-sum statistic (Lehmann, table B): at 5 % two-sided the critical values of
    /// groups of 4, 5, 7 and 10 are 0, 2, 8 and 23.
    #[rstest]
    #[case(3, 3, None)]
    #[case(4, 4, Some(0))]
    #[case(5, 5, Some(2))]
    #[case(7, 7, Some(8))]
    #[case(5, 8, Some(6))]
    #[case(10, 10, Some(23))]
    fn differences_beyond_the_interval_are_those_of_the_tables(
        #[case] a: usize,
        #[case] b: usize,
        #[case] want: Option<usize>,
    ) {
        assert_eq!(beyond_shift_interval(a, b, 0.05), want);
    }

    #[test]
    fn many_values_are_cut_about_as_few_are() {
        let exact = beyond_shift_interval(30, 30, 0.05).unwrap();
        let near = beyond_shift_interval(31, 30, 0.05).unwrap();
        assert!((exact..exact + 20).contains(&near), "{exact} {near}");
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
    }
}
