use statrs::distribution::{ContinuousCDF, Normal};

use super::ranks::smallest_mann_whitney;
use super::sides::Sides;
use super::summary::student_quantile;
use super::verdict::Rules;

/// The probability with which so many blocks shall tell.
pub(super) const POWER: f64 = 0.8;

/// More are not looked for.
pub const MOST_BLOCKS: usize = 1000;

/// The ranks see as much in π/3 times the values as Student's test, of normal noise; of other noise less
/// are needed. (Lehmann, Nonparametrics, section 2.4.)
const OF_RANKS: f64 = std::f64::consts::PI / 3.0;

/// How many blocks each side needs, so that it is known with a probability of 0.8 whether values are worse by
/// the margin (upwards, or else downwards), should the truth be what has been seen so far: the difference seen,
/// and the spread from block to block. Where that is worse by more, enough to call it a difference among
/// `rules.lines` (at `alpha` over their number); else enough that the interval excludes what is worse by more,
/// as one of `open` that are not cleared yet (at `alpha` over theirs).
/// `None` below two values a side, and where more than [`MOST_BLOCKS`] would be needed.
///
/// The sample sizes of a test of equality and of one of non-inferiority of means: Chow, Shao and Wang, Sample
/// Size Calculations in Clinical Research, sections 3.1 (pairs) and 3.2 (groups):
/// `n = k (z(α/2) + z(β))² σ² / ε²` and `n = k (z(α/2) + z(β))² σ² / (δ - ε)²`, k being 1 or 2; with
/// Student's quantiles in place of the normal ones, since n is small.
pub fn blocks_needed(sides: &Sides, upwards: bool, open: usize, rules: &Rules) -> Option<usize> {
    let (change, bounds) = (sides.change()?, sides.bounds(rules)?);
    let share = |lines: usize| rules.alpha / lines.max(1) as f64;
    let different = (share(rules.lines), least(sides, rules));
    let cleared = (share(open), least(sides, &Rules { lines: open.max(1), ..*rules }));
    let (worse, margin) = if upwards { (change, bounds.up) } else { (-change, bounds.down) };
    let clearable = bounds.is_wider();
    let plan = Plan {
        spread: sides.spread()?,
        groups: matches!(sides, Sides::Groups(..)),
        worse,
        floor: bounds.floor,
        margin,
        clearable,
        different,
        cleared,
    };
    // What was seen has not told yet, so that it takes one more at least.
    plan.needed().map(|blocks| blocks.max(sides.fewest() + 1)).filter(|it| *it <= MOST_BLOCKS)
}

/// The same for the shares of blocks that failed, 0 to 1, of which no margin is asked: enough to call the
/// difference one, `n = (z(α/2) + z(β))² (p(1-p) + q(1-q)) / (p - q)²` (Chow, Shao and Wang, section 4.2).
pub(crate) fn blocks_needed_of_shares((p, q): (f64, f64), rules: &Rules) -> Option<usize> {
    let alpha = rules.alpha / rules.lines.max(1) as f64;
    let normal = Normal::standard();
    let sure = normal.inverse_cdf(1.0 - alpha / 2.0) + normal.inverse_cdf(POWER);
    let blocks = sure.powi(2) * (p * (1.0 - p) + q * (1.0 - q)) / (p - q).powi(2);
    let least = (3..=MOST_BLOCKS).find(|n| smallest_mann_whitney(*n, *n) < alpha)?;
    (blocks <= MOST_BLOCKS as f64).then(|| least.max(blocks.ceil() as usize))
}

/// With fewer blocks no difference, however large, is one.
fn least(sides: &Sides, rules: &Rules) -> usize {
    let reached = |count: &usize| sides.smallest_of(*count) * (rules.lines as f64) < rules.alpha;
    if sides.continuous() { 4 } else { (3..=MOST_BLOCKS).find(reached).unwrap_or(MOST_BLOCKS) }
}

/// What is expected of more blocks.
struct Plan {
    spread: f64,
    groups: bool,
    worse: f64,
    floor: f64,
    margin: f64,
    clearable: bool,
    /// At which level a difference is called one, and with how many blocks at least.
    different: (f64, usize),
    /// The same of what is cleared.
    cleared: (f64, usize),
}

impl Plan {
    fn needed(&self) -> Option<usize> {
        let (tells, distance, (alpha, least)) = if self.worse >= self.margin {
            (self.worse > self.floor, self.worse, self.different)
        } else {
            (self.clearable, self.margin - self.worse, self.cleared)
        };
        self.blocks(distance, 1.0 - alpha / 2.0).filter(|_| tells).map(|it| it.max(least))
    }

    fn blocks(&self, distance: f64, sure: f64) -> Option<usize> {
        let sides = if self.groups { 2.0 } else { 1.0 };
        let enough = |n: &usize| {
            let n = *n as f64 / OF_RANKS;
            let freedom = (sides * (n - 1.0)).max(1.0);
            let quantile = |q| student_quantile(q, freedom).unwrap_or(f64::INFINITY);
            let error = self.spread * (sides / n).sqrt();
            (quantile(sure) + quantile(POWER)) * error <= distance
        };
        if distance > 0.0 { first(enough) } else { None }
    }
}

/// The smallest number from 3 on that is enough, more being never less so.
fn first(enough: impl Fn(&usize) -> bool) -> Option<usize> {
    let (mut low, mut high) = (3, MOST_BLOCKS);
    if !enough(&high) {
        return None;
    }
    while low < high {
        let middle = low.midpoint(high);
        if enough(&middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::Verdict;
    use super::super::simulation::{Noise, Source};
    use super::*;

    fn groups(values: &[f64], baseline: &[f64]) -> Sides {
        Sides::Groups(values.to_vec(), baseline.to_vec())
    }

    fn plan(groups: bool, worse: f64, margin: f64) -> Plan {
        let (different, cleared) = ((0.05, 4), (0.05, 4));
        let (spread, floor, clearable) = (0.1, 0.01, true);
        Plan { spread, groups, worse, floor, margin, clearable, different, cleared }
    }

    /// By the normal formula: 2 (1.96 + 0.842)² 0.1² / 0.1² = 15.7, and π/3 of it is 16.4; Student's
    /// quantiles add about one.
    #[test]
    fn a_difference_of_one_deviation_needs_seventeen_a_side() {
        let blocks = plan(true, 0.1, 0.05).needed().unwrap();
        assert!((17..=18).contains(&blocks), "{blocks}");
        let blocks = plan(false, 0.1, 0.05).needed().unwrap();
        assert!((9..=11).contains(&blocks), "{blocks}");
    }

    /// By the formula: (1.96 + 0.842)² (0.5 · 0.5 + 0.1 · 0.9) / 0.4² = 16.7.
    #[test]
    fn shares_need_what_the_formula_says() {
        assert_eq!(blocks_needed_of_shares((0.5, 0.1), &Rules::default()), Some(17));
        assert_eq!(blocks_needed_of_shares((0.5, 0.5), &Rules::default()), None);
        assert_eq!(blocks_needed_of_shares((0.0, 1.0), &Rules::default()), Some(4));
    }

    /// The experiment that the plan is for, made 300 times.
    #[rstest]
    #[case::slower(0.9)]
    #[case::same(1.0)]
    fn blocks_that_are_said_to_be_needed_do_tell(#[case] factor: f64) {
        let rules = Rules::default();
        let plan = Plan { spread: 0.05, ..plan(true, f64::ln(factor).abs(), rules.margin.ln_1p()) };
        let needed = plan.needed().unwrap();
        let mut source = Source::new(Noise::Normal, 3);
        let told = |_: &usize| {
            let slowed = source.blocks(needed).iter().map(|value| value * factor).collect();
            let sides = Sides::Groups(slowed, source.blocks(needed));
            sides.alone(&rules) == Verdict::Smaller || sides.excludes(false, rules.alpha, &rules)
        };
        let told = (0..300).filter(told).count();
        assert!((220..=285).contains(&told), "{needed} blocks told {told} of 300");
    }

    #[test]
    fn more_spread_and_more_lines_need_more() {
        let (a, b) = ([100.0, 104.0, 97.0], [90.0, 95.0, 87.0]);
        let of = |lines| {
            blocks_needed(&groups(&b, &a), false, lines, &Rules { lines, ..Rules::default() })
        };
        assert!(of(30) > of(1), "{:?} {:?}", of(30), of(1));
        let wide = groups(&[60.0, 95.0, 127.0], &[100.0, 140.0, 70.0]);
        assert!(blocks_needed(&wide, false, 1, &Rules::default()) > of(1));
        assert_eq!(blocks_needed(&groups(&[1.0], &[2.0]), false, 1, &Rules::default()), None);
    }

    /// Of a margin of 5 %: that it is a difference decides nothing then.
    #[test]
    fn what_is_worse_by_less_than_the_margin_needs_to_be_cleared() {
        let of = |factor: f64| {
            let values = |spread: f64| (0..10).map(move |i| 1.0 + spread * f64::from(i % 5));
            let slower: Vec<f64> = values(0.02).map(|value| value * factor).collect();
            let sides = groups(&slower, &values(0.021).collect::<Vec<_>>());
            blocks_needed(&sides, false, 1, &Rules::default())
        };
        let [same, slower, near] = [1.0, 0.98, 0.965].map(|factor| of(factor).unwrap());
        assert!(same < slower && slower < near && near > 50, "{same} {slower} {near}");
    }

    #[test]
    fn a_clear_difference_of_three_blocks_needs_a_fourth() {
        let sides = groups(&[45.0, 45.5, 44.5], &[100.0, 101.0, 99.0]);
        assert_eq!(
            blocks_needed(&sides, false, 1, &Rules { lines: 7, ..Rules::default() }),
            Some(4)
        );
    }
}
