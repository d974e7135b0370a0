//! The raw samples of a cell, block by block, in the order taken.

use meshbench::report::table::humanise;

use super::{Axis, Chart, Svg};
use crate::board::{Measured, Row};

/// More dots in a block are thinned out evenly; the result set has them all.
const MOST: usize = 120;

const WIDTH: f64 = 640.0;
const NAMES: f64 = 90.0;
const LINE: f64 = 26.0;

/// A picture for each metric that has samples.
pub(crate) fn charts(cells: &[Measured<'_>], rows: &[&Row]) -> Vec<Chart> {
    rows.iter().filter_map(|row| chart(cells, row)).collect()
}

fn chart(cells: &[Measured<'_>], row: &Row) -> Option<Chart> {
    let own = |cell: &Measured<'_>| {
        let metric = cell.record.metrics.iter().find(|it| it.name == row.about.metric)?;
        let samples = &metric.samples;
        let every = samples.len().div_ceil(MOST).max(1);
        let thin: Vec<f64> = samples.iter().step_by(every).copied().collect();
        (thin.len() > 1).then(|| (format!("block {}", cell.record.key.block), thin, metric.value))
    };
    let lines: Vec<(String, Vec<f64>, f64)> = cells.iter().filter_map(own).collect();
    let values = lines.iter().flat_map(|(_, all, value)| all.iter().chain([value]).copied());
    let axis = Axis::of(values, NAMES + 10.0, WIDTH - 20.0)?;
    if lines.is_empty() {
        return None;
    }
    let bottom = lines.len() as f64 * LINE + 4.0;
    let mut svg = Svg::new(WIDTH, bottom + 20.0);
    axis.draw(&mut svg, row.about.unit, 2.0, bottom);
    for (at, (name, all, value)) in lines.iter().enumerate() {
        let top = at as f64 * LINE + 4.0;
        svg.text("name end", (NAMES, top + LINE / 2.0 + 2.0), name);
        for (place, sample) in all.iter().enumerate() {
            // Downwards in the order taken, so that a drift is seen.
            let share = place as f64 / all.len() as f64;
            svg.dot("sample", (axis.at(*sample), top + 2.0 + share * (LINE - 8.0)), 1.5);
        }
        let x = axis.at(*value);
        svg.line("median vpn", (x, top), (x, top + LINE - 4.0));
    }
    let values: Vec<String> =
        lines.iter().map(|(_, _, value)| humanise(*value, row.about.unit)).collect();
    let words = format!("{} by block: {}", row.about.metric, values.join(", "));
    let caption = format!(
        "{}: samples of each block, from top to bottom in the order taken; the line is the block's value.",
        row.about.metric
    );
    Some(Chart { svg: svg.finish(&words), caption })
}
