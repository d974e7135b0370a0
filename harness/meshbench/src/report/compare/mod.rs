//! Two runs side by side, or two modules of one run: what changed, and what may be said of it.

mod cells;
mod line;
mod testbed;
mod text;

pub use line::{Change, Line, Side, Threshold};
pub use testbed::differences;
pub use text::{Names, render};

use cells::{Cell, Cells};

use crate::results::{CellRecord, ResultSet};
use crate::stats::holm;

/// Which cells to compare; an empty list is all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Names of modules.
    pub modules: Vec<String>,
    /// Names of scenarios.
    pub scenarios: Vec<String>,
    /// Names of workloads.
    pub workloads: Vec<String>,
}

impl Filter {
    fn keeps(&self, cell: &CellRecord) -> bool {
        let among = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        among(&self.modules, &cell.key.module)
            && among(&self.scenarios, &cell.key.scenario)
            && among(&self.workloads, &cell.key.workload)
    }
}

/// Compares run `b` with run `a`, cell by cell, for all that both were asked to measure. Their blocks
/// are two groups, since nothing pairs them. `noise_floor` is the relative difference below which
/// nothing differs.
pub fn runs(a: &ResultSet, b: &ResultSet, filter: &Filter, noise_floor: f64) -> Vec<Line> {
    let asked = |set: &ResultSet, cell: &Cell| {
        set.run.asks_for(&cell.scenario, &cell.workload)
            && set.run.modules.iter().any(|it| it.name == cell.module)
    };
    let (of_a, of_b) = (Cells::of(a, |cell| filter.keeps(cell)), Cells::of(b, |c| filter.keeps(c)));
    let mut lines = Vec::new();
    for cell in of_a.names().chain(of_b.names().filter(|cell| !of_a.has(cell))) {
        if asked(a, cell) && asked(b, cell) {
            let sides = (of_a.blocks(cell), of_b.blocks(cell));
            lines.extend(line::lines(
                cell,
                sides,
                line::Pairing::Groups,
                (a.run.seed, noise_floor),
            ));
        }
    }
    judged(order(lines, a))
}

/// Compares module `b` of a run with module `a` of it, block by block.
pub fn modules(
    set: &ResultSet,
    (a, b): (&str, &str),
    filter: &Filter,
    noise_floor: f64,
) -> Vec<Line> {
    let of = |module: &str| {
        Cells::of(set, |cell| cell.key.module == module && filter.keeps(cell)).renamed(b)
    };
    let (of_a, of_b) = (of(a), of(b));
    let mut lines = Vec::new();
    for cell in of_a.names().chain(of_b.names().filter(|cell| !of_a.has(cell))) {
        let sides = (of_a.blocks(cell), of_b.blocks(cell));
        lines.extend(line::lines(cell, sides, line::Pairing::Blocks, (set.run.seed, noise_floor)));
    }
    judged(order(lines, set))
}

/// In the order of the run: scenarios, workloads by name, metrics as recorded, `internal` first.
fn order(mut lines: Vec<Line>, set: &ResultSet) -> Vec<Line> {
    let place = |line: &Line| {
        let scenario = set.run.scenarios.iter().position(|it| it.name == line.scenario);
        let module = set.run.modules.iter().position(|it| it.name == line.module);
        let module = if line.is_wire() { None } else { Some(module.unwrap_or(usize::MAX)) };
        (scenario.unwrap_or(usize::MAX), line.workload.clone(), line.place, module)
    };
    lines.sort_by_key(place);
    lines
}

/// Corrects for the number of comparisons, then says what each is.
fn judged(mut lines: Vec<Line>) -> Vec<Line> {
    let tested: Vec<f64> = lines.iter().filter_map(|line| line.p).collect();
    let mut adjusted = holm(&tested).into_iter();
    for line in &mut lines {
        line.p_adjusted = line.p.and_then(|_| adjusted.next());
        line.judge(tested.len());
    }
    lines
}

#[cfg(test)]
mod tests;
