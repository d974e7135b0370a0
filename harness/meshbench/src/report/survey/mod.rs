//! One line a module: does it connect, how, how fast next to the wire, and does it keep its promises.

use std::collections::BTreeSet;
use std::mem::discriminant;

use comfy_table::{Cell, Color, Table};

use super::Sign;
use super::comparable::differ;
use super::table::{
    Row, RowValue, Style, clean, factor, headline, humanise, lines, problems, ruled, title,
};
use crate::results::names::{CONNECT, CONNECT_TIME, GOODPUT_FORWARD, PING, RTT, TCP};
use crate::results::{CellRecord, ContractRecord, Finding, INTERNAL, Outcome, Promise, ResultSet};

/// A run and its aggregated cells.
#[derive(Debug)]
pub struct Surveyed {
    /// The run.
    pub set: ResultSet,
    /// Its cells, aggregated.
    pub rows: Vec<Row>,
}

/// Runs of two clocks, whose figures would stand in one table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} was measured in real time and {} in virtual time: clocks are never put into one table", .0[0], .0[1])]
pub struct TwoClocks([String; 2]);

/// Draws a table per scenario, the runs one below the other, then the versions of all modules and, if the
/// contract was tested, their promises.
///
/// # Errors
/// If they were measured by different clocks.
pub fn render(
    runs: &[Surveyed],
    contract: Option<&[ContractRecord]>,
    style: Style,
) -> Result<String, TwoClocks> {
    let of = |real: bool| {
        runs.iter().map(|it| &it.set.run).find(|run| run.clock.is_real() == real).map(|it| &it.id)
    };
    if let (Some(real), Some(virtually)) = (of(true), of(false)) {
        return Err(TwoClocks([real.clone(), virtually.clone()]));
    }
    Ok(drawn(runs, contract, style))
}

fn drawn(runs: &[Surveyed], contract: Option<&[ContractRecord]>, style: Style) -> String {
    let mut out: Vec<String> = runs.iter().map(|run| headline(&run.set.run)).collect();
    for scenario in once(runs.iter().flat_map(|run| &run.set.run.scenarios).map(|it| &it.name)) {
        let about = runs.iter().find(|run| run.knows(scenario)).map(|run| &run.set.run);
        out.push(String::new());
        out.extend(about.map(|run| title(run, scenario)));
        let header = [
            "module",
            "connects",
            "after",
            "path",
            "inner MTU",
            "RTT",
            "to wire",
            "TCP",
            "to wire",
        ];
        let mut table = ruled(style, &header, 4..=8);
        for run in runs.iter().filter(|run| run.knows(scenario)) {
            modules(&run.set).into_iter().for_each(|module| {
                table.add_row(run.measured(scenario, module));
            });
        }
        out.push(lines(&table));
        let rows = runs.iter().flat_map(|run| &run.rows).filter(|row| row.scenario == *scenario);
        let problems = problems(&rows.cloned().collect::<Vec<_>>(), style);
        if !problems.is_empty() {
            out.push(lines(&problems));
        }
    }
    let records = contract.unwrap_or_default();
    let promises: Vec<Promise> =
        once(records.iter().flat_map(|record| &record.findings).map(|it| it.promise));
    out.extend([String::new(), "Modules".into()]);
    out.push(lines(&promised(runs, records, &promises, style)));
    out.extend(broken(records));
    out.extend(records.iter().flat_map(|record| runs.iter().filter_map(|run| run.unlike(record))));
    if !promises.is_empty() {
        out.push(String::new());
    }
    let numbered = promises.iter().enumerate();
    out.extend(numbered.map(|(at, promise)| format!(" {} {promise}", at + 1)));
    out.join("\n") + "\n"
}

impl Surveyed {
    fn knows(&self, scenario: &str) -> bool {
        self.set.run.scenarios.iter().any(|known| known.name == scenario)
    }

    fn measured(&self, scenario: &str, module: &str) -> Vec<Cell> {
        let value = |workload: &str, metric: &str| {
            let own = |row: &&Row| {
                row.scenario == scenario && row.module == module && row.workload == workload
            };
            let is = |value: &&RowValue| value.metric == metric;
            self.rows.iter().filter(own).filter_map(|row| row.value.as_ref()).find(is)
        };
        let (rtt, tcp) = (value(PING, RTT), value(TCP, GOODPUT_FORWARD));
        let median = |value: Option<&RowValue>| {
            value.map(|it| humanise(it.median, it.unit)).unwrap_or_default()
        };
        let cells = || {
            let here = |c: &&CellRecord| c.key.module == module && c.key.scenario == scenario;
            self.set.cells.iter().filter(here)
        };
        let measured = || cells().filter(|cell| cell.outcome.is_ok());
        vec![
            Cell::new(module),
            connects(cells().filter(|cell| cell.key.workload == CONNECT)),
            Cell::new(median(value(CONNECT, CONNECT_TIME))),
            Cell::new(all(measured().map(|cell| cell.path.word().to_owned()))),
            Cell::new(all(measured().filter_map(|cell| Some(cell.inner_mtu?.to_string())))),
            Cell::new(median(rtt)),
            Cell::new(ratio(rtt)),
            Cell::new(median(tcp)),
            Cell::new(ratio(tcp)),
        ]
    }

    /// That a contract is of other contents than the module was measured with, where it is. What was not recorded is no
    /// difference, and each clock has guests of its own.
    fn unlike(&self, record: &ContractRecord) -> Option<String> {
        let (run, contents) = (&self.set.run, record.contents.as_ref()?);
        let module = run.modules.iter().find(|module| module.name == record.module)?;
        let guest = run.guests.iter().find(|guest| guest.module == record.module);
        let guest = guest.filter(|_| record.clock == Some(run.clock)).map(|it| &it.nar_hash);
        let what = if differ(contents.module_sha256.as_ref(), module.sha256.as_ref()) {
            "files of the module"
        } else if differ(contents.guest_nar_hash.as_ref(), guest) {
            "guests"
        } else {
            return None;
        };
        let (sign, name, id) = (Sign::Doubtful, &record.module, &run.id);
        Some(format!(" {sign} {name} its promises were checked of other {what} than {id} measured"))
    }

    /// The version of a module, with the programs that were not the packaged ones.
    fn version(&self, module: &str) -> Option<String> {
        let known = self.set.run.modules.iter().find(|known| known.name == module)?;
        let version = known.version.as_deref().map(clean)?;
        let local: Vec<&str> = known.binaries.iter().map(|binary| binary.name.as_str()).collect();
        Some(if local.is_empty() {
            version
        } else {
            format!("{version}, own {}", local.join(", "))
        })
    }
}

/// Each once, in the order of the first.
fn once<T: Copy + Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    all.filter(|one| seen.insert(*one)).collect()
}

/// In the order of the run, the wire first.
fn modules(set: &ResultSet) -> Vec<&str> {
    let mut names: Vec<&str> = set.run.modules.iter().map(|module| module.name.as_str()).collect();
    names.sort_by_key(|name| *name != INTERNAL);
    names
}

/// `yes`, `no`, or in how many blocks.
fn connects<'a>(cells: impl Iterator<Item = &'a CellRecord>) -> Cell {
    let outcomes: Vec<&Outcome> = cells.map(|cell| &cell.outcome).collect();
    let Some(first) = outcomes.first() else { return Cell::new("not tried") };
    if outcomes.iter().any(|outcome| discriminant(*outcome) != discriminant(*first)) {
        let ok = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        return Cell::new(format!("{ok} of {}", outcomes.len())).fg(Color::Red);
    }
    match first {
        Outcome::Ok {} => Cell::new("yes"),
        Outcome::Failed { .. } => Cell::new("no").fg(Color::Red),
        Outcome::Unsupported { .. } | Outcome::Skipped { .. } => Cell::new(first.word()),
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

/// Versions, and a numbered column a promise.
fn promised(
    runs: &[Surveyed],
    records: &[ContractRecord],
    promises: &[Promise],
    style: Style,
) -> Table {
    let numbers: Vec<String> = (1..=promises.len()).map(|number| number.to_string()).collect();
    let header = ["module", "version"].into_iter().chain(numbers.iter().map(String::as_str));
    let header: Vec<&str> = header.collect();
    let mut table = ruled(style, &header, []);
    let measured = runs.iter().flat_map(|run| modules(&run.set));
    let mut seen = BTreeSet::new();
    let names = measured.chain(records.iter().map(|record| record.module.as_str()));
    for name in names.filter(|name| seen.insert(*name)) {
        let version = all(runs.iter().filter_map(|run| run.version(name)));
        let found = records.iter().find(|record| record.module == name);
        let mark = |promise: &Promise| {
            let is = |finding: &&Finding| finding.promise == *promise;
            found.and_then(|record| record.findings.iter().find(is)).map_or(Cell::new(""), sign)
        };
        let head = [Cell::new(name), Cell::new(version)];
        table.add_row(head.into_iter().chain(promises.iter().map(mark)));
    }
    table
}

fn sign(finding: &Finding) -> Cell {
    let cell = Cell::new(Sign::of(finding.kept));
    if finding.kept == Some(false) { cell.fg(Color::Red) } else { cell }
}

fn broken(records: &[ContractRecord]) -> Vec<String> {
    let found =
        records.iter().flat_map(|record| record.findings.iter().map(move |it| (record, it)));
    let failed = found.filter(|(_, finding)| finding.kept == Some(false));
    let line = |(record, finding): (&ContractRecord, &Finding)| {
        let (promise, seen) = (finding.promise, clean(&finding.seen));
        format!(" {} {} {promise}: {seen}", Sign::No, record.module)
    };
    failed.map(line).collect()
}

#[cfg(test)]
mod tests;
