//! Who is best for what, and how sure that is.

use std::collections::{BTreeMap, BTreeSet};

use meshbench::results::OverlayPath;
use meshbench::stats::{Interval, Place, Rules, Sides, median_interval, places};

use crate::board::{Board, Row};
use crate::score::{MISSING, geometric_mean};

/// Of what a VPN must have been tried, to have a place.
const TRIED: f64 = 0.9;

/// VPNs in an order of merit, for some rows of the table.
#[derive(Debug)]
pub struct Ranking {
    /// Those with a place, the best first.
    pub entries: Vec<Entry>,
    /// Those without, and why.
    pub unranked: Vec<(usize, String)>,
    /// Cells (network and workload) that it is made of.
    pub cells: usize,
    /// Networks that they are of.
    pub networks: usize,
    /// Blocks that the entry with the fewest has.
    pub blocks: usize,
}

/// A VPN with a place.
#[derive(Debug)]
pub struct Entry {
    /// Its place in the board.
    pub module: usize,
    /// Its tier and the ranks that it may have.
    pub place: Place,
    /// How many times as bad as the wire, a cell without figures counting as [`MISSING`].
    pub score: f64,
    /// Its 95 % interval from block to block.
    pub interval: Option<Interval>,
    /// The same, of what it has figures of.
    pub works: Option<f64>,
    /// Cells that were measured in every block.
    pub whole: usize,
    /// Networks on which it has figures.
    pub works_on: usize,
    /// Those on which most of its measurements were on a direct path.
    pub direct: usize,
}

/// Ranks the modules of a board by some of its rows. Rows without a factor have no say.
pub fn rank(board: &Board<'_>, wanted: impl Fn(&Row) -> bool) -> Ranking {
    let rows: Vec<&Row> = board.rows.iter().filter(|row| row.weight > 0.0 && wanted(row)).collect();
    let cells: BTreeSet<(usize, &str)> =
        rows.iter().map(|row| (row.scenario, &*row.workload)).collect();
    let networks: BTreeSet<usize> = cells.iter().map(|(scenario, _)| *scenario).collect();
    let mut unranked = Vec::new();
    let mut ranked = Vec::new();
    for module in 0..board.modules.len() {
        match why_unranked(&rows, cells.len(), module) {
            Some(reason) => unranked.push((module, reason)),
            None => ranked.push((module, by_block(&rows, module))),
        }
    }
    let scores: Vec<f64> = ranked.iter().map(|(module, _)| score(&rows, *module)).collect();
    let values: Vec<&BTreeMap<u64, f64>> = ranked.iter().map(|(_, values)| values).collect();
    let placed = places(&scores, |i, j| sides(values[i], values[j]), &Rules::default());
    let mut entries: Vec<Entry> = ranked
        .iter()
        .zip(placed)
        .zip(&scores)
        .map(|(((module, values), place), score)| Entry {
            module: *module,
            place,
            score: *score,
            interval: median_interval(&values.values().copied().collect::<Vec<_>>()),
            works: works(&rows, *module),
            whole: whole(&rows, &cells, *module),
            works_on: networks.iter().filter(|it| works_on(&rows, **it, *module)).count(),
            direct: networks.iter().filter(|it| is_direct(board, &cells, **it, *module)).count(),
        })
        .collect();
    entries.sort_by(|a, b| {
        (a.place.tier, a.score)
            .partial_cmp(&(b.place.tier, b.score))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let blocks = values.iter().map(|values| values.len()).min().unwrap_or(0);
    Ranking { entries, unranked, cells: cells.len(), networks: networks.len(), blocks }
}

/// Why a module has no place, if it has none: too little of it was tried, or can be counted.
fn why_unranked(rows: &[&Row], all: usize, module: usize) -> Option<String> {
    let cells = |wanted: &dyn Fn(&Row) -> bool| {
        let found = rows.iter().filter(|row| wanted(row));
        found.map(|row| (row.scenario, &*row.workload)).collect::<BTreeSet<_>>().len()
    };
    let is_tried = |row: &Row| row.figures[module].tried > 0;
    let tried = cells(&is_tried);
    let counted = cells(&|row| is_tried(row) && row.counted(module).is_some());
    let enough = |some: usize| some > 0 && some as f64 >= TRIED * all as f64;
    match (enough(tried), enough(counted)) {
        (false, _) => Some(format!("{tried} of {all} cells were tried")),
        (true, false) => {
            Some(format!("only {counted} of {all} cells have a wire to be measured by"))
        }
        (true, true) => None,
    }
}

/// Over all rows, what is missing counting as the worst.
pub fn score(rows: &[&Row], module: usize) -> f64 {
    geometric_mean(rows.iter().filter_map(|row| row.weighted(module))).unwrap_or(MISSING)
}

/// The same of each block that most of the rows were measured in; a row that was not is there with its mean over its other
/// blocks, which says nothing for or against the module. Where networks were measured with different seeds, no block is of
/// most rows: then the first of each row are one, the second of each, and so on. Each value stands once, so that networks
/// that share no seed do not look like more blocks than there are.
fn by_block(rows: &[&Row], module: usize) -> BTreeMap<u64, f64> {
    let rows: Vec<&Row> =
        rows.iter().filter(|row| row.counted(module).is_some()).copied().collect();
    let has_blocks = |row: &&&Row| !row.figures[module].counts.is_empty();
    let all: f64 = rows.iter().filter(has_blocks).map(|row| row.weight).sum();
    let mut weights: BTreeMap<u64, f64> = BTreeMap::new();
    for row in &rows {
        for pair in row.figures[module].counts.keys() {
            *weights.entry(*pair).or_default() += row.weight;
        }
    }
    let value = |of: &dyn Fn(&BTreeMap<u64, f64>) -> Option<f64>| {
        let factor = |row: &&Row| {
            let factor = of(&row.figures[module].counts).or_else(|| row.counted(module))?;
            Some((factor, row.weight))
        };
        geometric_mean(rows.iter().filter_map(factor)).unwrap_or(MISSING)
    };
    let common: BTreeMap<u64, f64> = weights
        .into_iter()
        .filter(|(_, weight)| *weight >= TRIED * all)
        .map(|(pair, _)| (pair, value(&|counts| counts.get(&pair).copied())))
        .collect();
    if !common.is_empty() {
        return common;
    }
    let blocks = rows.iter().map(|row| row.figures[module].counts.len()).filter(|it| *it > 0).min();
    let nth = |at: usize| value(&|counts| counts.values().nth(at).copied());
    (0..blocks.unwrap_or(0)).map(|at| (at as u64, nth(at))).collect()
}

fn sides(one: &BTreeMap<u64, f64>, other: &BTreeMap<u64, f64>) -> Option<Sides> {
    // A VPN that works nowhere counts the same in every block, which must not look like something that comes in
    // steps: so each block has a scale of its own, which is in both values and in no ratio.
    let both = one.iter().filter_map(|(pair, value)| Some((*value, *other.get(pair)?)));
    let scaled =
        both.zip(1_u32..).map(|((a, b), scale)| (a * f64::from(scale), b * f64::from(scale)));
    let pairs: Vec<(f64, f64)> = scaled.collect();
    let fewest = one.len().min(other.len());
    if fewest == 0 {
        None
    } else if pairs.len() * 2 > fewest {
        Some(Sides::Pairs(pairs))
    } else {
        let all = |values: &BTreeMap<u64, f64>| values.values().copied().collect();
        Some(Sides::Groups(all(one), all(other)))
    }
}

/// Over the rows that it has figures of.
fn works(rows: &[&Row], module: usize) -> Option<f64> {
    let measured = rows.iter().filter(|row| row.figures[module].is_whole());
    geometric_mean(measured.filter_map(|row| row.weighted(module)))
}

fn whole(rows: &[&Row], cells: &BTreeSet<(usize, &str)>, module: usize) -> usize {
    let is_whole = |cell: &&(usize, &str)| {
        let mut own = rows.iter().filter(|row| (row.scenario, &*row.workload) == **cell);
        own.any(|row| row.figures[module].is_whole())
    };
    cells.iter().filter(is_whole).count()
}

/// Whether it has figures in at least half of the blocks of some row.
fn works_on(rows: &[&Row], scenario: usize, module: usize) -> bool {
    rows.iter().filter(|row| row.scenario == scenario).any(|row| {
        let figure = &row.figures[module];
        figure.tried > 0 && figure.measured() * 2 >= figure.tried
    })
}

fn is_direct(
    board: &Board<'_>,
    cells: &BTreeSet<(usize, &str)>,
    scenario: usize,
    module: usize,
) -> bool {
    let own = cells.iter().filter(|(of, _)| *of == scenario).flat_map(|(_, workload)| {
        board.cell(&board.scenarios[scenario].name, workload, &board.modules[module].name)
    });
    let paths: Vec<OverlayPath> =
        own.filter(|it| it.record.outcome.is_ok()).map(|it| it.record.path).collect();
    let direct = paths.iter().filter(|path| **path == OverlayPath::Direct).count();
    direct * 2 > paths.len()
}
