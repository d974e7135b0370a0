//! One line a module: does it connect, how, how fast next to the wire, and does it keep its promises.

use std::collections::BTreeSet;

use comfy_table::{Cell, Color, Table};

use super::table::{
    Row, RowValue, Style, clean, factor, headline, humanise, lines, problems, ruled, title,
};
use crate::results::{CellRecord, ContractRecord, Finding, INTERNAL, ResultSet};

/// Draws a table per scenario, then the promises of all modules, if the contract was tested. `rows` are the
/// aggregated cells of the set.
pub fn render(
    set: &ResultSet,
    rows: &[Row],
    contract: Option<&[ContractRecord]>,
    style: Style,
) -> String {
    let mut out = vec![headline(&set.run)];
    for scenario in set.run.scenarios.iter().map(|scenario| scenario.name.as_str()) {
        let here: Vec<Row> = rows.iter().filter(|row| row.scenario == scenario).cloned().collect();
        out.extend([String::new(), title(&set.run, scenario)]);
        out.push(lines(&measured(set, scenario, &here, style)));
        let problems = problems(&here, style);
        if !problems.is_empty() {
            out.push(lines(&problems));
        }
    }
    let records = contract.unwrap_or_default();
    let promises = promises(records);
    out.extend([String::new(), "Modules".into()]);
    out.push(lines(&promised(set, records, &promises, style)));
    out.extend(broken(records));
    if !promises.is_empty() {
        out.push(String::new());
    }
    let numbered = promises.iter().enumerate();
    out.extend(numbered.map(|(at, promise)| format!(" {} {}", at + 1, clean(promise))));
    out.join("\n") + "\n"
}

fn measured(set: &ResultSet, scenario: &str, rows: &[Row], style: Style) -> Table {
    let header =
        ["module", "connects", "after", "path", "inner MTU", "RTT", "to wire", "TCP", "to wire"];
    let mut table = ruled(style, &header, 4..=8);
    for module in modules(set) {
        let value = |workload: &str, metric: &str| {
            let is = |value: &&RowValue| value.metric == metric;
            let own = |row: &&Row| row.module == module && row.workload == workload;
            rows.iter().filter(own).filter_map(|row| row.value.as_ref()).find(is)
        };
        let (rtt, tcp) = (value("ping", "rtt"), value("tcp", "goodput-forward"));
        let median = |value: Option<&RowValue>| {
            value.map(|it| humanise(it.median, it.unit)).unwrap_or_default()
        };
        let cells = || {
            let here = |c: &&CellRecord| c.key.module == module && c.key.scenario == scenario;
            set.cells.iter().filter(here)
        };
        let measured = || cells().filter(|cell| cell.outcome.is_ok());
        let row = [
            Cell::new(module),
            connects(cells().filter(|cell| cell.key.workload == "connect")),
            Cell::new(median(value("connect", "time"))),
            Cell::new(all(measured().map(|cell| cell.path.word().to_owned()))),
            Cell::new(all(measured().filter_map(|cell| Some(cell.inner_mtu?.to_string())))),
            Cell::new(median(rtt)),
            Cell::new(ratio(rtt)),
            Cell::new(median(tcp)),
            Cell::new(ratio(tcp)),
        ];
        table.add_row(row);
    }
    table
}

/// In the order of the run, the wire first.
fn modules(set: &ResultSet) -> Vec<&str> {
    let mut names: Vec<&str> = set.run.modules.iter().map(|module| module.name.as_str()).collect();
    names.sort_by_key(|name| *name != INTERNAL);
    names
}

/// `yes`, `no`, or in how many blocks.
fn connects<'a>(cells: impl Iterator<Item = &'a CellRecord>) -> Cell {
    let outcomes: Vec<&str> = cells.map(|cell| cell.outcome.word()).collect();
    let ok = outcomes.iter().filter(|word| **word == "ok").count();
    match outcomes.as_slice() {
        [] => Cell::new("not tried"),
        _ if ok == outcomes.len() => Cell::new("yes"),
        [first, ..] if ok == 0 && outcomes.iter().all(|word| word == first) => match *first {
            "failed" => Cell::new("no").fg(Color::Red),
            word => Cell::new(word),
        },
        _ => Cell::new(format!("{ok} of {}", outcomes.len())).fg(Color::Red),
    }
}

/// Everything that was seen, each once.
fn all(seen: impl Iterator<Item = String>) -> String {
    seen.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

fn ratio(value: Option<&RowValue>) -> String {
    let ratio = value.and_then(|value| value.ratio);
    ratio.map(|ratio| format!("{}×", factor(ratio.median))).unwrap_or_default()
}

/// Each promise once, in the order tested.
fn promises(records: &[ContractRecord]) -> Vec<&str> {
    let mut promises: Vec<&str> = Vec::new();
    for finding in records.iter().flat_map(|record| &record.findings) {
        if !promises.contains(&finding.promise.as_str()) {
            promises.push(&finding.promise);
        }
    }
    promises
}

/// Versions, and a numbered column a promise.
fn promised(set: &ResultSet, records: &[ContractRecord], promises: &[&str], style: Style) -> Table {
    let numbers: Vec<String> = (1..=promises.len()).map(|number| number.to_string()).collect();
    let header = ["module", "version"].into_iter().chain(numbers.iter().map(String::as_str));
    let header: Vec<&str> = header.collect();
    let mut table = ruled(style, &header, []);
    let others = records.iter().map(|record| record.module.as_str());
    let mut names = modules(set);
    names.extend(others.filter(|name| !set.run.modules.iter().any(|module| module.name == *name)));
    for name in names {
        let known = set.run.modules.iter().find(|module| module.name == name);
        let version = known.and_then(|module| module.version.as_deref()).map(clean);
        let found = records.iter().find(|record| record.module == name);
        let mark = |promise: &&str| {
            let is = |finding: &&Finding| finding.promise == *promise;
            found.and_then(|record| record.findings.iter().find(is)).map_or(Cell::new(""), sign)
        };
        let head = [Cell::new(name), Cell::new(version.unwrap_or_default())];
        table.add_row(head.into_iter().chain(promises.iter().map(mark)));
    }
    table
}

fn sign(finding: &Finding) -> Cell {
    match finding.kept {
        Some(true) => Cell::new("✓"),
        Some(false) => Cell::new("✗").fg(Color::Red),
        None => Cell::new("–"),
    }
}

fn broken(records: &[ContractRecord]) -> Vec<String> {
    let found =
        records.iter().flat_map(|record| record.findings.iter().map(move |it| (record, it)));
    let failed = found.filter(|(_, finding)| finding.kept == Some(false));
    let line = |(record, finding): (&ContractRecord, &Finding)| {
        format!(" ✗ {} {}: {}", record.module, clean(&finding.promise), clean(&finding.seen))
    };
    failed.map(line).collect()
}

#[cfg(test)]
mod tests;
