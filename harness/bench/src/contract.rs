//! `bench contract`.

use std::path::Path;
use std::sync::Arc;

use meshbench::contract;
use meshbench::lab::Lab;
use meshbench::module::spec::Module;
use meshbench::results::{self, CONTRACT, Clock, ContractRecord, Finding, exit};
use meshbench::run::{Event, EventKind, Events, Listener, ListenerError};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::args::ContractArgs;
use crate::binaries::Binaries;
use crate::error::{Failure, Outcome};
use crate::lab;
use crate::output::{print, print_json, say};
use crate::workspace::Workspace;

/// Checks each module on a cluster of its own; exit code 100 when a promise was not kept.
pub async fn contract(workspace: &Workspace, arguments: &ContractArgs) -> Outcome {
    let modules: Vec<Arc<Module>> = if arguments.modules.is_empty() {
        workspace.modules()?
    } else {
        arguments.modules.iter().map(|name| workspace.module(name)).collect::<Result<_, _>>()?
    };
    let binaries = Binaries::of(&modules, &arguments.guests)?;
    let events = Events::default().with(Lines { json: arguments.json });
    let settings = lab::settings(workspace, &arguments.guests, &binaries, &events)?;
    // A module whose guest cannot be had shall not keep the others from being checked.
    let (lab, clock) = lab::clocked(settings, (&[], &[]), arguments.time, None).await?;
    let mut kept = earlier(arguments.out.as_deref())?;
    let mut records = Vec::new();
    for module in &modules {
        if !arguments.json {
            print(&format!("{}\n", module.name))?;
        }
        let record = one(&lab, module, clock, &events).await;
        if let Some(dir) = &arguments.out {
            kept.retain(|earlier| earlier.module != record.module);
            kept.push(record.clone());
            write(dir, &kept).map_err(|e| Failure::setup(format!("{}: {e}", dir.display())))?;
        }
        records.push(record);
    }
    if arguments.json {
        print_json(&records)?;
    }
    let broken = events.stats().broken > 0;
    Ok(if broken { exit::CELLS_FAILED } else { exit::OK })
}

/// A module whose guest cannot be had has broken its first promise.
async fn one(lab: &Lab, module: &Arc<Module>, clock: Clock, events: &Events) -> ContractRecord {
    match contract::check(lab, module, clock, events).await {
        Ok(record) => record,
        Err(error) => {
            let promise = "can be started".to_owned();
            let finding = Finding { promise, kept: Some(false), seen: error.to_string() };
            let module = module.name.to_string();
            let checked =
                EventKind::PromiseChecked { module: module.clone(), finding: finding.clone() };
            events.emit(checked);
            ContractRecord { clock: Some(clock), ..ContractRecord::of(module, vec![finding]) }
        }
    }
}

/// A line a promise, as soon as it is checked.
struct Lines {
    json: bool,
}

impl Listener for Lines {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        match &event.kind {
            EventKind::PromiseChecked { finding, .. } if !self.json => {
                print(&line(finding))?;
            }
            EventKind::Preparing { what } => say(what),
            EventKind::Warned { warning } => say(format!("warning: {warning}")),
            _ => {}
        }
        Ok(())
    }
}

/// What is in the output directory already, of modules checked before.
fn earlier(dir: Option<&Path>) -> Result<Vec<ContractRecord>, Failure> {
    match dir.filter(|dir| dir.join(CONTRACT).exists()) {
        Some(dir) => results::load_contract(dir).map_err(Failure::usage),
        None => Ok(Vec::new()),
    }
}

fn line(finding: &Finding) -> String {
    let mark = match finding.kept {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "–",
    };
    format!("  {mark} {}: {}\n", finding.promise, finding.seen.replace('\n', "\n      "))
}

fn json(records: &[ContractRecord]) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(records)? + "\n")
}

fn write(dir: &Path, records: &[ContractRecord]) -> std::io::Result<()> {
    let mut junit = Report::new("meshbench contract");
    junit.add_test_suites(records.iter().map(|record| suite(&record.module, &record.findings)));
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join(CONTRACT), json(records)?)?;
    let junit = junit.to_string().map_err(std::io::Error::other)?;
    std::fs::write(dir.join("junit.xml"), junit)
}

/// A case per promise; one that the module does not make is skipped.
fn suite(module: &str, findings: &[Finding]) -> TestSuite {
    let mut suite = TestSuite::new(module);
    for Finding { promise, kept, seen } in findings {
        let mut status = match kept {
            Some(true) => TestCaseStatus::success(),
            Some(false) => TestCaseStatus::non_success(NonSuccessKind::Failure),
            None => TestCaseStatus::skipped(),
        };
        status.set_message(seen);
        let mut case = TestCase::new(promise.as_str(), status);
        case.set_classname(format!("contract.{module}"));
        suite.add_test_case(case);
    }
    suite
}
