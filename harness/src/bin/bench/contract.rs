//! `bench contract`.

use std::path::Path;

use harness::module::spec::Module;
use harness::plan::contract;
use harness::results::{self, CONTRACT, ContractRecord, Finding, exit};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::args::ContractArgs;
use crate::binaries::Binaries;
use crate::error::{Failure, Outcome};
use crate::workspace::Workspace;

/// Checks each module on a cluster of its own; exit code 100 when a promise was not kept.
pub async fn contract(workspace: &Workspace, arguments: &ContractArgs) -> Outcome {
    let modules: Vec<Module> = if arguments.modules.is_empty() {
        workspace.modules()?
    } else {
        arguments.modules.iter().map(|name| workspace.module(name)).collect::<Result<_, _>>()?
    };
    let binaries = Binaries::of(&modules, &arguments.guests)?;
    let mut kept = earlier(arguments.out.as_deref())?;
    let mut records = Vec::new();
    for module in &modules {
        let findings = one(workspace, module, arguments, &binaries).await;
        let findings = findings.unwrap_or_else(|failure| {
            vec![Finding {
                promise: "can be started".into(),
                kept: Some(false),
                seen: failure.to_string(),
            }]
        });
        if !arguments.json {
            let lines: String = findings.iter().map(line).collect();
            crate::run::print(&format!("{}\n{lines}", module.name))?;
        }
        let record = ContractRecord { module: module.name.clone(), findings };
        if let Some(dir) = &arguments.out {
            kept.retain(|earlier| earlier.module != record.module);
            kept.push(record.clone());
            write(dir, &kept).map_err(|e| Failure::setup(format!("{}: {e}", dir.display())))?;
        }
        records.push(record);
    }
    if arguments.json {
        crate::run::print(&json(&records).map_err(Failure::setup)?)?;
    }
    let mut findings = records.iter().flat_map(|record| &record.findings);
    let broken = findings.any(|finding| finding.kept == Some(false));
    Ok(if broken { exit::CELLS_FAILED } else { exit::OK })
}

/// What is in the output directory already, of modules checked before.
fn earlier(dir: Option<&Path>) -> Result<Vec<ContractRecord>, Failure> {
    match dir.filter(|dir| dir.join(CONTRACT).exists()) {
        Some(dir) => results::load_contract(dir).map_err(Failure::usage),
        None => Ok(Vec::new()),
    }
}

async fn one(
    workspace: &Workspace,
    module: &Module,
    arguments: &ContractArgs,
    binaries: &Binaries,
) -> Result<Vec<Finding>, Failure> {
    let network = contract::network().map_err(Failure::usage)?;
    let modules = std::slice::from_ref(module);
    let mut lab = crate::lab::open_with(workspace, modules, &arguments.guests, binaries).await?;
    let cluster = lab.cluster(&network, module, 1).await;
    let cluster = cluster.map_err(|error| Failure::new(exit::MACHINES, error))?;
    let findings = contract::check(&cluster, module).await;
    cluster.down().await;
    Ok(findings)
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
