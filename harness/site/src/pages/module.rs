//! The page of a VPN: what it is and claims, how it is configured, where it stands, all of its results.

use askama::Template;
use meshbench::fabric::Scenario;
use meshbench::module::spec::Module;
use meshbench::results::{ContractRecord, ResultSet};

use super::cells::of_network;
use super::{Frame, Link, evidence_page, scenario_page};
use crate::board::{Board, Edition, Problem, Row};
use crate::charts::grid;
use crate::claims::{Standing, claims};
use crate::questions::Question;
use crate::rank::rank;
use crate::score::geometric_mean;
use crate::words::{ranks, times};

#[derive(Template)]
#[template(path = "module.html")]
struct Page<'a> {
    frame: Frame,
    name: &'a str,
    title: &'a str,
    summary: &'a str,
    homepage: &'a str,
    documentation: &'a str,
    version: String,
    standings: Vec<Stands>,
    claims: Vec<Marked>,
    promises: Vec<Marked>,
    choices: &'a [String],
    grid: String,
    grid_words: String,
    networks: Vec<Link>,
    groups: Vec<Group<'a>>,
    history_of: Vec<&'static str>,
    history: Vec<Run>,
}

struct Stands {
    title: &'static str,
    ranks: String,
    of: usize,
    score: String,
    works: String,
    whole: String,
}

struct Marked {
    class: &'static str,
    mark: &'static str,
    title: String,
    seen: String,
}

struct Group<'a> {
    asked: &'static str,
    rows: Vec<Line<'a>>,
}

struct Line<'a> {
    workload: &'a str,
    metric: &'a str,
    cells: Vec<String>,
}

struct Run {
    started: String,
    version: String,
    ok: usize,
    failed: usize,
    others: usize,
    factors: Vec<String>,
}

/// Renders it. `known` is the module's folder, if there is one.
///
/// # Errors
/// None that content could cause.
pub(crate) fn module(
    board: &Board<'_>,
    place: usize,
    known: Option<&Module>,
    scenarios: &[Scenario],
    contracts: &[ContractRecord],
) -> Result<String, askama::Error> {
    let record = board.modules[place];
    let claimed = known.map(|known| claims(board, known, scenarios, contracts));
    let claimed = claimed.into_iter().flatten().map(|claim| Marked {
        class: claim.standing.class(),
        mark: claim.standing.mark(),
        title: claim.title.into(),
        seen: claim.seen,
    });
    let (grid, grid_words) = grid::chart(board, &record.name).unwrap_or_default();
    Page {
        frame: Frame::new(&record.title, &board.folder, 1),
        name: &record.name,
        title: &record.title,
        summary: known.map_or("", |known| &known.spec.summary),
        homepage: known.map_or("", |known| &known.spec.homepage),
        documentation: known.map_or("", |known| &known.spec.config.documentation),
        version: Edition::of(record).title(),
        standings: standings(board, place),
        claims: claimed.collect(),
        promises: promises(&record.name, contracts),
        choices: &record.choices,
        grid,
        grid_words,
        networks: board
            .scenarios
            .iter()
            .map(|it| Link {
                href: format!("../{}", scenario_page(&it.name)),
                title: it.title.clone(),
            })
            .collect(),
        groups: Question::ALL.iter().filter_map(|it| group(board, place, *it)).collect(),
        history_of: asked(board).iter().map(|it| it.name()).collect(),
        history: history(board, &record.name),
    }
    .render()
}

/// The questions that something was measured for.
fn asked(board: &Board<'_>) -> Vec<Question> {
    let any = |question: &Question| {
        board.rows.iter().any(|row| row.question == *question && row.weight > 0.0)
    };
    Question::ALL.into_iter().filter(any).collect()
}

fn standings(board: &Board<'_>, place: usize) -> Vec<Stands> {
    let stands = |question: Question| {
        let ranking = rank(board, |row| row.question == question);
        let entry = ranking.entries.iter().find(|entry| entry.module == place)?;
        Some(Stands {
            title: question.asked(),
            ranks: ranks(entry),
            of: ranking.entries.len(),
            score: times(entry.score),
            works: entry.works.map(times).unwrap_or_default(),
            whole: format!("{}/{}", entry.whole, ranking.cells),
        })
    };
    asked(board).into_iter().filter_map(stands).collect()
}

fn promises(module: &str, contracts: &[ContractRecord]) -> Vec<Marked> {
    let own = contracts.iter().filter(|record| record.module == module);
    let marked = |finding: &meshbench::results::Finding| {
        let standing = match finding.kept {
            Some(true) => Standing::Shown,
            Some(false) => Standing::Refuted,
            None => Standing::Unclaimed,
        };
        Marked {
            class: standing.class(),
            mark: standing.mark(),
            title: finding.promise.clone(),
            seen: finding.seen.clone(),
        }
    };
    own.flat_map(|record| &record.findings).map(marked).collect()
}

fn group<'a>(board: &'a Board<'_>, module: usize, question: Question) -> Option<Group<'a>> {
    let mut kinds: Vec<(&str, &str)> = Vec::new();
    for row in board.rows.iter().filter(|row| row.question == question) {
        let kind = (row.workload.as_str(), row.about.metric.as_str());
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let line = |(workload, metric): (&'a str, &'a str)| {
        let cell = |place: usize| {
            let own = |row: &&Row| row.workload == workload && row.about.metric == metric;
            let scenario = &board.scenarios[place].name;
            let href = format!("../{}", evidence_page(scenario, &board.modules[module].name));
            let row = board.rows_of(place).find(own);
            row.map_or("<td class=none>".into(), |row| of_network(row, Some(module), &href))
        };
        Line { workload, metric, cells: (0..board.scenarios.len()).map(cell).collect() }
    };
    (!kinds.is_empty())
        .then(|| Group { asked: question.asked(), rows: kinds.into_iter().map(line).collect() })
}

/// Every run that measured it on this testbed, the newest first.
fn history(board: &Board<'_>, module: &str) -> Vec<Run> {
    let run = |source: &&crate::load::Source| {
        let set = &source.set;
        let record = set.run.modules.iter().find(|it| it.name == module)?;
        let mut counts = [0; 4];
        for cell in set.cells.iter().filter(|cell| cell.key.module == module) {
            counts[Problem::of(&cell.outcome).map_or(0, |problem| problem as usize + 1)] += 1;
        }
        let [ok, failed, unsupported, skipped] = counts;
        (counts.iter().sum::<usize>() > 0).then(|| Run {
            started: set.run.started.clone(),
            version: Edition::of(record).title(),
            ok,
            failed,
            others: unsupported + skipped,
            factors: asked(board).into_iter().map(|it| factor(set, module, it)).collect(),
        })
    };
    board.sources.iter().rev().filter_map(run).collect()
}

/// What a module counted for in a run, of its own wire.
fn factor(set: &ResultSet, module: &str, question: Question) -> String {
    let own = set.cells.iter().filter(|cell| {
        cell.key.module == module && crate::questions::of(&cell.key.workload) == question
    });
    let mut factors = Vec::new();
    for cell in own {
        let mut key = cell.key.clone();
        key.module = meshbench::results::INTERNAL.into();
        let Some(wire) = set.cell(&key) else { continue };
        let scored = cell.metrics.iter().filter_map(|metric| {
            let same = wire.metrics.iter().find(|it| it.name == metric.name)?;
            let badness =
                crate::score::badness(metric.value, same.value, metric.unit, metric.better)?;
            Some(crate::score::counted(Some(badness)))
        });
        let scored: Vec<f64> = scored.collect();
        let weight = 1.0 / scored.len().max(1) as f64;
        factors.extend(scored.iter().map(|factor| (*factor, weight)));
        if cell.metrics.is_empty() && wire.outcome.is_ok() {
            factors.push((crate::score::MISSING, 1.0));
        }
    }
    geometric_mean(factors).map(times).unwrap_or_default()
}
