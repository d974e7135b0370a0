use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, stream};

use super::event::{Ending, EventKind, Events, ListenerError, Stats};
use super::job;
use super::proved::Proved;
use super::record::{self, differences, run_record};
use super::schedule::Job;
use super::sealed;
use super::spec::RunSpec;
use super::warning::Warning;
use super::work::{Learned, Work};
use crate::fabric::Scenario;
use crate::guest::{self, Provider};
use crate::hash;
use crate::host;
use crate::lab::{Lab, LabError, Room};
use crate::machine::Start;
use crate::module::fit;
use crate::module::spec::Module;
use crate::results::{self, CellKey, Clock, ResultSet, RunRecord};
use crate::workload::Workload;

/// Makes a whole run: prepares guests and templates, carries out each job, tells all of it as events.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use meshbench::{lab::{Catalogue, Lab}, run::{Events, Keep, RunSpec, Runner}};
/// # async fn measure() -> Result<(), Box<dyn std::error::Error>> {
/// let catalogue = Catalogue::find()?;
/// let modules = catalogue.with_internal(&["wireguard"])?;
/// let scenarios = vec![Arc::new(catalogue.scenario("lan")?)];
/// let spec = RunSpec::new(modules, scenarios, &[], 1)?.blocks(3);
/// let events = Events::default().with(Keep::new("results/mine".as_ref()));
/// let stats = Runner::new(&spec, &Lab::from_env(), events).run().await?;
/// assert_eq!(stats.failed, 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Runner<'a> {
    spec: &'a RunSpec,
    lab: &'a Lab,
    events: Events,
    evidence: Option<PathBuf>,
    begun: Option<ResultSet>,
    proved: Proved,
}

/// Characters that are kept of a version or a clock source.
const WORD_LENGTH: usize = 200;

/// Why a run could not begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Guests or machines.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// It was begun as a run of something else.
    #[error("this is not the run that was begun: {}", .0.join("; "))]
    Differs(Vec<String>),
    /// What it tells can no longer be kept.
    #[error("the results cannot be kept: {0}")]
    Listener(ListenerError),
}

impl<'a> Runner<'a> {
    /// A run of this, with these machines, told to these listeners.
    pub fn new(spec: &'a RunSpec, lab: &'a Lab, events: Events) -> Self {
        Self { spec, lab, events, evidence: None, begun: None, proved: Proved::default() }
    }

    /// Keeps what shows failures below this result directory.
    #[must_use]
    pub fn evidence(mut self, dir: &Path) -> Self {
        self.evidence = Some(dir.to_owned());
        self
    }

    /// Goes on with a run: what it has a cell of is not measured again.
    #[must_use]
    pub fn resuming(mut self, begun: ResultSet) -> Self {
        self.begun = Some(begun);
        self
    }

    /// Measures what there is to measure.
    ///
    /// # Errors
    /// As [`RunError`] says. What goes wrong with a cell is that cell's outcome and no error.
    pub async fn run(self) -> Result<Stats, RunError> {
        let jobs = self.spec.jobs();
        self.run_by(&jobs, job::carry_out).await
    }

    /// As [`Runner::run`], these jobs in this order, each carried out by `carry`.
    pub(crate) async fn run_by(
        self,
        jobs: &[Job],
        carry: impl AsyncFn(&Work<'_>, &Lab) -> Learned,
    ) -> Result<Stats, RunError> {
        let now = self.record().await?;
        let mut record = match &self.begun {
            Some(begun) => going_on(&begun.run, now)?,
            None => now,
        };
        let started = EventKind::RunStarted { record: Box::new(record.clone()), jobs: jobs.len() };
        let ending = Ending::of(&self.events);
        self.events.emit(started);
        self.heard()?;
        self.warm(jobs, &mut record).await?;
        self.carry_out(jobs, &mut record, &carry).await?;
        let stats = ending.finish();
        self.heard()?;
        Ok(stats)
    }

    /// Makes guests ready; says what is known of the run then.
    pub(crate) async fn record(&self) -> Result<RunRecord, LabError> {
        let (modules, lab) = (&self.spec.modules, self.lab);
        lab.check_programs(self.spec.selection.all_workloads())?;
        let (host, start, guests) = match self.spec.clock {
            Clock::Virtual => {
                let host = lab.prepare_sealed(modules).await?;
                (host, results::Start::Forked, lab.sealed_guests().await)
            }
            Clock::Real => {
                let host = lab.prepare(modules).await?.clone();
                (host, record::started(&lab.start().await?), lab.guests().await)
            }
        };
        let guests = guests.iter().map(|(name, image)| (name.as_str(), &**image));
        let mut record = run_record(self.spec, &host, start, guests);
        for (module, record) in modules.iter().zip(&mut record.modules) {
            record.binaries = lab.replaced(module).await?;
        }
        if record.guests.iter().any(|guest| guest.provider == Provider::Debian.name()) {
            record.environment.debian_mirror = lab.debian_mirror().await?;
        }
        if let (Clock::Virtual, Ok(runner)) = (self.spec.clock, lab.runner()) {
            record.environment.runner_sha256 = Some(hash::sha256(runner));
            record.environment.runner_compiler = guest::compiler(runner);
        }
        Ok(record)
    }

    /// Makes the templates of such a cluster; says how many were made.
    async fn warm_one(&self, scenario: &Scenario, module: &Module) -> Result<usize, LabError> {
        match self.spec.clock {
            Clock::Real => self.lab.warm(scenario, module).await,
            Clock::Virtual => sealed::warm(self.lab, scenario, module).await,
        }
    }

    /// Makes all templates before the first measurement, so that none is made between two.
    async fn warm(&self, jobs: &[Job], record: &mut RunRecord) -> Result<(), RunError> {
        if let Some(warning) = Warning::other_qemu(self.lab) {
            self.events.warn(warning);
        }
        let begun = Instant::now();
        let mut count = 0;
        for job in jobs {
            // What is refused needs no machine.
            if let (Some(module), Some(scenario)) = self.of(job)
                && fit::check(module, scenario, self.spec.clock).is_ok()
            {
                count += self.warm_one(scenario, module).await?;
            }
        }
        if count > 0 {
            let seconds = begun.elapsed().as_secs_f64();
            self.events.emit(EventKind::TemplatesMade { count, seconds });
        }
        if self.spec.clock == Clock::Virtual {
            // The host is in none of its numbers.
            return self.heard();
        }
        let start = self.lab.start().await?;
        if let Start::Boot(reason) = &start {
            self.events.warn(Warning::NoForks(reason.clone()));
        }
        let ([load, ..], cores) = (host::load(), host::cores() as u32);
        if load > f64::from(cores) / 2.0 {
            self.events.warn(Warning::HostBusy { load, cores });
        }
        let started = Some(record::started(&start));
        if record.environment.start != started {
            if self.begun.is_some() {
                return Err(RunError::Differs(vec!["machines can no longer be forked".into()]));
            }
            record.environment.start = started;
            self.events.emit(EventKind::RunNoted { record: Box::new(record.clone()) });
        }
        self.heard()
    }

    fn of(&self, job: &Job) -> (Option<&'a Arc<Module>>, Option<&'a Arc<Scenario>>) {
        (self.spec.module(&job.module), self.spec.scenario(&job.scenario))
    }

    /// As many jobs at once as clusters may run; one after the other where that is one.
    async fn carry_out(
        &self,
        jobs: &[Job],
        record: &mut RunRecord,
        carry: &impl AsyncFn(&Work<'_>, &Lab) -> Learned,
    ) -> Result<(), RunError> {
        let at_once = self.at_once(jobs.iter());
        let jobs = jobs.iter().enumerate().map(|(index, job)| self.job(index, job, carry));
        let mut under_way = stream::iter(jobs).buffer_unordered(at_once);
        while let Some((module, learned)) = under_way.next().await {
            if note(record, module, learned) {
                self.events.emit(EventKind::RunNoted { record: Box::new(record.clone()) });
            }
            self.heard()?;
        }
        Ok(())
    }

    /// So many of these jobs may be under way at once; told where that is fewer than asked for.
    pub(crate) fn at_once<'j>(&self, jobs: impl ExactSizeIterator<Item = &'j Job>) -> usize {
        if self.spec.clock == Clock::Real {
            return self.lab.clusters();
        }
        let needed = jobs.len();
        let pairs = jobs.filter_map(|job| match self.of(job) {
            (Some(module), Some(scenario)) => Some((&**scenario, &**module)),
            _ => None,
        });
        sealed_at_once(self.lab, needed, pairs, &self.events)
    }

    async fn job<'j>(
        &self,
        index: usize,
        job: &'j Job,
        carry: &impl AsyncFn(&Work<'_>, &Lab) -> Learned,
    ) -> (&'j str, Learned) {
        self.events.emit(EventKind::JobStarted { index, job: job.clone() });
        let wanted = self.wanted(job);
        let mut learned = Learned::default();
        if let ((Some(module), Some(scenario)), false) = (self.of(job), wanted.is_empty()) {
            let work = Work {
                job,
                module,
                scenario,
                workloads: &wanted,
                seed: self.spec.seed_of(job.block),
                quick: self.spec.quick,
                clock: self.spec.clock,
                date: self.spec.fixed_date(),
                results: self.evidence.as_deref(),
                proved: &self.proved,
                events: self.events.of_job(index),
            };
            learned = carry(&work, self.lab).await;
            if work.events.failed()
                && let Err(error) = self.lab.verify(module).await
            {
                self.events.warn(Warning::GuestDiffers(error.to_string()));
            }
        }
        self.events.emit(EventKind::JobEnded { index });
        (&job.module, learned)
    }

    /// What the job has no cell of yet: a finished one is final.
    fn wanted(&self, job: &Job) -> Vec<Workload> {
        let all = self.spec.selection.workloads(&job.scenario);
        let done = self.begun.iter().flat_map(|set| &set.cells).map(|cell| &cell.key);
        missing(all, job, &done.collect::<Vec<_>>())
    }

    /// Ends the run when a listener cannot go on.
    fn heard(&self) -> Result<(), RunError> {
        self.events.failure().map_or(Ok(()), |failure| Err(RunError::Listener(failure)))
    }
}

/// So many clusters of virtual time may run at once, of those that are needed; told where that is fewer than asked for.
pub(crate) fn sealed_at_once<'p>(
    lab: &Lab,
    needed: usize,
    pairs: impl IntoIterator<Item = (&'p Scenario, &'p Module)>,
    events: &Events,
) -> usize {
    let asked = lab.clusters();
    let Room { clusters: now, free_mib } = lab.sealed_room(pairs);
    if now < asked.min(needed) {
        events.warn(Warning::FewerAtOnce { asked, now, free_mib });
    }
    now
}

fn missing(all: &[Workload], job: &Job, done: &[&CellKey]) -> Vec<Workload> {
    let is_done = |workload: &Workload| {
        done.iter().any(|key| {
            key.block == job.block
                && key.scenario == job.scenario
                && key.module == job.module
                && key.workload == workload.name()
        })
    };
    all.iter().filter(|workload| !is_done(workload)).copied().collect()
}

/// The record to go on with: the one that was begun, if it is of the same things.
fn going_on(begun: &RunRecord, now: RunRecord) -> Result<RunRecord, RunError> {
    let differences = differences(begun, &now);
    if differences.is_empty() { Ok(begun.clone()) } else { Err(RunError::Differs(differences)) }
}

/// Adds what a job has told; says whether that was new.
fn note(record: &mut RunRecord, module: &str, learned: Learned) -> bool {
    let before = record.clone();
    if let Some(entry) = record.modules.iter_mut().find(|entry| entry.name == module) {
        entry.version = learned.version.map(|told| word(&told)).or(entry.version.take());
    }
    let clock = &mut record.environment.clock_source;
    *clock = clock.take().or(learned.clock_source.map(|told| word(&told)));
    *record != before
}

/// What a guest says in a word, which is as long as it likes.
fn word(told: &str) -> String {
    told.chars().take(WORD_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn a_run_does_not_go_on_with_something_else() {
        let begun = sample::run();
        assert_eq!(going_on(&begun, begun.clone()).unwrap(), begun);
        let mut now = begun.clone();
        now.guests[0].nar_hash = "sha256-other".into();
        let refused = going_on(&begun, now).unwrap_err();
        assert!(matches!(&refused, RunError::Differs(why) if why.len() == 1), "{refused}");
    }

    #[test]
    fn only_cells_that_are_missing_are_measured() {
        let job = Job { block: 1, scenario: "lan".into(), module: "nebula".into() };
        let key = |block, workload: &str| CellKey {
            block,
            scenario: "lan".into(),
            module: "nebula".into(),
            workload: workload.into(),
        };
        let all = ["connect", "ping", "tcp"].map(|name| Workload::named(name).unwrap());
        let done = [key(1, "connect"), key(1, "tcp"), key(2, "ping")];
        let done: Vec<_> = done.iter().collect();
        assert_eq!(missing(&all, &job, &done), [all[1]]);
    }

    #[test]
    fn versions_and_clock_sources_are_noted_once() {
        let mut run = sample::run();
        let name = run.modules[0].name.clone();
        run.environment.clock_source = None;
        let learned = || Learned { version: Some("1.0".into()), clock_source: Some("tsc".into()) };
        assert!(note(&mut run, &name, learned()));
        assert_eq!(run.environment.clock_source.as_deref(), Some("tsc"));
        assert!(!note(&mut run, &name, learned()));
        assert!(!note(&mut run, &name, Learned::default()), "nothing new was told");
        assert_eq!(run.modules[0].version.as_deref(), Some("1.0"));
        run.environment.clock_source = None;
        let long = || Some("x".repeat(1 << 20));
        assert!(note(&mut run, &name, Learned { version: long(), clock_source: long() }));
        let kept = [&run.modules[0].version, &run.environment.clock_source];
        assert_eq!(kept.map(|it| it.as_ref().map(String::len)), [Some(WORD_LENGTH); 2]);
    }
}
