//! From the command line's arguments to a lab.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use meshbench::fabric::Scenario;
use meshbench::host;
use meshbench::lab::{Host, Lab, LabError, Settings};
use meshbench::machine::Accelerator;
use meshbench::module::spec::Module;
use meshbench::results::Clock;
use meshbench::run::Events;

use crate::args::{self, GuestArgs, TimeArgs};
use crate::binaries::Binaries;
use crate::error::Failure;
use crate::exit;
use crate::output;
use crate::workspace::Workspace;

/// The lab that these arguments describe; what it does is told as events.
pub fn lab(
    workspace: &Workspace,
    arguments: &GuestArgs,
    binaries: &Binaries,
    events: &Events,
) -> Result<Lab, Failure> {
    settings(workspace, arguments, binaries, events).map(Lab::new)
}

/// The settings that these arguments describe.
pub fn settings(
    workspace: &Workspace,
    arguments: &GuestArgs,
    binaries: &Binaries,
    events: &Events,
) -> Result<Settings, Failure> {
    Ok(Settings {
        cache: Some(workspace.cache.clone()),
        fork: !arguments.no_fork,
        refresh: arguments.refresh,
        guests: named_guests(&arguments.guests)?,
        binaries: binaries.paths(),
        accelerator: arguments.accelerator.map(|accelerator| match accelerator {
            args::Accelerator::Kvm => Accelerator::Kvm,
            args::Accelerator::Tcg => Accelerator::Tcg,
        }),
        runner: Some(meshbench_runner::RUNNER),
        qemu: arguments.qemu.clone().filter(|path| !path.as_os_str().is_empty()),
        progress: events.progress(),
        ..Settings::default()
    })
}

/// A lab for the clock that is asked for, or that was begun with; where neither is, for the one that this host can
/// keep. The guests of these modules are made.
pub async fn clocked(
    settings: Settings,
    (modules, scenarios): (&[Arc<Module>], &[Arc<Scenario>]),
    time: TimeArgs,
    begun: Option<Clock>,
) -> Result<(Lab, Clock), Failure> {
    let asked = begun.or(time.clock.map(|clock| match clock {
        args::Clock::Real => Clock::Real,
        args::Clock::Virtual => Clock::Virtual,
    }));
    if asked == Some(Clock::Real) && time.jobs.is_some() {
        return Err(Failure::usage("clusters of real time disturb each other, so --jobs is none")
            .help("measure with --clock virtual, or leave --jobs out"));
    }
    if asked != Some(Clock::Virtual) {
        let lab = Lab::new(settings.clone());
        let host = match asked {
            Some(_) => lab.prepare(modules).await,
            None => lab.host().await,
        };
        let host = host.map_err(failure)?;
        if asked.is_some() || host.verdict.accelerator == Accelerator::Kvm {
            if time.jobs.is_some() {
                return Err(Failure::usage(
                    "--jobs is for virtual time, and with KVM the default is real time",
                )
                .help("add --clock virtual, or leave --jobs out"));
            }
            say(lab.prepare(modules).await.map_err(failure)?);
            return Ok((lab, Clock::Real));
        }
    }
    refuse_of_real_time(&settings)?;
    let clusters = time.jobs.map_or_else(host::cores, usize::from);
    let lab = Lab::new(Settings { clusters, ..settings });
    let host = lab.prepare_sealed(modules).await.map_err(failure)?;
    let pairs =
        modules.iter().flat_map(|module| scenarios.iter().map(move |it| (&**it, &**module)));
    let clusters = lab.sealed_room(pairs).clusters;
    let plural = if clusters == 1 { "" } else { "s" };
    output::say(format!(
        "clock: virtual ({}, {clusters} cluster{plural} at once)",
        host.qemu_version
    ));
    Ok((lab, Clock::Virtual))
}

/// What an option asks for that virtual time cannot give is said, not passed over.
fn refuse_of_real_time(settings: &Settings) -> Result<(), Failure> {
    let unfit = |option: &str| {
        Failure::usage(format!(
            "{option} is for real time: virtual time counts instructions of emulated forks"
        ))
        .help("add --clock real, or leave it out")
    };
    if settings.accelerator == Some(Accelerator::Kvm) {
        return Err(unfit("--accelerator kvm"));
    }
    if !settings.fork {
        return Err(unfit("--no-fork"));
    }
    Ok(())
}

/// A lab with the guests of these modules made, which says which accelerator was chosen.
pub async fn prepared(
    workspace: &Workspace,
    modules: &[Arc<Module>],
    arguments: &GuestArgs,
    events: &Events,
) -> Result<Lab, Failure> {
    let lab = lab(workspace, arguments, &Binaries::of(modules, arguments)?, events)?;
    say(lab.prepare(modules).await.map_err(failure)?);
    Ok(lab)
}

/// Which accelerator was chosen, and why.
pub fn say(host: &Host) {
    // QEMU's words come in several lines.
    let reason = host.verdict.reason.split_whitespace().collect::<Vec<_>>().join(" ");
    output::say(format!("accelerator: {} ({reason})", host.verdict.accelerator.word()));
}

/// Why machines cannot be had, for people.
pub fn failure(error: LabError) -> Failure {
    match error {
        LabError::Guest(error) => Failure::setup(error),
        LabError::NoSource { .. } => Failure::setup(error)
            .help("run it with Nix, or with --binary NAME=PATH for a program built by you"),
        LabError::NoCache => Failure::usage(error).help("name one with --cache DIR"),
        _ => Failure::new(exit::MACHINES, error),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_refuses_what_it_cannot_give() {
        assert!(refuse_of_real_time(&Settings::default()).is_ok());
        let kvm = Settings { accelerator: Some(Accelerator::Kvm), ..Settings::default() };
        let booted = Settings { fork: false, ..Settings::default() };
        assert!(refuse_of_real_time(&kvm).is_err() && refuse_of_real_time(&booted).is_err());
    }
}
