//! A row of the table, drawn: each block a dot, the interval of the median a box.

use meshbench::report::table::humanise;
use meshbench::results::Better;

use super::{Axis, Chart, Svg, Whose};
use crate::board::{Board, Figure, Row};

const WIDTH: f64 = 640.0;
const NAMES: f64 = 130.0;
const LINE: f64 = 20.0;

/// The picture of a row; none where fewer than two have figures.
pub(crate) fn chart(board: &Board<'_>, row: &Row) -> Option<Chart> {
    let mut lines: Vec<(Whose<'_>, &Figure)> = board
        .modules
        .iter()
        .zip(&row.figures)
        .filter(|(_, figure)| figure.median.is_some())
        .map(|(module, figure)| (Whose::Vpn(&module.title), figure))
        .collect();
    let median = |figure: &Figure| figure.median.unwrap_or(0.0);
    lines.sort_by(|a, b| median(a.1).total_cmp(&median(b.1)));
    if row.about.better == Better::Higher {
        lines.reverse();
    }
    if row.wire.median.is_some() {
        lines.insert(0, (Whose::Wire, &row.wire));
    }
    if lines.len() < 2 {
        return None;
    }
    let values = lines.iter().flat_map(|(_, figure)| figure.values.values().copied());
    let axis = Axis::of(values, NAMES + 10.0, WIDTH - 20.0)?;
    let bottom = lines.len() as f64 * LINE + 6.0;
    let mut svg = Svg::new(WIDTH, bottom + 20.0);
    axis.draw(&mut svg, row.about.unit, 2.0, bottom);
    for (at, (whose, figure)) in lines.iter().enumerate() {
        strip(&mut svg, &axis, at as f64 * LINE + LINE / 2.0 + 2.0, *whose, figure);
    }
    let first = lines.iter().find(|(whose, _)| *whose != Whose::Wire).or(lines.first())?;
    let last = lines.last()?;
    let better = match row.about.better {
        Better::Lower => "Less is better.",
        Better::Higher => "More is better.",
        Better::Neutral => "Neither side is better.",
    };
    let shown = |figure: &Figure| humanise(median(figure), row.about.unit);
    let words = format!(
        "{} {}: from {} ({}) to {} ({}).",
        row.workload,
        row.about.metric,
        first.0.title(),
        shown(first.1),
        last.0.title(),
        shown(last.1)
    );
    let caption = format!(
        "{} {}. Each dot is a block, the box the 95 % interval of the median. {better}",
        row.workload, row.about.metric
    );
    Some(Chart { svg: svg.finish(&words), caption })
}

fn strip(svg: &mut Svg, axis: &Axis, y: f64, whose: Whose<'_>, figure: &Figure) {
    let kind = whose.class();
    svg.text("name end", (NAMES, y + 4.0), whose.title());
    if let Some(interval) = figure.interval {
        let (low, high) = (axis.at(interval.low), axis.at(interval.high));
        svg.rect(&format!("box {kind}"), (low, y - 7.0), ((high - low).max(1.0), 14.0));
    }
    for value in figure.values.values() {
        svg.dot(&format!("dot {kind}"), (axis.at(*value), y), 3.0);
    }
    if let Some(median) = figure.median {
        let x = axis.at(median);
        svg.line(&format!("median {kind}"), (x, y - 8.0), (x, y + 8.0));
    }
}
