use super::ranks::holm;
use super::sides::Sides;
use super::verdict::{Rules, Verdict};

/// One of the comparisons that are made at once.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// What is compared.
    pub sides: &'a Sides,
    /// How; `lines` is not looked at, and `alpha` is shared by all.
    pub rules: Rules,
    /// Which direction is worse.
    pub larger_is_worse: bool,
}

/// What may be said of it, among all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Two-sided p-value of this comparison alone.
    pub p: Option<f64>,
    /// The same, corrected by Holm's method.
    pub p_adjusted: Option<f64>,
    /// What it is.
    pub verdict: Verdict,
    /// Whether it is excluded that values are worse by the margin, whatever else they are.
    pub no_worse: bool,
}

/// Judges comparisons that are made at once. As likely as `alpha` at most are: any difference where there is none,
/// anything alike that is not, anything excluded that is so.
pub fn together(all: &[Comparison<'_>]) -> Vec<Judged> {
    let lines = all.iter().filter(|it| it.sides.sound()).count().max(1);
    let all: Vec<Comparison<'_>> =
        all.iter().map(|it| Comparison { rules: Rules { lines, ..it.rules }, ..*it }).collect();
    let tested: Vec<Option<f64>> =
        all.iter().map(|it| it.sides.test(&it.rules).map(|(_, p)| p)).collect();
    let mut adjusted = holm(&tested.iter().flatten().copied().collect::<Vec<_>>()).into_iter();
    let alike = cleared(&all, |it, alpha| it.sides.is_alike(alpha, &it.rules));
    let no_worse =
        cleared(&all, |it, alpha| it.sides.excludes(it.larger_is_worse, alpha, &it.rules));
    let judge = |(((it, p), alike), no_worse): (((&Comparison<'_>, Option<f64>), bool), bool)| {
        let p_adjusted = p.and_then(|_| adjusted.next());
        let verdict = it.sides.verdict_if(p_adjusted, alike, &it.rules);
        Judged { p, p_adjusted, verdict, no_worse }
    };
    all.iter().zip(tested).zip(alike).zip(no_worse).map(judge).collect()
}

/// Holm's procedure for what intervals clear: each is asked with its share of alpha, and whoever is cleared leaves
/// that to the others.
fn cleared(all: &[Comparison<'_>], clears: impl Fn(&Comparison<'_>, f64) -> bool) -> Vec<bool> {
    let mut cleared = vec![false; all.len()];
    loop {
        let open = all.iter().zip(&cleared).filter(|(it, cleared)| !**cleared && it.sides.sound());
        let share = open.count().max(1) as f64;
        let ask = |(it, cleared): (&Comparison<'_>, &bool)| {
            *cleared || clears(it, it.rules.alpha / share)
        };
        let now: Vec<bool> = all.iter().zip(&cleared).map(ask).collect();
        if now == cleared {
            return cleared;
        }
        cleared = now;
    }
}

/// What a look of several may spend of `alpha`: half of what those before have left, so that all of them together
/// are as often wrong as one. Whoever looks again and again finds a difference at last.
pub fn alpha_of_look(alpha: f64, look: u32) -> f64 {
    alpha * 0.5_f64.powi(i32::try_from(look).unwrap_or(i32::MAX))
}

/// Blocks a side to have at the next look: what those that are open need, at most twice what is there, since the
/// need is known no better than the spread. `None` where no number up to `most` would tell.
pub fn next_look(there: u32, needs: &[Option<usize>], most: u32) -> Option<u32> {
    let within = |needed: &Option<usize>| {
        needed.and_then(|it| u32::try_from(it).ok()).filter(|it| *it <= most)
    };
    let needed = needs.iter().filter_map(within).max();
    // Of fewer than five blocks nobody knows the spread.
    let needed = needed.or((there < 5).then_some(5))?;
    let next = needed.clamp(there + 1, 2 * there).min(most);
    (next > there).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparisons(all: &[Sides]) -> Vec<Judged> {
        let one = |sides| Comparison { sides, rules: Rules::default(), larger_is_worse: false };
        together(&all.iter().map(one).collect::<Vec<_>>())
    }

    /// `count` values a side of a spread of 2 %, the first side's times `factor`.
    fn sides(count: usize, factor: f64) -> Sides {
        let values = |step: usize| {
            (0..count).map(move |i| 1.0 + 0.02 * ((i * step % count) as f64 / count as f64))
        };
        Sides::Groups(values(3).map(|value| value * factor).collect(), values(5).collect())
    }

    #[test]
    fn what_is_cleared_alone_is_not_cleared_among_many_that_are_not() {
        let near = || sides(7, 0.963);
        assert!(comparisons(&[near()])[0].no_worse);
        let mut many: Vec<Sides> = (0..29).map(|_| sides(7, 0.9)).collect();
        many.push(near());
        assert!(!comparisons(&many)[29].no_worse);
    }

    #[test]
    fn what_is_cleared_leaves_its_share_to_the_others() {
        let mut many: Vec<Sides> = (0..29).map(|_| sides(7, 1.0)).collect();
        many.push(sides(7, 0.963));
        assert!(comparisons(&many).iter().all(|it| it.no_worse));
    }

    #[test]
    fn three_blocks_clear_nothing_and_steps_need_as_many_as_ranks_do() {
        assert!(!comparisons(&[sides(3, 1.0)])[0].no_worse);
        let zeros = |blocks: usize| {
            let sides = Sides::Pairs(vec![(0.0, 0.0); blocks]);
            let rules = Rules { slack: 0.1, ..Rules::default() };
            together(&[Comparison { sides: &sides, rules, larger_is_worse: true }])[0]
        };
        assert_eq!(zeros(5).verdict, Verdict::Undecided);
        assert!(zeros(6).verdict == Verdict::Alike && zeros(6).no_worse);
    }

    #[test]
    fn noise_above_the_margin_clears_nothing() {
        for (floor, alike) in [(0.04, Verdict::Alike), (0.06, Verdict::Undecided)] {
            let (sides, rules) = (sides(9, 1.0), Rules { floor, ..Rules::default() });
            let judged =
                together(&[Comparison { sides: &sides, rules, larger_is_worse: false }])[0];
            assert_eq!((judged.verdict, judged.no_worse), (alike, floor < 0.05));
            assert_eq!(sides.alone(&rules), alike);
        }
    }

    #[test]
    fn all_looks_together_are_as_often_wrong_as_one() {
        let spent: f64 = (1..50).map(|look| alpha_of_look(0.05, look)).sum();
        assert!(spent <= 0.05);
    }

    #[test]
    fn a_step_is_at_most_twice_what_is_there_and_never_beyond_the_limit() {
        assert_eq!(next_look(5, &[Some(7), None], 60), Some(7));
        assert_eq!(next_look(5, &[Some(40)], 60), Some(10));
        assert_eq!(next_look(40, &[Some(60), Some(70)], 60), Some(60));
        assert_eq!(next_look(60, &[Some(61)], 60), None);
        assert_eq!(next_look(5, &[None], 60), None);
        assert_eq!(next_look(3, &[None], 60), Some(5));
    }
}
