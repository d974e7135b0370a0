use std::collections::BTreeMap;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{CellRecord, ContractRecord, Finding, Outcome, ResultSet};
use crate::text::plain;

/// A file made of the records: its name, and what makes it.
pub(super) type File = (&'static str, fn(&ResultSet) -> Result<Vec<u8>, String>);

/// Tables for whatever computes.
pub(super) const TABLES: [File; 2] = [("results.csv", results), ("samples.csv", samples)];

/// The report for whatever shows tests.
pub(super) const REPORT: File = (JUNIT, junit);

pub(super) const JUNIT: &str = "junit.xml";

/// One row per metric of a cell; a cell without metrics has one row, so that it is seen.
fn results(set: &ResultSet) -> Result<Vec<u8>, String> {
    let header = [
        "run",
        "block",
        "scenario",
        "module",
        "workload",
        "status",
        "metric",
        "unit",
        "better",
        "value",
        "samples",
        "path",
        "underlay",
        "inner_mtu",
        "duration_seconds",
        "stage",
        "machine",
        "reason",
    ];
    table(&header, |rows| {
        for cell in &set.cells {
            let (stage, machine, reason) = failure(&cell.outcome);
            let metrics: Vec<[String; 5]> = if cell.metrics.is_empty() {
                vec![Default::default()]
            } else {
                let row = |m: &super::Metric| {
                    let (unit, better) = (m.unit.symbol().into(), m.better.word().into());
                    [m.name.clone(), unit, better, m.value.to_string(), m.samples.len().to_string()]
                };
                cell.metrics.iter().map(row).collect()
            };
            for metric in metrics {
                let mut row = key(set, cell);
                row.push(cell.outcome.word().into());
                row.extend(metric);
                row.push(cell.path.word().into());
                row.push(cell.underlay.map(|family| family.word().into()).unwrap_or_default());
                row.push(cell.inner_mtu.map(|mtu| mtu.to_string()).unwrap_or_default());
                row.push(cell.duration_seconds.to_string());
                row.extend([stage, machine, reason].map(plain));
                rows.push(row);
            }
        }
    })
}

/// One row per raw sample, numbered from 0 within its metric.
fn samples(set: &ResultSet) -> Result<Vec<u8>, String> {
    let header =
        ["run", "block", "scenario", "module", "workload", "metric", "unit", "sample", "value"];
    table(&header, |rows| {
        for cell in &set.cells {
            for metric in &cell.metrics {
                for (at, sample) in metric.samples.iter().enumerate() {
                    let mut row = key(set, cell);
                    row.extend([metric.name.clone(), metric.unit.symbol().into()]);
                    row.extend([at.to_string(), sample.to_string()]);
                    rows.push(row);
                }
            }
        }
    })
}

fn key(set: &ResultSet, cell: &CellRecord) -> Vec<String> {
    let key = &cell.key;
    let block = key.block.to_string();
    [&set.run.id, &block, &key.scenario, &key.module, &key.workload].map(String::clone).to_vec()
}

fn failure(outcome: &Outcome) -> (&str, &str, &str) {
    match outcome {
        Outcome::Ok {} => ("", "", ""),
        Outcome::Failed { stage, machine, reason, .. } => {
            (stage, machine.as_deref().unwrap_or_default(), reason)
        }
        Outcome::Unsupported { reason } | Outcome::Skipped { reason } => ("", "", reason),
    }
}

fn table(header: &[&str], fill: impl FnOnce(&mut Vec<Vec<String>>)) -> Result<Vec<u8>, String> {
    let mut rows = Vec::new();
    fill(&mut rows);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(|error| error.to_string())?;
    for row in rows {
        writer.write_record(row).map_err(|error| error.to_string())?;
    }
    writer.into_inner().map_err(|error| error.to_string())
}

/// A suite per scenario, a case per cell and block.
fn junit(set: &ResultSet) -> Result<Vec<u8>, String> {
    let mut suites: BTreeMap<&str, TestSuite> = BTreeMap::new();
    for cell in &set.cells {
        let scenario = cell.key.scenario.as_str();
        let suite = suites.entry(scenario).or_insert_with(|| TestSuite::new(scenario));
        suite.add_test_case(case(cell));
    }
    report(&format!("meshbench {}", set.run.id), suites.into_values())
}

/// A suite per module, a case per promise; one that the module does not make is skipped.
pub(super) fn contract_junit(records: &[ContractRecord]) -> Result<Vec<u8>, String> {
    report("meshbench contract", records.iter().map(contract_suite))
}

fn report(name: &str, suites: impl IntoIterator<Item = TestSuite>) -> Result<Vec<u8>, String> {
    let mut report = Report::new(name);
    report.add_test_suites(suites);
    let mut bytes = Vec::new();
    report.serialize(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn contract_suite(record: &ContractRecord) -> TestSuite {
    let mut suite = TestSuite::new(record.module.as_str());
    for Finding { promise, kept, seen } in &record.findings {
        let mut status = match kept {
            Some(true) => TestCaseStatus::success(),
            Some(false) => TestCaseStatus::non_success(NonSuccessKind::Failure),
            None => TestCaseStatus::skipped(),
        };
        status.set_message(plain(seen));
        let mut case = TestCase::new(promise.to_string(), status);
        case.set_classname(format!("contract.{}", record.module));
        suite.add_test_case(case);
    }
    suite
}

fn case(cell: &CellRecord) -> TestCase {
    let key = &cell.key;
    let name = format!("{} block {}", key.workload, key.block);
    let mut case = TestCase::new(name, status(&cell.outcome));
    case.set_classname(format!("{}.{}", key.scenario, key.module));
    if let Ok(time) = Duration::try_from_secs_f64(cell.duration_seconds) {
        case.set_time(time);
    }
    case
}

fn status(outcome: &Outcome) -> TestCaseStatus {
    match outcome {
        Outcome::Ok {} => TestCaseStatus::success(),
        Outcome::Failed { stage, machine, reason, evidence } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let at = machine.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
            status.set_type(plain(stage)).set_message(plain(&format!("{stage}{at}: {reason}")));
            if !evidence.is_empty() {
                status.set_description(evidence.join("\n"));
            }
            status
        }
        Outcome::Unsupported { reason } | Outcome::Skipped { reason } => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(plain(&format!("{}: {reason}", outcome.word())));
            status
        }
    }
}
