//! The page of a VPN: what it is and claims, how it is configured, where it stands, all of its results.

use std::collections::BTreeSet;

use askama::Template;
use meshbench::fabric::Scenario;
use meshbench::module::spec::Module;
use meshbench::report::compare::Lack;
use meshbench::results::{ContractRecord, ModuleRecord};

use super::cells::of_network;
use super::index::matters;
use super::{Frame, Link, Told, evidence_page, scenario_page, told};
use crate::board::{Board, Edition, Row};
use crate::charts::grid;
use crate::claims::{Standing, claims};
use crate::questions::{Question, Reader};
use crate::rank::{Ranking, rank};
use crate::score::geometric_mean;
use crate::words::{list, ranks, reach, times};

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
    /// The evidence of each field.
    fields: Vec<(Link, String)>,
    /// By what its promises are tested again; empty where there are none.
    tested_by: String,
    networks: Vec<Link>,
    groups: Vec<Group<'a>>,
    history_of: Vec<&'static str>,
    history: Vec<Run>,
}

struct Stands {
    title: String,
    /// Of the card that says so.
    card: String,
    reach: String,
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
    told: Told<'a>,
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

/// Renders it. `known` is the module's folder, if there is one; `alone` are the sets, each a board of its own.
///
/// # Errors
/// None that content could cause.
pub(crate) fn module(
    board: &Board<'_>,
    place: usize,
    known: Option<&Module>,
    scenarios: &[Scenario],
    contracts: &[ContractRecord],
    alone: &[Board<'_>],
    readers: &[Reader],
) -> Result<String, askama::Error> {
    let record = board.modules[place];
    let claimed = known.map(|known| claims(board, known, scenarios, contracts));
    let claimed = claimed.into_iter().flatten().map(|claim| Marked {
        class: claim.standing.class(),
        mark: claim.standing.mark(),
        title: claim.title.into(),
        seen: claim.seen,
    });
    let frame = Frame::new(&record.title, &board.folder, 1);
    let (grid, grid_words) = grid::chart(board, &record.name).unwrap_or_default();
    Page {
        groups: Question::ALL.iter().filter_map(|it| group(board, &frame, place, *it)).collect(),
        frame,
        name: &record.name,
        title: &record.title,
        summary: known.map_or("", |known| &known.spec.summary),
        homepage: known.map_or("", |known| &known.spec.homepage),
        documentation: known.map_or("", |known| &known.spec.config.documentation),
        version: version(board, record),
        standings: standings(board, place, readers),
        claims: claimed.collect(),
        promises: promises(&record.name, contracts),
        choices: &record.choices,
        grid,
        grid_words,
        fields: fields(board, &record.name),
        tested_by: tested_by(&record.name, contracts),
        networks: board
            .scenarios
            .iter()
            .map(|it| Link {
                href: format!("../{}", scenario_page(&it.name)),
                title: it.title.clone(),
            })
            .collect(),
        history_of: asked(board).iter().map(|it| it.name()).collect(),
        history: history(board, alone, &record.name),
    }
    .render()
}

/// The newest version that was measured, and where only an earlier edition was.
fn version(board: &Board<'_>, record: &ModuleRecord) -> String {
    let own = board.pool.current.values().filter(|it| it.record.key.module == record.name);
    let earlier: BTreeSet<&str> =
        own.filter(|it| board.is_earlier(it)).map(|it| it.record.key.scenario.as_str()).collect();
    let newest = Edition::of(record).title();
    if earlier.is_empty() {
        return newest;
    }
    let on: Vec<&str> = earlier.into_iter().collect();
    format!("{newest}; an earlier edition of it, as its evidence says, on {}", list(&on))
}

/// The questions that something was measured for.
fn asked(board: &Board<'_>) -> Vec<Question> {
    let any = |question: &Question| {
        board.rows.iter().any(|row| row.question == *question && row.weight > 0.0)
    };
    Question::ALL.into_iter().filter(any).collect()
}

/// For whom and for what it has a place.
fn standings(board: &Board<'_>, place: usize, readers: &[Reader]) -> Vec<Stands> {
    let stands = |title: &str, card: &str, ranking: Ranking| {
        let entry = ranking.entries.iter().find(|entry| entry.module == place)?;
        Some(Stands {
            title: title.into(),
            card: format!("for-{card}"),
            reach: reach(entry, ranking.networks),
            ranks: ranks(entry),
            of: ranking.entries.len(),
            score: times(entry.score),
            works: entry.works.map(times).unwrap_or_default(),
            whole: format!("{}/{}", entry.whole, ranking.cells),
        })
    };
    let of_reader = |reader: &Reader| {
        let ranking = rank(board, |row| matters(board, reader, row));
        stands(&reader.title, &reader.name, ranking)
    };
    let of_question = |question: Question| {
        let ranking = rank(board, |row| row.question == question);
        stands(question.asked(), question.name(), ranking)
    };
    let questions = asked(board).into_iter().filter(|it| *it != Question::Other);
    readers.iter().filter_map(of_reader).chain(questions.filter_map(of_question)).collect()
}

fn fields(board: &Board<'_>, module: &str) -> Vec<(Link, String)> {
    let field = |field: grid::Field<'_>| {
        let (alice, bob) = field.kinds;
        let href = format!("../{}", evidence_page(field.scenario, module));
        (Link { href, title: format!("{alice} to {bob}") }, field.words())
    };
    grid::fields(board, module).into_iter().map(field).collect()
}

/// What a finding rests on: the command that tests it again, and in virtual time what the machine is to say.
fn tested_by(module: &str, contracts: &[ContractRecord]) -> String {
    let own = contracts.iter().find(|record| record.module == module);
    let command = |record: &ContractRecord| {
        let clock = record.clock().word();
        let command = format!("bench contract {module} --clock {clock}");
        match &record.sealed {
            Some(sealed) => format!("# says SHA-256 {}\n{command}", sealed.said),
            None => command,
        }
    };
    own.map(command).unwrap_or_default()
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
            title: finding.promise.to_string(),
            seen: finding.seen.clone(),
        }
    };
    own.flat_map(|record| &record.findings).map(marked).collect()
}

fn group<'a>(
    board: &'a Board<'_>,
    frame: &Frame,
    module: usize,
    question: Question,
) -> Option<Group<'a>> {
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
        let told = told(frame, workload, metric);
        Line { workload, told, cells: (0..board.scenarios.len()).map(cell).collect() }
    };
    (!kinds.is_empty())
        .then(|| Group { asked: question.asked(), rows: kinds.into_iter().map(line).collect() })
}

/// Every run that measured it on this testbed, the newest first. `alone` are the same sets, each a board of its own.
fn history(board: &Board<'_>, alone: &[Board<'_>], module: &str) -> Vec<Run> {
    let run = |alone: &Board<'_>| {
        let set = &alone.sources.first()?.set;
        let record = set.run.modules.iter().find(|it| it.name == module)?;
        let mut counts = [0; 4];
        for cell in set.cells.iter().filter(|cell| cell.key.module == module) {
            counts[Lack::of(&cell.outcome).map_or(0, |problem| problem as usize + 1)] += 1;
        }
        let [ok, failed, unsupported, skipped] = counts;
        (counts.iter().sum::<usize>() > 0).then(|| Run {
            started: set.run.started.clone(),
            version: Edition::of(record).title(),
            ok,
            failed,
            others: unsupported + skipped,
            factors: asked(board).into_iter().map(|it| factor(alone, module, it)).collect(),
        })
    };
    alone.iter().rev().filter_map(run).collect()
}

/// What a module counted for in a run, by the same measure as in ranks, over what was tried there.
fn factor(alone: &Board<'_>, module: &str, question: Question) -> String {
    let Some(at) = alone.modules.iter().position(|it| it.name == module) else {
        return String::new();
    };
    let own = alone.rows.iter().filter(|row| row.question == question && row.figures[at].tried > 0);
    geometric_mean(own.filter_map(|row| row.weighted(at))).map(times).unwrap_or_default()
}
