use super::sides::Sides;
use super::together::{Comparison, together};
use super::verdict::{Rules, Verdict};

/// Where an entry stands among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of its tier, from 1.
    pub tier: usize,
    /// The best rank that it may have: one more than there are entries shown to be better.
    pub best: usize,
    /// The worst rank that it may have.
    pub worst: usize,
}

/// Places of entries, in the order given. A lower score is better; `sides` are the values of entry `i` and,
/// as their baseline, of entry `j`, larger being worse. All pairs are tested and corrected together by
/// Holm's method, so that `rules.lines` is not looked at.
///
/// A tier begins with the best score that is left; whoever is not shown to be worse than that is in it.
pub fn places(
    scores: &[f64],
    sides: impl Fn(usize, usize) -> Option<Sides>,
    rules: &Rules,
) -> Vec<Place> {
    let n = scores.len();
    let worse = shown_to_be_worse(n, sides, rules);
    let count = |i: usize, is: &dyn Fn(usize) -> bool| (0..n).filter(|j| *j != i && is(*j)).count();
    let mut tiers = vec![0; n];
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let (mut tier, mut first) = (0, None);
    for entry in order {
        if first.is_none_or(|first: usize| worse[entry][first]) {
            (tier, first) = (tier + 1, Some(entry));
        }
        tiers[entry] = tier;
    }
    let place = |i: usize| Place {
        tier: tiers[i],
        best: 1 + count(i, &|j| worse[i][j]),
        worst: n - count(i, &|j| worse[j][i]),
    };
    (0..n).map(place).collect()
}

/// Whether entry `i` was shown to be worse than `j`, by row and column.
fn shown_to_be_worse(
    n: usize,
    sides: impl Fn(usize, usize) -> Option<Sides>,
    rules: &Rules,
) -> Vec<Vec<bool>> {
    let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
    let pairs: Vec<(usize, usize, Sides)> =
        pairs.filter_map(|(i, j)| Some((i, j, sides(i, j)?))).collect();
    let one = |sides| Comparison { sides, rules: *rules, larger_is_worse: true };
    let asked: Vec<Comparison<'_>> = pairs.iter().map(|(_, _, sides)| one(sides)).collect();
    let mut worse = vec![vec![false; n]; n];
    for ((i, j, _), judged) in pairs.iter().zip(together(&asked)) {
        match judged.verdict {
            Verdict::Larger => worse[*i][*j] = true,
            Verdict::Smaller => worse[*j][*i] = true,
            Verdict::Alike | Verdict::Undecided => {}
        }
    }
    worse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(entries: &[[f64; 7]]) -> Vec<(usize, usize, usize)> {
        let sides = |i: usize, j: usize| {
            Some(Sides::Pairs(entries[i].into_iter().zip(entries[j]).collect()))
        };
        let scores: Vec<f64> = entries.iter().map(|values| values[3]).collect();
        let places = places(&scores, sides, &Rules::default());
        places.into_iter().map(|place| (place.tier, place.best, place.worst)).collect()
    }

    const FAST: [f64; 7] = [1.0, 1.02, 1.01, 1.03, 1.04, 1.05, 1.06];

    fn times(factor: f64) -> [f64; 7] {
        let mut values = FAST.map(|value| value * factor);
        // Not all by the same factor, as nothing ever is.
        values[0] *= 1.001;
        values
    }

    #[test]
    fn what_is_told_apart_has_a_rank_of_its_own_and_what_is_not_shares_one() {
        let got = standing(&[times(2.0), FAST, times(1.001), times(4.0)]);
        assert_eq!(got, [(2, 3, 3), (1, 1, 2), (1, 1, 2), (3, 4, 4)]);
    }

    #[test]
    fn one_block_puts_all_into_one_tier() {
        let places = places(
            &[1.0, 5.0],
            |i, j| Some(Sides::Pairs(vec![([1.0, 5.0][i], [1.0, 5.0][j])])),
            &Rules::default(),
        );
        assert!(places.iter().all(|place| (place.tier, place.best, place.worst) == (1, 1, 2)));
    }

    #[test]
    fn entries_that_cannot_be_compared_are_not_told_apart() {
        let places = places(&[1.0, 5.0], |_, _| None, &Rules::default());
        assert!(places.iter().all(|place| place.tier == 1));
    }

    #[test]
    fn an_entry_that_leaves_changes_no_order_of_the_others() {
        let all = standing(&[times(2.0), FAST, times(4.0)]);
        let two = standing(&[times(2.0), FAST]);
        assert_eq!(all[..2], two[..]);
    }
}
