//! The first page of a board: the answer, then the table.

use askama::Template;
use meshbench::results::ContractRecord;

use super::card::{Card, Ranked};
use super::cells::over_networks;
use super::{Frame, Link, module_page, promises, scenario_page};
use crate::board::{Board, Row};
use crate::load::Problem;
use crate::questions::{Question, Reader};
use crate::rank::{Ranking, rank};
use crate::score::geometric_mean;
use crate::words::{count, ranks, surety, times, verdict};

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
    metric: &'a str,
    cells: Vec<String>,
}

/// Renders it.
///
/// # Errors
/// None that content could cause.
pub(crate) fn index(content: Content<'_>) -> Result<String, askama::Error> {
    let Content { board, boards, readers, contracts, others, problems } = content;
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
    let board = board.map(|board| shown(board, readers, contracts));
    Page { frame, board, boards: switches, others, problems }.render()
}

/// Class and testbed, where there are several of one class.
pub(super) fn board_title(board: &Board<'_>) -> String {
    let quick = if board.testbed.quick { ", quick" } else { "" };
    format!("{}{quick} ({})", board.testbed.class.title(), board.testbed.detail)
}

fn shown<'a>(board: &'a Board<'a>, readers: &[Reader], contracts: &[ContractRecord]) -> Shown<'a> {
    let [ok, failed, unsupported, skipped] = board.outcomes();
    let (modules, scenarios) = (board.modules.len(), board.scenarios.len());
    let blocks = count(board.blocks(), "block");
    Shown {
        lead: format!(
            "{} on {}, each beside the same wire without a VPN, measured in {}: {ok} measurements, {failed} failures, {} \
             that make no sense or are not supported. {}",
            count(modules, "VPN"),
            count(scenarios, "network"),
            board.testbed.class.title().to_lowercase(),
            unsupported + skipped,
            board.testbed.class.about()
        ),
        caption: format!("{}, {blocks}", board_title(board)),
        networks: count(scenarios, "network"),
        answers: answers(board, readers, contracts),
        modules: board
            .modules
            .iter()
            .map(|it| Link { href: module_page(&it.name), title: it.title.clone() })
            .collect(),
        groups: Question::ALL.iter().filter_map(|question| group(board, *question)).collect(),
        scenarios: board
            .scenarios
            .iter()
            .map(|it| Link { href: scenario_page(&it.name), title: it.title.clone() })
            .collect(),
    }
}

fn answers(board: &Board<'_>, readers: &[Reader], contracts: &[ContractRecord]) -> Vec<Answers> {
    let ranked = |question: Question| {
        let ranking = rank(board, |row| row.question == question);
        (ranking.cells > 0).then(|| card(board, question.name(), question.asked(), "", ranking))
    };
    let mut questions: Vec<Card> = Vec::new();
    for question in Question::ALL.into_iter().filter(|it| *it != Question::Other) {
        questions.extend(ranked(question));
        if question == Question::Security {
            questions.extend(promises::card(board, contracts));
        }
    }
    let wanted = |reader: &Reader, row: &Row| {
        let scenario = &board.scenarios[row.scenario].name;
        let does = reader.workloads.is_empty() || reader.workloads.contains(&row.workload);
        reader.scenarios.contains(scenario) && does
    };
    let readers = readers.iter().filter_map(|reader| {
        let ranking = rank(board, |row| wanted(reader, row));
        (ranking.cells > 0)
            .then(|| card(board, &reader.name, &reader.title, &reader.wants, ranking))
    });
    let all = [
        Answers { title: "For whom", cards: readers.collect() },
        Answers { title: "For what", cards: questions },
    ];
    all.into_iter().filter(|answers| !answers.cards.is_empty()).collect()
}

fn card(board: &Board<'_>, id: &str, title: &str, wants: &str, ranking: Ranking) -> Card {
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
        });
    }
    let unranked = ranking.unranked.iter().map(|(module, reason)| {
        format!("{} has no place: {reason}.", board.modules[*module].title)
    });
    Card {
        id: format!("for-{id}"),
        title: title.into(),
        wants: wants.into(),
        verdict: verdict(&ranking, board),
        tiers,
        sure: surety(&ranking),
        unranked: unranked.collect(),
    }
}

fn group<'a>(board: &'a Board<'a>, question: Question) -> Option<Group<'a>> {
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
        Line { workload, metric, cells }
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
    let Some(factor) = geometric_mean(scored().map(|row| (row.counted(module), row.weight))) else {
        return "<td>".into();
    };
    let whole = scored().filter(|row| {
        let figure = &row.figures[module];
        figure.tried > 0 && figure.measured() == figure.tried
    });
    let (whole, all) = (whole.count(), scored().count());
    let missing = if whole < all { format!("<br><s>{whole}/{all}</s>") } else { String::new() };
    format!("<td class=r{}>{}{missing}", super::cells::class(factor), times(factor))
}
