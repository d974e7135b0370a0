use serde::Serialize;

use super::cells::{Blocks, Cell};
use crate::report::metric::{Lack, distinct, number, worst};
use crate::report::slack;
use crate::results::{Better, CellRecord, INTERNAL, Metric, NoiseRecord, Outcome, Unit};
use crate::stats::{
    Comparison, DEFAULT_NOISE_FLOOR, Effect, Interval, Judged, Rules, Sides, Verdict,
    blocks_needed, blocks_needed_of_shares, median, median_interval,
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
    /// B as a multiple of A; absent where a side is zero in a block.
    pub ratio: Option<f64>,
    /// Its 95 % interval; absent below three blocks.
    pub ratio_interval: Option<[f64; 2]>,
    /// B less A in the unit, where there is no ratio.
    pub difference: Option<f64>,
    /// Its 95 % interval.
    pub difference_interval: Option<[f64; 2]>,
    /// Relative difference below which nothing differs: of an A/A run, or 1 %.
    pub noise_floor: f64,
    /// Whether a verdict on it is asked for; one of the wire, or of a metric without a better side, is
    /// not, and is corrected among its own kind.
    pub in_question: bool,
    /// Two-sided p-value of this line alone.
    pub p: Option<f64>,
    /// The same, corrected for the number of lines of its kind (Holm).
    pub p_adjusted: Option<f64>,
    /// What may be said.
    pub change: Change,
    /// Whether it is excluded that B is worse by the threshold, corrected for the number of lines as the p-value is:
    /// then it is no regression, whatever else it is. Never where the noise floor is above the threshold.
    pub no_worse: bool,
    /// Blocks a side with which it would be known with a probability of 80 % whether it is a regression, should
    /// what was seen be true; only where it is not known, and where it can be told.
    pub blocks_needed: Option<usize>,
    #[serde(skip)]
    pub(super) place: usize,
    #[serde(skip)]
    sides: Sides,
    #[serde(skip)]
    absolute_floor: f64,
    #[serde(skip)]
    layout: Layout,
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
    /// Its 95 % interval; absent below three blocks.
    pub interval: Option<[f64; 2]>,
    /// The worst that happened in the other blocks.
    pub problem: Option<Lack>,
}

/// What B is, next to A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Change {
    /// Better, by more than noise.
    Better,
    /// Worse, by more than noise.
    Worse,
    /// Different, in a metric that has no better side.
    Differs,
    /// The whole interval of the difference, corrected for the number of lines, lies inside the threshold.
    Alike,
    /// The figures are better, but B was measured in a smaller share of its blocks: what is missing
    /// never helps.
    Incomplete,
    /// Neither different nor alike: more blocks would tell.
    Undecided,
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
        self.module == INTERNAL && self.layout.two_runs
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

    /// Whether a verdict on it was asked for, and has not fallen.
    pub fn is_undecided(&self) -> bool {
        self.in_question && matches!(self.change, Change::Undecided | Change::Incomplete)
    }

    /// Whether it is not known whether B is worse by more than the threshold. What is worse by less, as far as
    /// seen, is among these until its interval says so, too.
    pub fn is_open(&self, threshold: Threshold) -> bool {
        let worse = self.in_question && self.change == Change::Worse;
        (worse || self.is_undecided()) && !self.no_worse && !self.is_regression(threshold)
    }

    /// Which lines it is corrected among.
    pub(super) fn kind(&self) -> Kind {
        match (self.is_wire(), self.better) {
            (true, _) => Kind::Wire,
            (_, Better::Neutral) => Kind::Neutral,
            _ => Kind::InQuestion,
        }
    }

    /// What is asked of it.
    pub(super) fn comparison(&self, rules: &Rules) -> Comparison<'_> {
        let (rules, larger_is_worse) = (self.own(rules), self.better == Better::Lower);
        Comparison { sides: &self.sides, rules, larger_is_worse }
    }

    /// Says what the change is.
    pub(super) fn judge(&mut self, judged: Judged) {
        (self.p, self.p_adjusted) = (judged.p, judged.p_adjusted);
        self.no_worse = if self.metric == FAILED { self.fails_no_more() } else { judged.no_worse };
        self.change = match (self.a.median, self.b.median) {
            // The lines of the metrics say so already.
            (Some(_), None) | (None, Some(_)) if self.metric == FAILED => Change::Neither,
            (Some(_), None) => Change::Lost,
            (None, Some(_)) => Change::Gained,
            (None, None) => Change::Neither,
            (Some(_), Some(_)) => self.named(judged.verdict),
        };
    }

    /// Says how many blocks would tell whether it is a regression, as one of `open` lines.
    pub(super) fn plan(&mut self, open: usize, rules: &Rules) {
        self.blocks_needed = self.needed(open, &self.own(rules));
    }

    /// Its noise floor, where that is above the threshold: a regression in between would be taken for noise, so that
    /// nothing can be excluded. A share, or in the unit where there is no ratio.
    pub(super) fn floor_above(&self, threshold: Threshold) -> Option<f64> {
        let (floor, most) = match self.ratio {
            Some(_) => (self.noise_floor, threshold.0),
            None => (self.absolute_floor, slack(self.unit)),
        };
        (floor > most).then_some(floor)
    }

    fn own(&self, rules: &Rules) -> Rules {
        let (floor, absolute_floor) = (self.noise_floor, self.absolute_floor);
        Rules { floor, absolute_floor, slack: slack(self.unit), ..*rules }
    }

    fn needed(&self, open: usize, rules: &Rules) -> Option<usize> {
        if self.metric != FAILED {
            return blocks_needed(&self.sides, self.better == Better::Lower, open, rules);
        }
        blocks_needed_of_shares(self.shares_that_failed(), rules)
    }

    /// Of the blocks of A and of B, 0 to 1.
    fn shares_that_failed(&self) -> (f64, f64) {
        let share = |side: &Blocked| side.iter().sum::<f64>() / side.len() as f64 / 100.0;
        match &self.sides {
            Sides::Groups(b, a) => (share(a), share(b)),
            Sides::Pairs(pairs) => {
                let (b, a): (Blocked, Blocked) = pairs.iter().copied().unzip();
                (share(&a), share(&b))
            }
        }
    }

    /// B never fails, or A always does: then no share is worse, of however few blocks.
    fn fails_no_more(&self) -> bool {
        let (a, b) = self.shares_that_failed();
        b == 0.0 || a == 1.0
    }

    fn named(&self, verdict: Verdict) -> Change {
        let share = |side: &Side| f64::from(side.measured) / f64::from(side.asked.max(1));
        let change = match (verdict, self.better) {
            // One failure of seven is not no failure, though the medians are one.
            (Verdict::Alike, _) if self.metric == FAILED => Change::Undecided,
            (Verdict::Alike, _) => Change::Alike,
            (Verdict::Undecided, _) => Change::Undecided,
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

/// 100 for each block that failed, 0 for the others.
type Blocked = Vec<f64>;

/// Lines that are corrected for their number together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    InQuestion,
    Wire,
    Neutral,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::InQuestion, Self::Wire, Self::Neutral];
}

/// What is laid side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Two runs, each with a wire of its own, or two modules of one.
    pub(super) two_runs: bool,
    /// How their blocks belong together.
    pub(super) pairing: Pairing,
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
    layout: Layout,
    noise: Option<&NoiseRecord>,
) -> Vec<Line> {
    let writer = Writer { cell, a: &a, b: &b, layout, noise };
    let mut lines: Vec<Line> = metrics(&a, &b)
        .into_iter()
        .enumerate()
        .map(|(place, about)| {
            let about = About { name: &about.name, unit: about.unit, better: about.better };
            writer.line(place + 1, about, &|record| number(record, about.name, about.unit))
        })
        .collect();
    if a.records.values().chain(b.records.values()).any(|record| failed(record) == Some(100.0)) {
        let about = About { name: FAILED, unit: Unit::Percent, better: Better::Lower };
        lines.push(writer.line(usize::MAX, about, &failed));
    }
    if lines.is_empty() {
        let about = About { name: "", unit: Unit::Count, better: Better::Neutral };
        lines.push(writer.line(0, about, &|_| None));
    }
    lines
}

#[derive(Clone, Copy)]
struct About<'a> {
    name: &'a str,
    unit: Unit,
    better: Better,
}

struct Writer<'a> {
    cell: &'a Cell,
    a: &'a Blocks<'a>,
    b: &'a Blocks<'a>,
    layout: Layout,
    noise: Option<&'a NoiseRecord>,
}

impl Writer<'_> {
    fn line(
        &self,
        place: usize,
        about: About<'_>,
        number: &dyn Fn(&CellRecord) -> Option<f64>,
    ) -> Line {
        let sides = self.sides(number);
        let effect = sides.effect();
        let ratio = effect.and_then(|effect| effect.ratio());
        let difference = effect.filter(|effect: &Effect| !effect.relative);
        let Cell { scenario, workload, module } = self.cell;
        let cell = [scenario.as_str(), workload.as_str(), module.as_str()];
        let floor = self.noise.and_then(|noise| noise.floor(cell, about.name));
        let mut line = Line {
            scenario: scenario.clone(),
            workload: workload.clone(),
            module: module.clone(),
            metric: about.name.into(),
            unit: about.unit,
            better: about.better,
            a: side(self.a, number),
            b: side(self.b, number),
            ratio: ratio.map(|ratio| ratio.median),
            ratio_interval: ratio.and_then(|ratio| ratio.interval).map(ends),
            difference: difference.map(|effect| effect.change),
            difference_interval: difference.and_then(|effect| effect.interval),
            noise_floor: floor.and_then(|it| it.relative).unwrap_or(DEFAULT_NOISE_FLOOR),
            in_question: false,
            p: None,
            p_adjusted: None,
            change: Change::Neither,
            no_worse: false,
            blocks_needed: None,
            place,
            sides,
            absolute_floor: floor.and_then(|it| it.absolute).unwrap_or(0.0),
            layout: self.layout,
        };
        line.in_question = line.kind() == Kind::InQuestion;
        line
    }

    fn sides(&self, number: &dyn Fn(&CellRecord) -> Option<f64>) -> Sides {
        match self.layout.pairing {
            Pairing::Groups => Sides::Groups(values(self.b, number), values(self.a, number)),
            Pairing::Blocks => {
                let pair = |(block, record): (&u32, &&CellRecord)| {
                    Some((number(record)?, number(self.a.records.get(block)?)?))
                };
                Sides::Pairs(self.b.records.iter().filter_map(pair).collect())
            }
        }
    }
}

fn side(blocks: &Blocks<'_>, number: &dyn Fn(&CellRecord) -> Option<f64>) -> Side {
    let values = values(blocks, number);
    Side {
        asked: blocks.asked,
        measured: values.len() as u32,
        median: median(&values),
        interval: median_interval(&values).map(ends),
        problem: problem(blocks),
    }
}

fn problem(blocks: &Blocks<'_>) -> Option<Lack> {
    let missing = (blocks.records.len() as u32) < blocks.asked;
    worst(blocks.records.values().map(|record| &record.outcome))
        .or(missing.then_some(Lack::Missing))
}

fn values(blocks: &Blocks<'_>, number: &dyn Fn(&CellRecord) -> Option<f64>) -> Vec<f64> {
    blocks.records.values().filter_map(|record| number(record)).collect()
}

fn ends(interval: Interval) -> [f64; 2] {
    [interval.low, interval.high]
}

/// Each metric of either side once, in the order of the first record that has it.
fn metrics<'a>(a: &Blocks<'a>, b: &Blocks<'a>) -> Vec<&'a Metric> {
    distinct(a.records.values().chain(b.records.values()).copied())
}

/// 100 for a block that failed, 0 for one that was measured, nothing for one that was not tried.
fn failed(record: &CellRecord) -> Option<f64> {
    match record.outcome {
        Outcome::Ok {} => Some(0.0),
        Outcome::Failed { .. } => Some(100.0),
        Outcome::Unsupported { .. } | Outcome::Skipped { .. } => None,
    }
}
