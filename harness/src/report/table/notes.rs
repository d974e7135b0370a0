use comfy_table::{Cell, Color, ColumnConstraint, Table, Width, presets};

use super::text::blank;
use super::{RANKED_FROM, Row, Style};
use crate::results::{Better, Outcome};
use crate::stats::Verdict;

/// Longest reason shown; the whole one is in the record.
const REASON: usize = 400;

const LEGEND: [(&str, &str); 7] = [
    ("▲", "better than the wire"),
    ("▼", "worse than the wire"),
    ("≠", "differs from the wire"),
    ("≈", "no difference that can be told from noise"),
    ("?", "too few blocks to tell a difference"),
    ("!", "beats the wire: suspect the measurement"),
    ("*", "preliminary: fewer than 7 blocks"),
];

/// `▲` better than the wire, `▼` worse, `≈` alike.
pub(super) fn sign(verdict: Verdict, better: Better) -> &'static str {
    match (verdict, better) {
        (Verdict::Alike, _) => "≈",
        (Verdict::TooFew, _) => "?",
        (_, Better::Neutral) => "≠",
        (Verdict::Larger, Better::Higher) | (Verdict::Smaller, Better::Lower) => "▲",
        (Verdict::Larger, Better::Lower) | (Verdict::Smaller, Better::Higher) => "▼",
    }
}

/// Whether a row rests on too few blocks to be ranked.
pub(super) fn preliminary(row: &Row) -> bool {
    row.value.as_ref().is_some_and(|value| value.blocks < RANKED_FROM)
}

/// Each different reason once, with the blocks it befell.
pub(super) fn problems(rows: &[Row], style: Style) -> Table {
    let mut table = blank(style);
    table.load_style(presets::NOTHING);
    let mut told: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        // Every metric of a cell carries the same problems.
        if told.contains(&(&row.workload, &row.module)) {
            continue;
        }
        told.push((&row.workload, &row.module));
        for (reason, blocks) in grouped(row) {
            let color = if reason.starts_with("failed") { Color::Red } else { Color::Reset };
            let who = Cell::new(format!("✗ {} {}", row.workload, row.module)).fg(color);
            let blocks = if blocks.len() == 1 { "block " } else { "blocks " }.to_string()
                + &blocks.join(", ");
            table.add_row([who, Cell::new(format!("{reason} ({blocks})"))]);
        }
    }
    if let Some(column) = table.column_mut(0) {
        column.set_constraint(ColumnConstraint::UpperBoundary(Width::Percentage(35)));
    }
    table
}

fn grouped(row: &Row) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for problem in &row.problems {
        let reason = reason(&problem.outcome);
        let block = problem.block.to_string();
        match groups.iter_mut().find(|group| group.0 == reason) {
            Some(group) => group.1.push(block),
            None => groups.push((reason, vec![block])),
        }
    }
    groups
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

/// One line, without what a terminal would obey.
pub(super) fn clean(text: &str) -> String {
    text.split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The signs that were used.
pub(super) fn legend(rows: &[Row]) -> Vec<String> {
    let used = |sign: &str| {
        rows.iter().any(|row| match (&row.value, sign) {
            (_, "*") => preliminary(row),
            (Some(value), "!") => value.alarm,
            (Some(value), _) => {
                value.verdict.is_some_and(|it| self::sign(it, value.better) == sign)
            }
            (None, _) => false,
        })
    };
    let lines: Vec<String> = LEGEND
        .iter()
        .filter(|(sign, _)| used(sign))
        .map(|(sign, meaning)| format!(" {sign} {meaning}"))
        .collect();
    if lines.is_empty() { lines } else { [vec![String::new()], lines].concat() }
}
