//! `bench list`.

use meshbench::fabric;
use meshbench::text;
use meshbench::workload::Workload;
use serde_json::json;

use crate::args::Listing;
use crate::error::{Failure, Outcome};
use crate::output;
use crate::workspace::Workspace;

/// Prints names with a line about each, or JSON.
pub fn list(workspace: &Workspace, what: Listing, as_json: bool) -> Outcome {
    let entries = entries(workspace, what)?;
    if as_json {
        let value =
            |(name, summary): &(String, String)| json!({ "name": name, "summary": summary });
        return output::print_json(&entries.iter().map(value).collect::<Vec<_>>());
    }
    let width = entries.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, summary): &(String, String)| {
        format!("{name:width$}  {}\n", text::plain(summary).replace('\n', " "))
    };
    output::print(&entries.iter().map(line).collect::<String>())
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
