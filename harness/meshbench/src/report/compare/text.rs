use comfy_table::{Cell, Color, Table};

use super::{Change, Lack, Line, Side, Threshold};
use crate::report::Sign;
use crate::report::table::{
    Style, bare_interval, clean, factor, humanise, lines as drawn, ruled, time, title,
};
use crate::results::RunRecord;
use crate::stats::MOST_BLOCKS;

const LEGEND: [(Change, &str); 8] = [
    (Change::Better, "B is better"),
    (Change::Worse, "B is worse"),
    (Change::Differs, "B differs"),
    (Change::Alike, "alike: inside the threshold, as sure as one of all lines"),
    (Change::Incomplete, "better figures from fewer blocks: not counted as better"),
    (Change::Undecided, "undecided: more blocks would tell"),
    (Change::Lost, "measured in A, not in B"),
    (Change::Gained, "measured in B, not in A"),
];

/// What is compared, for people to read.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Names<'a> {
    /// Run `b` with run `a`.
    Runs(&'a RunRecord, &'a RunRecord),
    /// Two modules of a run, the baseline first.
    Modules(&'a RunRecord, &'a str, &'a str),
}

impl Names<'_> {
    fn run(&self) -> &RunRecord {
        match self {
            Self::Runs(run, _) | Self::Modules(run, ..) => run,
        }
    }

    fn headline(&self) -> String {
        match self {
            Self::Runs(a, b) => format!("A  {}\nB  {}", about(a), about(b)),
            Self::Modules(run, a, b) => format!("{}\nA  {a}\nB  {b}", about(run)),
        }
    }
}

/// Draws the lines: a table per scenario, the signs explained below, then what counts. `notes` are what a
/// reader must know before.
pub fn render(
    names: Names<'_>,
    notes: &[String],
    lines: &[Line],
    threshold: Threshold,
    style: Style,
) -> String {
    let mut out = vec![names.headline()];
    out.extend(notes.iter().map(|note| format!("!  {}", clean(note))));
    for group in lines.chunk_by(|a, b| a.scenario == b.scenario) {
        out.push(String::new());
        out.push(title(names.run(), &group[0].scenario));
        out.push(drawn(&table(names, group, style)));
    }
    let used = |change: Change| lines.iter().any(|line| line.change == change);
    let legend = LEGEND.iter().filter(|(change, _)| used(*change));
    out.push(String::new());
    out.extend(legend.map(|(change, meaning)| format!(" {} {meaning}", sign(*change))));
    out.push(String::new());
    out.extend(conclusion(names, lines, threshold));
    out.join("\n") + "\n"
}

/// The run's identity, whose time it was measured in, versions and local programs: two runs of one version are told
/// apart by these.
fn about(run: &RunRecord) -> String {
    let modules = run.modules.iter().filter(|module| module.name != crate::results::INTERNAL);
    let versions = modules.map(|module| {
        let version = clean(module.version.as_deref().unwrap_or("version unknown"));
        let mut text = format!("{} ({version}", module.name);
        for binary in &module.binaries {
            text += &format!(", own {} {:.12}", clean(&binary.name), clean(&binary.sha256));
        }
        text + ")"
    });
    let mut text = vec![run.id.clone(), time(run)];
    text.extend(versions);
    let word = if run.blocks == 1 { "block" } else { "blocks" };
    text.push(format!("{} {word}{}", run.blocks, if run.quick { ", quick" } else { "" }));
    text.join(" · ")
}

fn table(names: Names<'_>, lines: &[Line], style: Style) -> Table {
    let who = if matches!(names, Names::Modules(..)) { "module" } else { "module, run" };
    let header = ["workload", "metric", who, "median", "95 % interval", "B to A", "blocks"];
    let mut table = ruled(style, &header, 3..=6);
    let longest = lines.iter().map(|line| line.module.len()).max().unwrap_or(0);
    let mut before: Option<&Line> = None;
    for line in lines {
        let workload = before.is_none_or(|before| before.workload != line.workload);
        let metric = workload || before.is_none_or(|before| before.metric != line.metric);
        let (a, b) = match names {
            Names::Runs(..) => {
                (format!("{:longest$} A", line.module), format!("{:longest$} B", ""))
            }
            Names::Modules(_, a, b) => (a.to_owned(), b.to_owned()),
        };
        let workload = if workload { line.workload.as_str() } else { "" };
        let metric = if metric { line.metric.as_str() } else { "" };
        table.add_row(row([workload, metric, &a], (line, &line.a), ratio(line)));
        table.add_row(row(["", "", &b], (line, &line.b), ratio_interval(line)));
        before = Some(line);
    }
    table
}

fn row(head: [&str; 3], (line, side): (&Line, &Side), ratio: Cell) -> Vec<Cell> {
    let mut cells: Vec<Cell> = head.map(Cell::new).into();
    match side.median {
        Some(median) => {
            let text = |[low, high]: [f64; 2]| bare_interval(low, high, median, line.unit);
            cells.push(Cell::new(humanise(median, line.unit)));
            cells.push(Cell::new(side.interval.map(text).unwrap_or_default()));
        }
        None => {
            let cell = Cell::new(side.problem.map_or("not measured", Lack::word));
            let failed = side.problem == Some(Lack::Failed);
            cells.push(if failed { cell.fg(Color::Red) } else { cell });
            cells.push(Cell::new(""));
        }
    }
    let blocks = match side {
        Side { asked, measured, .. } if asked == measured => measured.to_string(),
        Side { asked, measured, .. } => format!("{measured} of {asked}"),
    };
    cells.extend([ratio, Cell::new(blocks)]);
    cells
}

/// `1.15× ▼`; its interval stands below.
fn ratio(line: &Line) -> Cell {
    let ratio = line.ratio.map(|ratio| format!("{}× ", factor(ratio))).unwrap_or_default();
    let cell = Cell::new(format!("{ratio}{}", sign(line.change)));
    match line.change {
        Change::Worse | Change::Lost => cell.fg(Color::Red),
        Change::Better => cell.fg(Color::Green),
        _ => cell,
    }
}

fn ratio_interval(line: &Line) -> Cell {
    let text = |[low, high]: [f64; 2]| format!("{} – {}", factor(low), factor(high));
    Cell::new(line.ratio_interval.map(text).unwrap_or_default())
}

fn sign(change: Change) -> &'static str {
    match change {
        Change::Better => Sign::Better.text(),
        Change::Worse => Sign::Worse.text(),
        Change::Differs => Sign::Differs.text(),
        Change::Alike => Sign::Alike.text(),
        Change::Incomplete => Sign::Doubtful.text(),
        Change::Undecided => Sign::Undecided.text(),
        Change::Lost => Sign::No.text(),
        Change::Gained => "+",
        Change::Neither => "",
    }
}

/// How many of each, whether the wire is the same, each regression, and what would decide the rest.
fn conclusion(names: Names<'_>, lines: &[Line], threshold: Threshold) -> Vec<String> {
    let asked = || lines.iter().filter(|line| line.in_question);
    let count = |changes: &[Change]| asked().filter(|line| changes.contains(&line.change)).count();
    let mut out = vec![format!(
        "{} better, {} worse, {} alike, {} undecided, {} lost ({} comparisons, corrected by Holm)",
        count(&[Change::Better]),
        count(&[Change::Worse]),
        count(&[Change::Alike]),
        asked().filter(|line| line.is_undecided()).count(),
        // A cell without figures has a line of its own that knows no better side.
        lines.iter().filter(|line| line.change == Change::Lost && !line.is_wire()).count(),
        asked().filter(|line| line.p.is_some()).count(),
    )];
    let moved = lines.iter().filter(|line| {
        line.is_wire() && matches!(line.change, Change::Better | Change::Worse | Change::Lost)
    });
    out.extend(moved.map(|line| {
        format!("the wire itself changed, so the host or its load did: {}", place(line))
    }));
    let word = if matches!(names, Names::Runs(..)) { "regression" } else { "behind" };
    let regressions = lines.iter().filter(|line| line.is_regression(threshold));
    out.extend(regressions.map(|line| format!("{word}: {}", place(line))));
    out.extend(open(lines, threshold));
    out
}

/// Lines shown; the rest is in the table.
const SHOWN: usize = 8;

/// Those that may be regressions, what needs least first, and what to do about them.
fn open(lines: &[Line], threshold: Threshold) -> Vec<String> {
    let mut open: Vec<&Line> = lines.iter().filter(|line| line.is_open(threshold)).collect();
    let none = lines.iter().filter(|line| line.is_undecided() && !line.is_open(threshold)).count();
    let mut out = Vec::new();
    if none > 0 {
        out.push(format!("{none} of the undecided are no regression: their intervals exclude it"));
    }
    open.sort_by_key(|line| line.blocks_needed.unwrap_or(usize::MAX));
    let shown = open.iter().take(SHOWN);
    out.extend(shown.map(|line| {
        let text = |[low, high]: [f64; 2]| format!(" ({} – {})", factor(low), factor(high));
        let interval = line.ratio_interval.map(text).unwrap_or_default();
        format!("undecided: {}{interval}; {}", place(line), needs(line, threshold))
    }));
    if open.len() > SHOWN {
        out.push(format!("undecided: {} more", open.len() - SHOWN));
    }
    out.extend(advice(&open));
    out
}

/// The number of blocks that is worth while: of needs that grow and grow, the largest that is still within
/// reach, else the smallest.
fn advice(open: &[&Line]) -> Option<String> {
    let needs: Vec<usize> = open.iter().filter_map(|line| line.blocks_needed).collect();
    let within = needs.iter().filter(|needed| **needed <= REACH).max();
    let blocks = *within.or(needs.iter().min())?;
    let told = needs.iter().filter(|needed| **needed <= blocks).count();
    Some(format!(
        "for {told} of these {}: bench run --resume DIR --blocks {blocks}, of A and of B (each falls with a \
         probability of 80 %, should what was seen be true)",
        open.len()
    ))
}

/// More blocks are an effort of another kind.
const REACH: usize = 60;

fn needs(line: &Line, threshold: Threshold) -> String {
    let blocks = line.a.measured.min(line.b.measured);
    if let Some(floor) = line.floor_above(threshold) {
        let percent = format!("{} %", factor(floor * 100.0));
        let (floor, wider) = match line.ratio {
            Some(_) => (percent, ", or set a wider --threshold"),
            None => (humanise(floor, line.unit), ""),
        };
        return format!(
            "its noise floor, {floor}, is above the threshold, so that a regression may be taken for noise: \
             measure the floor in more blocks (bench noise){wider}"
        );
    }
    match line.blocks_needed {
        Some(needed) => format!("needs about {needed} blocks, has {blocks}"),
        None if blocks < 2 => "one block says nothing of the spread: measure 5".into(),
        None => format!("needs more than {MOST_BLOCKS} blocks, or a wider --threshold"),
    }
}

fn place(line: &Line) -> String {
    let Line { scenario, workload, metric, module, .. } = line;
    let what = match (line.change, line.ratio) {
        (Change::Lost, _) => {
            format!("not measured in B ({})", line.b.problem.unwrap_or(Lack::Missing).word())
        }
        (_, Some(ratio)) => format!("{}×", factor(ratio)),
        _ => {
            let shown = |side: &Side| {
                side.median.map(|median| humanise(median, line.unit)).unwrap_or_default()
            };
            format!("{} to {}", shown(&line.a), shown(&line.b))
        }
    };
    format!("{module} {scenario} {workload} {metric}: {what}")
}
