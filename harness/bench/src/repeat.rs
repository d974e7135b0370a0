//! `bench repeat`.

use std::collections::BTreeSet;

use meshbench::repeat::{Repeated, Sameness, repeat as measure_again};
use meshbench::report::Sign;
use meshbench::results::{self, CellKey, Clock};
use meshbench::run::Events;
use serde_json::json;

use crate::args::{RepeatArgs, TimeArgs};
use crate::binaries::Binaries;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::output::{print, print_json, say};
use crate::progress::Progress;
use crate::run::{again, failure};
use crate::workspace::Workspace;
use crate::{interrupt, lab};

/// Measures cells of a run again; exit code 0 when every byte of all that was measured again was the same, 101 when one
/// was not, or nothing could be measured again.
pub async fn repeat(workspace: &Workspace, arguments: &RepeatArgs) -> Outcome {
    let mut set = results::open(&arguments.dir).map_err(Failure::usage)?;
    let wanted = |key: &CellKey| {
        let name = key.file_name();
        let named = |cell: &String| {
            let rest = name.strip_prefix(cell.trim_end_matches(".json"));
            rest.is_some_and(|rest| rest.starts_with(['_', '.']))
        };
        arguments.cells.is_empty() || arguments.cells.iter().any(named)
    };
    set.cells.retain(|cell| wanted(&cell.key));
    if set.cells.is_empty() {
        return Err(Failure::new(exit::NOTHING_SELECTED, "the run has no such cell")
            .help(format!("they are the files in {}", arguments.dir.join("cells").display())));
    }
    if set.run.clock == Clock::Real {
        return Err(Failure::usage("this run was measured in real time, which does not repeat")
            .help("measure with --clock virtual"));
    }
    // Guests of others need not be made.
    let keys = || set.cells.iter().map(|cell| &cell.key);
    let modules: BTreeSet<String> = keys().map(|key| key.module.clone()).collect();
    let scenarios: BTreeSet<String> = keys().map(|key| key.scenario.clone()).collect();
    // Nor does a network that is not measured again explain what differs on another one.
    set.run.modules.retain(|module| modules.contains(&module.name));
    set.run.scenarios.retain(|scenario| scenarios.contains(&scenario.name));
    let spec = again(workspace, &set.run)?;
    let binaries = Binaries::of(&spec.modules, &arguments.guests)?;
    let events = Events::default().with(Progress::new());
    let mut settings = lab::settings(workspace, &arguments.guests, &binaries, &events)?;
    settings.workloads = spec.selection.all_workloads().into_iter().collect();
    let time = TimeArgs { clock: None, jobs: arguments.jobs };
    let of = (spec.modules.as_slice(), spec.scenarios.as_slice());
    let (lab, _) = lab::clocked(settings, of, time, Some(Clock::Virtual)).await?;
    let times = usize::from(arguments.times);
    let stop = interrupt::requested();
    let (repeated, testbed) =
        measure_again(&spec, &lab, &set, times, &events, stop).await.map_err(failure)?;
    if arguments.json {
        print_json(&document(&repeated, &testbed))?;
    } else {
        // Of many times, what is worth a look is what came out otherwise.
        let shown = |cell: &&Repeated| arguments.times == 1 || !cell.sameness.is_identical();
        print(&repeated.iter().filter(shown).map(line).collect::<String>())?;
        print(&summary(&repeated, &testbed))?;
    }
    let missing = set.cells.len() * times - repeated.len();
    if missing > 0 {
        say(format!("interrupted: {missing} cells were not measured again"));
        return Ok(exit::INTERRUPTED);
    }
    let settled =
        |cell: &Repeated| matches!(cell.sameness, Sameness::Identical | Sameness::Failed(_));
    let some = repeated.iter().any(|cell| cell.sameness.is_identical());
    Ok(if some && repeated.iter().all(settled) { exit::OK } else { exit::REGRESSION })
}

/// How many were the same, and why others were not.
fn summary(repeated: &[Repeated], testbed: &[String]) -> String {
    let count = |is: fn(&Sameness) -> bool| repeated.iter().filter(|it| is(&it.sameness)).count();
    let mut text =
        format!("{} of {} cells identical\n", count(Sameness::is_identical), repeated.len());
    if count(Sameness::is_other) > 0 && testbed.is_empty() {
        text += "the testbed is the same: what differs is a leak, and worth a report\n";
    }
    if !testbed.is_empty() {
        text += &format!("{}\n", testbed.join("; "));
    }
    text
}

fn line(Repeated { key, sameness }: &Repeated) -> String {
    let name = format!("{} {} {} {}", key.block, key.scenario, key.module, key.workload);
    let told = match sameness {
        Sameness::Identical => "identical".to_owned(),
        Sameness::Figures => "same figures; something else that was said is different".to_owned(),
        Sameness::Differs { place, before, now } => format!("{place} was {before}, is {now}"),
        Sameness::Not(reason) => format!("not repeated: {reason}"),
        Sameness::Failed(reason) => format!("it had failed outside of its machine: {reason}"),
        _ => "unknown".to_owned(),
    };
    let mark = match sameness {
        Sameness::Identical => Sign::Yes,
        Sameness::Failed(_) => Sign::Nothing,
        _ => Sign::No,
    };
    format!("{mark} {name}: {told}\n")
}

fn document(repeated: &[Repeated], testbed: &[String]) -> serde_json::Value {
    let cells = repeated.iter().map(|cell| {
        let (word, detail) = match &cell.sameness {
            Sameness::Identical => ("identical", serde_json::Value::Null),
            Sameness::Figures => ("figures", serde_json::Value::Null),
            Sameness::Differs { place, before, now } => {
                ("differs", json!({ "place": place, "before": before, "now": now }))
            }
            Sameness::Not(reason) => ("not-repeated", json!(reason)),
            Sameness::Failed(reason) => ("failed", json!(reason)),
            _ => ("unknown", serde_json::Value::Null),
        };
        json!({ "key": cell.key, "sameness": word, "detail": detail })
    });
    json!({ "cells": cells.collect::<Vec<_>>(), "testbed": testbed })
}
