use comfy_table::Cell;

use super::{Change, Line};
use crate::report::table::{Style, factor, humanise, lines as drawn, ruled};
use crate::results::NoiseFloor;

/// The noise floor of each line of an A/A comparison: the farther end of the interval of its difference,
/// so what two measurements of one thing differ by at most, as far as these blocks can tell. `module` names
/// the thing. Lines of fewer than three blocks have none.
pub fn floors(lines: &[Line], module: Option<&str>) -> Vec<NoiseFloor> {
    lines.iter().filter_map(|line| floor(line, module)).collect()
}

fn floor(line: &Line, module: Option<&str>) -> Option<NoiseFloor> {
    let farther = |[low, high]: [f64; 2]| low.abs().max(high.abs());
    let relative = line.ratio_interval.map(|ends| farther(ends.map(f64::ln)).exp_m1());
    let absolute = line.difference_interval.map(farther);
    relative.or(absolute).filter(|floor| floor.is_finite())?;
    Some(NoiseFloor {
        scenario: line.scenario.clone(),
        workload: line.workload.clone(),
        module: module.unwrap_or(&line.module).into(),
        metric: line.metric.clone(),
        unit: line.unit,
        relative,
        absolute,
        blocks: line.a.measured.min(line.b.measured),
    })
}

/// Draws the floors, and says which lines differ although they are of one thing.
pub fn render_floors(floors: &[NoiseFloor], lines: &[Line], style: Style) -> String {
    let header = ["scenario", "workload", "metric", "module", "noise floor", "blocks"];
    let mut table = ruled(style, &header, 4..=5);
    for floor in floors {
        let size = match (floor.relative, floor.absolute) {
            (Some(share), _) => format!("{} %", factor(share * 100.0)),
            (None, absolute) => humanise(absolute.unwrap_or(0.0), floor.unit),
        };
        let names = [&floor.scenario, &floor.workload, &floor.metric, &floor.module];
        let mut row: Vec<Cell> = names.map(Cell::new).into();
        row.extend([Cell::new(size), Cell::new(floor.blocks)]);
        table.add_row(row);
    }
    let mut out = vec![drawn(&table)];
    let differs = |line: &&Line| {
        matches!(line.change, Change::Better | Change::Worse | Change::Differs | Change::Lost)
    };
    out.extend(lines.iter().filter(differs).map(|line| {
        let Line { scenario, workload, metric, module, .. } = line;
        format!("! {module} {scenario} {workload} {metric} differs although it is one thing: more than noise is at work")
    }));
    out.join("\n") + "\n"
}
