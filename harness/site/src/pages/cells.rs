//! Cells of the tables, as markup. Compact, because there are many: what a class means is in `site.css`.

use std::fmt::Write;

use meshbench::report::Sign;
use meshbench::report::compare::Lack;
use meshbench::report::table::{bare_interval, humanise};

use crate::board::{Figure, Row};
use crate::score::geometric_mean;
use crate::words::times;

/// Upper ends of the classes of colour, by how many times as bad as the wire.
const CLASSES: [f64; 8] = [1.03, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 20.0];

/// Class of colour of a factor, 0 being the wire.
pub(crate) fn class(factor: f64) -> usize {
    CLASSES.iter().position(|end| factor <= *end).unwrap_or(CLASSES.len())
}

/// How rows of several networks look together.
pub(crate) struct Together {
    /// The geometric mean of what they count for.
    pub(crate) factor: Option<f64>,
    /// The same of those with figures in every block.
    pub(crate) works: Option<f64>,
    /// Cells with figures in every block, and all.
    pub(crate) whole: (usize, usize),
    /// Next to the wire.
    pub(crate) sign: Option<Sign>,
}

/// Rows of a module taken together.
pub(crate) fn together(rows: &[&Row], module: usize) -> Together {
    let scored = || rows.iter().filter(|row| row.weight > 0.0);
    let factor = geometric_mean(scored().filter_map(|row| row.weighted(module)));
    let is_whole = |row: &&&Row| row.figures[module].is_whole();
    let works = scored().filter(is_whole).filter_map(|row| row.weighted(module));
    let works = geometric_mean(works);
    let whole = rows.iter().filter(is_whole).count();
    let all: Vec<&Figure> = rows.iter().map(|row| &row.figures[module]).collect();
    let sign = |row: &&Row| {
        row.figures[module].verdict.map(|verdict| Sign::compared(verdict, row.about.better))
    };
    let sign = if all.iter().any(|figure| figure.alarm) {
        Some(Sign::Doubtful)
    } else if rows.iter().any(|row| sign(row) == Some(Sign::Worse)) {
        Some(Sign::Worse)
    } else if rows.iter().all(|row| sign(row) == Some(Sign::Alike)) {
        Some(Sign::Alike)
    } else {
        rows.iter().any(|row| sign(row).is_some()).then_some(Sign::Undecided)
    };
    Together { factor, works, whole: (whole, rows.len()), sign }
}

/// Nothing where there is none.
fn shown(sign: Option<Sign>) -> &'static str {
    sign.map_or("", Sign::text)
}

/// A cell of the table over networks: the figure where it works; the colour counts what is missing, too.
pub(crate) fn over_networks(rows: &[&Row], module: usize) -> String {
    let Together { factor, works, whole: (whole, all), sign } = together(rows, module);
    if rows.iter().all(|row| row.figures[module].measured() == 0) {
        let tried = rows.iter().any(|row| row.figures[module].tried > 0);
        return if tried { "<td class=x>✗" } else { "<td class=none>–" }.into();
    }
    let mut cell = match factor {
        Some(factor) => {
            let times = times(works.unwrap_or(factor));
            format!("<td class=r{}>{times}{}", class(factor), shown(sign))
        }
        None => "<td>·".into(),
    };
    if whole < all {
        let _ = write!(cell, "<br><s>{whole}/{all}</s>");
    }
    cell
}

/// A cell of the table of one network: value and interval, factor and sign, and the way to its evidence.
pub(crate) fn of_network(row: &Row, module: Option<usize>, href: &str) -> String {
    let figure = module.map_or(&row.wire, |module| &row.figures[module]);
    let Some(median) = figure.median else {
        let nothing = if figure.untold > 0 { "not told" } else { "not tried" };
        let word = figure.problem.map_or(nothing, Lack::word);
        let mark = if figure.problem == Some(Lack::Failed) { "✗ " } else { "" };
        let class = if figure.problem.is_some() { "x" } else { "none" };
        if figure.tried + figure.untold == 0 || href.is_empty() {
            return format!("<td class={class}>{mark}{word}");
        }
        return format!("<td class={class}><a href=\"{href}#{}\">{mark}{word}</a>", row.workload);
    };
    let factor = figure.factor.filter(|_| module.is_some());
    let mut cell = match factor {
        Some(factor) => format!("<td class=r{}>", class(factor)),
        None => "<td>".into(),
    };
    let value = humanise(median, row.about.unit);
    if href.is_empty() {
        cell += &value;
    } else {
        let _ = write!(cell, "<a href=\"{href}#{}\">{value}</a>", row.workload);
    }
    if let Some(interval) = figure.interval {
        let text = bare_interval(interval.low, interval.high, median, row.about.unit);
        let _ = write!(cell, "<br><small>{text}</small>");
    }
    if let Some(factor) = factor {
        let sign = together(&[row], module.unwrap_or_default()).sign;
        let _ = write!(cell, "<br><b>{}{}</b>", times(factor), shown(sign));
    }
    if figure.measured() < figure.tried {
        let _ = write!(cell, " <s>{}/{}</s>", figure.measured(), figure.tried);
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_colour_do_not_move_with_the_entrants() {
        assert_eq!(class(1.0), 0);
        assert_eq!(class(1.2), 2);
        assert_eq!(class(4.0), 6);
        assert_eq!(class(100.0), 8);
    }
}
