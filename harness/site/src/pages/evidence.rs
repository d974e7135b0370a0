//! What a cell rests on.

use std::collections::BTreeSet;

use askama::Template;
use meshbench::report::table::{bare_interval, humanise};
use meshbench::results::{
    After, CellRecord, Direction, EventRecord, INTERNAL, Impairment, LinkRecord, Outcome,
    PackageRecord, ScenarioRecord, Unit,
};
use meshbench::stats::Verdict;

use super::repeating::{command, expect};
use super::{Frame, Link, scenario_page};
use crate::board::{Board, Figure, Measured, Row, kinds};
use crate::charts::{Chart, samples};
use crate::questions;
use crate::testbed::Testbed;
use crate::words::{WIRE, count, list, times};

/// Lines of a log that are shown.
const LINES: usize = 30;

#[derive(Template)]
#[template(path = "evidence.html")]
struct Page {
    frame: Frame,
    module: String,
    network: Link,
    lead: String,
    by: String,
    versions: String,
    command: String,
    expect: String,
    workloads: Vec<Workload>,
    links: Vec<Line>,
    nats: Vec<String>,
}

struct Workload {
    name: String,
    /// What went wrong; empty where nothing did.
    why: String,
    summary: &'static str,
    rows: Vec<Figures>,
    charts: Vec<Chart>,
    blocks: Vec<Block>,
    texts: Vec<Text>,
}

struct Figures {
    metric: String,
    source: &'static str,
    median: String,
    interval: String,
    wire: String,
    ratio: String,
    factor: String,
    verdict: &'static str,
    blocks: String,
}

struct Block {
    name: String,
    outcome: String,
    path: &'static str,
    mtu: String,
    underlay: &'static str,
    started: String,
    seconds: String,
    /// What happened, what stood of earlier events, and what the overlay was like afterwards.
    happened: String,
    said: String,
}

struct Text {
    path: String,
    end: String,
}

struct Line {
    name: String,
    cells: [String; 5],
}

/// Renders it for a module, or the wire. Nothing where it was not tried.
///
/// # Errors
/// None that content could cause.
pub(crate) fn evidence(
    board: &Board<'_>,
    place: usize,
    module: &str,
) -> Result<Option<String>, askama::Error> {
    let scenario = board.scenarios[place];
    let costs = board.costs.iter().filter(|row| row.scenario == place);
    let rows: Vec<&Row> = board.rows_of(place).chain(costs).collect();
    let names = board.workloads();
    let tried = |name: &str| board.cell(&scenario.name, name, module);
    let all: Vec<Measured<'_>> = names.iter().flat_map(|(name, _)| tried(name)).copied().collect();
    let Some(newest) = all.last() else { return Ok(None) };
    let at = board.modules.iter().position(|it| it.name == module);
    let title = at.map_or(WIRE, |at| board.modules[at].title.as_str());
    let workload = |(name, _): &(&str, questions::Question)| {
        let cells = tried(name);
        let own: Vec<&Row> = rows.iter().copied().filter(|row| row.workload == *name).collect();
        (!cells.is_empty()).then(|| of_workload(name, cells, &own, at))
    };
    let page = Page {
        frame: Frame::new(format!("{title} on {}", scenario.title), &board.folder, 2),
        module: title.into(),
        network: network(scenario),
        lead: lead(&all),
        by: by(&all),
        versions: versions(board, newest, module),
        command: command(board, &all, module),
        expect: expect(&all),
        workloads: names.iter().filter_map(workload).collect(),
        links: links(&all),
        nats: nats(&all),
    };
    page.render().map(Some)
}

/// A field of a grid has no page of its own.
fn network(scenario: &ScenarioRecord) -> Link {
    let href = match kinds(scenario) {
        Some(_) => String::new(),
        None => format!("../../{}", scenario_page(&scenario.name)),
    };
    Link { href, title: scenario.title.clone() }
}

fn each(values: impl Iterator<Item = String>) -> Vec<String> {
    values.collect::<BTreeSet<_>>().into_iter().collect()
}

fn lead(all: &[Measured<'_>]) -> String {
    let ok = || all.iter().map(|it| it.record).filter(|it| it.outcome.is_ok());
    let joined = |values: Vec<String>, none: &str| {
        if values.is_empty() { none.to_owned() } else { values.join(" and ") }
    };
    let paths = joined(each(ok().map(|it| it.path.word().to_owned())), "none");
    let mtus = each(ok().filter_map(|it| Some(it.inner_mtu?.to_string())));
    let below = each(ok().filter_map(|it| Some(it.underlay?.word().to_owned())));
    let failed =
        all.iter().filter(|it| matches!(it.record.outcome, Outcome::Failed { .. })).count();
    format!(
        "{} ({failed} failed). Path as the VPN tells it: {paths}. Largest packet that passes whole: {}. Carried by {}.",
        count(all.len(), "measurement"),
        joined(mtus, "not probed"),
        joined(below, "unknown")
    )
}

fn by(all: &[Measured<'_>]) -> String {
    let who = each(all.iter().map(|it| {
        let by = if it.source.by.is_empty() { "somebody who does not say" } else { &it.source.by };
        let run = &it.source.set.run;
        format!("{by}, with {} ({})", Testbed::of(run).detail, run.id)
    }));
    list(&who.iter().map(String::as_str).collect::<Vec<_>>())
}

fn versions(board: &Board<'_>, newest: &Measured<'_>, module: &str) -> String {
    let run = &newest.source.set.run;
    let own = run.modules.iter().find(|it| it.name == module);
    let version = own.and_then(|it| it.version.clone()).unwrap_or_else(|| "unknown".into());
    let guest = run.guests.iter().find(|it| it.module == module);
    let packages = guest.map(|guest| {
        let others = run.guests.iter().filter(|it| it.module != guest.module);
        let others: Vec<&PackageRecord> = others.flat_map(|it| &it.packages).collect();
        // What is called as it is, then what others have not, or not so.
        let mut own: Vec<&PackageRecord> = guest.packages.iter().collect();
        own.sort_by_key(|it| (!it.name.contains(module), others.contains(it)));
        let own = own.into_iter().take(8);
        let packages: Vec<String> = own.map(|it| format!("{} {}", it.name, it.version)).collect();
        format!("; guest {} by {} with {}", guest.nar_hash, guest.provider, packages.join(", "))
    });
    let harness = &run.environment;
    let revision = harness.harness_revision.as_deref().unwrap_or("unknown revision");
    let earlier = match board.is_earlier(newest) {
        true => " (an earlier edition: a later one was measured, though not on this network)",
        false => "",
    };
    format!(
        "{version}{earlier}; meshbench {} ({revision}){}",
        harness.harness_version,
        packages.unwrap_or_default()
    )
}

fn of_workload(
    name: &str,
    cells: &[Measured<'_>],
    rows: &[&Row],
    module: Option<usize>,
) -> Workload {
    let shown = |row: &&&Row| module.map_or(&row.wire, |it| &row.figures[it]).median.is_some();
    let rows: Vec<&Row> = rows.iter().filter(shown).copied().collect();
    Workload {
        name: name.into(),
        why: why(cells),
        summary: questions::summary(name),
        rows: rows.iter().map(|row| figures(row, module)).collect(),
        charts: samples::charts(cells, &rows),
        blocks: cells.iter().map(block).collect(),
        texts: texts(cells),
    }
}

/// The first thing that went wrong, and in how many blocks something did.
fn why(cells: &[Measured<'_>]) -> String {
    let wrong: Vec<&CellRecord> =
        cells.iter().map(|it| it.record).filter(|it| !it.outcome.is_ok()).collect();
    let Some(first) = wrong.first() else { return String::new() };
    if wrong.len() == cells.len() {
        return outcome(first);
    }
    format!("{} (in {} of {})", outcome(first), wrong.len(), count(cells.len(), "block"))
}

fn figures(row: &Row, module: Option<usize>) -> Figures {
    let figure = module.map_or(&row.wire, |module| &row.figures[module]);
    let unit = row.about.unit;
    let shown = |figure: &Figure| figure.median.map(|it| humanise(it, unit)).unwrap_or_default();
    let interval = figure.median.zip(figure.interval);
    let ratio = figure.ratio.filter(|_| module.is_some());
    Figures {
        metric: row.about.metric.clone(),
        source: questions::source(&row.workload, &row.about.metric),
        median: shown(figure),
        interval: interval
            .map(|(median, it)| bare_interval(it.low, it.high, median, unit))
            .unwrap_or_default(),
        wire: shown(&row.wire),
        ratio: ratio.map(|ratio| times(ratio.median)).unwrap_or_default(),
        factor: figure.factor.filter(|_| module.is_some()).map(times).unwrap_or_default(),
        verdict: match (figure.alarm, figure.verdict.filter(|_| module.is_some())) {
            (true, _) => "! better: doubt it",
            (_, Some(Verdict::Larger)) => "larger",
            (_, Some(Verdict::Smaller)) => "smaller",
            (_, Some(Verdict::Alike)) => "≈ alike",
            (_, Some(_)) => "? undecided",
            (_, None) => "",
        },
        blocks: format!("{}/{}", figure.measured(), figure.tried),
    }
}

fn block(measured: &Measured<'_>) -> Block {
    let record = measured.record;
    let name = if record.sealed.is_some() {
        format!("seed {}", measured.pair)
    } else {
        format!("block {}", record.key.block)
    };
    Block {
        name,
        outcome: outcome(record),
        path: record.path.word(),
        mtu: record.inner_mtu.map(|mtu| mtu.to_string()).unwrap_or_default(),
        underlay: record.underlay.map_or("", |it| it.word()),
        started: record.started.clone(),
        seconds: format!("{:.1}", record.duration_seconds),
        happened: happened(record),
        said: record.sealed.as_ref().map(|sealed| sealed.said.clone()).unwrap_or_default(),
    }
}

/// The links that are shown are those before all of it.
fn happened(record: &CellRecord) -> String {
    let standing = record.standing.iter().map(|words| format!("{words}, from before"));
    let event = |event: &EventRecord| {
        let late = if event.late { ", when it was over" } else { "" };
        format!("{} at {} s{late}", event.action, event.at_seconds)
    };
    let mut all: Vec<String> = standing.chain(record.events.iter().map(event)).collect();
    if let Some(After { path, inner_mtu }) = record.after {
        let mtu = inner_mtu.map_or_else(|| "not probed".to_owned(), |mtu| mtu.to_string());
        all.push(format!("afterwards the path is {}, and the inner MTU {mtu}", path.word()));
    }
    all.join("; ")
}

fn outcome(record: &CellRecord) -> String {
    match &record.outcome {
        Outcome::Ok {} => "ok".into(),
        Outcome::Failed { stage, machine, reason, .. } => {
            let on = machine.as_ref().map(|machine| format!(" on {machine}")).unwrap_or_default();
            format!("failed in {stage}{on}: {reason}")
        }
        Outcome::Unsupported { reason } => format!("unsupported: {reason}"),
        Outcome::Skipped { reason } => format!("skipped: {reason}"),
    }
}

/// Evidence of the last block that failed.
fn texts(cells: &[Measured<'_>]) -> Vec<Text> {
    let failed = cells.iter().rev().find_map(|it| match &it.record.outcome {
        Outcome::Failed { evidence, .. } => Some((it.source, evidence)),
        _ => None,
    });
    let Some((source, evidence)) = failed else { return Vec::new() };
    let text = |path: &String| {
        let lines: Vec<&str> = source.texts.get(path)?.lines().collect();
        let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
        Some(Text { path: path.clone(), end })
    };
    evidence.iter().filter_map(text).collect()
}

/// Of each link what was asked for, and the median of what was found.
fn links(all: &[Measured<'_>]) -> Vec<Line> {
    let mut found: Vec<(&LinkRecord, Vec<&Impairment>)> = Vec::new();
    for link in all.iter().flat_map(|it| &it.record.links) {
        let same = |(other, _): &&mut (&LinkRecord, Vec<&Impairment>)| {
            other.site == link.site && other.direction == link.direction
        };
        // What was measured once is no second measurement where it is told again.
        let measured = (!link.earlier).then_some(&link.measured);
        match found.iter_mut().find(same) {
            Some((_, all)) => all.extend(measured),
            None => found.push((link, measured.into_iter().collect())),
        }
    }
    found.iter().map(|(link, measured)| line(link, measured)).collect()
}

fn line(link: &LinkRecord, measured: &[&Impairment]) -> Line {
    let way = match link.direction {
        Direction::Up => "up",
        Direction::Down => "down",
    };
    let shown = |of: fn(&Impairment) -> Option<f64>, unit: Unit| {
        let found: Vec<f64> = measured.iter().filter_map(|it| of(it)).collect();
        let found = meshbench::stats::median(&found).map(|it| humanise(it, unit));
        match (of(&link.configured).map(|it| humanise(it, unit)), found) {
            (None, None) => String::new(),
            (Some(asked), None) => format!("{asked}, not measured"),
            (None, Some(found)) => format!("not asked for, {found}"),
            (Some(asked), Some(found)) => format!("{asked}, {found}"),
        }
    };
    Line {
        name: format!("{} {way}", link.site),
        cells: [
            shown(|it| it.rate_bits_per_second, Unit::BitsPerSecond),
            shown(|it| it.delay_ms, Unit::Milliseconds),
            shown(|it| it.jitter_ms, Unit::Milliseconds),
            shown(|it| it.loss_percent, Unit::Percent),
            shown(|it| it.reorder_percent, Unit::Percent),
        ],
    }
}

fn nats(all: &[Measured<'_>]) -> Vec<String> {
    each(all.iter().flat_map(|it| &it.record.nats).map(|nat| {
        format!(
            "{} ({}): asked for {}, found {} ({})",
            nat.site,
            nat.underlay.word(),
            nat.configured,
            nat.measured,
            nat.behaviour
        )
    }))
}

/// The pages of the wire are there, too.
pub(crate) fn everyone<'a>(board: &Board<'a>) -> impl Iterator<Item = &'a str> {
    let modules: Vec<&str> = board.modules.iter().map(|it| it.name.as_str()).collect();
    std::iter::once(INTERNAL).chain(modules)
}
