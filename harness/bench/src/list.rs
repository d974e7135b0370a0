//! `bench list`.

use std::io::Write;

use meshbench::fabric;
use meshbench::results::exit;
use meshbench::workload::Workload;
use serde_json::{Value, json};

use crate::args::Listing;
use crate::error::{Failure, Outcome};
use crate::workspace::Workspace;

/// Prints names with a line about each, or JSON.
pub fn list(workspace: &Workspace, what: Listing, as_json: bool) -> Outcome {
    let entries = entries(workspace, what)?;
    let mut out = std::io::stdout().lock();
    let written = if as_json {
        let values: Vec<Value> = entries
            .iter()
            .map(|(name, summary)| json!({ "name": name, "summary": summary }))
            .collect();
        writeln!(out, "{:#}", Value::from(values))
    } else {
        let width = entries.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        entries.iter().try_for_each(|(name, summary)| writeln!(out, "{name:width$}  {summary}"))
    };
    // A reader that has seen enough closes the pipe.
    drop(written);
    Ok(exit::OK)
}

fn entries(workspace: &Workspace, what: Listing) -> Result<Vec<(String, String)>, Failure> {
    let pair = |name: &str, summary: &str| (name.to_owned(), summary.to_owned());
    Ok(match what {
        Listing::Modules => {
            let modules = workspace.modules()?;
            modules.iter().map(|module| pair(&module.name, &module.spec.summary)).collect()
        }
        Listing::Scenarios => {
            let names = workspace.scenario_names()?;
            // A broken file is no reason to hide the others.
            let title = |name: String| match workspace.scenario(&name) {
                Ok(scenario) => (name, scenario.title.clone()),
                Err(error) => (name, format!("cannot be used: {error}")),
            };
            names.into_iter().map(title).collect()
        }
        Listing::Workloads => Workload::all().iter().map(|w| pair(w.name(), w.summary())).collect(),
        Listing::Profiles => {
            fabric::profiles().iter().map(|(name, profile)| pair(name, &profile.title)).collect()
        }
        Listing::Nats => fabric::KINDS.iter().map(|kind| pair(kind.name, kind.summary)).collect(),
    })
}
