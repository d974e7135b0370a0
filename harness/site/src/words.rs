//! Figures and findings in words.

use meshbench::report::table::RANKED_FROM;

use crate::board::Board;
use crate::rank::{Entry, Ranking};
use crate::score::MISSING;

/// What is measured without a VPN, as people read it.
pub(crate) const WIRE: &str = "The wire";

/// A factor to three digits, and no more precise than the scale is: `1.08`, `12.3`, `≥ 100`.
pub(crate) fn times(factor: f64) -> String {
    match factor {
        _ if factor >= MISSING * 0.9995 => "≥ 100".into(),
        _ if factor >= 9.995 => format!("{factor:.1}"),
        _ => format!("{factor:.2}"),
    }
}

/// `1`, or `1–3` where the rank is not known better.
pub(crate) fn ranks(entry: &Entry) -> String {
    let (best, worst) = (entry.place.best, entry.place.worst);
    if best == worst { best.to_string() } else { format!("{best}–{worst}") }
}

/// `A`, `A and B`, `A, B and C`.
pub(crate) fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).into(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// `1 block`, `5 blocks`.
pub(crate) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// How many of a reader's networks were measured, and all.
pub(crate) type Coverage = (usize, usize);

/// Who is best, and how sure that is. Nobody is for whom a part of the networks was measured only.
pub(crate) fn verdict(ranking: &Ranking, board: &Board<'_>, (some, all): Coverage) -> String {
    let first: Vec<&Entry> = ranking.entries.iter().filter(|entry| entry.place.tier == 1).collect();
    if first.is_empty() {
        return "Not measured yet.".into();
    }
    let title = |entry: &Entry| board.modules[entry.module].title.as_str();
    let names: Vec<&str> = first.iter().map(|entry| title(entry)).collect();
    let others = ranking.entries.len() - first.len();
    let blocks = match ranking.blocks {
        1 => "one block does not tell".to_owned(),
        blocks => format!("{blocks} blocks do not tell"),
    };
    let sentence = match (names.len(), others) {
        (1, 0) => format!("{} is the only one measured.", names[0]),
        (1, _) if first[0].place.worst == 1 => {
            let is = if some == all { "is best" } else { "leads there" };
            format!("{} {is}: {}.", names[0], behind(ranking))
        }
        (1, _) => format!("{} leads, though not everyone was shown to be worse.", names[0]),
        (all, 0) => format!("The {all} share a tier, and {blocks} them apart: {}.", list(&names)),
        (1..=4, _) => {
            format!("{} lead; {blocks} them apart.", list(&names))
        }
        (all, _) => format!(
            "{all} lead, and {blocks} them apart: {} and {} more.",
            names[..2].join(", "),
            all - 2
        ),
    };
    let (whole, broken): (Vec<&Entry>, Vec<&Entry>) =
        first.iter().partition(|entry| entry.whole == ranking.cells);
    let flaw = match (whole.as_slice(), broken.as_slice()) {
        (_, []) => String::new(),
        ([], [one]) => {
            format!(" Even it fails in {} of {} cells.", ranking.cells - one.whole, ranking.cells)
        }
        ([], _) => " None of them works in every cell.".into(),
        ([one], _) => format!(" Only {} works in every cell.", title(one)),
        (whole, _) => format!(" {} of them work in every cell.", whole.len()),
    };
    match (some, all) {
        _ if some == all => sentence + &flaw,
        _ => format!("{some} of {all} networks measured. {sentence}{flaw}"),
    }
}

/// In which way all others are behind the first: worse, or not there at all.
fn behind(ranking: &Ranking) -> String {
    let lost = |of: fn(&Entry) -> usize, all: usize| {
        let (best, others) = ranking.entries.split_first()?;
        let lost: Vec<usize> =
            others.iter().filter(|it| of(it) < of(best)).map(|it| all - of(it)).collect();
        let (least, most) = (*lost.iter().min()?, *lost.iter().max()?);
        let range = if least == most { most.to_string() } else { format!("{least}–{most}") };
        Some((lost.len() == others.len(), range))
    };
    let networks = lost(|it| it.works_on, ranking.networks).map(|(every, range)| {
        (every, format!("did not work on {range} of {} networks", ranking.networks))
    });
    let cells = lost(|it| it.whole, ranking.cells)
        .map(|(every, range)| (every, format!("failed in {range} of {} cells", ranking.cells)));
    let others = if ranking.entries.len() == 2 { "the other" } else { "the others" };
    match networks.or(cells) {
        None => "every other VPN was shown to be worse".into(),
        Some((true, what)) => format!("{others} {what}"),
        Some((false, what)) => format!("{others} were shown to be worse, or {what}"),
    }
}

/// Where a VPN gets through, and how.
pub(crate) fn reach(entry: &Entry, networks: usize) -> String {
    let direct = match entry.direct {
        0 => String::new(),
        direct if direct == entry.works_on => ", direct".into(),
        direct => format!(", {direct} direct"),
    };
    format!("connects on {} of {}{direct}", entry.works_on, count(networks, "network"))
}

/// How sure a ranking is.
pub(crate) fn surety(ranking: &Ranking) -> String {
    let pairs = ranking.entries.len() * ranking.entries.len().saturating_sub(1) / 2;
    let base = format!("{}, {}", count(ranking.cells, "cell"), count(ranking.blocks, "block"));
    match ranking.blocks {
        0 => base,
        1..=2 => format!("{base}: too few to tell anyone apart"),
        blocks if blocks < RANKED_FROM => {
            format!(
                "{base}: preliminary, {RANKED_FROM} are needed; 5 % error over all {pairs} comparisons"
            )
        }
        _ => format!("{base}; 5 % error over all {pairs} comparisons"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1.0, "1.00")]
    #[case(9.996, "10.0")]
    #[case(100.0, "≥ 100")]
    fn factors_have_three_digits(#[case] factor: f64, #[case] want: &str) {
        assert_eq!(times(factor), want);
    }

    #[test]
    fn names_are_listed_as_people_do() {
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(list(&["a"]), "a");
    }
}
