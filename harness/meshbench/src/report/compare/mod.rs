//! Two runs side by side, or two modules of one run: what changed, and what may be said of it.

mod cells;
mod line;
mod noise;
mod testbed;
mod text;

pub use line::{Change, Line, Side, Threshold};
pub use noise::{floors, render_floors};
pub use testbed::{contents, differences};
pub use text::{Names, render};

use cells::{Blocks, Cell, Cells};
use line::{Kind, Layout, Pairing};

pub use super::metric::Lack;

use super::comparable::{clock, comparable};
use crate::results::{CellRecord, NoiseRecord, ResultSet};
use crate::stats::{Rules, SIGNIFICANT, together};

/// What is asked of a comparison.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Of which cells.
    pub filter: Filter,
    /// What difference is of consequence: what lies within is alike.
    pub threshold: Threshold,
    /// What an A/A run has shown; without one, nothing differs below 1 %.
    pub noise: Option<&'a NoiseRecord>,
    /// Probability that is put up with of one false difference among all lines, and of one that is cleared falsely.
    pub alpha: f64,
}

impl Default for Question<'_> {
    fn default() -> Self {
        let threshold = Threshold(crate::stats::DEFAULT_MARGIN);
        Self { filter: Filter::default(), threshold, noise: None, alpha: SIGNIFICANT }
    }
}

/// Two sides whose figures mean different things.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cell} was measured by the clock `{a}` and by the clock `{b}`: clocks are never compared")]
#[non_exhaustive]
pub struct Incomparable {
    cell: String,
    a: &'static str,
    b: &'static str,
}

/// Which cells to compare; an empty list is all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Names of modules.
    pub modules: Vec<String>,
    /// Names of scenarios.
    pub scenarios: Vec<String>,
    /// Names of workloads.
    pub workloads: Vec<String>,
    /// Names of metrics; that blocks failed, and that nothing was measured, is always told.
    pub metrics: Vec<String>,
}

impl Filter {
    fn keeps_line(&self, line: &Line) -> bool {
        let told = line.metric.is_empty() || line.metric == line::FAILED;
        told || self.metrics.is_empty() || self.metrics.contains(&line.metric)
    }

    fn keeps(&self, cell: &CellRecord) -> bool {
        let among = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        among(&self.modules, &cell.key.module)
            && among(&self.scenarios, &cell.key.scenario)
            && among(&self.workloads, &cell.key.workload)
    }
}

/// Compares run `b` with run `a`, cell by cell, for all that both were asked to measure. Their blocks
/// are two groups, since nothing pairs them; only in virtual time and of one seed do blocks of the same
/// number share all that is random.
///
/// # Errors
/// If a cell was measured by different clocks.
pub fn runs(
    a: &ResultSet,
    b: &ResultSet,
    question: &Question<'_>,
) -> Result<Vec<Line>, Incomparable> {
    let asked = |set: &ResultSet, cell: &Cell| {
        set.run.asks_for(&cell.scenario, &cell.workload)
            && set.run.modules.iter().any(|it| it.name == cell.module)
    };
    let keep = |cell: &CellRecord| question.filter.keeps(cell);
    let (of_a, of_b) = (Cells::of(a, keep), Cells::of(b, keep));
    let in_both = |cell: &Cell| asked(a, cell) && asked(b, cell);
    let lines = side_by_side((&of_a, &of_b), in_both, of_two_runs(a, b), question.noise)?;
    Ok(judged(order(lines, a), question, a.run.seed))
}

/// Compares module `b` of a run with module `a` of it, block by block.
///
/// # Errors
/// If a cell was measured by different clocks.
pub fn modules(
    set: &ResultSet,
    (a, b): (&str, &str),
    question: &Question<'_>,
) -> Result<Vec<Line>, Incomparable> {
    let of = |module: &str| {
        let keep = |cell: &CellRecord| cell.key.module == module && question.filter.keeps(cell);
        Cells::of(set, keep).renamed(b)
    };
    let (of_a, of_b) = (of(a), of(b));
    let lines = side_by_side((&of_a, &of_b), |_| true, OF_ONE_RUN, question.noise)?;
    Ok(judged(order(lines, set), question, set.run.seed))
}

const OF_ONE_RUN: Layout = Layout { two_runs: false, pairing: Pairing::Blocks };

fn of_two_runs(a: &ResultSet, b: &ResultSet) -> Layout {
    let mut cells = a.cells.iter().chain(&b.cells);
    let paired = a.run.seed == b.run.seed && cells.all(|cell| !cell.clock.is_real());
    Layout { two_runs: true, pairing: if paired { Pairing::Blocks } else { Pairing::Groups } }
}

fn side_by_side(
    (a, b): (&Cells<'_>, &Cells<'_>),
    wanted: impl Fn(&Cell) -> bool,
    layout: Layout,
    noise: Option<&NoiseRecord>,
) -> Result<Vec<Line>, Incomparable> {
    let mut lines = Vec::new();
    let names = a.names().chain(b.names().filter(|cell| !a.has(cell)));
    for cell in names.filter(|cell| wanted(cell)) {
        let sides = (a.blocks(cell), b.blocks(cell));
        of_one_clock(cell, &sides)?;
        lines.extend(line::lines(cell, sides, layout, noise));
    }
    Ok(lines)
}

fn of_one_clock(cell: &Cell, (a, b): &(Blocks<'_>, Blocks<'_>)) -> Result<(), Incomparable> {
    let mut records = a.records.values().chain(b.records.values());
    let Some(first) = records.next() else { return Ok(()) };
    match records.find(|other| !comparable(first, other)) {
        None => Ok(()),
        Some(other) => Err(Incomparable {
            cell: format!("{} {} {}", cell.module, cell.scenario, cell.workload),
            a: clock(first),
            b: clock(other),
        }),
    }
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

/// Judges the lines of each kind among themselves: the wire and what has no better side are not in question,
/// and must not make a verdict on the rest harder.
fn judged(mut lines: Vec<Line>, question: &Question<'_>, seed: u64) -> Vec<Line> {
    lines.retain(|line| question.filter.keeps_line(line));
    let (alpha, margin) = (question.alpha, question.threshold.0);
    for kind in Kind::ALL {
        let mut own: Vec<&mut Line> = lines.iter_mut().filter(|it| it.kind() == kind).collect();
        let rules = Rules { alpha, margin, seed, ..Rules::default() };
        let asked: Vec<_> = own.iter().map(|line| line.comparison(&rules)).collect();
        let judged = together(&asked);
        let tested = judged.iter().filter(|it| it.p.is_some()).count();
        let rules = Rules { lines: tested.max(1), ..rules };
        own.iter_mut().zip(judged).for_each(|(line, judged)| line.judge(judged));
        own.retain(|line| line.is_open(question.threshold));
        let open = own.len();
        own.into_iter().for_each(|line| line.plan(open, &rules));
    }
    lines
}

#[cfg(test)]
mod tests;
