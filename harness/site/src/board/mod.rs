//! What is shown together: all figures of one testbed.

mod about;
mod figure;
mod pool;
mod reference;

use std::collections::{BTreeMap, BTreeSet};

pub use about::About;
pub use figure::{Figure, Noise, sides};
pub use pool::{Edition, Measured, Pool};
pub use reference::Reference;

use meshbench::grid::grid_name;
use meshbench::report::compare::Lack;
use meshbench::results::{Better, INTERNAL, ModuleRecord, ScenarioRecord};
use meshbench::stats::{Comparison, Verdict, together};
use meshbench::workload::Absent;

use crate::load::Source;
use crate::questions::{self, Question};
use crate::testbed::Testbed;

/// All that is shown together, and ranked together.
#[derive(Debug)]
pub struct Board<'a> {
    /// Where it was measured.
    pub testbed: Testbed,
    /// Its folder in the site; empty for the first board.
    pub folder: String,
    /// The sets it is made of, the oldest first.
    pub sources: Vec<&'a Source>,
    /// VPNs, by name. The wire is not among them.
    pub modules: Vec<&'a ModuleRecord>,
    /// Networks, in the order of the newest set.
    pub scenarios: Vec<&'a ScenarioRecord>,
    /// What was measured there: a line of the table each, in the order of questions, workloads, metrics.
    pub rows: Vec<Row>,
    /// What that took of the members: lines of no table, for pictures and evidence.
    pub costs: Vec<Row>,
    /// NAT × NAT: its fields are the networks of a board of their own, with the same modules, since they are one
    /// picture and no lines of a table.
    pub grid: Option<Box<Self>>,
    /// The records that are no part of a grid.
    pub pool: Pool<'a>,
    cells: Cells<'a>,
}

/// By scenario, workload, module.
type Cells<'a> = BTreeMap<&'a str, BTreeMap<&'a str, BTreeMap<&'a str, Vec<Measured<'a>>>>>;

/// A metric of a workload in a scenario.
#[derive(Debug)]
pub struct Row {
    /// Place of the scenario.
    pub scenario: usize,
    /// Name of the workload.
    pub workload: String,
    /// The question that it helps to answer.
    pub question: Question,
    /// The metric.
    pub about: About,
    /// What it weighs in a mean: every cell the same, whatever the number of its metrics. Nothing for one that has no
    /// factor.
    pub weight: f64,
    /// By what its figures are measured.
    pub reference: Reference,
    /// The wire.
    pub wire: Figure,
    /// By module.
    pub figures: Vec<Figure>,
}

impl<'a> Board<'a> {
    /// Boards of these sets, that of most cells in each class first.
    pub fn all(sources: &'a [Source]) -> Vec<Self> {
        let mut by_testbed: BTreeMap<Testbed, Vec<&Source>> = BTreeMap::new();
        for source in sources {
            by_testbed.entry(Testbed::of(&source.set.run)).or_default().push(source);
        }
        let mut boards: Vec<Self> =
            by_testbed.into_iter().map(|(testbed, sources)| Self::of(testbed, sources)).collect();
        boards.retain(|board| !board.modules.is_empty());
        boards.sort_by_key(|board| {
            let cells = std::cmp::Reverse(board.pool.current.len());
            (board.testbed.class, board.testbed.quick, cells)
        });
        name_folders(&mut boards);
        boards
    }

    fn of(testbed: Testbed, sources: Vec<&'a Source>) -> Self {
        let mut pool = Pool::of(&sources);
        let fields = take_grid(&mut pool);
        let modules = modules(&sources, &[&pool, &fields]);
        let grid = (!fields.current.is_empty())
            .then(|| Self::made(testbed.clone(), sources.clone(), modules.clone(), fields));
        Self { grid: grid.map(Box::new), ..Self::made(testbed, sources, modules, pool) }
    }

    fn made(
        testbed: Testbed,
        sources: Vec<&'a Source>,
        modules: Vec<&'a ModuleRecord>,
        pool: Pool<'a>,
    ) -> Self {
        let mut cells = Cells::new();
        for ((scenario, module, workload, _), measured) in &pool.current {
            let of_scenario = cells.entry(scenario).or_default();
            let of_workload = of_scenario.entry(workload).or_default();
            of_workload.entry(module).or_default().push(*measured);
        }
        let scenarios = scenarios(&sources, &pool);
        let mut board = Self {
            testbed,
            folder: String::new(),
            sources,
            modules,
            scenarios,
            rows: Vec::new(),
            costs: Vec::new(),
            grid: None,
            pool,
            cells,
        };
        board.rows = board.make_rows(false);
        board.costs = board.make_rows(true);
        board
    }

    /// Records of a cell, by pair.
    pub fn cell(&self, scenario: &str, workload: &str, module: &str) -> &[Measured<'a>] {
        let of_scenario = self.cells.get(scenario);
        let of_workload = of_scenario.and_then(|it| it.get(workload));
        of_workload.and_then(|it| it.get(module)).map_or(&[], Vec::as_slice)
    }

    /// Names of all workloads, in the order of the table.
    pub fn workloads(&self) -> Vec<(&str, Question)> {
        let mut seen = BTreeSet::new();
        let all = self.rows.iter().map(|row| (row.workload.as_str(), row.question));
        all.filter(|(workload, _)| seen.insert(*workload)).collect()
    }

    /// The most blocks of a cell.
    pub fn blocks(&self) -> usize {
        let all = self.cells.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values);
        all.map(Vec::len).max().unwrap_or(0)
    }

    /// How many cells of blocks ended how: ok, failed, unsupported, skipped.
    pub fn outcomes(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for measured in self.pool.current.values() {
            let problem = Lack::of(&measured.record.outcome);
            counts[problem.map_or(0, |problem| problem as usize + 1)] += 1;
        }
        counts
    }

    /// Whether a later edition of its module was measured, though not on this network.
    pub fn is_earlier(&self, measured: &Measured<'_>) -> bool {
        let module = &measured.record.key.module;
        let mut own = measured.source.set.run.modules.iter();
        let own = own.find(|it| it.name == *module);
        let newest = self.modules.iter().find(|it| it.name == *module);
        own.zip(newest).is_some_and(|(own, newest)| Edition::of(own) != Edition::of(newest))
    }

    /// Rows of a scenario.
    pub fn rows_of(&self, scenario: usize) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.scenario == scenario)
    }

    /// Rows of the table over networks: those that can be better or worse.
    pub fn judged(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.about.better != Better::Neutral)
    }

    /// The noise floor that was measured for it last, by who has measured the cell, too; else what is taken for one.
    fn noise(&self, cell: [&str; 3], metric: &str) -> Noise {
        let [scenario, workload, module] = cell;
        let cells = self.cell(scenario, workload, module);
        let own = |source: &&&Source| cells.iter().any(|it| std::ptr::eq(it.source, **source));
        let records =
            self.sources.iter().rev().filter(own).filter_map(|source| source.noise.as_ref());
        let floor = records.filter_map(|record| record.floor(cell, metric)).next();
        let default = Noise::default();
        floor.map_or(default, |floor| Noise {
            relative: floor.relative.unwrap_or(default.relative),
            absolute: floor.absolute.unwrap_or(default.absolute),
        })
    }

    fn make_rows(&self, costs: bool) -> Vec<Row> {
        let mut keys: Vec<(usize, &str)> = Vec::new();
        for (place, scenario) in self.scenarios.iter().enumerate() {
            let of_scenario = self.cells.get(scenario.name.as_str());
            keys.extend(of_scenario.into_iter().flat_map(BTreeMap::keys).map(|it| (place, *it)));
        }
        keys.sort_unstable_by_key(|(scenario, workload)| {
            (questions::order(workload), *workload, *scenario)
        });
        let mut rows: Vec<Row> = keys
            .into_iter()
            .flat_map(|(scenario, workload)| self.rows_of_cell(scenario, workload, costs))
            .collect();
        (0..self.modules.len()).for_each(|module| judge(&mut rows, module));
        rows
    }

    fn rows_of_cell(&self, scenario: usize, workload: &str, costs: bool) -> Vec<Row> {
        let name = self.scenarios[scenario].name.as_str();
        let of = |module: &str| self.cell(name, workload, module);
        let everyone =
            std::iter::once(INTERNAL).chain(self.modules.iter().map(|it| it.name.as_str()));
        let mut abouts: Vec<About> = Vec::new();
        let all = |cell: &Measured<'a>| {
            if costs { cell.record.costs.iter() } else { cell.record.metrics.iter() }
        };
        for metric in everyone.flat_map(of).flat_map(all) {
            if !abouts.iter().any(|about| about.metric == metric.name) {
                let (metric, unit, better) = (metric.name.clone(), metric.unit, metric.better);
                abouts.push(About { metric, unit, better, cost: costs });
            }
        }
        if abouts.is_empty() {
            return Vec::new();
        }
        let mut rows: Vec<Row> = abouts
            .into_iter()
            .map(|about| {
                let noise = |module: &str| self.noise([name, workload, module], &about.metric);
                let absent = questions::absent(workload, &about.metric);
                let absent = if costs { Absent::Inapplicable } else { absent };
                let wire =
                    Figure::of(of(INTERNAL), &about, Reference::Nothing, noise(INTERNAL), absent);
                let question = questions::of(workload);
                let reference = Reference::of(question, &about, wire.median.is_some());
                let figure = |module: &&ModuleRecord| {
                    let (cells, noise) = (of(&module.name), noise(&module.name));
                    let figure = Figure::of(cells, &about, reference, noise, absent);
                    match self.pool.absent.get(&(module.name.as_str(), name, workload)) {
                        Some(pairs) if !cells.is_empty() => {
                            figure.missing(pairs, &about, reference)
                        }
                        _ => figure,
                    }
                };
                let figures: Vec<Figure> = self.modules.iter().map(figure).collect();
                let scored = !costs && figures.iter().any(|it| it.factor.is_some());
                Row {
                    scenario,
                    workload: workload.into(),
                    question,
                    about,
                    weight: f64::from(scored),
                    reference,
                    wire,
                    figures,
                }
            })
            .collect();
        let scored: f64 = rows.iter().map(|row| row.weight).sum();
        rows.iter_mut().filter(|row| row.weight > 0.0).for_each(|row| row.weight /= scored);
        rows
    }
}

/// Compares a module with the wire, in all rows of a table at once.
fn judge(rows: &mut [Row], module: usize) {
    let asked: Vec<Option<Comparison<'_>>> =
        rows.iter().map(|row| row.figures[module].comparison(&row.about)).collect();
    let comparisons: Vec<Comparison<'_>> = asked.iter().flatten().copied().collect();
    let mut judged = together(&comparisons).into_iter();
    let verdicts: Vec<Option<Verdict>> =
        asked.iter().map(|asked| asked.and_then(|_| Some(judged.next()?.verdict))).collect();
    for (row, verdict) in rows.iter_mut().zip(verdicts) {
        row.figures[module].judge(verdict, row.about.better);
    }
}

impl Row {
    /// What a module counts for in this row: where it has no figures or was never tried, the worst there is; nothing
    /// where it has figures, and there is no wire to measure them by, or where there was nothing to tell.
    pub fn counted(&self, module: usize) -> Option<f64> {
        let figure = &self.figures[module];
        let missing = figure.measured() == 0 && figure.untold == 0;
        figure.factor.or(missing.then_some(crate::score::MISSING))
    }

    /// The same with the weight of the row, for a mean.
    pub fn weighted(&self, module: usize) -> Option<(f64, f64)> {
        Some((self.counted(module)?, self.weight))
    }
}

fn name_folders(boards: &mut [Board<'_>]) {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (at, board) in boards.iter_mut().enumerate() {
        let slug = board.testbed.class.slug();
        let quick = if board.testbed.quick { "-quick" } else { "" };
        let names = (1..)
            .map(|n| if n == 1 { format!("{slug}{quick}") } else { format!("{slug}{quick}-{n}") });
        let name = names.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
        taken.insert(name.clone());
        board.folder = if at == 0 { String::new() } else { name };
        if let Some(grid) = &mut board.grid {
            grid.folder.clone_from(&board.folder);
        }
    }
}

/// Takes out what belongs to a grid NAT × NAT.
fn take_grid<'a>(pool: &mut Pool<'a>) -> Pool<'a> {
    let is_field = |measured: &Measured<'_>| {
        let mut scenarios = measured.source.set.run.scenarios.iter();
        let about = scenarios.find(|it| it.name == measured.record.key.scenario);
        about.is_some_and(|about| kinds(about).is_some())
    };
    let (fields, others) =
        std::mem::take(&mut pool.current).into_iter().partition(|(_, it)| is_field(it));
    pool.current = others;
    Pool { current: fields, ..Pool::default() }
}

/// The kinds of a field of a grid, whose title is `ALICE to BOB` and whose name is made of them.
pub fn kinds(scenario: &ScenarioRecord) -> Option<(&str, &str)> {
    let (alice, bob) = scenario.title.split_once(" to ")?;
    (scenario.name == grid_name(alice, bob)).then_some((alice, bob))
}

fn modules<'a>(sources: &[&'a Source], pools: &[&Pool<'a>]) -> Vec<&'a ModuleRecord> {
    let keys = pools.iter().flat_map(|pool| pool.current.keys());
    let measured: BTreeSet<&str> = keys.map(|(_, module, _, _)| *module).collect();
    let mut newest: BTreeMap<&str, &ModuleRecord> = BTreeMap::new();
    for Source { set, .. } in sources {
        let own: BTreeSet<&str> = set.cells.iter().map(|it| it.key.module.as_str()).collect();
        let shown = own.intersection(&measured);
        let modules = shown.filter_map(|name| set.run.modules.iter().find(|it| it.name == **name));
        newest.extend(modules.map(|module| (module.name.as_str(), module)));
    }
    newest.remove(INTERNAL);
    newest.into_values().collect()
}

fn scenarios<'a>(sources: &[&'a Source], pool: &Pool<'a>) -> Vec<&'a ScenarioRecord> {
    let measured: BTreeSet<&str> = pool.current.keys().map(|(scenario, ..)| *scenario).collect();
    let mut found: Vec<&ScenarioRecord> = Vec::new();
    for scenario in sources.iter().rev().flat_map(|source| &source.set.run.scenarios) {
        let known = found.iter().any(|other| other.name == scenario.name);
        if !known && measured.contains(scenario.name.as_str()) {
            found.push(scenario);
        }
    }
    found
}
