//! `bench run`, the main job.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use harness::fabric::scenario::Scenario;
use harness::lab::Lab;
use harness::module::spec::{INTERNAL, Module};
use harness::plan::{self, Event, Job, Materials, Selection};
use harness::report::table::{self, Style};
use harness::results::{self, CellKey, RunRecord, Store, exit};
use harness::stats::DEFAULT_NOISE_FLOOR;
use harness::workload::Workload;
use tokio::sync::mpsc::UnboundedSender;

use crate::args::{Color, Common, RunArgs};
use crate::binaries::Binaries;
use crate::error::{Failure, Outcome};
use crate::record;
use crate::workspace::{Workspace, unknown};
use crate::{interrupt, lab, progress};

/// Scenarios of a run that names none.
const DEFAULT_SCENARIOS: [&str; 3] = ["lan", "home-dsl", "lossy"];

/// Blocks that a ranking needs (a two-sided rank test reaches p < 0.001 from 7).
const DEFAULT_BLOCKS: u32 = 7;

/// Seconds that a cluster needs besides its workloads, seen on 2 cores without KVM.
const CLUSTER_SECONDS: f64 = 9.0;

/// Columns of a table that goes into a file.
const DEFAULT_WIDTH: u16 = 100;

/// In fewer columns a table cannot be read; better that the terminal wraps it.
const NARROWEST: u16 = 60;

/// A run, ready to begin.
struct Run {
    selection: Selection,
    modules: Vec<Module>,
    scenarios: Vec<Scenario>,
    quick: bool,
}

/// Measures, writes the results, prints them.
pub async fn run(workspace: &Workspace, common: &Common, arguments: &RunArgs) -> Outcome {
    let resumed = arguments.resume.as_ref().map(|dir| Store::open(dir).map_err(Failure::usage));
    let resumed = resumed.transpose()?;
    let run = match &resumed {
        Some((_, set)) => Run::again(workspace, &set.run)?,
        None => Run::asked(workspace, arguments)?,
    };
    let binaries = Binaries::of(&run.modules, &arguments.guests)?;
    if let Some((_, set)) = &resumed {
        binaries.same(&run.modules, &set.run.modules)?;
    }
    if let Some(dir) = arguments.out.as_ref().filter(|dir| dir.join("run.json").exists()) {
        let message = format!("{} holds the results of another run", dir.display());
        return Err(Failure::usage(message)
            .help("go on with that one by --resume DIR, or name another place"));
    }
    let jobs = run.selection.schedule();
    eprintln!("{}", run.plan_line(&jobs));
    if arguments.dry_run {
        return print(&schedule_text(&jobs));
    }
    let guests = &arguments.guests;
    let mut lab = lab::open_with(workspace, &run.modules, guests, &binaries).await?;
    let (store, done) = match resumed {
        Some((store, set)) => (store, set.cells.into_iter().map(|cell| cell.key).collect()),
        None => (create_store(arguments, &run, (&lab, &binaries))?, Vec::new()),
    };
    let work = async {
        warm(&run, &jobs, &mut lab).await?;
        carry_out(&run, &jobs, &lab, &store, &done).await
    };
    let interrupted = tokio::select! {
        result = work => { result?; false }
        () = interrupt::requested() => true,
    };
    let set = store.finish().map_err(Failure::setup)?;
    eprintln!("results: {}", store.dir().display());
    if arguments.json {
        let text = serde_json::to_string_pretty(&(&set.run, &set.cells)).map_err(Failure::setup)?;
        print(&format!("{text}\n"))?;
    } else {
        let rows = table::aggregate(&set.run, &set.cells, DEFAULT_NOISE_FLOOR);
        print(&table::render(&set.run, &rows, style(common)))?;
    }
    if interrupted {
        eprintln!("interrupted; go on with: bench run --resume {}", store.dir().display());
        return Ok(exit::INTERRUPTED);
    }
    let mut failed = set.cells.iter().any(|c| matches!(c.outcome, results::Outcome::Failed { .. }));
    if arguments.strict {
        for detour in plan::detours(&set.cells, &run.modules, &run.scenarios) {
            eprintln!("{detour}");
            failed = true;
        }
    }
    Ok(if failed { exit::CELLS_FAILED } else { exit::OK })
}

/// How tables are drawn on this output.
pub fn style(common: &Common) -> Style {
    let terminal = std::io::stdout().is_terminal();
    let color = match common.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            terminal && !plain && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    };
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let there = || console::Term::stdout().size_checked().map(|(_, columns)| columns);
    let width = asked.or_else(there).unwrap_or(DEFAULT_WIDTH).max(NARROWEST);
    Style { color, width }
}

/// Prints to standard output; a reader that has gone is no error.
pub fn print(text: &str) -> Outcome {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::setup(error)),
        _ => Ok(exit::OK),
    }
}

impl Run {
    fn asked(workspace: &Workspace, arguments: &RunArgs) -> Result<Self, Failure> {
        if arguments.modules.is_empty() {
            return Err(Failure::new(exit::NOTHING_SELECTED, "no module is named")
                .help("`bench list modules` shows them"));
        }
        let scenarios = if arguments.scenarios.is_empty() {
            DEFAULT_SCENARIOS.map(String::from).to_vec()
        } else {
            arguments.scenarios.clone()
        };
        let blocks = arguments.blocks.unwrap_or(if arguments.quick { 1 } else { DEFAULT_BLOCKS });
        let seed = arguments.seed.unwrap_or_else(record::fresh_seed);
        let asked = workloads(&arguments.workloads)?;
        let workloads = |scenario: &Scenario| match asked.as_slice() {
            [] => own_workloads(scenario),
            asked => Ok(asked.to_vec()),
        };
        let size = (blocks, seed, arguments.quick);
        Self::of(workspace, arguments.modules.clone(), scenarios, workloads, size)
    }

    /// The run that a result directory holds the beginning of.
    fn again(workspace: &Workspace, run: &RunRecord) -> Result<Self, Failure> {
        let modules = run.modules.iter().map(|module| module.name.clone()).collect();
        let scenarios = run.scenarios.iter().map(|scenario| scenario.name.clone()).collect();
        let asked = |scenario: &Scenario| {
            let names = run.workloads.iter();
            let names = names.filter(|workload| run.asks_for(&scenario.name, workload));
            workloads(&names.cloned().collect::<Vec<_>>())
        };
        Self::of(workspace, modules, scenarios, asked, (run.blocks, run.seed, run.quick))
    }

    fn of(
        workspace: &Workspace,
        mut names: Vec<String>,
        scenarios: Vec<String>,
        workloads: impl Fn(&Scenario) -> Result<Vec<Workload>, Failure>,
        (blocks, seed, quick): (u32, u64, bool),
    ) -> Result<Self, Failure> {
        names.push(INTERNAL.into());
        names.sort();
        names.dedup();
        let modules = names.iter().map(|name| workspace.module(name)).collect::<Result<_, _>>()?;
        let scenarios: Vec<Scenario> =
            scenarios.iter().map(|name| workspace.scenario(name)).collect::<Result<_, _>>()?;
        let selected = |scenario: &Scenario| Ok((scenario.name.clone(), workloads(scenario)?));
        let selection = Selection {
            modules: names,
            scenarios: scenarios.iter().map(|scenario| scenario.name.clone()).collect(),
            workloads: scenarios.iter().map(selected).collect::<Result<_, Failure>>()?,
            blocks,
            seed,
        };
        Ok(Self { selection, modules, scenarios, quick })
    }

    fn plan_line(&self, jobs: &[Job]) -> String {
        let proof = if self.quick { 4.0 } else { 12.0 };
        let seconds: f64 = jobs.iter().map(|job| self.seconds(job) + proof + CLUSTER_SECONDS).sum();
        let minutes = (seconds / 60.0).ceil();
        let cells: usize =
            jobs.iter().map(|job| self.selection.workloads(&job.scenario).len()).sum();
        let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        format!(
            "{} · {} × {} · {} · about {minutes:.0} min (seed {})",
            self.selection.modules.join(", "),
            plural(self.scenarios.len(), "scenario"),
            plural(self.selection.blocks as usize, "block"),
            plural(cells, "cell"),
            self.selection.seed
        )
    }

    /// About how long the job's workloads take.
    fn seconds(&self, job: &Job) -> f64 {
        let mut scenarios = self.scenarios.iter();
        let disturbed =
            scenarios.any(|scenario| scenario.name == job.scenario && is_disturbed(scenario));
        let workloads = self.selection.workloads(&job.scenario).iter();
        let workloads = workloads.filter(|workload| disturbed || **workload != Workload::Recover);
        workloads.map(|workload| workload.seconds(self.quick)).sum()
    }

    fn materials<'a>(&'a self, job: &Job, lab: &'a Lab) -> Option<Materials<'a>> {
        Some(Materials {
            module: self.modules.iter().find(|module| module.name == job.module)?,
            scenario: self.scenarios.iter().find(|scenario| scenario.name == job.scenario)?,
            images: lab.images(&job.module)?.clone(),
            templates: &lab.templates,
            workloads: self.selection.workloads(&job.scenario),
            seed: self.selection.seed.wrapping_add(u64::from(job.block)),
            quick: self.quick,
            results: None,
        })
    }
}

/// Whether something happens from which a VPN has to recover.
fn is_disturbed(scenario: &Scenario) -> bool {
    scenario.events.iter().any(|event| event.during == Workload::Recover.name())
}

/// What a scenario is for, by its file; without a word about it, all that can be measured there.
fn own_workloads(scenario: &Scenario) -> Result<Vec<Workload>, Failure> {
    if !scenario.workloads.is_empty() {
        return workloads(&scenario.workloads);
    }
    let possible = |workload: &Workload| *workload != Workload::Recover || is_disturbed(scenario);
    Ok(Workload::ALL.into_iter().filter(possible).collect())
}

/// Workloads by name, in the order in which they run.
fn workloads(names: &[String]) -> Result<Vec<Workload>, Failure> {
    let known: Vec<String> = Workload::ALL.iter().map(|w| w.name().to_owned()).collect();
    let find =
        |name: &String| Workload::named(name).ok_or_else(|| unknown("workload", name, &known));
    let mut workloads: Vec<_> = names.iter().map(find).collect::<Result<_, _>>()?;
    workloads.sort();
    workloads.dedup();
    Ok(workloads)
}

fn schedule_text(jobs: &[Job]) -> String {
    let line = |job: &Job| format!("{} {} {}\n", job.block, job.scenario, job.module);
    jobs.iter().map(line).collect()
}

fn create_store(
    arguments: &RunArgs,
    run: &Run,
    software: (&Lab, &Binaries),
) -> Result<Store, Failure> {
    let Run { selection, modules, scenarios, quick } = run;
    let record = record::run_record(selection, modules, scenarios, *quick, software);
    let default = || PathBuf::from("results/local").join(&record.id);
    let dir = arguments.out.clone().unwrap_or_else(default);
    Store::create(&dir, &record).map_err(Failure::setup)
}

/// Makes all templates before the first measurement, so that none is made between two.
async fn warm(run: &Run, jobs: &[Job], lab: &mut Lab) -> Result<(), Failure> {
    let blueprints: Vec<_> =
        jobs.iter().filter_map(|job| run.materials(job, lab)).map(|m| m.blueprint()).collect();
    let before = std::time::Instant::now();
    let mut made = 0;
    for blueprint in blueprints {
        let warmed = blueprint.warm(&mut lab.templates).await;
        made += warmed.map_err(|e| Failure::new(exit::MACHINES, e))?;
    }
    if made > 0 {
        eprintln!("templates: {made} made in {:.1} s", before.elapsed().as_secs_f64());
    }
    if let harness::machine::Start::Boot(reason) = lab.templates.start() {
        eprintln!("machines are booted, not forked: {reason}");
    }
    Ok(())
}

async fn carry_out(
    run: &Run,
    jobs: &[Job],
    lab: &Lab,
    store: &Store,
    done: &[CellKey],
) -> Result<(), Failure> {
    let (events, receiver) = tokio::sync::mpsc::unbounded_channel();
    let shown = progress::show(receiver, jobs.len());
    let mut record = results::load(store.dir()).map_err(Failure::setup)?.run;
    note_start(&mut record, lab, store)?;
    for (index, job) in jobs.iter().enumerate() {
        let _ = events.send(Event::JobStarted { index, job: job.clone() });
        if !is_done(job, run.selection.workloads(&job.scenario), done) {
            let version = one(index, job, run, lab, store, &events).await?;
            note_version(&mut record, &job.module, version, store)?;
        }
        let _ = events.send(Event::JobEnded { index });
    }
    drop(events);
    // Its only way to end is that the sender is gone.
    let _ = shown.await;
    Ok(())
}

async fn one(
    index: usize,
    job: &Job,
    run: &Run,
    lab: &Lab,
    store: &Store,
    events: &UnboundedSender<Event>,
) -> Result<Option<String>, Failure> {
    let Some(materials) = run.materials(job, lab) else { return Ok(None) };
    let materials = Materials { results: Some(store.dir()), ..materials };
    let mut written = Ok(());
    let keep = |cell: results::CellRecord| {
        if written.is_ok() {
            written = store.write_cell(&cell);
        }
        let _ = events.send(Event::Cell(Box::new(cell)));
    };
    let version = plan::carry_out(index, job, &materials, events, keep).await;
    written.map_err(Failure::setup)?;
    Ok(version)
}

/// The version is known only once a guest has been asked.
/// How machines are started is known once their templates are made, and is the same for all cells of a run.
fn note_start(record: &mut RunRecord, lab: &Lab, store: &Store) -> Result<(), Failure> {
    let (start, how) = match lab.templates.start() {
        harness::machine::Start::Fork(_) => (results::Start::Forked, "forked"),
        harness::machine::Start::Boot(_) => (results::Start::Booted, "booted"),
    };
    match record.environment.start.replace(start) {
        None => store.write_run(record).map_err(Failure::setup),
        Some(before) if before == start => Ok(()),
        Some(_) => {
            let message = format!("its machines were started otherwise; now they are {how}");
            Err(Failure::usage(message).help("go on with or without --no-fork, as it began"))
        }
    }
}

fn note_version(
    record: &mut RunRecord,
    module: &str,
    version: Option<String>,
    store: &Store,
) -> Result<(), Failure> {
    let entry = record.modules.iter_mut().find(|entry| entry.name == module);
    let Some(entry) = entry.filter(|entry| version.is_some() && entry.version != version) else {
        return Ok(());
    };
    entry.version = version;
    store.write_run(record).map_err(Failure::setup)
}

fn is_done(job: &Job, workloads: &[Workload], done: &[CellKey]) -> bool {
    workloads.iter().all(|workload| {
        done.iter().any(|key| {
            key.block == job.block
                && key.scenario == job.scenario
                && key.module == job.module
                && key.workload == workload.name()
        })
    })
}
