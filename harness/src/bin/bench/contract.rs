//! `bench contract`.

use std::path::Path;

use harness::module::spec::Module;
use harness::plan::contract;
use harness::results::{CONTRACT, ContractRecord, Finding, exit};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::args::ContractArgs;
use crate::error::{Failure, Outcome};
use crate::workspace::Workspace;

/// Checks each module on a cluster of its own; exit code 100 when a promise was not kept.
pub async fn contract(workspace: &Workspace, arguments: &ContractArgs) -> Outcome {
    let modules: Vec<Module> = if arguments.modules.is_empty() {
        workspace.modules()?
    } else {
        arguments.modules.iter().map(|name| workspace.module(name)).collect::<Result<_, _>>()?
    };
    let mut broken = false;
    let mut reports = Vec::new();
    let mut junit = Report::new("meshbench contract");
    for module in &modules {
        let name = &module.name;
        let findings = one(workspace, module, arguments).await.unwrap_or_else(|failure| {
            vec![Finding {
                promise: "can be started".into(),
                kept: Some(false),
                seen: failure.to_string(),
            }]
        });
        broken |= findings.iter().any(|finding| finding.kept == Some(false));
        if !arguments.json {
            let lines: String = findings.iter().map(line).collect();
            crate::run::print(&format!("{name}\n{lines}"))?;
        }
        junit.add_test_suite(suite(name, &findings));
        reports.push(ContractRecord { module: name.clone(), findings });
    }
    let text = serde_json::to_string_pretty(&reports).map_err(Failure::setup)? + "\n";
    if let Some(dir) = &arguments.out {
        write(dir, &text, &junit).map_err(|e| Failure::setup(format!("{}: {e}", dir.display())))?;
    }
    if arguments.json {
        crate::run::print(&text)?;
    }
    Ok(if broken { exit::CELLS_FAILED } else { exit::OK })
}

async fn one(
    workspace: &Workspace,
    module: &Module,
    arguments: &ContractArgs,
) -> Result<Vec<Finding>, Failure> {
    let network = contract::network().map_err(Failure::usage)?;
    let modules = std::slice::from_ref(module);
    let mut lab = crate::lab::open(workspace, modules, &arguments.guests).await?;
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

fn write(dir: &Path, text: &str, junit: &Report) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join(CONTRACT), text)?;
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
