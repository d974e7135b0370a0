//! A metric of a cell over all blocks.

use std::collections::{BTreeMap, BTreeSet};

use meshbench::report::compare::Lack;
use meshbench::report::slack;
use meshbench::results::{Better, CellRecord, Unit};
use meshbench::stats::{
    Comparison, DEFAULT_NOISE_FLOOR, Interval, Ratio, Rules, Sides, Verdict, median,
    median_interval, ratio_to,
};
use meshbench::workload::Absent;

use super::about::About;
use super::pool::Measured;
use super::reference::Reference;
use crate::score;

/// What was measured of it.
#[derive(Debug, Clone, Default)]
pub struct Figure {
    /// The value of each pair in which it was measured.
    pub values: BTreeMap<u64, f64>,
    /// The same, as it counts next to the wire; of a pair without figures the worst. Empty where there are figures and
    /// no wire to measure any of them by.
    pub counts: BTreeMap<u64, f64>,
    /// Blocks that were tried, and those that should have been.
    pub tried: usize,
    /// Blocks that ended well, in which there was no such thing to tell.
    pub untold: usize,
    /// The median.
    pub median: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<Interval>,
    /// As a multiple of the wire of the same blocks.
    pub ratio: Option<Ratio>,
    /// What was measured, and the wire of the same block; where there are any.
    beside: Option<Sides>,
    /// Whether it differs from the wire, among all that is compared of a VPN.
    pub verdict: Option<Verdict>,
    /// Whether it beats the wire, which no VPN does.
    pub alarm: bool,
    /// How many times as bad as the wire, over all blocks; `None` where that has no meaning.
    pub factor: Option<f64>,
    /// The worst that happened.
    pub problem: Option<Lack>,
    /// Below what it does not differ from anything.
    pub noise: Noise,
}

/// What measuring one thing twice shows anyway.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// As a share.
    pub relative: f64,
    /// In the unit, for what is zero at times.
    pub absolute: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self { relative: DEFAULT_NOISE_FLOOR, absolute: 0.0 }
    }
}

impl Noise {
    /// How figures are compared above it.
    pub fn rules(self, unit: Unit) -> Rules {
        let (floor, absolute_floor) = (self.relative, self.absolute);
        Rules { floor, absolute_floor, slack: slack(unit), ..Rules::default() }
    }

    /// That of two, who differ only above the noise of both.
    pub fn with(self, other: Self) -> Self {
        Self {
            relative: self.relative.max(other.relative),
            absolute: self.absolute.max(other.absolute),
        }
    }
}

impl Figure {
    /// Of the records of a cell, where `absent` is what it means that one which ended well does not tell the metric.
    pub fn of(
        cells: &[Measured<'_>],
        about: &About,
        reference: Reference,
        noise: Noise,
        absent: Absent,
    ) -> Self {
        let mut figure = Self { tried: cells.len(), noise, ..Self::default() };
        let mut pairs = Vec::new();
        for cell in cells {
            let value = number(cell.record, about);
            if value.is_none() && cell.record.outcome.is_ok() && absent == Absent::Inapplicable {
                figure.tried -= 1;
                figure.untold += 1;
                continue;
            }
            let wire = cell.wire.and_then(|wire| number(wire, about));
            if let Some(value) = value {
                figure.values.insert(cell.pair, value);
                pairs.extend(wire.map(|wire| (value, wire)));
            }
            if let Some(counted) = reference.counted(value, wire, about) {
                figure.counts.insert(cell.pair, counted);
            }
        }
        figure.fill_in_what_has_no_wire();
        if reference != Reference::Wire {
            pairs.clear();
        }
        let values: Vec<f64> = figure.values.values().copied().collect();
        figure.problem = cells.iter().filter_map(|cell| Lack::of(&cell.record.outcome)).min();
        figure.median = median(&values);
        figure.interval = median_interval(&values);
        figure.ratio = ratio_to(&pairs);
        figure.beside = (!pairs.is_empty()).then_some(Sides::Pairs(pairs));
        figure.count();
        figure
    }

    /// As it is, where of these pairs there should be records and are none: they count as failures do, where anything counts.
    pub fn missing(mut self, pairs: &BTreeSet<u64>, about: &About, reference: Reference) -> Self {
        let Some(counted) = reference.counted(None, None, about) else { return self };
        // Of figures without a wire a part that is missing is no factor of the whole.
        if self.counts.is_empty() && !self.values.is_empty() {
            return self;
        }
        for pair in pairs.iter().filter(|pair| !self.values.contains_key(pair)) {
            if self.counts.insert(*pair, counted).is_none() {
                self.tried += 1;
            }
        }
        self.count();
        self
    }

    fn count(&mut self) {
        let logs: Vec<f64> = self.counts.values().map(|factor| factor.ln()).collect();
        self.factor = (!logs.is_empty())
            .then(|| score::rounded((logs.iter().sum::<f64>() / logs.len() as f64).exp()));
    }

    /// How it is compared with the wire, if it can be.
    pub fn comparison(&self, about: &About) -> Option<Comparison<'_>> {
        let larger_is_worse = about.better == Better::Lower;
        let of = |sides| Comparison { sides, rules: self.noise.rules(about.unit), larger_is_worse };
        self.beside.as_ref().map(of)
    }

    /// What came of that, among all that is compared of a VPN.
    pub fn judge(&mut self, verdict: Option<Verdict>, better: Better) {
        self.verdict = verdict;
        self.alarm = self.beats(better);
    }

    /// Blocks with figures and no wire say nothing for or against them: they count as the others with figures do. If
    /// there are none of those, what is known is only that a part failed, which is no factor of the whole.
    fn fill_in_what_has_no_wire(&mut self) {
        let (values, counts) = (&self.values, &mut self.counts);
        let told: Vec<(f64, f64)> = values
            .keys()
            .filter_map(|pair| counts.get(pair))
            .map(|factor| (*factor, 1.0))
            .collect();
        match score::geometric_mean(told) {
            Some(mean) => values.keys().for_each(|pair| {
                counts.entry(*pair).or_insert(mean);
            }),
            None if !values.is_empty() => counts.clear(),
            None => {}
        }
    }

    fn beats(&self, better: Better) -> bool {
        matches!(
            (self.verdict, better),
            (Some(Verdict::Larger), Better::Higher) | (Some(Verdict::Smaller), Better::Lower)
        )
    }

    /// Whether it was measured in every block that was tried.
    pub fn is_whole(&self) -> bool {
        self.tried > 0 && self.measured() == self.tried
    }

    /// Blocks in which it was measured.
    pub fn measured(&self) -> usize {
        self.values.len()
    }
}

/// The value of a metric in a record.
pub(super) fn number(record: &CellRecord, about: &About) -> Option<f64> {
    let same = |metric: &&meshbench::results::Metric| {
        metric.name == about.metric && metric.unit == about.unit
    };
    let metrics = if about.cost { &record.costs } else { &record.metrics };
    record.outcome.is_ok().then(|| metrics.iter().find(same))?.map(|metric| metric.value)
}

/// Two figures, as they can be compared, and whether larger is worse then: by pairs where they share most of them. Where one
/// failed in some blocks, what all of them count for next to the wire is compared, and not what was left of them.
pub fn sides(one: &Figure, other: &Figure, better: Better) -> Option<(Sides, bool)> {
    if one.values.is_empty() || other.values.is_empty() {
        return None;
    }
    if one.is_whole() && other.is_whole() {
        return Some((paired(&one.values, &other.values), better == Better::Lower));
    }
    let counted = !one.counts.is_empty() && !other.counts.is_empty();
    counted.then(|| (paired(&one.counts, &other.counts), true))
}

fn paired(one: &BTreeMap<u64, f64>, other: &BTreeMap<u64, f64>) -> Sides {
    let both = one.iter().filter_map(|(pair, value)| Some((*value, *other.get(pair)?)));
    let pairs: Vec<(f64, f64)> = both.collect();
    if pairs.len() * 2 > one.len().min(other.len()) {
        return Sides::Pairs(pairs);
    }
    let all = |values: &BTreeMap<u64, f64>| values.values().copied().collect();
    Sides::Groups(all(one), all(other))
}
