//! A sealed machine, as the runner outside of it sees it: sent on an errand, listened to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use meshbench_protocol::sealed::{End, Said, Task, TaskFile};

use super::errand::{ERRAND_FILE, Errand, Evidence, RUNNER, SETUP_FILE, Setup, Told, What};
use crate::fabric::Scenario;
use crate::lab::{Lab, LabError, sealed_members};
use crate::machine::sealed::{Bounds, Ended, SealedOutcome, SealedTemplate};
use crate::module::spec::Module;
use crate::module::{fit, lifecycle};
use crate::results::{self, CellRecord, Clock, Finding, Sealed, SealedContract};
use crate::run::cell::{Failure, Measured, Proof, record};
use crate::run::event::{EventKind, JobEvents};
use crate::run::measure::all_failed;
use crate::run::work::{Learned, Work};
use crate::run::{Job, Stage, Warning, evidence};
use crate::workload::Workload;

/// What messages call a machine of virtual time.
const MACHINE: &str = "sealed machine";

/// How long a template may take to prepare itself in its own time.
const PREPARING_S: u64 = 600;

/// How long a job may take in its machine's own time: many times what the longest takes.
const LIMIT_S: u64 = 4 * 3600;

/// How long it may take on the host, however busy that is.
const WALL: Duration = Duration::from_secs(2 * 3600);

/// Makes the template of such a cluster; says how many were made.
///
/// # Errors
/// As [`send`].
pub(crate) async fn warm(
    lab: &Lab,
    scenario: &Scenario,
    module: &Module,
) -> Result<usize, LabError> {
    Ok(usize::from(template(lab, scenario, module).await?.is_new()))
}

/// The template of such a cluster, made if it is missing.
async fn template(
    lab: &Lab,
    scenario: &Scenario,
    module: &Module,
) -> Result<SealedTemplate, LabError> {
    let members = sealed_members(scenario, module);
    let preparation = lifecycle::preparation(&module.spec.software.debian.kernel_modules);
    let setup = serde_json::to_vec(&Setup { members, preparation }).unwrap_or_default();
    let files = vec![
        TaskFile::new(RUNNER, 0o755, lab.runner()?.to_vec()),
        TaskFile::new(SETUP_FILE, 0o600, setup),
    ];
    let task = Task { files, ..Task::of(&[RUNNER, "prepare"], PREPARING_S) };
    lab.sealed(module, members, &task).await
}

/// What came of an errand.
pub(crate) struct Returned {
    /// What was measured.
    pub(crate) cells: Vec<CellRecord>,
    /// What was found of promises, each of which was told at once.
    pub(crate) findings: Vec<Finding>,
    /// What else was told, if it was done to its end.
    pub(crate) learned: Option<Learned>,
    /// The stage that it came to.
    stage: Stage,
    outcome: SealedOutcome,
    template: SealedTemplate,
}

impl Returned {
    /// Why it was not done to its end.
    pub(crate) fn failure(&self) -> Option<Failure> {
        if self.learned.is_some() && self.outcome.ended == Ended::Task(End::Exited(0)) {
            return None;
        }
        let said = String::from_utf8_lossy(&self.outcome.stderr);
        let console = self.outcome.console.join("\n    ");
        let ended = match &self.outcome.ended {
            Ended::Task(End::Exited(0)) => {
                "the runner inside stopped before it was done".to_owned()
            }
            other => other.to_string(),
        };
        let reason = format!("{ended}\n{}\n    {console}", said.trim());
        Some(Failure::new(self.stage, Some(MACHINE), reason.trim()))
    }

    /// What cells of such a machine are functions of.
    pub(crate) fn sealed(&self, workloads: Vec<String>, watched: bool) -> Sealed {
        let SealedContract { template, said } = self.seal();
        let wall_seconds = self.outcome.wall.as_secs_f64();
        let virtual_seconds = self.outcome.took.map(|took| took.as_secs_f64());
        let (command, patience_ms) = (String::new(), None);
        Sealed {
            template,
            said,
            workloads,
            patience_ms,
            watched,
            command,
            wall_seconds,
            virtual_seconds,
        }
    }

    /// Whether the machine itself told how its job ended, so that a failure of all of it repeats, too.
    pub(crate) fn ended_inside(&self) -> bool {
        matches!(self.outcome.ended, Ended::Task(_))
    }

    /// What its findings are functions of.
    pub(crate) fn seal(&self) -> SealedContract {
        let (template, said) = (self.template.identity().to_owned(), self.outcome.digest());
        SealedContract { template, said }
    }
}

/// Sends somebody into a machine of its own, which is gone afterwards. What happens there is told at once, but for
/// cells: these are kept until it is known what the machine said in all. It waits until another cluster is down, where
/// no more may run at once.
///
/// # Errors
/// No such machine can be had. How it ended is told by what is returned.
pub(crate) async fn send(
    lab: &Lab,
    errand: io::Result<Errand>,
    (scenario, module): (&Scenario, &Module),
    events: &JobEvents,
    mut keep: impl FnMut(Evidence),
) -> Result<Returned, LabError> {
    events.stage(Stage::Boot);
    let unreadable = |source| LabError::Unreadable { path: module.dir.clone(), source };
    let errand = errand.map_err(unreadable)?;
    fit::check(module, scenario, Clock::Virtual)?;
    let mut template = template(lab, scenario, module).await?;
    let _turn = lab.turn().await;
    let text = serde_json::to_vec(&errand).map_err(io::Error::other).map_err(unreadable)?;
    let files = vec![TaskFile::new(ERRAND_FILE, 0o600, text)];
    let task = Task { files, ..Task::of(&[RUNNER, "errand"], LIMIT_S) };
    let (mut lines, mut learned, mut stage) = (Lines::default(), None, Stage::Boot);
    let (mut cells, mut findings) = (Vec::new(), Vec::new());
    let mut hear = |told| match told {
        Told::Event(kind) => {
            match &kind {
                EventKind::StageReached { stage: reached, .. } => stage = *reached,
                EventKind::PromiseChecked { finding, .. } => findings.push(finding.clone()),
                _ => {}
            }
            cells.extend(events.relay(kind));
        }
        Told::File(file) => keep(file),
        Told::Done(told) => learned = Some(told),
    };
    let listen = |said: &Said| {
        if let Said::Stdout(bytes) = said {
            lines.take(bytes, |line| match serde_json::from_slice(line) {
                Ok(told) => hear(told),
                // Whoever made the machine say this broke the runner inside: its end tells.
                Err(error) => tracing::warn!(%error, "a line of a sealed machine"),
            });
        }
    };
    let outcome = template.fork_mending(&task, errand.seed, Bounds { wall: WALL }, listen).await?;
    Ok(Returned { cells, findings, learned, stage, outcome, template })
}

/// A cell as it was told in a machine, as one of this job, with what it is a function of.
pub(crate) fn cell(
    mut cell: CellRecord,
    job: &Job,
    mut sealed: Sealed,
    date: Option<SystemTime>,
) -> CellRecord {
    cell.key.block = job.block;
    if let results::Outcome::Failed { evidence, .. } = &mut cell.outcome {
        evidence.iter_mut().for_each(|path| *path = of_block(path, job.block));
    }
    if date.is_some() {
        sealed.wall_seconds = 0.0;
    }
    // By the machine's own clock all of them began on the same day.
    let wall = Duration::try_from_secs_f64(sealed.wall_seconds).unwrap_or_default();
    cell.started = results::rfc3339(date.unwrap_or_else(|| SystemTime::now() - wall));
    cell.clock = Clock::Virtual;
    cell.sealed = Some(sealed);
    cell
}

/// The path of evidence, which begins with the block that the runner inside takes for the first.
fn of_block(path: &str, block: u32) -> String {
    let (folder, name) = path.split_once('/').unwrap_or(("", path));
    let rest = name.split_once('_').map_or(name, |(_, rest)| rest);
    format!("{folder}/{block}_{rest}")
}

/// The evidence that has come out of a machine, and where it is kept: beside that of earlier failures, not over it.
#[derive(Default)]
pub(crate) struct Kept {
    /// Of each folder that was told, its name here.
    folders: BTreeMap<String, String>,
    files: BTreeSet<String>,
}

impl Kept {
    /// Writes a file of a machine into the job's result directory, as of its block.
    pub(crate) fn take(&mut self, work: &Work<'_>, mut file: Evidence) {
        file.path = of_block(&file.path, work.job.block);
        if let Some(Err(error)) = work.results.map(|results| self.write(results, file)) {
            work.events.warn(Warning::EvidenceLost(error.to_string()));
        }
    }

    /// Names in a cell what was kept of its evidence, where it is.
    pub(crate) fn name_in(&self, cell: &mut CellRecord) {
        if let results::Outcome::Failed { evidence, .. } = &mut cell.outcome {
            *evidence = evidence.iter().filter_map(|path| self.place(path)).collect();
        }
    }

    /// Writes a file below the result directory.
    fn write(&mut self, results: &Path, mut file: Evidence) -> io::Result<()> {
        file.check()?;
        let told = file.path.clone();
        let (folder, name) = told.rsplit_once('/').unwrap_or(("evidence", &told));
        let unused = || evidence::unused(results, folder);
        let own = self.folders.entry(folder.to_owned()).or_insert_with(unused);
        file.path = format!("{own}/{name}");
        file.write(results)?;
        self.files.insert(told);
        Ok(())
    }

    /// Where a file is; nowhere if it did not come.
    fn place(&self, told: &str) -> Option<String> {
        let (folder, name) = told.rsplit_once('/')?;
        let own = self.folders.get(folder).filter(|_| self.files.contains(told))?;
        Some(format!("{own}/{name}"))
    }
}

/// Measures everything the job asks for, in a machine of its own.
pub(in crate::run) async fn carry_out(work: &Work<'_>, lab: &Lab) -> Learned {
    let begun = Instant::now();
    let names = || work.workloads.iter().map(|workload| workload.name().to_owned());
    let what = What::Job {
        workloads: names().collect(),
        custom: work.workloads.iter().filter_map(|workload| workload.files().cloned()).collect(),
        quick: work.quick,
        evidence: work.results.is_some(),
    };
    let errand = Errand::new(what, work.scenario, work.module, work.seed);
    let of = (&**work.scenario, &**work.module);
    let mut kept = Kept::default();
    let returned = send(lab, errand, of, &work.events, |file| kept.take(work, file)).await;
    let (failure, cells, learned) = match returned {
        Ok(returned) => {
            let sealed = returned.sealed(names().collect(), work.results.is_some());
            let sealed = Sealed { command: command(work, lab), ..sealed };
            let told_by = returned.ended_inside().then(|| sealed.clone());
            let failure = returned.failure().map(|failure| (failure, told_by));
            let cell = |told| {
                let mut cell = cell(told, work.job, sealed.clone(), work.date);
                kept.name_in(&mut cell);
                cell
            };
            let cells: Vec<_> = returned.cells.into_iter().map(cell).collect();
            (failure, cells, returned.learned)
        }
        Err(error) => (Some((unsent(&error), None)), Vec::new(), None),
    };
    let missing = missing(work, &cells);
    cells.into_iter().for_each(|cell| work.events.cell(cell));
    match failure {
        Some((failure, Some(sealed))) => failed_inside(work, &missing, failure, &sealed),
        Some((failure, None)) => {
            all_failed(work, &missing, &Proof::default(), &[], failure, begun);
        }
        None => {}
    }
    learned.unwrap_or_default()
}

/// Cells that failed since the whole job did, as the machine itself told.
fn failed_inside(work: &Work<'_>, workloads: &[Workload], failure: Failure, sealed: &Sealed) {
    let outcome = failure.outcome(work.scenario, &work.module.spec.claims);
    for workload in workloads {
        work.events.cell(unmeasured(work, *workload, outcome.clone(), sealed.clone()));
    }
}

/// A cell of which nothing was measured, and which took as long as its machine says.
pub(crate) fn unmeasured(
    work: &Work<'_>,
    workload: Workload,
    outcome: results::Outcome,
    sealed: Sealed,
) -> CellRecord {
    let seconds = sealed.virtual_seconds.unwrap_or_default();
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let measured = Measured { duration, ..Measured::nothing(outcome, Instant::now()) };
    cell(record(work.job, workload, &Proof::default(), measured), work.job, sealed, work.date)
}

/// The workloads of which there is no cell.
fn missing(work: &Work<'_>, cells: &[CellRecord]) -> Vec<Workload> {
    let has = |workload: &Workload| cells.iter().any(|it| it.key.workload == workload.name());
    work.workloads.iter().filter(|workload| !has(workload)).copied().collect()
}

/// Why nobody could be sent.
pub(crate) fn unsent(error: &LabError) -> Failure {
    match error {
        LabError::Drive(error) => Failure::driving(Stage::Configure, error),
        LabError::Machine(machine) => Failure::new(Stage::Boot, Some(machine.machine()), error),
        _ => Failure::new(Stage::Boot, None, error),
    }
}

/// The command that measures such a job alone; empty where none does, since it is of things that lie elsewhere. Its
/// one block has the seed that this one has.
fn command(work: &Work<'_>, lab: &Lab) -> String {
    let own = work.workloads.iter().any(|workload| workload.files().is_some());
    if own || !lab.is_packaged() || work.results.is_none() {
        return String::new();
    }
    let workloads: Vec<&str> = work.workloads.iter().map(|workload| workload.name()).collect();
    let quick = if work.quick { " --quick" } else { "" };
    format!(
        "bench run {} --scenario {} --workload {} --clock virtual --seed {} --blocks 1{quick}",
        work.module.name,
        work.scenario.name,
        workloads.join(","),
        work.seed.wrapping_sub(1),
    )
}

/// Whole lines of what comes in pieces.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        self.0.extend_from_slice(bytes);
        let whole = self.0.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.0.split_off(whole);
        std::mem::replace(&mut self.0, rest)
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .for_each(&mut each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_of_a_machine_lies_beside_that_of_an_earlier_one() {
        let results = tempfile::tempdir().unwrap();
        let told = of_block("evidence/1_lan_a-b_connect/network.txt", 3);
        assert_eq!(told, "evidence/3_lan_a-b_connect/network.txt");
        for (text, folder) in [("one", "3_lan_a-b_connect"), ("two", "3_lan_a-b_connect_2")] {
            let mut kept = Kept::default();
            kept.write(results.path(), Evidence::new(told.clone(), text.as_bytes())).unwrap();
            let place = kept.place(&told).unwrap();
            assert_eq!(place, format!("evidence/{folder}/network.txt"));
            assert_eq!(std::fs::read_to_string(results.path().join(place)).unwrap(), text);
            assert_eq!(kept.place("evidence/3_lan_a-b_connect/lost.txt"), None);
            assert!(kept.write(results.path(), Evidence::new("../x".into(), b"")).is_err());
        }
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let mut lines = Lines::default();
        let mut heard = Vec::new();
        for piece in ["{\"a\"", ":1}\n{}", "\n", "\n[]\nrest"] {
            lines.take(piece.as_bytes(), |line| {
                heard.push(String::from_utf8_lossy(line).into_owned())
            });
        }
        assert_eq!(heard, ["{\"a\":1}", "{}", "[]"]);
    }
}
