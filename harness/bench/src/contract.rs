//! `bench contract`.

use std::sync::Arc;

use meshbench::contract::{self, KeepContract};
use meshbench::module::spec::Module;
use meshbench::report::Sign;
use meshbench::results::Finding;
use meshbench::run::{Event, EventKind, Events, Listener, ListenerError};

use crate::args::ContractArgs;
use crate::binaries::Binaries;
use crate::error::{Failure, Outcome};
use crate::exit;
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
    if let Some(dir) = &arguments.out {
        events.add(KeepContract::new(dir).map_err(Failure::usage)?);
    }
    let settings = lab::settings(workspace, &arguments.guests, &binaries, &events)?;
    // A module whose guest cannot be had shall not keep the others from being checked.
    let (lab, clock) = lab::clocked(settings, (&[], &[]), arguments.time, None).await?;
    let records = contract::check(&lab, &modules, clock, &events).await.map_err(Failure::setup)?;
    if arguments.json {
        print_json(&records)?;
    }
    let broken = events.stats().broken > 0;
    Ok(if broken { exit::CELLS_FAILED } else { exit::OK })
}

/// A line a promise, as soon as it is checked.
struct Lines {
    json: bool,
}

impl Listener for Lines {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        match &event.kind {
            EventKind::JobStarted { job, .. } if !self.json => {
                print(&format!("{}\n", job.module))?;
            }
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

fn line(finding: &Finding) -> String {
    format!(
        "  {} {}: {}\n",
        Sign::of(finding.kept),
        finding.promise,
        finding.seen.replace('\n', "\n      ")
    )
}
