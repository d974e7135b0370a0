//! The raw samples of a cell, block by block, in the order taken.

use meshbench::report::table::humanise;
use meshbench::stats::quantile;

use super::{Axis, Chart, Svg};
use crate::board::{Measured, Row};

/// More dots in a block are thinned out evenly; the result set has them all.
const MOST: usize = 120;

/// Of fewer, quartiles say no more than the dots.
const BOXED: usize = 4;

const WIDTH: f64 = 640.0;
const NAMES: f64 = 90.0;
const LINE: f64 = 26.0;

/// A picture for each metric that has samples.
pub(crate) fn charts(cells: &[Measured<'_>], rows: &[&Row]) -> Vec<Chart> {
    rows.iter().filter_map(|row| chart(cells, row)).collect()
}

fn chart(cells: &[Measured<'_>], row: &Row) -> Option<Chart> {
    let lines: Vec<Block> = cells.iter().filter_map(|cell| Block::of(cell, row)).collect();
    let values = lines.iter().flat_map(|it| it.samples.iter().chain([&it.value]).copied());
    let axis = Axis::of(values, NAMES + 10.0, WIDTH - 20.0)?;
    if lines.is_empty() {
        return None;
    }
    let bottom = lines.len() as f64 * LINE + 4.0;
    let mut svg = Svg::new(WIDTH, bottom + 20.0);
    axis.draw(&mut svg, row.about.unit, 2.0, bottom);
    for (at, block) in lines.iter().enumerate() {
        block.draw(&mut svg, &axis, at as f64 * LINE + 4.0);
    }
    let values: Vec<String> = lines.iter().map(|it| humanise(it.value, row.about.unit)).collect();
    let words = format!("{} by block: {}", row.about.metric, values.join(", "));
    let caption = format!(
        "{}: samples of each block, from top to bottom in the order taken; the box holds the middle half of all of them, \
         the line is the block's value.",
        row.about.metric
    );
    Some(Chart { svg: svg.finish(&words), caption })
}

/// The samples of a block.
struct Block {
    name: String,
    /// As many as are drawn.
    samples: Vec<f64>,
    /// The quartiles of all.
    middle: Option<(f64, f64)>,
    value: f64,
}

impl Block {
    fn of(cell: &Measured<'_>, row: &Row) -> Option<Self> {
        let metric = cell.record.metrics.iter().find(|it| it.name == row.about.metric)?;
        let all = &metric.samples;
        let every = all.len().div_ceil(MOST).max(1);
        (all.len() > 1).then(|| Self {
            name: format!("block {}", cell.record.key.block),
            samples: all.iter().step_by(every).copied().collect(),
            middle: (all.len() >= BOXED)
                .then(|| quantile(all, 0.25).zip(quantile(all, 0.75)))
                .flatten(),
            value: metric.value,
        })
    }

    fn draw(&self, svg: &mut Svg, axis: &Axis, top: f64) {
        svg.text("name end", (NAMES, top + LINE / 2.0 + 2.0), &self.name);
        if let Some((low, high)) = self.middle {
            let (left, right) = (axis.at(low), axis.at(high));
            svg.rect("box vpn", (left, top), ((right - left).max(1.0), LINE - 4.0));
        }
        for (place, sample) in self.samples.iter().enumerate() {
            // Downwards in the order taken, so that a drift is seen.
            let share = place as f64 / self.samples.len() as f64;
            svg.dot("sample", (axis.at(*sample), top + 2.0 + share * (LINE - 8.0)), 1.5);
        }
        let x = axis.at(self.value);
        svg.line("median vpn", (x, top), (x, top + LINE - 4.0));
    }
}
