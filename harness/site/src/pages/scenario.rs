//! The page of a network: how it is made, what happens on it, what was measured.

use askama::Template;
use meshbench::fabric::Scenario;

use super::cells::of_network;
use super::index::blocks;
use super::{Frame, Link, Told, evidence_page, module_page, told};
use crate::board::{Board, Row};
use crate::charts::{self, Chart, network};
use crate::questions::Question;

#[derive(Template)]
#[template(path = "scenario.html")]
struct Page<'a> {
    frame: Frame,
    title: &'a str,
    description: &'a str,
    drawing: String,
    words: String,
    events: Vec<String>,
    blocks: String,
    modules: Vec<Link>,
    groups: Vec<Group<'a>>,
    charts: Vec<Chart>,
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

/// Renders it. `known` is the scenario's file, if it is still what was measured.
///
/// # Errors
/// None that content could cause.
pub(crate) fn scenario(
    board: &Board<'_>,
    place: usize,
    known: Option<&Scenario>,
) -> Result<String, askama::Error> {
    let record = board.scenarios[place];
    let rows: Vec<&Row> = board.rows_of(place).collect();
    let frame = Frame::new(&record.title, &board.folder, 1);
    let drawn = network::Network::of(record, known);
    let group = |question: &Question| {
        let own = rows.iter().filter(|row| row.question == *question);
        let rows: Vec<Line<'_>> = own.map(|row| line(board, &frame, &record.name, row)).collect();
        (!rows.is_empty()).then(|| Group { asked: question.asked(), rows })
    };
    Page {
        groups: Question::ALL.iter().filter_map(group).collect(),
        frame: frame.clone(),
        title: &record.title,
        description: known.map_or("", |known| known.description.trim()),
        drawing: drawn.svg(),
        words: drawn.words(),
        events: drawn.events(),
        blocks: blocks(board),
        modules: board
            .modules
            .iter()
            .map(|it| Link {
                href: format!("../{}", module_page(&it.name)),
                title: it.title.clone(),
            })
            .collect(),
        charts: charts::of_network(board, place),
    }
    .render()
}

fn line<'a>(board: &Board<'_>, frame: &Frame, scenario: &str, row: &'a Row) -> Line<'a> {
    let href = |module: &str| format!("../{}", evidence_page(scenario, module));
    let wire = of_network(row, None, &href(meshbench::results::INTERNAL));
    let cell = |(at, module): (usize, &&meshbench::results::ModuleRecord)| {
        of_network(row, Some(at), &href(&module.name))
    };
    let cells = board.modules.iter().enumerate().map(cell);
    Line {
        workload: &row.workload,
        told: told(frame, &row.workload, &row.about.metric),
        cells: std::iter::once(wire).chain(cells).collect(),
    }
}
