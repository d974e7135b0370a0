//! From the command line's arguments to a lab.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use harness::lab::{Lab, LabError, Settings};
use harness::module::spec::Module;
use harness::results::exit;

use crate::args::GuestArgs;
use crate::binaries::Binaries;
use crate::error::Failure;
use crate::workspace::Workspace;

/// Opens the lab that these modules need, and says which accelerator was chosen.
pub async fn open(
    workspace: &Workspace,
    modules: &[Module],
    arguments: &GuestArgs,
) -> Result<Lab, Failure> {
    open_with(workspace, modules, arguments, &Binaries::of(modules, arguments)?).await
}

/// The same, with the programs of `--binary` looked up before.
pub async fn open_with(
    workspace: &Workspace,
    modules: &[Module],
    arguments: &GuestArgs,
    binaries: &Binaries,
) -> Result<Lab, Failure> {
    let settings = Settings {
        cache: Some(workspace.cache.clone()),
        fork: !arguments.no_fork,
        refresh: arguments.refresh,
        guests: named_guests(&arguments.guests)?,
        binaries: binaries.paths(),
        progress: Arc::new(|text: &str| eprintln!("{text}")),
    };
    let lab = Lab::open(settings, modules).await.map_err(failure)?;
    // QEMU's words come in several lines.
    let reason = lab.verdict.reason.split_whitespace().collect::<Vec<_>>().join(" ");
    eprintln!("accelerator: {} ({reason})", lab.verdict.accelerator);
    Ok(lab)
}

fn failure(error: LabError) -> Failure {
    match error {
        LabError::Guest(error) => Failure::setup(error),
        LabError::NoSource { .. } => Failure::setup(error)
            .help("run it with Nix, or with --binary NAME=PATH for a program built by you"),
        LabError::NoCache => Failure::usage(error).help("name one with --cache DIR"),
        LabError::Machine(_) | LabError::Unprepared { .. } => Failure::new(exit::MACHINES, error),
    }
}

/// `MODULE=PATH` as given by `--guest`.
fn named_guests(arguments: &[String]) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let split = |argument: &String| {
        let (name, path) = argument.split_once('=').ok_or_else(|| {
            Failure::usage(format!("--guest {argument}: expected MODULE=GUEST_JSON"))
        })?;
        Ok((name.to_owned(), PathBuf::from(path)))
    };
    arguments.iter().map(split).collect()
}
