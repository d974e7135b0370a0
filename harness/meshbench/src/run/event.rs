use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::schedule::Job;
use super::{Stage, Warning};
use crate::fabric::Action;
use crate::guest::{Prepares, Preparing};
use crate::results::{CellRecord, ContractRecord, Finding, Outcome, RunRecord};

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Since the stream began.
    pub at: Duration,
    /// What.
    pub kind: EventKind,
}

/// What can happen while a run, a contract or a grid is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// Something that takes time is made ready: a guest is built, a lock awaited.
    Preparing {
        /// What.
        what: Preparing,
    },
    /// A run begins, or goes on.
    RunStarted {
        /// What it is of, as far as it is known.
        record: Box<RunRecord>,
        /// Jobs that it has, those that are done among them.
        jobs: usize,
    },
    /// Templates were made for the machines to come.
    TemplatesMade {
        /// How many.
        count: usize,
        /// How long that took.
        seconds: f64,
    },
    /// More is known of the run, such as a module's version.
    RunNoted {
        /// What is known now.
        record: Box<RunRecord>,
    },
    /// A cluster's job begins.
    JobStarted {
        /// Its place in the schedule, from 0.
        index: usize,
        /// Which.
        job: Job,
    },
    /// The job has come to a stage.
    StageReached {
        /// The job's place in the schedule.
        index: usize,
        /// The stage.
        stage: Stage,
    },
    /// An event of the scenario has happened.
    Happened {
        /// The job's place in the schedule.
        index: usize,
        /// What.
        action: Box<Action>,
    },
    /// A cell is finished.
    CellFinished {
        /// The job's place in the schedule.
        index: usize,
        /// Its record.
        cell: Box<CellRecord>,
    },
    /// A promise of the contract was checked.
    PromiseChecked {
        /// The job's place in the schedule.
        index: usize,
        /// What was seen.
        finding: Finding,
    },
    /// All promises of a module were checked.
    ContractChecked {
        /// The job's place in the schedule.
        index: usize,
        /// What was found.
        record: Box<ContractRecord>,
    },
    /// The job is over, and its machines are gone.
    JobEnded {
        /// Its place in the schedule.
        index: usize,
    },
    /// Worth knowing.
    Warned {
        /// What, with advice.
        warning: Warning,
    },
    /// Everything asked for was done.
    RunFinished {
        /// In figures.
        stats: Stats,
    },
    /// It ended before that: interrupted, or unable to go on.
    RunStopped {
        /// What was done until then.
        stats: Stats,
    },
}

/// A run in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Cells with figures.
    pub ok: usize,
    /// Cells that failed.
    pub failed: usize,
    /// Cells that the module does not claim.
    pub unsupported: usize,
    /// Cells that were not tried.
    pub skipped: usize,
    /// Promises that were not kept.
    pub broken: usize,
}

impl Stats {
    /// Counts an event, if it is one that counts.
    pub fn count(&mut self, kind: &EventKind) {
        match kind {
            EventKind::CellFinished { cell, .. } => match cell.outcome {
                Outcome::Ok {} => self.ok += 1,
                Outcome::Failed { .. } => self.failed += 1,
                Outcome::Unsupported { .. } => self.unsupported += 1,
                Outcome::Skipped { .. } => self.skipped += 1,
            },
            EventKind::PromiseChecked { finding, .. } if finding.kept == Some(false) => {
                self.broken += 1;
            }
            _ => {}
        }
    }
}

/// Why a listener cannot go on, such as a full disk. It ends the run.
pub type ListenerError = Box<dyn std::error::Error + Send + Sync>;

/// Is told of each event in turn: draws progress, writes results, or counts.
pub trait Listener: Send {
    /// Takes note of an event. Called in order, one at a time.
    ///
    /// # Errors
    /// What makes it senseless to go on.
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError>;
}

/// The one stream of events. Clones lead to the same listeners.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Stream>>);

struct Stream {
    begun: Instant,
    listeners: Vec<Box<dyn Listener>>,
    failure: Option<ListenerError>,
    stats: Stats,
}

impl Default for Stream {
    fn default() -> Self {
        let (listeners, failure, stats) = (Vec::new(), None, Stats::default());
        Self { begun: Instant::now(), listeners, failure, stats }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// A stream with one more listener.
    #[must_use]
    pub fn with(self, listener: impl Listener + 'static) -> Self {
        self.add(listener);
        self
    }

    /// Adds a listener; it hears what happens from now on.
    pub fn add(&self, listener: impl Listener + 'static) {
        self.lock().listeners.push(Box::new(listener));
    }

    /// Tells all listeners. A failure is kept for [`Events::failure`]; the others still hear.
    pub fn emit(&self, kind: EventKind) {
        let mut stream = self.lock();
        stream.stats.count(&kind);
        let event = Event { at: stream.begun.elapsed(), kind };
        let mut failures = Vec::new();
        for listener in &mut stream.listeners {
            failures.extend(listener.hear(&event).err());
        }
        if stream.failure.is_none() {
            stream.failure = failures.into_iter().next();
        }
    }

    /// What made a listener give up, once.
    pub fn failure(&self) -> Option<ListenerError> {
        self.lock().failure.take()
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.lock().stats
    }

    /// Tells of something worth knowing.
    pub fn warn(&self, warning: Warning) {
        self.emit(EventKind::Warned { warning });
    }

    /// For whoever makes things ready: guests, templates.
    pub fn progress(&self) -> Prepares {
        let events = self.clone();
        Arc::new(move |what: &Preparing| events.emit(EventKind::Preparing { what: what.clone() }))
    }

    /// What a job tells.
    pub(crate) fn of_job(&self, index: usize) -> JobEvents {
        JobEvents { events: self.clone(), index, failed: Arc::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of one job.
#[derive(Debug, Clone)]
pub(crate) struct JobEvents {
    events: Events,
    index: usize,
    failed: Arc<AtomicBool>,
}

impl JobEvents {
    pub(crate) fn stage(&self, stage: Stage) {
        self.events.emit(EventKind::StageReached { index: self.index, stage });
    }

    pub(crate) fn happened(&self, action: &Action) {
        let action = Box::new(action.clone());
        self.events.emit(EventKind::Happened { index: self.index, action });
    }

    pub(crate) fn cell(&self, cell: CellRecord) {
        if matches!(cell.outcome, Outcome::Failed { .. }) {
            self.failed.store(true, Ordering::Relaxed);
        }
        self.events.emit(EventKind::CellFinished { index: self.index, cell: Box::new(cell) });
    }

    pub(crate) fn promise(&self, finding: Finding) {
        let (index, finding) = (self.index, finding.bounded());
        self.events.emit(EventKind::PromiseChecked { index, finding });
    }

    pub(crate) fn warn(&self, warning: Warning) {
        self.events.warn(warning);
    }

    /// Whether a cell of this job has failed.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Tells what a job told elsewhere, as of this one. A cell is given back: whoever asked for it knows more of it.
    pub(crate) fn relay(&self, kind: EventKind) -> Option<CellRecord> {
        match kind {
            EventKind::CellFinished { cell, .. } => return Some(*cell),
            EventKind::StageReached { stage, .. } => self.stage(stage),
            EventKind::Happened { action, .. } => self.happened(&action),
            EventKind::PromiseChecked { finding, .. } => self.promise(finding),
            EventKind::Warned { .. } | EventKind::Preparing { .. } => self.events.emit(kind),
            // Of a whole run, which has a job's beginning and end of its own.
            EventKind::RunStarted { .. }
            | EventKind::TemplatesMade { .. }
            | EventKind::RunNoted { .. }
            | EventKind::JobStarted { .. }
            | EventKind::ContractChecked { .. }
            | EventKind::JobEnded { .. }
            | EventKind::RunFinished { .. }
            | EventKind::RunStopped { .. } => {}
        }
        None
    }
}

/// Tells that a run was stopped, unless it came to its end.
pub(crate) struct Ending<'a> {
    events: &'a Events,
    finished: bool,
}

impl<'a> Ending<'a> {
    pub(crate) fn of(events: &'a Events) -> Self {
        Self { events, finished: false }
    }

    /// Tells that everything was done, and how.
    pub(crate) fn finish(mut self) -> Stats {
        self.finished = true;
        let stats = self.events.stats();
        self.events.emit(EventKind::RunFinished { stats });
        stats
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let stats = self.events.stats();
            self.events.emit(EventKind::RunStopped { stats });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Made;
    use crate::results::{Promise, sample};

    struct Full;

    impl Listener for Full {
        fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
            match event.kind {
                EventKind::CellFinished { .. } => Err("no space left".into()),
                _ => Ok(()),
            }
        }
    }

    struct Hears(Arc<Mutex<Vec<Event>>>);

    impl Listener for Hears {
        fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
            self.0.lock().unwrap().push(event.clone());
            Ok(())
        }
    }

    #[test]
    fn a_listener_that_gives_up_is_told_once_and_the_others_hear_on() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let events = Events::default().with(Full).with(Hears(heard.clone()));
        for cell in sample::cells() {
            events.emit(EventKind::CellFinished { index: 0, cell: Box::new(cell) });
        }
        assert_eq!(heard.lock().unwrap().len(), sample::cells().len());
        assert_eq!(events.failure().unwrap().to_string(), "no space left");
        assert!(events.failure().is_none());
        let Stats { ok, failed, unsupported, skipped, .. } = events.stats();
        assert_eq!((ok, failed, unsupported, skipped), (2, 1, 1, 1));
    }

    #[test]
    fn a_run_tells_its_end_however_it_ends() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let events = Events::default().with(Hears(heard.clone()));
        drop(Ending::of(&events));
        Ending::of(&events).finish();
        let stats = Stats::default();
        let told: Vec<_> = heard.lock().unwrap().iter().map(|event| event.kind.clone()).collect();
        assert_eq!(told, [EventKind::RunStopped { stats }, EventKind::RunFinished { stats }]);
    }

    #[test]
    fn what_a_job_told_elsewhere_is_told_as_of_this_one_and_its_cells_are_given_back() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let job = Events::default().with(Hears(heard.clone())).of_job(7);
        let cell = Box::new(sample::cells().remove(0));
        assert_eq!(
            job.relay(EventKind::CellFinished { index: 0, cell: cell.clone() }),
            Some(*cell)
        );
        assert_eq!(job.relay(EventKind::StageReached { index: 0, stage: Stage::Boot }), None);
        job.relay(EventKind::JobEnded { index: 0 });
        let finding = Finding { promise: Promise::ComesUp, kept: None, seen: "x".repeat(1 << 20) };
        job.relay(EventKind::PromiseChecked { index: 0, finding: finding.clone() });
        let told: Vec<_> = heard.lock().unwrap().iter().map(|event| event.kind.clone()).collect();
        let finding = finding.bounded();
        assert!(finding.seen.len() < 8 << 10);
        let promise = EventKind::PromiseChecked { index: 7, finding };
        assert_eq!(told, [EventKind::StageReached { index: 7, stage: Stage::Boot }, promise]);
    }

    #[test]
    fn events_are_the_same_after_a_journey_as_json() {
        let cell = Box::new(sample::cells().remove(0));
        let action = Action::Roam { machine: "alice".into(), to: "phone".into() };
        let action = Box::new(action);
        let job = Job { block: 1, scenario: "lan".into(), module: "nebula".into() };
        let kinds = [
            EventKind::Preparing {
                what: Preparing::Waiting { what: Made::Image(Some("base".into())) },
            },
            EventKind::RunStarted { record: Box::new(sample::run()), jobs: 4 },
            EventKind::JobStarted { index: 2, job },
            EventKind::StageReached {
                index: 2,
                stage: Stage::Measure(crate::workload::Workload::CONNECT),
            },
            EventKind::Happened { index: 2, action },
            EventKind::CellFinished { index: 2, cell },
            EventKind::RunFinished { stats: Stats { ok: 3, ..Stats::default() } },
            EventKind::RunStopped { stats: Stats::default() },
        ];
        for kind in kinds {
            let event = Event { at: Duration::from_millis(1500), kind };
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
        }
    }
}
