//! What is measured on an overlay that is connected, one workload after the other.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::cell::{Cause, Failure, Measured, Proof, record};
use super::cost::Counters;
use super::expected::{expected, expected_after};
use super::overlay::{self, Overlay, SETTLING};
use super::timeline::{Happened, Unhappened};
use super::work::{Connection, Deployed, Work};
use super::{Stage, evidence, through, timeline, underlay};
use crate::cluster::{Capture, Cluster};
use crate::fabric::{Action, Aftermath, Event, INITIATOR, Reach, Role, Scenario, TARGET};
use crate::machine::Fallen;
use crate::module::drive::{Counted, Deployment, DriveError};
use crate::module::spec::INTERNAL;
use crate::module::unit;
use crate::protocol::Condition;
use crate::results::{self, CellRecord, EventRecord, Family, Metric, Outcome};
use crate::workload::{Setting, Through, Workload, WorkloadError, Yield};

/// What is to happen while a workload runs.
pub(super) fn events_of(scenario: &Scenario, workload: Workload) -> Vec<&Event> {
    scenario.events.iter().filter(|event| event.during == workload.name()).collect()
}

/// An event that could not be made to happen is a failure, whatever came of the workload meanwhile.
pub(super) fn unhappened(stage: Stage, event: Option<&Unhappened>) -> Result<(), Failure> {
    let Some(Unhappened { action, at, error }) = event else { return Ok(()) };
    let reason = format!("the event {action} at {at} s could not be made to happen: {error}");
    Err(Failure::new(stage, error.machine(), reason))
}

/// What becomes of all workloads after one during which an event could not be made to happen: whether the network is
/// what the scenario says nobody knows, and the VPN would be blamed for it.
fn spoilt(during: Workload, failure: &Failure) -> Failure {
    let during = during.name();
    let reason = format!("not measured, since during {during} {}", failure.reason);
    Failure { reason, evidence: Vec::new(), ..failure.clone() }
}

/// How long what ends by itself when a machine is lost may take to say what it was doing.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Does something, to its end or until a machine of the cluster is lost. Whoever waits on a machine ends by itself
/// then; a pause of a workload, and an event that is still to come, do not.
pub(super) async fn unless_lost<T>(
    cluster: &Cluster,
    stage: Stage,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    raced(work, cluster.broken()).await.map_err(|fallen| lost(stage, &fallen))
}

async fn raced<T, F>(
    work: impl Future<Output = T>,
    broken: impl Future<Output = F>,
) -> Result<T, F> {
    let broken = async {
        let fallen = broken.await;
        tokio::time::sleep(LAST_WORDS).await;
        fallen
    };
    tokio::select! {
        biased;
        done = work => Ok(done),
        fallen = broken => Err(fallen),
    }
}

/// What is left of the cluster would measure something else.
fn lost(stage: Stage, fallen: &Fallen) -> Failure {
    Failure::new(stage, Some(fallen.name()), fallen.error(format!("{stage} was under way")))
}

/// All workloads that were asked for, `connect` as what it was when the overlay came up.
pub(super) async fn measure_all(
    cluster: &Cluster,
    work: &Work<'_>,
    proof: &Proof,
    deployed: &Deployed<'_>,
    (connection, costs, at_first): (Connection, Vec<Metric>, Happened),
) {
    let carried = underlay::carried(cluster.fabric()).await;
    let target = connection.connected.target;
    let bench = Bench { cluster, work, deployed, target, connected: connection.connected.after };
    let mut happened = !at_first.events.is_empty();
    let mut aftermath = Aftermath::default();
    at_first.actions.iter().for_each(|action| aftermath.take(work.scenario, action));
    // Its first packet is all that it has carried.
    let proved = through::proved(deployed, Stage::Connect, (target, Ok(None)), 0.0).await;
    let mut overlay = match bench.look(None, SETTLING).await {
        Ok(overlay) => overlay,
        Err(error) => {
            let mut failure = Failure::driving(Stage::Inspect, &error);
            gather(cluster, work, None, &mut failure).await;
            let happened = &at_first.events;
            return all_failed(work, work.workloads, proof, happened, failure, connection.begun);
        }
    };
    let (first, others): (Vec<Workload>, Vec<Workload>) =
        work.workloads.iter().partition(|workload| **workload == Workload::CONNECT);
    if let [connect] = first[..] {
        let underlay = underlay::since(cluster.fabric(), carried).await;
        let (outcome, _) =
            finished(cluster, work, proved.map(|()| Ran::Told(Yield::default()))).await;
        let told = (&connection, costs);
        let measured = connect_measured(outcome, told, overlay, underlay, at_first.events);
        work.events.cell(record(work.job, connect, proof, measured));
    }
    for (at, workload) in others.iter().copied().enumerate() {
        let standing = aftermath.words();
        let (measured, actions, broken) = bench.measure(workload, overlay, happened).await;
        actions.iter().for_each(|action| aftermath.take(work.scenario, action));
        overlay = measured.overlay;
        happened |= !measured.events.is_empty();
        let cell = record(work.job, workload, proof, measured);
        work.events.cell(CellRecord { standing, ..cell });
        if let Some(failure) = broken {
            let failure = spoilt(workload, &failure);
            return all_failed(work, &others[at + 1..], proof, &[], failure, Instant::now());
        }
    }
}

/// What it was like when the overlay came up.
fn connect_measured(
    outcome: Outcome,
    (connection, costs): (&Connection, Vec<Metric>),
    overlay: Overlay,
    underlay: Option<Family>,
    events: Vec<EventRecord>,
) -> Measured {
    let ok = outcome.is_ok();
    let metric = ok.then(|| crate::workload::connect_metric(connection.connected.after));
    Measured {
        outcome,
        metrics: metric.into_iter().collect(),
        costs: if ok { costs } else { Vec::new() },
        overlay,
        underlay,
        // It was looked at when all of them had happened.
        after: (!events.is_empty()).then_some(overlay),
        events,
        duration: connection.begun.elapsed(),
    }
}

/// A connected overlay on which one workload after the other is measured.
struct Bench<'a> {
    cluster: &'a Cluster,
    work: &'a Work<'a>,
    deployed: &'a Deployed<'a>,
    target: IpAddr,
    connected: Duration,
}

impl Bench<'_> {
    async fn look(
        &self,
        known: Option<Overlay>,
        patience: Duration,
    ) -> Result<Overlay, DriveError> {
        let Deployed { deployment, from, .. } = self.deployed;
        overlay::inspect(deployment, self.work.module, from, self.target, known, patience).await
    }

    /// Measures it, on an overlay that was seen so before, on a cluster to which something had happened or not; and
    /// tells what happened, and of an event that could not be made to happen.
    async fn measure(
        &self,
        workload: Workload,
        seen: Overlay,
        happened: bool,
    ) -> (Measured, Vec<Action>, Option<Failure>) {
        let Self { cluster, work, deployed, target, .. } = *self;
        if let Some(fallen) = cluster.fallen() {
            let failure = lost(Stage::Measure(workload), &fallen);
            let (outcome, _) = finished(cluster, work, Err(failure)).await;
            return (Measured::nothing(outcome, Instant::now()), Vec::new(), None);
        }
        work.events.stage(Stage::Inspect);
        let overlay = self.look(Some(seen), Duration::ZERO).await.unwrap_or(Overlay::UNKNOWN);
        let carried = underlay::carried(cluster.fabric()).await;
        work.events.stage(Stage::Measure(workload));
        let carried_before = deployed.deployment.carried(deployed.from, target).await;
        let before = Counters::read(deployed.from, deployed.to, cluster.fabric()).await;
        let begun = Instant::now();
        let (result, happened) =
            self.run(workload, &self.setting(overlay, happened), happened).await;
        let unhappened = unhappened(Stage::Measure(workload), happened.failure.as_ref());
        let Happened { events, actions, .. } = happened;
        let result = unhappened.clone().and(result);
        let underlay = underlay::since(cluster.fabric(), carried).await;
        let duration = begun.elapsed();
        let spent = Counters::read(deployed.from, deployed.to, cluster.fabric()).await;
        let result = passed(deployed, (workload, target, carried_before), result).await;
        let (outcome, told) = finished(cluster, work, result).await;
        let Yield { metrics, payload_bytes, .. } = told;
        let costs = if outcome.is_ok() { spent.since(&before, payload_bytes) } else { Vec::new() };
        let after = match events.as_slice() {
            [] => None,
            _ => self.look(Some(overlay), SETTLING).await.ok(),
        };
        let measured =
            Measured { outcome, metrics, costs, overlay, underlay, events, after, duration };
        (measured, actions, unhappened.err())
    }

    /// Runs it while happens what the scenario has for it.
    async fn run(
        &self,
        workload: Workload,
        setting: &Setting<'_>,
        happened_before: bool,
    ) -> (Result<Ran, Failure>, Happened) {
        let Self { work, deployed, .. } = *self;
        let events = events_of(work.scenario, workload);
        if let Some(ran) = nothing_to_measure(deployed, workload, &events) {
            return (Ok(ran), Happened::default());
        }
        let run = |over: oneshot::Receiver<()>| workload.run(setting, Box::pin(over.map(drop)));
        let (deployment, stage) = (&deployed.deployment, Stage::Measure(workload));
        let during = timeline::during(deployment, events, &work.events, run);
        let (result, happened) = match unless_lost(deployment.cluster(), stage, during).await {
            Ok(ended) => ended,
            Err(failure) => return (Err(failure), Happened::default()),
        };
        // What came after the tool had failed did not make it fail.
        let meanwhile = happened.events.iter().any(|event| !event.late);
        let ran = match result {
            Ok(told) => Ok(Ran::Told(told)),
            Err(WorkloadError::Unsupported(reason)) => Ok(Ran::Unsupported(reason)),
            Err(error) => {
                let mut failure = Failure::measuring(stage, &error);
                let cut_off = (meanwhile || happened_before) && is_cut_off(setting, &error).await;
                if cut_off {
                    failure.cause = Cause::Unreached;
                }
                match moved_away(setting) {
                    Some(reason) if cut_off => Ok(Ran::Unsupported(reason.into())),
                    _ => Err(failure),
                }
            }
        };
        (ran, happened)
    }

    /// Whether this VPN should have a direct path, once anything has happened or before.
    fn expects_direct(&self, happened: bool) -> bool {
        let expected = if happened { expected_after } else { expected };
        expected(self.work.scenario, &self.work.module.spec.claims) == Some(Reach::Direct)
    }

    fn setting(&self, overlay: Overlay, happened: bool) -> Setting<'_> {
        // An event may have left another line, or another place.
        let (plan, ends) = (self.cluster.plan(), [INITIATOR, TARGET]);
        Setting {
            deployment: &self.deployed.deployment,
            from: self.deployed.from,
            to: self.deployed.to,
            target: self.target,
            connected: self.connected,
            inner_mtu: overlay.inner_mtu,
            bottleneck_mbit: plan.bottleneck_mbit(ends),
            forward_mbit: plan.forward_mbit(ends),
            forward_loss_percent: plan.forward_loss_percent(ends),
            round_trip_ms: plan.round_trip_ms(ends),
            expects_direct: self.expects_direct(happened),
            quick: self.work.quick,
        }
    }
}

/// A workload that ran, or that has nothing to do here.
enum Ran {
    Told(Yield),
    Skipped(&'static str),
    Unsupported(String),
}

/// Why a member of a sealed cluster has no such event.
const POWERLESS: &str =
    "a member in virtual time is a container: its kernel and what it wrote outlive it";

/// Why the wire alone does not go over to another line.
const NO_ROUTER: &str = "the wire has no router that could go over to another line";

/// Why so few peers cannot give it a meaning. A hub is none: the wire has no part for it, and many a VPN's only arranges.
fn lacking(deployment: &Deployment, workload: Workload) -> Option<String> {
    let peers = deployment.participants().filter(|member| member.net.role == Role::Peer);
    too_few(peers.count(), workload.spec().members)
}

fn too_few(there: usize, needed: usize) -> Option<String> {
    (there < needed).then(|| format!("needs {needed} peers that run the VPN; here are {there}"))
}

/// Whether both daemons run, and nothing comes through: tools only tell that they have failed.
async fn is_cut_off(setting: &Setting<'_>, error: &WorkloadError) -> bool {
    let is_silent = async || {
        let answer = Condition::Reachable(setting.target);
        let waited = setting.from.machine.wait(answer, LAST_QUESTION).await;
        waited.is_err_and(|error| error.is_silence())
    };
    let silent = matches!(error, WorkloadError::Unreached { .. }) || is_silent().await;
    silent
        && matches!(
            (unit::runs(setting.from).await, unit::runs(setting.to).await),
            (Ok(true), Ok(true))
        )
}

/// Why the wire alone reaches nobody any more, where that is so: a VPN's addresses stay, and those of the network do not.
fn moved_away(setting: &Setting<'_>) -> Option<&'static str> {
    let now = setting.deployment.cluster().plan().members();
    let there = now.iter().any(|member| member.local.contains(&setting.target));
    let is_wire = setting.deployment.module().name == INTERNAL;
    (is_wire && !there)
        .then_some("without a VPN, who gets another address is at the old one no more")
}

/// How long the answering member is asked whether it is there, after a tool has failed.
const LAST_QUESTION: Duration = Duration::from_secs(10);

/// Refuses figures of a payload that did not pass the overlay's interface.
async fn passed(
    deployed: &Deployed<'_>,
    (workload, target, before): (Workload, IpAddr, Counted),
    result: Result<Ran, Failure>,
) -> Result<Ran, Failure> {
    if let Ok(Ran::Told(Yield { through: Through::AtLeast(least), .. })) = &result {
        let stage = Stage::Measure(workload);
        through::proved(deployed, stage, (target, before), *least).await?;
    }
    result
}

/// Why there is nothing to measure, where that is so.
fn nothing_to_measure(
    deployed: &Deployed<'_>,
    workload: Workload,
    events: &[&Event],
) -> Option<Ran> {
    if workload.needs_events() && events.is_empty() {
        return Some(Ran::Skipped("nothing happens in this scenario"));
    }
    let dark = events.iter().any(|event| matches!(event.action, Action::PowerLoss { .. }));
    if dark && !deployed.to.machine.can_lose_power() {
        return Some(Ran::Unsupported(POWERLESS.into()));
    }
    // The line that fails stays so then, and a VPN would be told to be better than the wire.
    let goes_over = events.iter().any(|event| matches!(event.action, Action::FailOver { .. }));
    if goes_over && deployed.deployment.module().name == INTERNAL {
        return Some(Ran::Unsupported(NO_ROUTER.into()));
    }
    lacking(&deployed.deployment, workload).map(Ran::Unsupported)
}

/// What becomes of a cell, with evidence where it failed.
async fn finished(
    cluster: &Cluster,
    work: &Work<'_>,
    result: Result<Ran, Failure>,
) -> (Outcome, Yield) {
    match result {
        Ok(Ran::Told(told)) => (Outcome::ok(), told),
        Ok(Ran::Skipped(reason)) => (Outcome::Skipped { reason: reason.into() }, Yield::default()),
        Ok(Ran::Unsupported(reason)) => (Outcome::Unsupported { reason }, Yield::default()),
        Err(mut failure) => {
            gather(cluster, work, None, &mut failure).await;
            (outcome(work, failure), Yield::default())
        }
    }
}

fn outcome(work: &Work<'_>, failure: Failure) -> Outcome {
    failure.outcome(work.scenario, &work.module.spec.claims)
}

/// Keeps what shows the failure. What is expected to fail needs no evidence.
pub(crate) async fn gather(
    cluster: &Cluster,
    work: &Work<'_>,
    capture: Option<Capture>,
    failure: &mut Failure,
) {
    // Of a cluster that has lost a machine everything is seen once.
    let mut seen = false;
    if let Some(fallen) = cluster.fallen() {
        failure.blame(&fallen);
        seen = !cluster.release();
    }
    let failed = matches!(outcome(work, failure.clone()), Outcome::Failed { .. });
    match work.results.filter(|_| failed && !seen) {
        Some(results) => {
            work.events.stage(Stage::Evidence);
            let kept =
                evidence::gather(cluster, capture, results, work.job, failure.stage, &work.events);
            failure.evidence = kept.await;
        }
        None => evidence::forget(cluster, capture).await,
    }
}

/// Tells of these workloads that they failed. What has happened is connect's, which it happened during.
pub(super) fn all_failed(
    work: &Work<'_>,
    workloads: &[Workload],
    proof: &Proof,
    happened: &[EventRecord],
    failure: Failure,
    begun: Instant,
) {
    let outcome = outcome(work, failure);
    for workload in workloads {
        let events = if *workload == Workload::CONNECT { happened.to_vec() } else { Vec::new() };
        let measured = Measured { events, ..Measured::nothing(outcome.clone(), begun) };
        work.events.cell(recorded(work, *workload, proof, measured));
    }
}

/// The record of a cell of which no sealed machine tells: what is known without one is a cell of the run all the same. Where
/// the date is given, nothing of the host is in it.
pub(crate) fn recorded(
    work: &Work<'_>,
    workload: Workload,
    proof: &Proof,
    measured: Measured,
) -> CellRecord {
    let cell = record(work.job, workload, proof, measured);
    let cell = CellRecord { clock: work.clock, ..cell };
    match work.date {
        Some(date) => CellRecord { started: results::rfc3339(date), duration_seconds: 0.0, ..cell },
        None => cell,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    #[test]
    fn a_workload_of_three_is_not_for_two() {
        assert_eq!(too_few(3, 3), None);
        let said = too_few(2, 3).unwrap();
        assert_eq!(said, "needs 3 peers that run the VPN; here are 2");
    }

    /// What becomes of work when a machine is lost after a moment.
    async fn amid_a_loss(work: impl Future<Output = &'static str>) -> Result<&'static str, ()> {
        let begun = Instant::now();
        let ended = raced(work, sleep(Duration::from_millis(50))).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        ended
    }

    #[tokio::test]
    async fn what_waits_for_no_machine_ends_with_a_lost_one_and_others_have_the_last_word() {
        assert_eq!(amid_a_loss(ready("done")).await, Ok("done"));
        let asking = async {
            sleep(Duration::from_millis(60)).await;
            "bob: lost while alice was running `ping`"
        };
        assert!(amid_a_loss(asking).await.is_ok_and(|said| said.starts_with("bob: lost")));
        assert_eq!(amid_a_loss(pending()).await, Err(()));
    }
}
