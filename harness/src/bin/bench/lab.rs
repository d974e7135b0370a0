//! From the command line's arguments to a lab.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use harness::lab::{Lab, LabError, Settings};
use harness::module::spec::Module;
use harness::results::exit;

use crate::args::GuestArgs;
use crate::error::Failure;
use crate::workspace::{Workspace, unknown};

/// Opens the lab that these modules need, and says which accelerator was chosen.
pub async fn open(
    workspace: &Workspace,
    modules: &[Module],
    arguments: &GuestArgs,
) -> Result<Lab, Failure> {
    let settings = Settings {
        cache: Some(workspace.cache.clone()),
        fork: !arguments.no_fork,
        refresh: arguments.refresh,
        guests: named_guests(&arguments.guests)?,
        binaries: replacements(modules, &arguments.binaries)?,
        progress: Arc::new(|text: &str| eprintln!("{text}")),
    };
    let lab = Lab::open(settings, modules).await.map_err(failure)?;
    eprintln!("accelerator: {} ({})", lab.verdict.accelerator, lab.verdict.reason);
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

/// The programs of `--binary [NAME=]PATH`, by name. Each must be one that a selected module runs.
fn replacements(
    modules: &[Module],
    arguments: &[String],
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let programs: Vec<String> =
        modules.iter().flat_map(|module| module.spec.software.debian.binaries.clone()).collect();
    let mut replacements = BTreeMap::new();
    for argument in arguments {
        let (name, path) = match argument.split_once('=') {
            Some((name, path)) => (name.to_owned(), PathBuf::from(path)),
            None => {
                let path = PathBuf::from(argument);
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (name, path)
            }
        };
        if !programs.contains(&name) {
            return Err(unknown("program", &name, &programs));
        }
        let path = std::fs::canonicalize(&path)
            .map_err(|e| Failure::usage(format!("--binary {}: {e}", path.display())))?;
        replacements.insert(name, path);
    }
    Ok(replacements)
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
