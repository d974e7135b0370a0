//! The first page of a board: the answer, then the table.

use askama::Template;
use meshbench::fabric::Scenario;
use meshbench::results::ContractRecord;

use super::card::{Card, Ranked};
use super::cells::over_networks;
use super::{Frame, Link, Told, module_page, promises, scenario_page, told};
use crate::board::{Board, Row};
use crate::load::Problem;
use crate::questions::{Question, Reader};
use crate::rank::{Ranking, rank};
use crate::score::geometric_mean;
use crate::words::{Coverage, count, ranks, reach, surety, times, verdict};

/// What the first page is made of.
pub(crate) struct Content<'a> {
    /// The board, if there is any result at all.
    pub(crate) board: Option<&'a Board<'a>>,
    /// All boards.
    pub(crate) boards: &'a [Board<'a>],
    /// Who wants to choose.
    pub(crate) readers: &'a [Reader],
    /// Findings of contract tests.
    pub(crate) contracts: &'a [ContractRecord],
    /// Networks as they are known today.
    pub(crate) scenarios: &'a [Scenario],
    /// Links to figures of others.
    pub(crate) others: Vec<Link>,
    /// What is not shown.
    pub(crate) problems: &'a [Problem],
}

#[derive(Template)]
#[template(path = "index.html")]
struct Page<'a> {
    frame: Frame,
    board: Option<Shown<'a>>,
    boards: Vec<Switch>,
    others: Vec<Link>,
    problems: &'a [Problem],
}

struct Switch {
    title: String,
    href: String,
    current: bool,
}

struct Shown<'a> {
    lead: String,
    about: String,
    caption: String,
    networks: String,
    answers: Vec<Answers>,
    modules: Vec<Link>,
    groups: Vec<Group<'a>>,
    scenarios: Vec<Link>,
}

struct Answers {
    title: &'static str,
    cards: Vec<Card>,
}

struct Group<'a> {
    name: &'static str,
    asked: &'static str,
    mean: Vec<String>,
    rows: Vec<Line<'a>>,
}

struct Line<'a> {
    workload: &'a str,
    told: Told<'a>,
    cells: Vec<String>,
}

/// Renders it.
///
/// # Errors
/// None that content could cause.
pub(crate) fn index(content: Content<'_>) -> Result<String, askama::Error> {
    let Content { board, boards, readers, contracts, scenarios, others, problems } = content;
    let folder = board.map_or("", |board| board.folder.as_str());
    let frame = Frame::new("Which mesh VPN holds up?", folder, 0);
    let switch = |other: &Board<'_>| Switch {
        title: board_title(other),
        href: match (&*frame.root, &*other.folder) {
            (root, "") => format!("{root}index.html"),
            (root, folder) => format!("{root}{folder}/index.html"),
        },
        current: other.folder == folder,
    };
    let switches = boards.iter().map(switch).collect();
    let board = board.map(|board| shown(board, readers, contracts, scenarios, &frame));
    Page { frame, board, boards: switches, others, problems }.render()
}

/// Class and testbed, where there are several of one class.
pub(super) fn board_title(board: &Board<'_>) -> String {
    let quick = if board.testbed.quick { ", quick" } else { "" };
    format!("{}{quick} ({})", board.testbed.class.title(), board.testbed.detail)
}

fn shown<'a>(
    board: &'a Board<'a>,
    readers: &[Reader],
    contracts: &[ContractRecord],
    known: &[Scenario],
    frame: &Frame,
) -> Shown<'a> {
    let [ok, failed, unsupported, skipped] = board.outcomes();
    let (modules, networks) = (board.modules.len(), count(board.scenarios.len(), "network"));
    let blocks = blocks(board);
    let class = board.testbed.class;
    Shown {
        lead: format!(
            "{} on {networks}, {}, {blocks}.",
            count(modules, "VPN"),
            class.title().to_lowercase()
        ),
        about: format!(
            "Each was measured beside the same wire without a VPN: {ok} measurements, {failed} failures, {} that make no \
             sense or are not supported. {}",
            unsupported + skipped,
            class.about()
        ),
        caption: format!("{}, {blocks}", board_title(board)),
        networks,
        answers: answers(board, readers, contracts, known),
        modules: board
            .modules
            .iter()
            .map(|it| Link { href: module_page(&it.name), title: it.title.clone() })
            .collect(),
        groups: Question::ALL.iter().filter_map(|it| group(board, frame, *it)).collect(),
        scenarios: board
            .scenarios
            .iter()
            .map(|it| Link { href: scenario_page(&it.name), title: it.title.clone() })
            .collect(),
    }
}

/// How many blocks there are; of what is not finished also how many there shall be.
pub(super) fn blocks(board: &Board<'_>) -> String {
    let unfinished = board.sources.iter().filter_map(|source| source.set.unfinished());
    match (board.sources.as_slice(), unfinished.collect::<Vec<_>>().as_slice()) {
        (_, []) => count(board.blocks(), "block"),
        ([_], [part]) => part.clone(),
        (all, some) => format!(
            "{}, {} of {} sets not finished",
            count(board.blocks(), "block"),
            some.len(),
            all.len()
        ),
    }
}

fn answers(
    board: &Board<'_>,
    readers: &[Reader],
    contracts: &[ContractRecord],
    known: &[Scenario],
) -> Vec<Answers> {
    let ranked = |question: Question| {
        let ranking = rank(board, |row| row.question == question);
        let asked = Card { title: question.asked().into(), ..Card::default() };
        (ranking.cells > 0).then(|| card(board, question.name(), asked, ranking, (1, 1)))
    };
    let mut questions: Vec<Card> = Vec::new();
    for question in Question::ALL.into_iter().filter(|it| *it != Question::Other) {
        questions.extend(ranked(question));
        if question == Question::Security {
            questions.extend(promises::card(board, contracts));
        }
    }
    let readers = readers.iter().map(|reader| of_reader(board, reader, known));
    let all = [
        Answers { title: "For whom", cards: readers.collect() },
        Answers { title: "For what", cards: questions },
    ];
    all.into_iter().filter(|answers| !answers.cards.is_empty()).collect()
}

/// The rows that matter to a reader.
pub(super) fn matters(board: &Board<'_>, reader: &Reader, row: &Row) -> bool {
    let does = reader.workloads.is_empty() || reader.workloads.contains(&row.workload);
    reader.scenarios.contains(&board.scenarios[row.scenario].name) && does
}

fn scenario_title<'a>(name: &'a str, known: &'a [Scenario]) -> &'a str {
    known.iter().find(|it| it.name == *name).map_or(name, |it| it.title.as_str())
}

fn of_reader(board: &Board<'_>, reader: &Reader, known: &[Scenario]) -> Card {
    let ranking = rank(board, |row| matters(board, reader, row));
    let measured = |name: &&String| {
        let own = |row: &&Row| board.scenarios[row.scenario].name == **name;
        let scored = board.rows.iter().filter(own).filter(|row| row.weight > 0.0);
        scored.into_iter().any(|row| matters(board, reader, row))
    };
    let (found, missing): (Vec<&String>, Vec<&String>) =
        reader.scenarios.iter().partition(measured);
    let missing: Vec<&str> = missing.iter().map(|name| scenario_title(name, known)).collect();
    let missing = format!("Not measured yet: networks {}.", missing.join(", "));
    let asked = Card {
        title: reader.title.clone(),
        wants: reader.wants.clone(),
        reach: true,
        ..Card::default()
    };
    let all = reader.scenarios.len();
    if found.is_empty() {
        return Card { id: format!("for-{}", reader.name), verdict: missing, ..asked };
    }
    let names = |all: &[&String]| all.iter().map(|it| it.as_str()).collect::<Vec<_>>().join("+");
    let mut into = format!("#net={}", names(&found));
    if !reader.workloads.is_empty() {
        into += &format!("&work={}", names(&reader.workloads.iter().collect::<Vec<_>>()));
    }
    let mut card = card(board, &reader.name, Card { into, ..asked }, ranking, (found.len(), all));
    if found.len() < all {
        card.unranked.push(missing);
    }
    card
}

/// Fills in who stands where.
fn card(board: &Board<'_>, id: &str, asked: Card, ranking: Ranking, coverage: Coverage) -> Card {
    let mut tiers: Vec<Vec<Ranked>> = Vec::new();
    for entry in &ranking.entries {
        tiers.resize_with(entry.place.tier.max(tiers.len()), Vec::new);
        let module = board.modules[entry.module];
        let interval = entry.interval.map(|it| format!("{}–{}", times(it.low), times(it.high)));
        tiers[entry.place.tier - 1].push(Ranked {
            title: module.title.clone(),
            href: module_page(&module.name),
            ranks: ranks(entry),
            score: times(entry.score),
            interval: interval.unwrap_or_default(),
            works: entry.works.map(times).unwrap_or_default(),
            whole: format!("{}/{}", entry.whole, ranking.cells),
            part: entry.whole < ranking.cells,
            reach: if asked.reach { reach(entry, ranking.networks) } else { String::new() },
        });
    }
    let unranked = ranking.unranked.iter().map(|(module, reason)| {
        format!("{} has no place: {reason}.", board.modules[*module].title)
    });
    Card {
        id: format!("for-{id}"),
        verdict: verdict(&ranking, board, coverage),
        tiers,
        sure: surety(&ranking),
        unranked: unranked.collect(),
        ..asked
    }
}

fn group<'a>(board: &'a Board<'a>, frame: &Frame, question: Question) -> Option<Group<'a>> {
    let rows: Vec<&Row> = board.judged().filter(|row| row.question == question).collect();
    let mut kinds: Vec<(&str, &str)> = Vec::new();
    for row in &rows {
        let kind = (row.workload.as_str(), row.about.metric.as_str());
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let modules = 0..board.modules.len();
    let line = |(workload, metric): (&'a str, &'a str)| {
        let own: Vec<&Row> = rows
            .iter()
            .copied()
            .filter(|row| row.workload == workload && row.about.metric == metric)
            .collect();
        let cells = modules.clone().map(|module| over_networks(&own, module)).collect();
        Line { workload, told: told(frame, workload, metric), cells }
    };
    (!rows.is_empty()).then(|| Group {
        name: question.name(),
        asked: question.asked(),
        mean: modules.clone().map(|module| mean(&rows, module)).collect(),
        rows: kinds.into_iter().map(line).collect(),
    })
}

/// The mean of a group: what it counts for, and of how much there are figures.
fn mean(rows: &[&Row], module: usize) -> String {
    let scored = || rows.iter().filter(|row| row.weight > 0.0);
    let factor = geometric_mean(scored().filter_map(|row| row.weighted(module)));
    let shown = factor.map_or("<td>".to_owned(), |factor| {
        format!("<td class=r{}>{}", super::cells::class(factor), times(factor))
    });
    let whole = scored().filter(|row| row.figures[module].is_whole()).count();
    let all = scored().count();
    let missing = if whole < all { format!("<br><s>{whole}/{all}</s>") } else { String::new() };
    shown + &missing
}
