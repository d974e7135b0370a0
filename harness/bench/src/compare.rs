//! `bench compare`.

use std::path::Path;

use meshbench::report::compare::{self, Filter, Line, Names, Threshold};
use meshbench::results::{self, ResultSet, RunRecord, exit};
use meshbench::stats::DEFAULT_NOISE_FLOOR;
use serde_json::json;

use crate::args::{Common, CompareArgs};
use crate::error::{Failure, Outcome};
use crate::output::{print, style};
use crate::workspace::unknown;

/// Compares two runs, or two modules of a run; exit code 101 on a regression from one run to the other.
pub fn compare(common: &Common, arguments: &CompareArgs) -> Outcome {
    let threshold = Threshold(arguments.threshold / 100.0);
    let sets: Vec<ResultSet> =
        arguments.dirs.iter().map(|dir| load(dir)).collect::<Result<_, _>>()?;
    let filter = Filter {
        modules: arguments.modules.clone(),
        scenarios: arguments.scenarios.clone(),
        workloads: arguments.workloads.clone(),
    };
    let runs: Vec<&RunRecord> = sets.iter().map(|set| &set.run).collect();
    check_names(&runs, &filter)?;
    let mut differences = Vec::new();
    let (names, lines) = match (sets.as_slice(), arguments.modules.as_slice()) {
        ([a, b], _) => {
            differences = compare::differences(&a.run, &b.run);
            refuse(&differences, arguments.force)?;
            (Names::Runs(&a.run, &b.run), compare::runs(a, b, &filter, DEFAULT_NOISE_FLOOR))
        }
        ([set], [a, b]) if a != b => (
            Names::Modules(&set.run, a, b),
            compare::modules(set, (a, b), &filter, DEFAULT_NOISE_FLOOR),
        ),
        _ => {
            return Err(Failure::usage("one directory, and not two modules of it to compare")
                .help("name two directories, or two modules: bench compare DIR --modules A,B"));
        }
    };
    if lines.is_empty() {
        return Err(Failure::new(exit::NOTHING_SELECTED, "A and B have no cell in common")
            .help("`bench show DIR` prints what a run measured"));
    }
    if arguments.json {
        let document = json(names, &lines, threshold, &differences);
        print(&format!("{document:#}\n"))?;
    } else {
        print(&compare::render(names, &lines, threshold, style(common)))?;
    }
    let regression = sets.len() == 2 && lines.iter().any(|line| line.is_regression(threshold));
    Ok(if regression { exit::REGRESSION } else { exit::OK })
}

fn load(dir: &Path) -> Result<ResultSet, Failure> {
    results::load(dir).map_err(Failure::usage)
}

fn check_names(runs: &[&RunRecord], filter: &Filter) -> Result<(), Failure> {
    let check = |what: &str, asked: &[String], known: &dyn Fn(&RunRecord) -> Vec<String>| {
        let missing = |run: &&RunRecord| {
            let known = known(run);
            let absent = asked.iter().find(|name| !known.contains(name))?;
            Some(unknown(&format!("{what} in run {}", run.id), absent, &known))
        };
        runs.iter().find_map(missing).map_or(Ok(()), Err)
    };
    check("module", &filter.modules, &|run| run.modules.iter().map(|m| m.name.clone()).collect())?;
    let scenarios = |run: &RunRecord| run.scenarios.iter().map(|s| s.name.clone()).collect();
    check("scenario", &filter.scenarios, &scenarios)?;
    check("workload", &filter.workloads, &|run| run.workloads.clone())
}

fn refuse(differences: &[String], force: bool) -> Result<(), Failure> {
    if differences.is_empty() {
        return Ok(());
    }
    let list = differences.join("; ");
    if force {
        eprintln!("compared although the testbeds differ: {list}");
        return Ok(());
    }
    Err(Failure::usage(format!("the testbeds differ, so the figures do not compare: {list}"))
        .help("measure both on one host in one way, or compare all the same with --force"))
}

fn json(
    names: Names<'_>,
    lines: &[Line],
    threshold: Threshold,
    differences: &[String],
) -> serde_json::Value {
    let run = |run: &RunRecord| json!({ "run": run.id, "modules": run.modules });
    let (a, b) = match names {
        Names::Runs(a, b) => (run(a), run(b)),
        Names::Modules(set, a, b) => {
            (json!({ "run": set.id, "module": a }), json!({ "run": set.id, "module": b }))
        }
    };
    let two_runs = matches!(names, Names::Runs(..));
    let regressions: Vec<&Line> =
        lines.iter().filter(|line| two_runs && line.is_regression(threshold)).collect();
    json!({
        "a": a,
        "b": b,
        "testbed_differences": differences,
        "threshold": threshold.0,
        "lines": lines,
        "regressions": regressions,
    })
}
