use comfy_table::{Cell, Color, Table};

use super::draw::{Style, clean, remarks};
use super::units::factor;
use super::{RANKED_FROM, Row, RowValue};
use crate::report::Sign;
use crate::results::Outcome;

/// Longest reason shown; the whole one is in the record.
const REASON: usize = 400;

const LEGEND: [(Sign, &str); 6] = [
    (Sign::Better, "better than the wire"),
    (Sign::Worse, "worse than the wire"),
    (Sign::Differs, "differs from the wire"),
    (Sign::Alike, "like the wire: the interval lies within 5 % of it"),
    (Sign::Undecided, "undecided: more blocks would tell"),
    (Sign::Doubtful, "not to be believed: the reason is below the table"),
];

/// Of many lines some differ by chance alone: a reader of one sign need not know, a reader of all does.
const EACH_ALONE: &str = "   signs are per line, not corrected for their number";

/// Marks rows of too few blocks to be ranked.
pub(super) const PRELIMINARY: &str = "*";

/// What a value is next to the wire, then whether it is to be believed.
pub(super) fn signs(value: &RowValue) -> impl Iterator<Item = Sign> {
    let compared = value.verdict.map(|verdict| Sign::compared(verdict, value.better));
    compared.into_iter().chain(value.alarm.then_some(Sign::Doubtful))
}

/// Whether a row rests on too few blocks to be ranked.
pub(super) fn preliminary(row: &Row) -> bool {
    row.value.as_ref().is_some_and(|value| value.blocks < RANKED_FROM)
}

/// One reason why a module has no figures.
struct Told<'a> {
    module: &'a str,
    failed: bool,
    reason: String,
    workloads: Vec<&'a str>,
    blocks: Vec<String>,
}

/// Each different reason once, with the workloads and blocks it befell: a cluster that does not come
/// up fails all of its workloads for one reason.
pub(in crate::report) fn problems(rows: &[Row], style: Style) -> Table {
    let told = gathered(rows).into_iter().map(|told| {
        let color = if told.failed { Color::Red } else { Color::Reset };
        let who = format!("{} {} {}", Sign::No, told.workloads.join(", "), told.module);
        let word = if told.blocks.len() == 1 { "block" } else { "blocks" };
        let why = format!("{} ({word} {})", told.reason, told.blocks.join(", "));
        [Cell::new(who).fg(color), Cell::new(why)]
    });
    remarks(style, told)
}

/// What puts figures in doubt that were measured all the same.
pub(super) fn alarms(rows: &[Row], style: Style) -> Table {
    let alarm = |who: String, what: String| [Cell::new(who).fg(Color::Yellow), Cell::new(what)];
    let beaten = rows.iter().filter_map(|row| {
        let value = row.value.as_ref().filter(|value| value.alarm)?;
        Some(alarm(format!("{} {} {}", Sign::Doubtful, row.workload, row.module), beats(value)))
    });
    let mut all: Vec<[Cell; 2]> = beaten.collect();
    if !all.is_empty() {
        all.push(["", BEATEN].map(Cell::new));
    }
    let off = off(rows).into_iter();
    let testbed = || format!("{} testbed", Sign::Doubtful);
    all.extend(off.map(|(what, blocks)| alarm(testbed(), format!("{what} ({blocks})"))));
    remarks(style, all)
}

const BEATEN: &str = "No VPN beats the wire: suspect the measurement first (losses that come by packets, \
                      a host that was the bottleneck, too few blocks).";

fn beats(value: &RowValue) -> String {
    let ratio = value.ratio.map(|ratio| format!("{}×", factor(ratio.median))).unwrap_or_default();
    let one = |it: &crate::stats::Interval| format!(" ({} – {})", factor(it.low), factor(it.high));
    let interval = value.ratio.and_then(|ratio| ratio.interval);
    let interval = interval.as_ref().map(one).unwrap_or_default();
    let few = if value.blocks < RANKED_FROM {
        format!(", {} block{}", value.blocks, if value.blocks == 1 { "" } else { "s" })
    } else {
        String::new()
    };
    format!("{} {ratio} the wire{interval}{few}", value.metric)
}

/// Each link that was off, once, with the clusters it was off in.
fn off(rows: &[Row]) -> Vec<(String, String)> {
    let mut all: Vec<(&str, Vec<String>)> = Vec::new();
    for row in rows {
        for alarm in &row.doubts {
            let place = format!("{} block {}", row.module, alarm.block);
            let at = all.iter().position(|(what, _)| *what == alarm.what).unwrap_or(all.len());
            if at == all.len() {
                all.push((&alarm.what, Vec::new()));
            }
            if !all[at].1.contains(&place) {
                all[at].1.push(place);
            }
        }
    }
    all.into_iter().map(|(what, places)| (clean(what), places.join(", "))).collect()
}

fn gathered(rows: &[Row]) -> Vec<Told<'_>> {
    let mut all: Vec<Told<'_>> = Vec::new();
    for row in rows {
        for problem in &row.problems {
            let (reason, block) = (reason(&problem.outcome), problem.block.to_string());
            let known = all.iter().position(|t| t.module == row.module && t.reason == reason);
            let at = known.unwrap_or(all.len());
            if known.is_none() {
                all.push(Told {
                    module: &row.module,
                    failed: matches!(problem.outcome, Outcome::Failed { .. }),
                    reason,
                    workloads: Vec::new(),
                    blocks: Vec::new(),
                });
            }
            let told = &mut all[at];
            // Every metric of a cell carries the same problems.
            if !told.workloads.contains(&row.workload.as_str()) {
                told.workloads.push(&row.workload);
            }
            if !told.blocks.contains(&block) {
                told.blocks.push(block);
            }
        }
    }
    all
}

fn reason(outcome: &Outcome) -> String {
    let word = outcome.word();
    let text = match outcome {
        Outcome::Ok {} => word.into(),
        Outcome::Failed { stage, machine, reason, .. } => {
            let at = machine.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
            format!("{word} in {stage}{at}: {reason}")
        }
        Outcome::Unsupported { reason } | Outcome::Skipped { reason } => {
            format!("{word}: {reason}")
        }
    };
    let text = clean(&text);
    match text.char_indices().nth(REASON) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The signs that were used.
pub(super) fn legend(rows: &[Row]) -> Vec<String> {
    let used = |sign: Sign| {
        rows.iter().filter_map(|row| row.value.as_ref()).flat_map(signs).any(|it| it == sign)
    };
    let signs = LEGEND.iter().filter(|(sign, _)| used(*sign));
    let mut lines: Vec<String> =
        signs.map(|(sign, meaning)| format!(" {sign} {meaning}")).collect();
    if [Sign::Better, Sign::Worse, Sign::Differs, Sign::Alike].into_iter().any(used) {
        lines.push(EACH_ALONE.into());
    }
    if rows.iter().any(preliminary) {
        lines.push(format!(" {PRELIMINARY} preliminary: fewer than {RANKED_FROM} blocks"));
    }
    if lines.is_empty() { lines } else { [vec![String::new()], lines].concat() }
}
