//! `bench run`, the main job.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshbench::fabric::Scenario;
use meshbench::grid::grid_scenario_named;
use meshbench::report::table;
use meshbench::results::{
    self, Clock, Outcome as CellOutcome, ResultSet, RunRecord, Store, StoreError,
};
use meshbench::run::{
    self, Events, Job, Keep, RANKING_BLOCKS, RunError, RunSpec, Runner, SpecError,
};
use meshbench::stats::DEFAULT_NOISE_FLOOR;
use meshbench::workload::Workload;

use crate::args::{Common, RunArgs};
use crate::binaries::Binaries;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::output::{draw, print, print_json, say, style};
use crate::progress::Progress;
use crate::workspace::{Workspace, unknown};
use crate::{interrupt, lab};

/// Scenarios of a run that names none.
const DEFAULT_SCENARIOS: [&str; 3] = ["lan", "home-dsl", "lossy"];

/// Measures, writes the results, prints them.
pub async fn run(workspace: &Workspace, common: &Common, arguments: &RunArgs) -> Outcome {
    let Some(measured) = measure(workspace, arguments).await? else { return Ok(exit::OK) };
    let Measured { dir, set, spec, interrupted } = &measured;
    say(format!("results: {}", dir.display()));
    show(set, common, arguments)?;
    if *interrupted {
        say(format!("interrupted; go on with: bench run --resume {}", dir.display()));
        return Ok(exit::INTERRUPTED);
    }
    Ok(exit_code(set, spec, arguments.strict))
}

/// What was measured, and where it is.
pub struct Measured {
    dir: PathBuf,
    set: ResultSet,
    spec: RunSpec,
    /// Whether the user ended it.
    pub interrupted: bool,
}

/// Measures and writes the results; nothing if only the schedule was asked for.
pub async fn measure(
    workspace: &Workspace,
    arguments: &RunArgs,
) -> Result<Option<Measured>, Failure> {
    let resumed = arguments.resume.as_ref().map(|dir| Store::open(dir).map_err(Failure::usage));
    let mut resumed = resumed.transpose()?;
    if let (Some((_, set)), Some(blocks)) = (&mut resumed, arguments.blocks) {
        extend(&mut set.run, blocks)?;
    }
    let mut spec = match &resumed {
        Some((_, set)) => {
            refuse_grid(&set.run)?;
            again(workspace, &set.run)?
        }
        None => asked(workspace, arguments)?,
    };
    let binaries = Binaries::of(&spec.modules, &arguments.guests)?;
    spec.command = command();
    spec.revision = crate::REVISION.map(str::to_owned);
    if let Some(dir) = arguments.out.as_ref() {
        vacant(dir)?;
    }
    let jobs = spec.jobs();
    say(plan_line(&spec, &jobs));
    if arguments.dry_run {
        print(&schedule_text(&jobs))?;
        return Ok(None);
    }
    let events = Events::default().with(Progress::new());
    let mut settings = lab::settings(workspace, &arguments.guests, &binaries, &events)?;
    settings.workloads = spec.selection.all_workloads().into_iter().collect();
    let begun = resumed.as_ref().map(|_| spec.clock);
    let (lab, clock) =
        lab::clocked(settings, (&spec.modules, &spec.scenarios), arguments.time, begun).await?;
    spec.clock = clock;
    spec.date = build_date();
    say(duration_line(&spec));
    let dir = place(arguments);
    let runner = Runner::new(&spec, &lab, events.clone()).evidence(&dir);
    let runner = match resumed {
        None => {
            events.add(Keep::new(&dir));
            runner
        }
        Some((store, set)) => {
            events.add(Keep::resumed(store, set.cells.clone()));
            runner.resuming(set)
        }
    };
    let interrupted = tokio::select! {
        result = runner.run() => { result.map_err(failure)?; false }
        () = interrupt::requested() => true,
    };
    let set = kept(&dir, interrupted)?;
    Ok(Some(Measured { dir, set, spec, interrupted }))
}

/// What a run has left behind, which it was let finish or not.
pub fn kept(dir: &Path, interrupted: bool) -> Result<ResultSet, Failure> {
    if interrupted && !dir.join("run.json").exists() {
        return Err(Failure::new(exit::INTERRUPTED, "interrupted before anything was measured"));
    }
    results::load(dir).map_err(Failure::setup)
}

/// Refuses a place that is taken, since nothing is to be prepared for a run that cannot be kept.
pub fn vacant(dir: &Path) -> Result<(), Failure> {
    Store::vacant(dir).map_err(|error| match error {
        StoreError::Exists { path } => {
            let message = format!("{} holds the results of another run", path.display());
            Failure::usage(message)
                .help("go on with that one by --resume DIR, or name another place")
        }
        error => Failure::usage(error),
    })
}

/// Asks a run for more blocks than it was begun with. It is written when the run has been found to be of
/// the same things, with the first event.
fn extend(run: &mut RunRecord, blocks: u32) -> Result<(), Failure> {
    if blocks < run.blocks {
        let message =
            format!("{} was asked for {} blocks, which cannot be fewer", run.id, run.blocks);
        return Err(Failure::usage(message));
    }
    run.blocks = blocks;
    Ok(())
}

/// The date that a build is given, such as one of Nix's, whose output shall be a function of its inputs
/// (reproducible-builds.org/specs/source-date-epoch).
fn build_date() -> Option<std::time::SystemTime> {
    let seconds = std::env::var("SOURCE_DATE_EPOCH").ok()?.parse().ok()?;
    std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))
}

/// Where the results go.
fn place(arguments: &RunArgs) -> PathBuf {
    let given = arguments.resume.clone().or_else(|| arguments.out.clone());
    given.unwrap_or_else(|| fresh_place(&results::rfc3339(std::time::SystemTime::now())))
}

/// A directory for the results of a run that began then: `results/local/2026-11-22t07-12-18z-4711`.
pub fn fresh_place(started: &str) -> PathBuf {
    Path::new("results/local").join(results::run_id(started, std::process::id()))
}

fn show(set: &ResultSet, common: &Common, arguments: &RunArgs) -> Result<(), Failure> {
    if arguments.json {
        print_json(&(&set.run, &set.cells))?;
    } else {
        let rows = table::aggregate(&set.run, &set.cells, DEFAULT_NOISE_FLOOR);
        draw(&table::render(&set.run, &rows, style(common)))?;
    }
    Ok(())
}

fn exit_code(set: &ResultSet, spec: &RunSpec, strict: bool) -> u8 {
    let mut failed = set.cells.iter().any(|c| matches!(c.outcome, CellOutcome::Failed { .. }));
    if strict {
        for detour in run::detours(&set.cells, &spec.modules, &spec.scenarios) {
            say(detour);
            failed = true;
        }
    }
    if failed { exit::CELLS_FAILED } else { exit::OK }
}

/// Why a run did not begin or go on, for people.
pub fn failure(error: RunError) -> Failure {
    match error {
        RunError::Lab(error) => lab::failure(error),
        RunError::Differs(_) => Failure::usage(error)
            .help("a run is of one thing: begin a new one, or put things back as they were"),
        error => Failure::setup(error),
    }
}

fn asked(workspace: &Workspace, arguments: &RunArgs) -> Result<RunSpec, Failure> {
    if arguments.modules.is_empty() {
        return Err(Failure::new(exit::NOTHING_SELECTED, "no module is named")
            .help("`bench list modules` shows them"));
    }
    let scenarios = if arguments.scenarios.is_empty() {
        DEFAULT_SCENARIOS.map(String::from).to_vec()
    } else {
        arguments.scenarios.clone()
    };
    let names: Vec<&str> = arguments.modules.iter().map(String::as_str).collect();
    let (modules, scenarios) = chosen(workspace, &names, &scenarios)?;
    let seed = arguments.seed.unwrap_or_else(fresh_seed);
    let workloads = named_workloads(&arguments.workloads)?;
    let spec = RunSpec::new(modules, scenarios, &workloads, seed).map_err(misspelt)?;
    let blocks = arguments.blocks.unwrap_or(if arguments.quick { 1 } else { RANKING_BLOCKS });
    Ok(spec.blocks(blocks).quick(arguments.quick))
}

/// Names of workloads; those that are told as folders are read.
pub fn named_workloads(told: &[String]) -> Result<Vec<String>, Failure> {
    let name = |told: &String| {
        if !told.contains('/') {
            return Ok(told.clone());
        }
        let workload = Workload::from_folder(Path::new(told)).map_err(Failure::usage)?;
        Ok(workload.name().to_owned())
    };
    told.iter().map(name).collect()
}

/// The run that a result directory holds, or the beginning of it.
pub fn again(workspace: &Workspace, run: &RunRecord) -> Result<RunSpec, Failure> {
    let names = run.modules.iter().map(|module| module.name.clone()).collect();
    let scenarios: Vec<String> = run.scenarios.iter().map(|it| it.name.clone()).collect();
    let (modules, scenarios) = found(workspace, names, &scenarios)?;
    RunSpec::of(run, modules, scenarios).map_err(misspelt)
}

/// Fields of a grid are measured otherwise than a run's cells.
fn refuse_grid(run: &RunRecord) -> Result<(), Failure> {
    if run.scenarios.iter().all(|scenario| grid_scenario_named(&scenario.name).is_none()) {
        return Ok(());
    }
    Err(Failure::usage("this directory holds a grid, which `bench run` cannot go on with")
        .help("`bench nat-grid` measures it anew, in another directory"))
}

type Chosen = (Vec<Arc<meshbench::module::spec::Module>>, Vec<Arc<Scenario>>);

fn chosen(
    workspace: &Workspace,
    modules: &[&str],
    scenarios: &[String],
) -> Result<Chosen, Failure> {
    let names = run::with_internal(modules.iter().map(ToString::to_string).collect());
    found(workspace, names, scenarios)
}

fn found(
    workspace: &Workspace,
    modules: Vec<String>,
    scenarios: &[String],
) -> Result<Chosen, Failure> {
    let modules = modules.iter().map(|name| workspace.module(name)).collect::<Result<_, _>>()?;
    let scenarios = scenarios.iter().map(|name| workspace.scenario(name));
    Ok((modules, scenarios.collect::<Result<_, _>>()?))
}

fn misspelt(error: SpecError) -> Failure {
    match error {
        SpecError::Workload { name, .. } => unknown("workload", &name, &run::workload_names()),
        error => Failure::new(exit::NOTHING_SELECTED, error),
    }
}

/// A seed that JSON readers keep whole.
pub fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    (now.unwrap_or_default().as_nanos() as u64) % 1_000_000
}

/// The command line; the program without its folder, which says where and not what.
pub fn command() -> Vec<String> {
    let mut words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(program) = words.first_mut() {
        *program = "bench".into();
    }
    words
}

fn plan_line(spec: &RunSpec, jobs: &[Job]) -> String {
    let cells: usize = jobs.iter().map(|job| spec.selection.workloads(&job.scenario).len()).sum();
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "{} · {} × {} · {} (seed {})",
        spec.selection.modules.join(", "),
        plural(spec.scenarios.len(), "scenario"),
        plural(spec.selection.blocks as usize, "block"),
        plural(cells, "cell"),
        spec.selection.seed
    )
}

/// About how long it takes. How fast virtual time passes depends on what is done in it.
fn duration_line(spec: &RunSpec) -> String {
    let minutes = (spec.estimate_seconds() / 60.0).ceil();
    match spec.clock {
        Clock::Real => format!("about {minutes:.0} min"),
        Clock::Virtual => {
            format!("about {minutes:.0} min of virtual time, in which waiting takes no time")
        }
    }
}

fn schedule_text(jobs: &[Job]) -> String {
    let line = |job: &Job| format!("{} {} {}\n", job.block, job.scenario, job.module);
    jobs.iter().map(line).collect()
}
