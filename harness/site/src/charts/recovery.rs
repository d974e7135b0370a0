//! When overlays were silent while the network changed, and for how long.

use meshbench::report::table::humanise;
use meshbench::results::{Better, EventRecord, INTERNAL, Metric, Unit, names};

use super::pictures::SIDE;
use super::{Axis, Chart, Svg};
use crate::board::{Board, Measured, Row};
use crate::questions::Question;
use crate::words::WIRE;

/// For each network on which something happens, how long every VPN was silent, block by block.
pub(crate) fn charts(board: &Board<'_>) -> Vec<(String, Vec<Chart>)> {
    let rows = board.rows.iter().filter(|row| {
        let time = row.about.unit == Unit::Milliseconds && row.about.better == Better::Lower;
        row.question == Question::Reliability && time
    });
    let charts: Vec<Chart> = rows.filter_map(|row| chart(board, row)).collect();
    if charts.is_empty() {
        Vec::new()
    } else {
        vec![("Silence when the network changes".into(), charts)]
    }
}

/// One time without an answer, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Outage {
    /// Since the first answer; older records do not say.
    begins: Option<f64>,
    lasts: f64,
}

/// The outages of each block of a VPN, or of the wire; none of a block that did not come back.
type Line<'a> = (&'a str, Vec<Option<Vec<Outage>>>);

/// Outages of every block as bars: each where it was, or, where that is not known, one after the other.
fn chart(board: &Board<'_>, row: &Row) -> Option<Chart> {
    let everyone = board.modules.iter().map(|it| (it.title.as_str(), it.name.as_str()));
    let everyone = std::iter::once((WIRE, INTERNAL)).chain(everyone);
    let lines = everyone.map(|(title, name)| (title, outages(board, row, name)));
    let lines: Vec<Line<'_>> = lines.filter(|(_, blocks)| !blocks.is_empty()).collect();
    let all = || lines.iter().flat_map(|(_, blocks)| blocks.iter().flatten().flatten());
    let in_time = all().all(|it| it.begins.is_some());
    let events = events(board, row);
    let at = if in_time {
        "each where it began, after the first answer; lines across are what happened"
    } else {
        "in their order, laid end to end, since some records hold how long each was and not when it began"
    };
    let caption = format!(
        "{}: {} {}. A line for each block; its bars are its outages, {at}; ✗ did not come back.{}",
        board.scenarios[row.scenario].title,
        row.workload,
        row.about.metric,
        happened(&events)
    );
    let said: Vec<String> = lines.iter().map(|line| longest(line, row.about.unit)).collect();
    let marks = if in_time { events.as_slice() } else { &[] };
    Some(Chart { svg: bars(&lines, marks, row.about.unit)?.finish(&said.join("; ")), caption })
}

/// What happened to the network, and when.
fn events(board: &Board<'_>, row: &Row) -> Vec<EventRecord> {
    let scenario = &board.scenarios[row.scenario].name;
    let everyone = board.modules.iter().map(|it| it.name.as_str());
    let cells = std::iter::once(INTERNAL)
        .chain(everyone)
        .flat_map(|module| board.cell(scenario, &row.workload, module));
    // Not all of it happens to the wire.
    let fullest = cells.max_by_key(|cell| cell.record.events.len());
    fullest.map(|cell| cell.record.events.clone()).unwrap_or_default()
}

fn happened(events: &[EventRecord]) -> String {
    let event = |it: &EventRecord| format!("{} after {} s", it.action, it.at_seconds);
    let events: Vec<String> = events.iter().map(event).collect();
    if events.is_empty() {
        String::new()
    } else {
        format!(" What happened: {}.", events.join(", "))
    }
}

fn outages(board: &Board<'_>, row: &Row, module: &str) -> Vec<Option<Vec<Outage>>> {
    let cells = board.cell(&board.scenarios[row.scenario].name, &row.workload, module);
    cells.iter().map(|cell| of_block(cell, &row.about.metric)).collect()
}

fn of_block(cell: &Measured<'_>, metric: &str) -> Option<Vec<Outage>> {
    let named = |name: &str| cell.record.metrics.iter().find(|it| it.name == name);
    let lasts = values(named(metric)?);
    let begins = named(names::SILENCE_BEGINS).filter(|_| metric == names::SILENCE).map(values);
    let begins = begins.filter(|it| it.len() == lasts.len());
    let begin = |at: usize| begins.as_ref().map(|it| it[at]);
    Some(
        lasts
            .iter()
            .enumerate()
            .map(|(at, lasts)| Outage { begins: begin(at), lasts: *lasts })
            .collect(),
    )
}

/// Without an outage, the longest silence is what there is to show.
fn values(metric: &Metric) -> Vec<f64> {
    if metric.samples.is_empty() { vec![metric.value] } else { metric.samples.clone() }
}

/// From when to when each outage of a block is drawn.
fn spans(block: &[Outage]) -> Vec<(f64, f64)> {
    let mut end = 0.0;
    let span = |it: &Outage| {
        let from = it.begins.unwrap_or(end);
        end = from + it.lasts;
        (from, end)
    };
    block.iter().map(span).collect()
}

fn bars(lines: &[Line<'_>], events: &[EventRecord], unit: Unit) -> Option<Svg> {
    const NAMES: f64 = 130.0;
    const LINE: f64 = 8.0;
    let ends = lines.iter().flat_map(|(_, blocks)| blocks.iter().flatten());
    let ends = ends.filter_map(|block| spans(block).last().map(|(_, end)| *end));
    let happened = events.iter().map(|event| event.at_seconds * 1e3);
    let axis = Axis::of(ends.chain(happened.clone()).chain([0.0]), NAMES + 10.0, SIDE.0 - 20.0)?;
    let height = |blocks: &[Option<Vec<Outage>>]| blocks.len() as f64 * LINE + 10.0;
    let bottom: f64 = lines.iter().map(|(_, blocks)| height(blocks)).sum::<f64>() + 4.0;
    let mut svg = Svg::new(SIDE.0, bottom + 20.0);
    axis.draw(&mut svg, unit, 2.0, bottom);
    let mut top = 4.0;
    for (title, blocks) in lines {
        svg.text("name end", (NAMES, top + height(blocks) / 2.0), title);
        for (at, block) in blocks.iter().enumerate() {
            let y = top + at as f64 * LINE;
            let Some(block) = block else {
                svg.text("mark", (NAMES + 12.0, y + LINE), "✗");
                continue;
            };
            for (from, to) in spans(block) {
                let (left, right) = (axis.at(from), axis.at(to));
                svg.rect("outage", (left, y), ((right - left - 1.0).max(1.0), LINE - 2.0));
            }
        }
        top += height(blocks);
    }
    happened.for_each(|at| svg.line("event", (axis.at(at), 2.0), (axis.at(at), bottom)));
    Some(svg)
}

/// What the bars of a line say, in words.
fn longest((title, blocks): &Line<'_>, unit: Unit) -> String {
    let all = blocks.iter().flatten().flatten();
    let longest = all.map(|it| it.lasts).fold(0.0, f64::max);
    let failed = blocks.iter().filter(|block| block.is_none()).count();
    let lost = if failed > 0 { format!(", {failed} did not come back") } else { String::new() };
    format!("{title}: at most {}{lost}", humanise(longest, unit))
}
