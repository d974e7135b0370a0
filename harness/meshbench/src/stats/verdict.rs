use super::ranks::{mann_whitney, sign_flip};
use super::sides::Sides;

/// A difference with a smaller p-value is called one.
pub const SIGNIFICANT: f64 = 0.05;

/// A relative difference below this is nothing to report where no A/A run has measured the floor.
pub const DEFAULT_NOISE_FLOOR: f64 = 0.01;

/// A relative difference within this is of no consequence: what lies inside is alike.
pub const DEFAULT_MARGIN: f64 = 0.05;

/// With fewer values a side, Student's test is not asked: three values of a thing with two speeds are
/// all slow, or all fast, too often.
const MIN_STUDENT_VALUES: usize = 4;

/// Which test gave a p-value. The number of blocks and of comparisons decides, never an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Test {
    /// A sign-flip test on the changes of each block.
    SignFlip,
    /// The test of Mann and Whitney on the two groups.
    MannWhitney,
    /// Student's (of pairs) or Welch's (of groups) of logarithms, where so few blocks can give no rank
    /// test a p-value that is small enough among so many comparisons.
    Student,
}

/// How a comparison is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Comparisons made at once, for Holm's correction.
    pub lines: usize,
    /// Probability that is put up with of one false difference among them all, and of one that is cleared falsely.
    pub alpha: f64,
    /// Relative difference below which nothing differs: what measuring one thing twice shows anyway.
    pub floor: f64,
    /// Relative difference within which things are alike.
    pub margin: f64,
    /// The same as [`Rules::margin`] in the values' unit, for what is zero at times and so has no ratio (loss);
    /// below it nothing differs.
    pub slack: f64,
    /// The same as [`Rules::floor`] in the values' unit, where it was measured.
    pub absolute_floor: f64,
    /// Seed of random signs (above 16 pairs).
    pub seed: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lines: 1,
            alpha: SIGNIFICANT,
            floor: DEFAULT_NOISE_FLOOR,
            margin: DEFAULT_MARGIN,
            slack: 0.0,
            absolute_floor: 0.0,
            seed: 0,
        }
    }
}

/// What the blocks say about two entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The values are larger than the baseline's.
    Larger,
    /// The values are smaller than the baseline's.
    Smaller,
    /// The whole interval of the difference lies inside the margin: written `≈`.
    Alike,
    /// Neither: more blocks would tell.
    Undecided,
}

impl Sides {
    /// The p-value that there is no difference, as one of `lines` comparisons at `alpha`; `None` where no
    /// test says anything of so few values.
    pub fn test(&self, rules: &Rules) -> Option<(Test, f64)> {
        if !self.sound() {
            return None;
        }
        let reached = self.smallest() * (rules.lines as f64) < rules.alpha;
        if !reached && self.continuous() && self.fewest() >= MIN_STUDENT_VALUES {
            return Some((Test::Student, self.student()?));
        }
        Some(match self {
            Self::Pairs(_) => (Test::SignFlip, sign_flip(&self.changes(), rules.seed)?),
            Self::Groups(values, baseline) => (Test::MannWhitney, mann_whitney(values, baseline)?),
        })
    }

    /// What may be said, if Holm's correction made the p-value `adjusted`. That it is alike is said of this
    /// comparison alone; of several at once by [`together`](super::together).
    pub fn verdict(&self, adjusted: Option<f64>, rules: &Rules) -> Verdict {
        let interval = self.effect().and_then(|effect| effect.interval);
        self.verdict_if(adjusted, self.bounds(rules).is_some_and(|it| it.hold(interval)), rules)
    }

    /// The same, where it is known already whether they are alike.
    pub(super) fn verdict_if(&self, adjusted: Option<f64>, alike: bool, rules: &Rules) -> Verdict {
        let (Some(change), Some(bounds)) = (self.change(), self.bounds(rules)) else {
            return Verdict::Undecided;
        };
        match adjusted {
            Some(p) if p < rules.alpha && change > bounds.floor => Verdict::Larger,
            Some(p) if p < rules.alpha && change < -bounds.floor => Verdict::Smaller,
            _ if alike => Verdict::Alike,
            _ => Verdict::Undecided,
        }
    }

    /// Whether the interval at 1 - `alpha` lies inside the margin.
    pub(super) fn is_alike(&self, alpha: f64, rules: &Rules) -> bool {
        self.bounds(rules).is_some_and(|bounds| bounds.hold(self.clearing(alpha)))
    }

    /// Whether the interval at 1 - `alpha` excludes a difference as large as the margin, in one direction.
    pub(super) fn excludes(&self, upwards: bool, alpha: f64, rules: &Rules) -> bool {
        let (Some(bounds), Some([low, high])) = (self.bounds(rules), self.clearing(alpha)) else {
            return false;
        };
        bounds.is_wider() && if upwards { high <= bounds.up } else { low >= -bounds.down }
    }

    /// What may be said of this comparison alone.
    pub fn alone(&self, rules: &Rules) -> Verdict {
        self.verdict(self.test(rules).map(|(_, p)| p), rules)
    }

    /// What is below nothing, and what is of consequence, on the scale of the effect; `None` without one.
    pub(super) fn bounds(&self, rules: &Rules) -> Option<Bounds> {
        self.sound().then(|| Bounds::of(self.relative(), rules))
    }

    /// The interval at 1 - `alpha` by which something is cleared: of ranks, and where these are too few for that
    /// the one of means, where it can be trusted as the test of means can.
    fn clearing(&self, alpha: f64) -> Option<[f64; 2]> {
        let trusted = || self.continuous() && self.fewest() >= MIN_STUDENT_VALUES;
        self.interval_of_ranks(alpha)
            .or_else(|| if trusted() { self.interval_of_means(alpha) } else { None })
    }
}

/// What is below nothing, and what is of consequence, on the scale of an effect.
pub(super) struct Bounds {
    pub(super) floor: f64,
    pub(super) up: f64,
    pub(super) down: f64,
    /// Both up and down, one by the factor and the other by its inverse.
    alike: f64,
}

impl Bounds {
    fn of(relative: bool, rules: &Rules) -> Self {
        let Rules { floor, margin, slack, absolute_floor, .. } = *rules;
        if !relative {
            return Self { floor: slack.max(absolute_floor), up: slack, down: slack, alike: slack };
        }
        // Whose margin is all that there is excludes nothing downwards.
        let down = -(1.0 - margin).max(f64::MIN_POSITIVE).ln();
        Self { floor: floor.ln_1p(), up: margin.ln_1p(), down, alike: margin.ln_1p() }
    }

    /// Whether the noise leaves room for the margin: what measuring one thing twice differs by can be told from
    /// nothing, but not be excluded.
    pub(super) fn is_wider(&self) -> bool {
        self.alike >= self.floor
    }

    fn hold(&self, interval: Option<[f64; 2]>) -> bool {
        let inside = |[low, high]: [f64; 2]| low >= -self.alike && high <= self.alike;
        self.is_wider() && interval.is_some_and(inside)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn groups(values: &[f64], baseline: &[f64]) -> Sides {
        Sides::Groups(values.to_vec(), baseline.to_vec())
    }

    fn rules(lines: usize) -> Rules {
        Rules { lines, ..Rules::default() }
    }

    const FIVE: [f64; 5] = [100.0, 102.0, 99.0, 101.0, 98.0];

    #[rstest]
    #[case::half(0.5, Verdict::Smaller)]
    #[case::double(2.0, Verdict::Larger)]
    #[case::same(1.0, Verdict::Alike)]
    fn five_blocks_tell_what_is_clear(#[case] factor: f64, #[case] want: Verdict) {
        let other = [99.5, 101.0, 98.5, 100.0, 101.5].map(|value| value * factor);
        for lines in [1, 30] {
            assert_eq!(groups(&other, &FIVE).alone(&rules(lines)), want);
            let pairs = Sides::Pairs(other.into_iter().zip(FIVE).collect());
            assert_eq!(pairs.alone(&rules(lines)), want);
        }
    }

    #[test]
    fn a_wide_interval_is_not_alike_however_large_the_p_value() {
        let sides = groups(&[40.0, 90.0, 60.0, 100.0, 55.0], &[100.0, 70.0, 95.0, 60.0, 98.0]);
        assert!(sides.test(&rules(1)).unwrap().1 > 0.05);
        assert_eq!(sides.alone(&rules(1)), Verdict::Undecided);
    }

    #[test]
    fn an_interval_may_exclude_one_direction_only() {
        let better = groups(&[103.0, 107.0, 100.0, 109.0, 98.0], &FIVE);
        assert_eq!(better.alone(&rules(30)), Verdict::Undecided);
        assert!(
            better.excludes(false, 0.05, &rules(30)) && !better.excludes(true, 0.05, &rules(30))
        );
    }

    #[test]
    fn few_blocks_among_many_lines_are_asked_by_student() {
        let half = FIVE.map(|value| value / 2.0);
        let (test, p) = groups(&half, &FIVE).test(&rules(1)).unwrap();
        assert_eq!(test, Test::MannWhitney);
        assert!((p - 2.0 / 252.0).abs() < 1e-9);
        let (test, p) = groups(&half, &FIVE).test(&rules(30)).unwrap();
        assert!(test == Test::Student && p * 30.0 < 0.001, "{p}");
        let (test, _) = groups(&half[..3], &FIVE).test(&rules(30)).unwrap();
        assert_eq!(test, Test::MannWhitney);
    }

    #[test]
    fn what_comes_in_steps_is_asked_by_rank_only() {
        let sides = groups(&[2.0, 2.0, 2.0, 3.0], &[1.0, 1.0, 2.0, 1.0]);
        assert_eq!(sides.test(&rules(30)).unwrap().0, Test::MannWhitney);
        let sides = groups(&[0.1, 0.2, 0.3, 0.4], &[0.0, 0.01, 0.02, 0.03]);
        assert_eq!(sides.test(&rules(30)).unwrap().0, Test::MannWhitney);
    }

    #[test]
    fn a_significant_difference_below_the_noise_floor_is_none() {
        let pairs: Vec<(f64, f64)> =
            (0..12).map(|i| (1005.0 + f64::from(i), 1000.0 + f64::from(i))).collect();
        let sides = Sides::Pairs(pairs);
        let (test, p) = sides.test(&rules(1)).unwrap();
        assert!(test == Test::SignFlip && p < 0.001);
        assert_eq!(sides.alone(&rules(1)), Verdict::Alike);
        let sharp = Rules { floor: 0.001, ..rules(1) };
        assert_eq!(sides.alone(&sharp), Verdict::Larger);
    }

    #[test]
    fn loss_that_was_zero_is_compared_by_difference() {
        let loss = Rules { slack: 0.1, ..rules(1) };
        let pairs = Sides::Pairs((1..=8).map(|i| (f64::from(i), 0.0)).collect());
        assert_eq!(pairs.alone(&loss), Verdict::Larger);
        assert_eq!(groups(&[0.0; 7], &[0.0; 7]).alone(&loss), Verdict::Alike);
        assert_eq!(groups(&[1.0; 6], &[0.0; 9]).alone(&loss), Verdict::Larger);
        assert_eq!(groups(&[0.05; 7], &[0.0; 7]).alone(&loss), Verdict::Alike);
        assert_eq!(groups(&[], &[1.0]).effect(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_interval_agrees_with_the_test(
            a in prop::collection::vec(0.5..2.0_f64, 4..12), b in prop::collection::vec(0.5..2.0_f64, 4..12)
        ) {
            let sides = groups(&a, &b);
            let [low, high] = sides.effect().unwrap().interval.unwrap();
            let (_, p) = sides.test(&rules(1)).unwrap();
            prop_assert_eq!(p < 0.05, low > 0.0 || high < 0.0, "p {}, {} to {}", p, low, high);
        }

        #[test]
        fn swapping_sides_swaps_the_verdict(
            pairs in prop::collection::vec((0.1..100.0_f64, 0.1..100.0_f64), 1..16)
        ) {
            let swapped = Sides::Pairs(pairs.iter().map(|&(a, b)| (b, a)).collect());
            let opposite = match Sides::Pairs(pairs).alone(&rules(1)) {
                Verdict::Larger => Verdict::Smaller,
                Verdict::Smaller => Verdict::Larger,
                same => same,
            };
            prop_assert_eq!(swapped.alone(&rules(1)), opposite);
        }
    }
}
