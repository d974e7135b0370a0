use serde::Serialize;

use super::cells::{Blocks, Cell};
use crate::results::{Better, CellRecord, INTERNAL, Metric, Outcome, Unit};
use crate::stats::{
    Comparison, Interval, Ratio, Verdict, bootstrap_median, compare, compare_groups, median,
    ratio_of_medians, ratio_to,
};

/// Name of the line that counts failures: of 100 blocks tried, how many failed.
pub(super) const FAILED: &str = "failed";

/// A metric of a cell on both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the workload.
    pub workload: String,
    /// Name of the module; of the second one when two modules are compared.
    pub module: String,
    /// Name of the metric; `failed` is the share of blocks that failed, and empty where neither side
    /// measured anything.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// Which way it is better.
    pub better: Better,
    /// The baseline.
    pub a: Side,
    /// What is compared with it.
    pub b: Side,
    /// B as a multiple of A; absent where A is zero.
    pub ratio: Option<f64>,
    /// Its 95 % bootstrap interval; absent below three blocks.
    pub ratio_interval: Option<[f64; 2]>,
    /// Two-sided p-value of this line alone.
    pub p: Option<f64>,
    /// The same, corrected for the number of lines (Holm).
    pub p_adjusted: Option<f64>,
    /// What may be said.
    pub change: Change,
    #[serde(skip)]
    pub(super) place: usize,
    #[serde(skip)]
    comparison: Option<Comparison>,
}

/// One side of a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// Blocks that the run was asked for.
    pub asked: u32,
    /// Blocks in which the metric was measured.
    pub measured: u32,
    /// Median over these.
    pub median: Option<f64>,
    /// Its 95 % bootstrap interval; absent below three blocks.
    pub interval: Option<[f64; 2]>,
    /// The worst that happened in the other blocks: `failed`, `unsupported`, `skipped`, `missing`.
    pub problem: Option<&'static str>,
}

/// What B is, next to A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Better, by more than noise.
    Better,
    /// Worse, by more than noise.
    Worse,
    /// Different, in a metric that has no better side.
    Differs,
    /// No difference that can be told from noise.
    Alike,
    /// The figures are better, but B was measured in a smaller share of its blocks: what is missing
    /// never helps.
    Incomplete,
    /// So few blocks that no difference could be significant among so many lines.
    TooFew,
    /// A has figures, B has none.
    Lost,
    /// B has figures, A has none.
    Gained,
    /// Neither has.
    Neither,
}

/// How much worse is a regression: a relative change, 0.05 is 5 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold(pub f64);

impl Line {
    /// Whether it is the wire itself, which nobody can improve or break.
    pub fn is_wire(&self) -> bool {
        self.module == INTERNAL
    }

    /// Whether B is worse by more than the threshold, or has no figures where A has.
    pub fn is_regression(&self, threshold: Threshold) -> bool {
        let beyond = |ratio: f64| match self.better {
            Better::Higher => ratio <= 1.0 - threshold.0,
            Better::Lower => ratio >= 1.0 + threshold.0,
            Better::Neutral => false,
        };
        match self.change {
            Change::Lost => !self.is_wire(),
            // A change from or to zero has no ratio, and is beyond any threshold.
            Change::Worse => !self.is_wire() && self.ratio.is_none_or(beyond),
            _ => false,
        }
    }

    /// Says what the change is, as one of `count` lines.
    pub(super) fn judge(&mut self, count: usize) {
        self.change = match (self.a.median, self.b.median) {
            // The lines of the metrics say so already.
            (Some(_), None) | (None, Some(_)) if self.metric == FAILED => Change::Neither,
            (Some(_), None) => Change::Lost,
            (None, Some(_)) => Change::Gained,
            (None, None) => Change::Neither,
            (Some(_), Some(_)) => match (self.comparison, self.p_adjusted) {
                (Some(found), Some(p)) => self.named(found.among(p, count)),
                _ => Change::TooFew,
            },
        };
    }

    fn named(&self, verdict: Verdict) -> Change {
        let share = |side: &Side| f64::from(side.measured) / f64::from(side.asked.max(1));
        let change = match (verdict, self.better) {
            (Verdict::Alike, _) => Change::Alike,
            (Verdict::TooFew, _) => Change::TooFew,
            (_, Better::Neutral) => Change::Differs,
            (Verdict::Larger, Better::Higher) | (Verdict::Smaller, Better::Lower) => Change::Better,
            (Verdict::Larger, Better::Lower) | (Verdict::Smaller, Better::Higher) => Change::Worse,
        };
        match change {
            Change::Better if share(&self.b) < share(&self.a) => Change::Incomplete,
            change => change,
        }
    }
}

/// Whether blocks of the same number belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairing {
    /// They do: both sides were measured in them.
    Blocks,
    /// They do not.
    Groups,
}

/// The lines of a cell: one a metric, one more if a block failed; a single one without figures if
/// neither side has any.
pub(super) fn lines(
    cell: &Cell,
    (a, b): (Blocks<'_>, Blocks<'_>),
    pairing: Pairing,
    (seed, noise_floor): (u64, f64),
) -> Vec<Line> {
    let pen = Pen { cell, a: &a, b: &b, pairing, seed, noise_floor };
    let mut lines: Vec<Line> = metrics(&a, &b)
        .into_iter()
        .enumerate()
        .map(|(place, about)| {
            let about = About { name: &about.name, unit: about.unit, better: about.better };
            pen.line(place + 1, about, &|record| number(record, about))
        })
        .collect();
    if a.records.values().chain(b.records.values()).any(|record| failed(record) == Some(100.0)) {
        let about = About { name: FAILED, unit: Unit::Percent, better: Better::Lower };
        lines.push(pen.line(usize::MAX, about, &failed));
    }
    if lines.is_empty() {
        let about = About { name: "", unit: Unit::Count, better: Better::Neutral };
        lines.push(pen.line(0, about, &|_| None));
    }
    lines
}

#[derive(Clone, Copy)]
struct About<'a> {
    name: &'a str,
    unit: Unit,
    better: Better,
}

struct Pen<'a> {
    cell: &'a Cell,
    a: &'a Blocks<'a>,
    b: &'a Blocks<'a>,
    pairing: Pairing,
    seed: u64,
    noise_floor: f64,
}

impl Pen<'_> {
    fn line(
        &self,
        place: usize,
        about: About<'_>,
        number: &dyn Fn(&CellRecord) -> Option<f64>,
    ) -> Line {
        let (ratio, comparison) = self.compared(number);
        Line {
            scenario: self.cell.scenario.clone(),
            workload: self.cell.workload.clone(),
            module: self.cell.module.clone(),
            metric: about.name.into(),
            unit: about.unit,
            better: about.better,
            a: side(self.a, number, self.seed),
            b: side(self.b, number, self.seed),
            ratio: ratio.map(|ratio| ratio.median),
            ratio_interval: ratio.and_then(|ratio| ratio.interval).map(ends),
            p: comparison.map(|comparison| comparison.p),
            p_adjusted: None,
            change: Change::Neither,
            place,
            comparison,
        }
    }

    fn compared(
        &self,
        number: &dyn Fn(&CellRecord) -> Option<f64>,
    ) -> (Option<Ratio>, Option<Comparison>) {
        match self.pairing {
            Pairing::Groups => {
                let (a, b) = (values(self.a, number), values(self.b, number));
                (ratio_of_medians(&b, &a, self.seed), compare_groups(&b, &a, self.noise_floor))
            }
            Pairing::Blocks => {
                let pair = |(block, record): (&u32, &&CellRecord)| {
                    Some((number(record)?, number(self.a.records.get(block)?)?))
                };
                let pairs: Vec<(f64, f64)> = self.b.records.iter().filter_map(pair).collect();
                (ratio_to(&pairs, self.seed), compare(&pairs, self.noise_floor, self.seed))
            }
        }
    }
}

fn side(blocks: &Blocks<'_>, number: &dyn Fn(&CellRecord) -> Option<f64>, seed: u64) -> Side {
    let values = values(blocks, number);
    Side {
        asked: blocks.asked,
        measured: values.len() as u32,
        median: median(&values),
        interval: bootstrap_median(&values, seed).map(ends),
        problem: problem(blocks),
    }
}

fn problem(blocks: &Blocks<'_>) -> Option<&'static str> {
    let word = |record: &&CellRecord| record.outcome.word();
    let words: Vec<&str> = blocks.records.values().map(word).collect();
    let missing = (blocks.records.len() as u32) < blocks.asked;
    let worst = ["failed", "unsupported", "skipped"].into_iter().find(|it| words.contains(it));
    worst.or(missing.then_some("missing"))
}

fn values(blocks: &Blocks<'_>, number: &dyn Fn(&CellRecord) -> Option<f64>) -> Vec<f64> {
    blocks.records.values().filter_map(|record| number(record)).collect()
}

fn ends(interval: Interval) -> [f64; 2] {
    [interval.low, interval.high]
}

/// Each metric of either side once, in the order of the first record that has it.
fn metrics<'a>(a: &Blocks<'a>, b: &Blocks<'a>) -> Vec<&'a Metric> {
    let mut found: Vec<&Metric> = Vec::new();
    for metric in a.records.values().chain(b.records.values()).flat_map(|record| &record.metrics) {
        if !found.iter().any(|other| other.name == metric.name) {
            found.push(metric);
        }
    }
    found
}

fn number(record: &CellRecord, about: About<'_>) -> Option<f64> {
    let same = |metric: &&Metric| metric.name == about.name && metric.unit == about.unit;
    record.outcome.is_ok().then(|| record.metrics.iter().find(same))?.map(|metric| metric.value)
}

/// 100 for a block that failed, 0 for one that was measured, nothing for one that was not tried.
fn failed(record: &CellRecord) -> Option<f64> {
    match record.outcome {
        Outcome::Ok {} => Some(0.0),
        Outcome::Failed { .. } => Some(100.0),
        Outcome::Unsupported { .. } | Outcome::Skipped { .. } => None,
    }
}
