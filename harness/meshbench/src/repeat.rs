//! Measuring again what was measured in virtual time, and comparing it to the last digit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::fabric::Scenario;
use crate::grid::Pair;
use crate::lab::Lab;
use crate::module::spec::Module;
use crate::results::{CellKey, CellRecord, Clock, Outcome, ResultSet, Sealed};
use crate::run::{
    Ending, Event, EventKind, Events, Job, JobEvents, Listener, ListenerError, RunError, RunSpec,
    Runner, Warning, Work, carry_out, differences, workloads_named,
};
use crate::workload::Workload;

/// A cell that was measured again.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeated {
    /// Which.
    pub key: CellKey,
    /// What came of it.
    pub sameness: Sameness,
}

/// Whether a cell was repeated.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Sameness {
    /// Every byte that its machine said, of all that was measured on it; of what needs no machine, every byte of its record.
    Identical,
    /// All that the record of the cell holds; its machine said something else otherwise.
    Figures,
    /// Something is different.
    Differs {
        /// Where in the record, as a JSON pointer (RFC 6901).
        place: String,
        /// What was there.
        before: Value,
        /// What is there now.
        now: Value,
    },
    /// It was not measured in virtual time, or nothing was measured now.
    Not(String),
    /// It had failed outside of its machine, where nothing repeats, for this reason; it was not measured again.
    Failed(String),
}

impl Sameness {
    /// Whether everything was the same to the last digit.
    pub fn is_identical(&self) -> bool {
        *self == Self::Identical
    }

    /// Whether it was measured again and came out otherwise.
    pub fn is_other(&self) -> bool {
        matches!(self, Self::Figures | Self::Differs { .. })
    }
}

/// Measures again what `set` has, so many times, or until `stop` ends, which leaves what was not finished out; with what is
/// different about the testbed, in words, which explains what is different about the figures. Nothing of the set is changed.
///
/// # Errors
/// As a run's.
pub async fn repeat(
    spec: &RunSpec,
    lab: &Lab,
    set: &ResultSet,
    times: usize,
    events: &Events,
    stop: impl Future<Output = ()>,
) -> Result<(Vec<Repeated>, Vec<String>), RunError> {
    let runner = Runner::new(spec, lab, events.clone());
    let now = runner.record().await?;
    let mut found = differences(&set.run, &now);
    if !found.is_empty() {
        let differs = found.join("; ");
        events.emit(EventKind::Warned { warning: Warning::OtherTestbed(differs) });
    }
    let jobs = clusters(&set.cells);
    let at_once = runner.at_once(jobs.iter().map(|(job, _)| job));
    events.emit(EventKind::RunStarted { record: Box::new(now), jobs: jobs.len() * times });
    let ending = Ending::of(events);
    let jobs = (0..times).flat_map(|_| jobs.clone()).enumerate();
    let again =
        jobs.map(|(index, (job, cells))| Before { spec, index, job, cells }.again(lab, events));
    let again = stream::iter(again).buffered(at_once).take_until(stop);
    let again: Vec<Again> = again.collect().await;
    ending.finish();
    if again.iter().any(|cluster| cluster.elsewhere) {
        found.push("machines are forked from others: of another harness, guest or QEMU".into());
    }
    Ok((again.into_iter().flat_map(|cluster| cluster.cells).collect(), found))
}

/// Cells that were measured on one cluster: of one job, and by one errand.
fn clusters(cells: &[CellRecord]) -> Vec<(Job, Vec<&CellRecord>)> {
    let mut clusters: BTreeMap<_, Vec<&CellRecord>> = BTreeMap::new();
    for cell in cells {
        let CellKey { block, scenario, module, .. } = &cell.key;
        let errand = cell.sealed.as_ref().map(|sealed| &sealed.workloads);
        clusters.entry((*block, scenario, module, errand)).or_default().push(cell);
    }
    let job = |block, scenario: &str, module: &str| Job {
        block,
        scenario: scenario.into(),
        module: module.into(),
    };
    let clusters = clusters.into_iter();
    clusters
        .map(|((block, scenario, module, _), cells)| (job(block, scenario, module), cells))
        .collect()
}

/// A cluster that was measured again.
struct Again {
    cells: Vec<Repeated>,
    /// Whether its machine was forked from another template.
    elsewhere: bool,
}

/// Cells of one cluster, as they were measured.
struct Before<'a> {
    spec: &'a RunSpec,
    /// Their cluster's place among those that are measured again.
    index: usize,
    job: Job,
    cells: Vec<&'a CellRecord>,
}

impl Before<'_> {
    /// Measures them again.
    async fn again(self, lab: &Lab, events: &Events) -> Again {
        let index = self.index;
        events.emit(EventKind::JobStarted { index, job: self.job.clone() });
        let again = self.compared(lab, events).await;
        events.emit(EventKind::JobEnded { index });
        again
    }

    async fn compared(&self, lab: &Lab, events: &Events) -> Again {
        let now = match self.measured(lab, events).await {
            Ok(now) => now,
            Err(sameness) => return self.all(&sameness),
        };
        let of = |before: &&CellRecord| {
            let now = now.iter().find(|cell| cell.key == before.key);
            let none = || Sameness::Not("it was not measured now".into());
            Repeated {
                key: before.key.clone(),
                sameness: now.map_or_else(none, |now| sameness(before, now)),
            }
        };
        let template = |cell: &CellRecord| cell.sealed.as_ref().map(|it| it.template.clone());
        let before = self.cells.first().and_then(|cell| template(cell));
        // Without a template it failed before it had a machine, or with it.
        let elsewhere = now.iter().filter_map(template).any(|now| Some(now) != before);
        let cells = self.cells.iter().map(of).collect();
        for cell in now {
            events.emit(EventKind::CellFinished { index: self.index, cell: Box::new(cell) });
        }
        Again { cells, elsewhere }
    }

    fn all(&self, sameness: &Sameness) -> Again {
        let cells = self
            .cells
            .iter()
            .map(|cell| Repeated { key: cell.key.clone(), sameness: sameness.clone() });
        Again { cells: cells.collect(), elsewhere: false }
    }

    async fn measured(&self, lab: &Lab, events: &Events) -> Result<Vec<CellRecord>, Sameness> {
        let not = |reason: &str| Sameness::Not(reason.to_owned());
        let sealed = self.cells.first().and_then(|cell| cell.sealed.as_ref());
        if let (None, Some(reason)) = (sealed, outside(&self.cells)) {
            return Err(reason);
        }
        let (module, scenario) =
            (self.spec.module(&self.job.module), self.spec.scenario(&self.job.scenario));
        let (Some(module), Some(scenario)) = (module, scenario) else {
            return Err(not("its module or scenario is gone"));
        };
        self.job((lab, events), sealed, (module, scenario)).await
    }

    /// What was measured with these cells; without a machine, nothing but them.
    fn workloads(&self, sealed: Option<&Sealed>) -> Vec<String> {
        let own = || self.cells.iter().map(|cell| cell.key.workload.clone()).collect();
        sealed.map_or_else(own, |sealed| sealed.workloads.clone())
    }

    async fn job(
        &self,
        (lab, events): (&Lab, &Events),
        sealed: Option<&Sealed>,
        (module, scenario): (&Arc<Module>, &Arc<Scenario>),
    ) -> Result<Vec<CellRecord>, Sameness> {
        let patience = sealed.and_then(|sealed| sealed.patience_ms);
        let workloads = match patience {
            Some(_) => vec![Workload::CONNECT],
            None => workloads_named(&self.workloads(sealed))
                .map_err(|error| Sameness::Not(format!("of what was measured with it, {error}")))?,
        };
        let watched = sealed.is_some_and(|sealed| sealed.watched);
        // Evidence is part of what a machine says, and kept nowhere.
        let scratch = tempfile::tempdir()
            .map_err(|error| Sameness::Not(format!("there is no place for evidence: {error}")))?;
        let found = Found { cells: Arc::default(), job: events.of_job(self.index) };
        let told = Events::default();
        told.add(found.clone());
        let work = Work {
            job: &self.job,
            module,
            scenario,
            workloads: &workloads,
            seed: self.spec.seed_of(self.job.block),
            quick: self.spec.quick,
            clock: Clock::Virtual,
            date: None,
            results: watched.then_some(scratch.path()),
            proved: &Default::default(),
            events: told.of_job(0),
        };
        match patience.map(Duration::from_millis) {
            Some(patience) => Pair { work: &work, patience }.carry_out(lab).await,
            None => carry_out(&work, lab).await,
        };
        Ok(std::mem::take(&mut *found.cells.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Why what is in these cells, of which no machine told, cannot be found again; nothing where none was needed to know it.
fn outside(cells: &[&CellRecord]) -> Option<Sameness> {
    let reason = |cell: &&CellRecord| match (&cell.outcome, cell.clock) {
        (_, Clock::Real) => Some(Sameness::Not("it was not measured in virtual time".into())),
        (Outcome::Failed { reason, .. }, _) => Some(Sameness::Failed(reason.clone())),
        _ => None,
    };
    cells.iter().find_map(reason)
}

/// What is the same about two cells.
fn sameness(before: &CellRecord, now: &CellRecord) -> Sameness {
    if let (None, Outcome::Failed { reason, .. }) = (&now.sealed, &now.outcome) {
        return Sameness::Not(format!("now it failed outside of its machine: {reason}"));
    }
    let digests = [before, now].map(|cell| cell.sealed.as_ref().map(|sealed| &sealed.said));
    let documents = [before, now].map(document);
    match (first_difference(&documents[0], &documents[1], String::new()), digests) {
        (None, [before, now]) if before == now => Sameness::Identical,
        (None, _) => Sameness::Figures,
        (Some((place, before, now)), _) => Sameness::Differs { place, before, now },
    }
}

/// A cell without what is the host's: when it was measured, how long it took outside of machines, and where what shows its
/// failure lies.
fn document(cell: &CellRecord) -> Value {
    let duration_seconds = if cell.sealed.is_some() { cell.duration_seconds } else { 0.0 };
    let (started, sealed) = (String::new(), None);
    let mut cell = CellRecord { started, sealed, duration_seconds, ..cell.clone() };
    if let Outcome::Failed { evidence, .. } = &mut cell.outcome {
        evidence.clear();
    }
    serde_json::to_value(cell).unwrap_or_default()
}

fn first_difference(before: &Value, now: &Value, place: String) -> Option<(String, Value, Value)> {
    match (before, now) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            keys.into_iter().find_map(|key| {
                let [a, b] = [a, b].map(|map| map.get(key).unwrap_or(&Value::Null));
                first_difference(a, b, format!("{place}/{key}"))
            })
        }
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len())).find_map(|at| {
            let [a, b] = [a, b].map(|list| list.get(at).unwrap_or(&Value::Null));
            first_difference(a, b, format!("{place}/{at}"))
        }),
        (a, b) if a == b => None,
        (a, b) => Some((place, a.clone(), b.clone())),
    }
}

/// Tells what happens on a cluster as of its place among all of them, and keeps its cells, which are told when they have
/// been compared.
#[derive(Debug, Clone)]
struct Found {
    cells: Arc<Mutex<Vec<CellRecord>>>,
    job: JobEvents,
}

impl Listener for Found {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        let cell = self.job.relay(event.kind.clone());
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).extend(cell);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Sealed, sample};

    fn cell(said: &str) -> CellRecord {
        let sealed = Sealed {
            template: "t".into(),
            said: said.into(),
            workloads: vec!["ping".into()],
            patience_ms: None,
            watched: true,
            command: String::new(),
            wall_seconds: 1.0,
            virtual_seconds: None,
        };
        CellRecord { clock: Clock::Virtual, sealed: Some(sealed), ..sample::cells().remove(0) }
    }

    #[test]
    fn identical_is_said_of_every_byte_only() {
        let before = cell("a");
        let mut now = cell("a");
        now.started = "2031-01-01T00:00:00Z".into();
        assert_eq!(sameness(&before, &now), Sameness::Identical);
        assert_eq!(sameness(&before, &cell("b")), Sameness::Figures);
        now.metrics[0].value += 1e-9;
        let Sameness::Differs { place, .. } = sameness(&before, &now) else {
            panic!("a digit is different")
        };
        assert_eq!(place, "/metrics/0/value");
    }

    #[test]
    fn what_failed_outside_of_its_machine_is_no_leak() {
        let outcome = Outcome::Failed {
            stage: "boot".into(),
            machine: None,
            reason: "no memory".into(),
            evidence: Vec::new(),
        };
        let failed = CellRecord { sealed: None, outcome, ..cell("a") };
        let real = CellRecord { clock: Clock::Real, ..failed.clone() };
        let sameness = outside(&[&failed]).unwrap();
        assert_eq!(sameness, Sameness::Failed("no memory".into()));
        assert!(!sameness.is_other() && !sameness.is_identical());
        assert!(matches!(outside(&[&real]), Some(Sameness::Not(_))));
    }

    #[test]
    fn what_needs_no_machine_to_be_known_is_known_again() {
        let outcome = |reason: &str| Outcome::Unsupported { reason: reason.into() };
        let told = |reason, duration_seconds| CellRecord {
            sealed: None,
            outcome: outcome(reason),
            duration_seconds,
            ..cell("a")
        };
        let before = told("it has one coordinator", 2e-6);
        assert_eq!(outside(&[&before]), None);
        let now = told("it has one coordinator", 3e-6);
        assert_eq!(sameness(&before, &now), Sameness::Identical);
        assert!(sameness(&before, &told("it has two", 2e-6)).is_other());
        assert!(sameness(&before, &cell("a")).is_other());
    }

    #[test]
    fn a_repetition_that_the_host_ended_is_none_and_no_other_testbed() {
        let outcome = Outcome::Failed {
            stage: "boot".into(),
            machine: None,
            reason: "no memory".into(),
            evidence: Vec::new(),
        };
        let now = CellRecord { sealed: None, outcome, ..cell("a") };
        let Sameness::Not(reason) = sameness(&cell("a"), &now) else {
            panic!("nothing was measured")
        };
        assert!(reason.ends_with("no memory"), "{reason}");
    }

    #[test]
    fn what_was_measured_together_is_repeated_together() {
        let (mut one, mut two, mut other) = (cell("a"), cell("a"), cell("a"));
        one.key.workload = "ping".into();
        two.key.workload = "tcp".into();
        other.key.block += 1;
        assert_eq!(clusters(&[one, other, two]).len(), 2);
    }
}
