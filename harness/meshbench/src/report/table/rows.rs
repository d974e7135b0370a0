use std::collections::BTreeMap;

use super::{host, links};
use crate::report::comparable::comparable;
use crate::report::metric::{distinct, number};
use crate::report::slack;
use crate::results::{Better, CellRecord, INTERNAL, Metric, Outcome, RunRecord, Unit};
use crate::stats::{Interval, Ratio, Rules, Sides, Verdict, median, median_interval, ratio_to};

/// One line of the table: a metric of a cell over all blocks, or a cell without any.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the workload.
    pub workload: String,
    /// Name of the module.
    pub module: String,
    /// What was measured; `None` when the cell was `ok` in no block.
    pub value: Option<RowValue>,
    /// Blocks in which the cell was tried or skipped.
    pub blocks: usize,
    /// Blocks in which it was not `ok`, in order.
    pub problems: Vec<Problem>,
    /// Why its figures may be the testbed's, by block.
    pub doubts: Vec<Doubt>,
}

/// A metric over the blocks in which it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct RowValue {
    /// Name of the metric.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// Which way it is better.
    pub better: Better,
    /// Blocks in which it was measured.
    pub blocks: usize,
    /// Median over those blocks.
    pub median: f64,
    /// Interval of the median; `None` below three blocks.
    pub interval: Option<Interval>,
    /// Ratio to `internal` in the same blocks; `None` for `internal` itself, if it was not measured
    /// in those, or if it measured zero.
    pub ratio: Option<Ratio>,
    /// Whether it differs from `internal`; `None` without blocks in common.
    pub verdict: Option<Verdict>,
    /// Better than the wire by more than its interval, or, of so few blocks that there is none, by a
    /// tenth: something is wrong with the measurement.
    pub alarm: bool,
}

/// A block in which a cell was not measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Number of the block.
    pub block: u32,
    /// What happened; never `ok`.
    pub outcome: Outcome,
}

/// A testbed that was not what it should be: a link off its calibration, a host with nothing to spare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Number of the block.
    pub block: u32,
    /// What it was, in words.
    pub what: String,
}

type Blocks<'a> = BTreeMap<u32, &'a CellRecord>;

/// Aggregates all cells of a run over its blocks: scenarios and modules in the order of the run,
/// workloads by name, metrics in the order of the records, `internal` first. `noise_floor` is the
/// relative difference (0.01 = 1 %) below which nothing differs.
pub fn aggregate(run: &RunRecord, cells: &[CellRecord], noise_floor: f64) -> Vec<Row> {
    let mut groups: BTreeMap<(usize, &str, usize), Blocks<'_>> = BTreeMap::new();
    for cell in cells {
        let key = &cell.key;
        let scenario = run.scenarios.iter().position(|it| it.name == key.scenario);
        let place = (scenario.unwrap_or(usize::MAX), key.workload.as_str(), rank(run, &key.module));
        groups.entry(place).or_default().insert(key.block, cell);
    }
    let wire = |&(scenario, workload, _): &(usize, &str, usize)| {
        groups.get(&(scenario, workload, 0)).cloned().unwrap_or_default()
    };
    let aggregation = |seed| Aggregation { noise_floor, seed };
    let mut rows: Vec<(usize, &str, usize, usize, Row)> = Vec::new();
    let mut seen: BTreeMap<(usize, &str), Vec<String>> = BTreeMap::new();
    for (place, blocks) in &groups {
        let wire = if place.2 == 0 { Blocks::new() } else { wire(place) };
        let seen = seen.entry((place.0, place.1)).or_default();
        for row in aggregation(run.seed).rows(blocks, &wire) {
            rows.push((place.0, place.1, metric_rank(seen, &row), place.2, row));
        }
    }
    // A metric's modules stand together, so that each is read against the wire.
    rows.sort_by(|a, b| (a.0, a.1, a.2, a.3).cmp(&(b.0, b.1, b.2, b.3)));
    rows.into_iter().map(|row| row.4).collect()
}

/// The place of a row's metric among those of its workload, in the order in which they are met: not each module has each.
fn metric_rank(seen: &mut Vec<String>, row: &Row) -> usize {
    let Some(value) = &row.value else { return 0 };
    seen.iter().position(|name| *name == value.metric).unwrap_or_else(|| {
        seen.push(value.metric.clone());
        seen.len() - 1
    })
}

/// `internal` is 0, the others follow in the order of the run.
fn rank(run: &RunRecord, module: &str) -> usize {
    if module == INTERNAL {
        return 0;
    }
    run.modules.iter().position(|it| it.name == module).map_or(usize::MAX, |at| at + 1)
}

struct Aggregation {
    noise_floor: f64,
    seed: u64,
}

impl Aggregation {
    fn rows(&self, blocks: &Blocks<'_>, wire: &Blocks<'_>) -> Vec<Row> {
        let Some(first) = blocks.values().next() else { return Vec::new() };
        let problems: Vec<Problem> = blocks
            .values()
            .filter(|cell| !cell.outcome.is_ok())
            .map(|cell| Problem { block: cell.key.block, outcome: cell.outcome.clone() })
            .collect();
        let doubts: Vec<Doubt> = blocks
            .values()
            .flat_map(|cell| {
                let doubts = links::off(cell).chain(host::doubts(cell));
                doubts.map(|what| Doubt { block: cell.key.block, what })
            })
            .collect();
        let row = |value| Row {
            scenario: first.key.scenario.clone(),
            workload: first.key.workload.clone(),
            module: first.key.module.clone(),
            value,
            blocks: blocks.len(),
            problems: problems.clone(),
            doubts: doubts.clone(),
        };
        let metrics = distinct(blocks.values().copied());
        if metrics.is_empty() {
            return vec![row(None)];
        }
        metrics
            .into_iter()
            .filter_map(|m| self.value(m, blocks, wire))
            .map(|v| row(Some(v)))
            .collect()
    }

    fn value(&self, about: &Metric, blocks: &Blocks<'_>, wire: &Blocks<'_>) -> Option<RowValue> {
        let values: Vec<f64> =
            blocks.values().filter_map(|cell| number(cell, &about.name, about.unit)).collect();
        let pairs: Vec<(f64, f64)> = blocks
            .iter()
            .filter_map(|(block, cell)| {
                let wire = wire.get(block).filter(|wire| comparable(cell, wire))?;
                let number = |cell| number(cell, &about.name, about.unit);
                Some((number(cell)?, number(wire)?))
            })
            .collect();
        let ratio = ratio_to(&pairs);
        let (floor, seed) = (self.noise_floor, self.seed);
        let rules = Rules { floor, slack: slack(about.unit), seed, ..Rules::default() };
        let verdict = (!pairs.is_empty()).then(|| Sides::Pairs(pairs).alone(&rules));
        Some(RowValue {
            metric: about.name.clone(),
            unit: about.unit,
            better: about.better,
            blocks: values.len(),
            median: median(&values)?,
            interval: median_interval(&values),
            ratio,
            verdict,
            alarm: ratio.is_some_and(|ratio| {
                let sure = ratio.interval.is_some() || is_continuous(about.unit);
                sure && beats(about.better, &ratio, self.noise_floor)
            }),
        })
    }
}

/// Whether the whole interval of the ratio lies on the better side of the wire, by more than noise.
fn beats(better: Better, ratio: &Ratio, noise_floor: f64) -> bool {
    let median = (ratio.median * (1.0 - UNSURE), ratio.median * (1.0 + UNSURE));
    let (low, high) = ratio.interval.map_or(median, |it| (it.low, it.high));
    match better {
        Better::Higher => low > 1.0 + noise_floor,
        Better::Lower => high < 1.0 / (1.0 + noise_floor),
        Better::Neutral => false,
    }
}

/// What comes in steps is ten times as much by chance alone.
fn is_continuous(unit: Unit) -> bool {
    !matches!(unit, Unit::Count | Unit::Percent | Unit::OpinionScore)
}

/// What one or two blocks may be off by.
const UNSURE: f64 = 0.1;

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::results::sample::{self, cell, metric};

    fn tcp(module: &str, better: Better, values: &[f64]) -> Vec<CellRecord> {
        let one = |(at, value): (usize, &f64)| {
            let metrics = vec![metric("goodput", Unit::BitsPerSecond, better, *value)];
            cell(at as u32 + 1, "lan", module, "tcp", metrics)
        };
        values.iter().enumerate().map(one).collect()
    }

    fn against(wire: &[f64], vpn: &[f64], better: Better) -> RowValue {
        let mut cells = tcp("wireguard", better, vpn);
        cells.extend(tcp("internal", better, wire));
        let rows = aggregate(&sample::run(), &cells, 0.01);
        assert_eq!((rows.len(), rows[0].module.as_str()), (2, "internal"));
        rows[1].value.clone().unwrap()
    }

    #[test]
    fn the_ratio_is_that_of_the_same_blocks() {
        let wire = [100.0, 200.0, 400.0];
        let got = against(&wire, &[50.0, 100.0, 200.0], Better::Higher).ratio.unwrap();
        assert_eq!(got.median, 0.5);
        let interval = got.interval.unwrap();
        assert_eq!((interval.low, interval.high), (0.5, 0.5));
    }

    #[test]
    fn a_block_that_failed_is_in_neither_side_of_the_ratio() {
        let mut cells = tcp("wireguard", Better::Higher, &[50.0, 50.0, 50.0]);
        cells.extend(tcp("internal", Better::Higher, &[100.0, 100.0, 100.0]));
        cells[1].outcome = Outcome::Skipped { reason: "x".into() };
        cells[1].metrics.clear();
        cells[5].outcome = Outcome::Skipped { reason: "x".into() };
        cells[5].metrics.clear();
        let rows = aggregate(&sample::run(), &cells, 0.01);
        let vpn = rows.iter().find(|row| row.module == "wireguard").unwrap();
        let value = vpn.value.clone().unwrap();
        assert_eq!((vpn.blocks, vpn.problems.len(), value.blocks), (3, 1, 2));
        assert_eq!((vpn.problems[0].block, value.interval), (2, None));
        assert_eq!(value.ratio.unwrap(), Ratio { median: 0.5, interval: None });
    }

    #[test]
    fn failing_every_block_leaves_a_row_without_a_number() {
        let rows = aggregate(&sample::run(), &[sample::failed()], 0.01);
        assert_eq!((rows.len(), rows[0].value.clone(), rows[0].problems.len()), (1, None, 1));
    }

    const WIRE: [f64; 7] = [100.0, 101.0, 99.0, 100.0, 102.0, 98.0, 100.0];

    #[rstest]
    #[case::faster(1.5, Better::Higher, Verdict::Larger, true)]
    #[case::slower(0.5, Better::Higher, Verdict::Smaller, false)]
    #[case::quicker(0.5, Better::Lower, Verdict::Smaller, true)]
    #[case::larger_is_worse(1.5, Better::Lower, Verdict::Larger, false)]
    #[case::neither(1.5, Better::Neutral, Verdict::Larger, false)]
    #[case::within_noise(1.005, Better::Higher, Verdict::Alike, false)]
    fn beating_the_wire_is_an_alarm(
        #[case] factor: f64,
        #[case] better: Better,
        #[case] verdict: Verdict,
        #[case] alarm: bool,
    ) {
        let got = against(&WIRE, &WIRE.map(|value| value * factor), better);
        assert_eq!((got.verdict, got.alarm), (Some(verdict), alarm));
    }

    #[rstest]
    #[case::far(125.0, true)]
    #[case::near(105.0, false)]
    fn two_blocks_have_no_verdict_but_an_alarm(#[case] value: f64, #[case] alarm: bool) {
        let got = against(&WIRE[..2], &[value; 2], Better::Higher);
        assert_eq!((got.verdict, got.interval), (Some(Verdict::Undecided), None));
        assert_eq!(got.alarm, alarm);
    }

    #[test]
    fn modules_of_a_metric_stand_together_although_one_of_them_lacks_another() {
        let of = |module: &str, names: &[&str]| {
            let one = |name: &&str| metric(name, Unit::Milliseconds, Better::Lower, 1.0);
            cell(1, "lan", module, "tcp", names.iter().map(one).collect())
        };
        let cells = [of("internal", &["b", "c"]), of("wireguard", &["a", "b", "c"])];
        let rows = aggregate(&sample::run(), &cells, 0.01);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.value.as_ref().unwrap().metric.as_str(), row.module.as_str()))
            .collect();
        let [wire, vpn] = ["internal", "wireguard"];
        assert_eq!(told, [("b", wire), ("b", vpn), ("c", wire), ("c", vpn), ("a", vpn)]);
    }

    #[test]
    fn without_the_wire_there_is_no_ratio() {
        let rows = aggregate(&sample::run(), &tcp("wireguard", Better::Higher, &WIRE), 0.01);
        let value = rows[0].value.clone().unwrap();
        assert_eq!((value.ratio, value.verdict, value.alarm), (None, None, false));
    }
}
