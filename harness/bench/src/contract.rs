//! `bench contract`.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshbench::contract::{self, ContractSpec, KeepContract};
use meshbench::lab::Lab;
use meshbench::module::spec::Module;
use meshbench::report::Sign;
use meshbench::results::{Clock, Finding};
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
    let lines = Lines { json: arguments.json, blocks: BTreeMap::new() };
    let events = Events::default().with(lines);
    if let Some(dir) = &arguments.out {
        events.add(KeepContract::new(dir).map_err(Failure::usage)?);
    }
    let settings = lab::settings(workspace, &arguments.guests, &binaries, &events)?;
    // A module whose guest cannot be had shall not keep the others from being checked.
    let (lab, clock) = lab::clocked(settings, (&[], &[]), arguments.time, None).await?;
    if !arguments.json {
        print(&format!("{}\n", place(&lab, clock).await?))?;
    }
    let spec = ContractSpec { modules, clock, revision: crate::REVISION.map(str::to_owned) };
    let records = contract::check(&lab, &spec, &events).await.map_err(Failure::setup)?;
    if arguments.json {
        print_json(&records)?;
    }
    let broken = events.stats().broken > 0;
    Ok(if broken { exit::CELLS_FAILED } else { exit::OK })
}

/// What the findings are of: whose time it is, and the QEMU that it passes in.
async fn place(lab: &Lab, clock: Clock) -> Result<String, Failure> {
    Ok(match clock {
        Clock::Real => {
            let host = lab.host().await.map_err(lab::failure)?;
            format!("real time · {} · {}", host.verdict.accelerator.word(), host.qemu_version)
        }
        Clock::Virtual => {
            let host = lab.prepare_sealed(&[]).await.map_err(lab::failure)?;
            format!("virtual time of {}", host.qemu_version)
        }
    })
}

/// A line a promise, those of a module together: several are checked at once.
struct Lines {
    json: bool,
    /// Lines of modules that are being checked, by their jobs.
    blocks: BTreeMap<usize, String>,
}

impl Listener for Lines {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        match &event.kind {
            EventKind::JobStarted { index, job } if !self.json => {
                self.blocks.insert(*index, format!("{}\n", job.module));
            }
            EventKind::PromiseChecked { index, finding } => {
                // One alone is told line by line.
                let alone = self.blocks.len() == 1;
                if let Some(block) = self.blocks.get_mut(index) {
                    block.push_str(&line(finding));
                    if alone {
                        print(&std::mem::take(block))?;
                    }
                }
            }
            EventKind::ContractChecked { index, .. } => {
                if let Some(block) = self.blocks.remove(index) {
                    print(&block)?;
                }
            }
            // What was found until then.
            EventKind::RunStopped { .. } => {
                for block in std::mem::take(&mut self.blocks).into_values() {
                    print(&block)?;
                }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshbench::results::{ContractRecord, Promise};
    use meshbench::run::Job;

    use super::*;

    #[test]
    fn lines_of_modules_that_are_checked_at_once_stay_together() {
        let mut lines = Lines { json: false, blocks: BTreeMap::new() };
        let mut hear = |kind| lines.hear(&Event { at: Duration::ZERO, kind }).unwrap();
        for (index, module) in ["nebula", "tinc"].into_iter().enumerate() {
            let job = Job { block: 1, scenario: "contract".into(), module: module.into() };
            hear(EventKind::JobStarted { index, job });
        }
        for (index, seen) in [(0, "a"), (1, "b"), (0, "c")] {
            let finding = Finding::new(Promise::ComesUp, Some(true), seen);
            hear(EventKind::PromiseChecked { index, finding });
        }
        let block = &lines.blocks[&0];
        assert!(block.starts_with("nebula\n") && block.ends_with(": c\n"), "{block}");
        assert_eq!(block.lines().count(), 3, "{block}");
        assert_eq!(lines.blocks[&1].lines().count(), 2);
        let record = Box::new(ContractRecord::of("nebula", Vec::new()));
        let kind = EventKind::ContractChecked { index: 0, record };
        lines.hear(&Event { at: Duration::ZERO, kind }).unwrap();
        assert_eq!(lines.blocks.keys().collect::<Vec<_>>(), [&1], "it was told");
    }
}
