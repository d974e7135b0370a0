//! How samples are distributed: of all packets, how many took no longer.

use meshbench::report::table::humanise;
use meshbench::results::Unit;
use meshbench::stats::quantile;

use super::{Axis, Chart, Svg, Whose};
use crate::board::{Board, Row};

/// Of fewer samples a distribution says nothing.
const LEAST: usize = 20;

/// Points that a line is drawn with.
const POINTS: usize = 60;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 22.0;
const NAMES: f64 = 130.0;

/// The distributions of a row in milliseconds, one below the other; none where nobody has enough samples.
pub(crate) fn chart(board: &Board<'_>, row: &Row) -> Option<Chart> {
    if row.about.unit != Unit::Milliseconds {
        return None;
    }
    let scenario = &board.scenarios[row.scenario].name;
    let samples = |module: &str| -> Vec<f64> {
        let cells = board.cell(scenario, &row.workload, module).iter();
        let metrics = cells.flat_map(|cell| &cell.record.metrics);
        metrics.filter(|it| it.name == row.about.metric).flat_map(|it| it.samples.clone()).collect()
    };
    let wire = (Whose::Wire, samples(meshbench::results::INTERNAL));
    let modules = board.modules.iter().map(|it| (Whose::Vpn(&it.title), samples(&it.name)));
    let mut lines: Vec<(Whose<'_>, Vec<f64>)> =
        modules.filter(|(_, all)| all.len() >= LEAST).collect();
    if lines.is_empty() {
        return None;
    }
    lines.sort_by(|a, b| middle(&a.1).total_cmp(&middle(&b.1)));
    if wire.1.len() >= LEAST {
        lines.insert(0, wire);
    }
    let ends = lines.iter().flat_map(|(_, all)| [quantile(all, 0.005), quantile(all, 0.995)]);
    let axis = Axis::of(ends.flatten(), NAMES + 10.0, WIDTH - 20.0)?;
    let bottom = lines.len() as f64 * (HEIGHT + 6.0) + 6.0;
    let mut svg = Svg::new(WIDTH, bottom + 20.0);
    axis.draw(&mut svg, row.about.unit, 2.0, bottom);
    for (at, (whose, all)) in lines.iter().enumerate() {
        let base = (at + 1) as f64 * (HEIGHT + 6.0);
        svg.text("name end", (NAMES, base - 6.0), whose.title());
        svg.line("base", (NAMES + 10.0, base), (WIDTH - 20.0, base));
        let share = (0..=POINTS).map(|point| point as f64 / POINTS as f64);
        let points =
            share.filter_map(|share| Some((axis.at(quantile(all, share)?), base - share * HEIGHT)));
        svg.path(&format!("curve {}", whose.class()), points);
    }
    let worst = lines.iter().max_by(|a, b| tail(&a.1).total_cmp(&tail(&b.1)))?;
    let words = format!(
        "{} {}: medians from {} to {}; the longest tail is that of {}, of which 5 % take more than {}.",
        row.workload,
        row.about.metric,
        humanise(middle(&lines.first()?.1), row.about.unit),
        humanise(middle(&lines.last()?.1), row.about.unit),
        worst.0.title(),
        humanise(tail(&worst.1), row.about.unit)
    );
    let caption = format!(
        "{} {}, all samples of all blocks: each line rises from no packet to all of them, from left to right as they \
         take longer. A steep line is steady, a long foot to the right a bad tail.",
        row.workload, row.about.metric
    );
    Some(Chart { svg: svg.finish(&words), caption })
}

fn middle(all: &[f64]) -> f64 {
    quantile(all, 0.5).unwrap_or(0.0)
}

fn tail(all: &[f64]) -> f64 {
    quantile(all, 0.95).unwrap_or(0.0)
}
