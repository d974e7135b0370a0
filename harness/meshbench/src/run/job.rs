//! A job, step by step: each returns what the next ones stand on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::cell::{Failure, Measured, Proof, record};
use super::cost::Counters;
use super::event::JobEvents;
use super::network::{link_record, nat_check};
use super::overlay::{self, Overlay, SETTLING};
use super::spec::loses_power;
use super::work::{Learned, Work};
use super::{Stage, Warning, evidence, sealed, timeline, underlay};
use crate::cluster::proof::{Effort, Probed, ProofError, Reach};
use crate::cluster::{Capture, Cluster, EventError, Member};
use crate::fabric::{Action, Event, INITIATOR, Scenario, TARGET};
use crate::lab::Lab;
use crate::module::drive::{CONNECT_DEADLINE, Connected, Deployment, DriveError};
use crate::module::fit;
use crate::module::spec::{INTERNAL, Module};
use crate::results::{CellRecord, Clock, EventRecord, Family, NatCheck, Outcome};
use crate::workload::{Setting, Workload, WorkloadError, Yield};

/// A module on a cluster, all but its initiator running.
pub(crate) struct Deployed<'a> {
    pub(crate) deployment: Deployment,
    pub(crate) from: &'a Member,
    pub(crate) to: &'a Member,
}

/// An overlay over which a packet has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) connected: Connected,
    pub(crate) begun: Instant,
}

/// Measures everything the job asks for, on a cluster of its own that is gone afterwards.
pub(crate) async fn carry_out(work: &Work<'_>, lab: &Lab) -> Learned {
    let begun = Instant::now();
    let unable = |failure| {
        all_failed(work, &Proof::default(), failure, begun);
        Learned::default()
    };
    if let Err(error) = fit::check(work.module, work.scenario) {
        return unable(Failure::driving(Stage::Configure, &error));
    }
    if work.clock == Clock::Virtual {
        if let Some(reason) = &work.module.spec.real_time {
            all(work, &Proof::default(), &Outcome::Unsupported { reason: reason.clone() }, begun);
            return Learned::default();
        }
        return sealed::carry_out(work, lab).await;
    }
    work.events.stage(Stage::Boot);
    let cluster = match lab.cluster(work.scenario, work.module, work.seed).await {
        Ok(cluster) => cluster,
        Err(error) => return unable(sealed::unsent(&error)),
    };
    let learned = on(&cluster, work, begun).await;
    work.events.stage(Stage::Down);
    cluster.down().await;
    learned
}

/// As [`carry_out`], on a cluster that is there.
pub(crate) async fn on(cluster: &Arc<Cluster>, work: &Work<'_>, begun: Instant) -> Learned {
    work.events.stage(Stage::Proof);
    let effort = if work.quick { Effort::QUICK } else { Effort::FULL };
    let mut learned = Learned { clock_source: clock_source(cluster).await, version: None };
    let (mut proof, probed) = prove(cluster, effort, &work.events).await;
    let mut watch = None;
    let reached = async {
        probed?;
        prove_destinations(cluster, work, &mut proof).await?;
        if work.results.is_some() {
            work.events.stage(Stage::Watch);
            watch = evidence::watch(cluster, &work.events).await;
        }
        let deployed = deploy(cluster, work.module, &work.events).await?;
        if loses_power(work.scenario) {
            let synced = cluster.sync().await;
            synced.map_err(|e| Failure::new(Stage::Configure, Some(e.machine()), &e))?;
        }
        let (connection, happened) = connect_amid(&deployed, work).await;
        Ok::<_, Failure>((deployed, connection?, happened))
    };
    let reached = reached.await;
    match reached {
        Err(mut failure) => {
            gather(cluster, work, watch, &mut failure).await;
            all_failed(work, &proof, failure, begun);
        }
        Ok((deployed, connection, happened)) => {
            work.events.stage(Stage::Inspect);
            evidence::forget(cluster, watch).await;
            learned.version = deployed.deployment.version(deployed.from).await.ok().flatten();
            measure_all(cluster, work, &proof, &deployed, (connection, happened)).await;
        }
    }
    learned
}

/// Measures links and gateways, and says whether the network is what the scenario says.
pub(crate) async fn prove(
    cluster: &Cluster,
    effort: Effort,
    events: &JobEvents,
) -> (Proof, Result<Vec<Probed>, Failure>) {
    let (links, verdict) = cluster.prove_links(effort).await;
    let mut proof = Proof { links: links.iter().map(link_record).collect(), nats: Vec::new() };
    for link in &links {
        if let Some(unproved) = link.unproved {
            let (site, reason) = (link.site.clone(), unproved.to_string());
            events.warn(Warning::Unproved { site, up: link.up, reason });
        }
    }
    let probed = match verdict {
        Ok(()) => prove_gateways(cluster, &mut proof).await,
        Err(error) => Err(differs(&error)),
    };
    (proof, probed)
}

/// Refuses gateways that are not what the scenario says, behind which somebody is now.
async fn prove_gateways(cluster: &Cluster, proof: &mut Proof) -> Result<Vec<Probed>, Failure> {
    let (nats, verdict) = cluster.prove_gateways(Reach::MEASURING).await;
    for check in nats.iter().map(nat_check) {
        let known = |other: &NatCheck| other.site == check.site && other.underlay == check.underlay;
        proof.nats.retain(|other| !known(other));
        proof.nats.push(check);
    }
    verdict.map(|()| nats).map_err(|error| differs(&error))
}

fn differs(error: &ProofError) -> Failure {
    Failure::new(Stage::Proof, Some(error.machine()), error)
}

/// Who will roam to a site whose gateway nobody is behind at first goes there once before, so that it can be
/// probed.
async fn prove_destinations(
    cluster: &Cluster,
    work: &Work<'_>,
    proof: &mut Proof,
) -> Result<(), Failure> {
    let vacant = cluster.plan().vacant();
    for (machine, site) in destinations(&work.scenario.events, work.workloads, vacant) {
        let Some(member) = cluster.member(machine) else { continue };
        let home = member.net.site.clone();
        for (to, arrived) in [(site, true), (home.as_str(), false)] {
            let roam = Action::Roam { machine: machine.to_owned(), to: to.to_owned() };
            let moved = cluster.apply(&roam).await;
            moved.map_err(|e| Failure::new(Stage::Proof, e.machine().or(Some(machine)), &e))?;
            if arrived {
                prove_gateways(cluster, proof).await?;
            }
        }
    }
    Ok(())
}

fn destinations<'a>(
    events: &'a [Event],
    workloads: &[Workload],
    mut vacant: Vec<String>,
) -> Vec<(&'a str, &'a str)> {
    let mut destinations = Vec::new();
    let asked = |event: &&Event| workloads.iter().any(|w| w.name() == event.during);
    for event in events.iter().filter(asked) {
        if let Action::Roam { machine, to } = &event.action
            && vacant.contains(to)
        {
            vacant.retain(|site| site != to);
            destinations.push((machine.as_str(), to.as_str()));
        }
    }
    destinations
}

/// Puts the module on the cluster and starts all daemons but the initiator's.
pub(crate) async fn deploy<'a>(
    cluster: &'a Arc<Cluster>,
    module: &Module,
    events: &JobEvents,
) -> Result<Deployed<'a>, Failure> {
    events.stage(Stage::Configure);
    let (Some(from), Some(to)) = (cluster.member(INITIATOR), cluster.member(TARGET)) else {
        let reason = format!("the scenario has no {INITIATOR} and {TARGET} to measure between");
        return Err(Failure::new(Stage::Configure, None, reason));
    };
    let deployment = Deployment::new(cluster, module).await;
    let deployment = deployment.map_err(|e| Failure::driving(Stage::Configure, &e))?;
    let started = deployment.start_others(from).await;
    started.map_err(|e| Failure::driving(Stage::Configure, &e))?;
    Ok(Deployed { deployment, from, to })
}

/// Starts the initiator's daemon and waits for the first answer.
pub(crate) async fn connect(
    deployed: &Deployed<'_>,
    patience: Duration,
    events: &JobEvents,
) -> Result<Connection, Failure> {
    events.stage(Stage::Connect);
    let begun = Instant::now();
    let Deployed { deployment, from, to } = deployed;
    let connected = deployment.connect_within(from, to, patience).await;
    let connected = connected.map_err(|e| Failure::driving(Stage::Connect, &e))?;
    Ok(Connection { connected, begun })
}

/// As [`connect`], while happens what the scenario has for that.
async fn connect_amid(
    deployed: &Deployed<'_>,
    work: &Work<'_>,
) -> (Result<Connection, Failure>, Vec<EventRecord>) {
    let events = events_of(work.scenario, Workload::CONNECT);
    let connecting = |_| connect(deployed, CONNECT_DEADLINE, &work.events);
    let (connection, happened) =
        timeline::during(&deployed.deployment, events, &work.events, connecting).await;
    let connection = connection.and_then(|connection| {
        unhappened(work, Stage::Connect, happened.failure).map(|()| connection)
    });
    (connection, happened.events)
}

/// What is to happen while a workload runs.
fn events_of(scenario: &Scenario, workload: Workload) -> Vec<&Event> {
    scenario.events.iter().filter(|event| event.during == workload.name()).collect()
}

/// An event that could not be made to happen is a failure, but for what a wire does not have.
fn unhappened(work: &Work<'_>, stage: Stage, error: Option<EventError>) -> Result<(), Failure> {
    match error {
        // Without a NAT, as `internal` is measured, there is nothing to rebind.
        Some(EventError::Impossible(_)) if work.module.name == INTERNAL => Ok(()),
        Some(error) => Err(Failure::new(stage, error.machine(), format!("an event: {error}"))),
        None => Ok(()),
    }
}

/// All workloads that were asked for, `connect` as what it was when the overlay came up.
async fn measure_all(
    cluster: &Cluster,
    work: &Work<'_>,
    proof: &Proof,
    deployed: &Deployed<'_>,
    (connection, at_first): (Connection, Vec<EventRecord>),
) {
    let carried = underlay::carried(cluster.fabric()).await;
    let target = connection.connected.target;
    let bench = Bench { cluster, work, deployed, target, connected: connection.connected.after };
    let mut overlay = match bench.look(None, SETTLING).await {
        Ok(overlay) => overlay,
        Err(error) => {
            let mut failure = Failure::driving(Stage::Inspect, &error);
            gather(cluster, work, None, &mut failure).await;
            return all_failed(work, proof, failure, connection.begun);
        }
    };
    for workload in work.workloads {
        let measured = if *workload == Workload::CONNECT {
            let underlay = underlay::since(cluster.fabric(), carried).await;
            connect_measured(&connection, overlay, underlay, at_first.clone())
        } else {
            let measured = bench.measure(*workload, overlay).await;
            overlay = measured.overlay;
            measured
        };
        work.events.cell(record(work.job, *workload, proof, measured));
    }
}

/// What it was like when the overlay came up.
fn connect_measured(
    connection: &Connection,
    overlay: Overlay,
    underlay: Option<Family>,
    events: Vec<EventRecord>,
) -> Measured {
    Measured {
        outcome: Outcome::ok(),
        metrics: vec![crate::workload::connect_metric(connection.connected.after)],
        costs: Vec::new(),
        overlay,
        underlay,
        events,
        after: None,
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

    /// Measures it, on an overlay that was seen so before.
    async fn measure(&self, workload: Workload, seen: Overlay) -> Measured {
        let Self { cluster, work, deployed, target, .. } = *self;
        if let Some(fallen) = cluster.fallen() {
            // What is left of the cluster would measure something else.
            let stage = Stage::Measure(workload);
            let lost = fallen.error(stage.word().into());
            let failure = Failure::new(stage, Some(fallen.name()), lost);
            let (outcome, _) = finished(cluster, work, Err(failure)).await;
            return Measured::nothing(outcome, Instant::now());
        }
        work.events.stage(Stage::Inspect);
        let overlay = self.look(Some(seen), Duration::ZERO).await.unwrap_or(Overlay::UNKNOWN);
        let carried = underlay::carried(cluster.fabric()).await;
        work.events.stage(Stage::Measure(workload));
        let carried_before = overlay::carried(deployed.from, target).await;
        let before = Counters::read(deployed.from, deployed.to).await;
        let begun = Instant::now();
        let (result, events) = measure(deployed, work, &self.setting(overlay), workload).await;
        let underlay = underlay::since(cluster.fabric(), carried).await;
        let duration = begun.elapsed();
        let spent = Counters::read(deployed.from, deployed.to).await;
        let result = passed(deployed, work, (workload, target, carried_before), result).await;
        let (outcome, told) = finished(cluster, work, result).await;
        let Yield { metrics, payload_bytes } = told;
        let costs = if outcome.is_ok() { spent.since(&before, payload_bytes) } else { Vec::new() };
        let after = match events.as_slice() {
            [] => None,
            _ => self.look(Some(overlay), Duration::ZERO).await.ok(),
        };
        Measured { outcome, metrics, costs, overlay, underlay, events, after, duration }
    }

    fn setting(&self, overlay: Overlay) -> Setting<'_> {
        Setting {
            deployment: &self.deployed.deployment,
            from: self.deployed.from,
            to: self.deployed.to,
            target: self.target,
            connected: self.connected,
            inner_mtu: overlay.inner_mtu,
            // An event may have left another line, or another place.
            bottleneck_mbit: self.cluster.plan().bottleneck_mbit([INITIATOR, TARGET]),
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

/// Why so few members cannot give it a meaning.
fn lacking(deployment: &Deployment, workload: Workload) -> Option<String> {
    let (there, needed) = (deployment.participants().count(), workload.spec().members);
    (there < needed).then(|| format!("needs {needed} members that run the VPN; here are {there}"))
}

async fn measure(
    deployed: &Deployed<'_>,
    work: &Work<'_>,
    setting: &Setting<'_>,
    workload: Workload,
) -> (Result<Ran, Failure>, Vec<EventRecord>) {
    let events = events_of(work.scenario, workload);
    if let Some(ran) = nothing_to_measure(deployed, workload, &events) {
        return (Ok(ran), Vec::new());
    }
    let run = |over: oneshot::Receiver<()>| workload.run(setting, Box::pin(over.map(drop)));
    let (result, happened) =
        timeline::during(&deployed.deployment, events, &work.events, run).await;
    let stage = Stage::Measure(workload);
    let ran = match result {
        Ok(told) => unhappened(work, stage, happened.failure).map(|()| Ran::Told(told)),
        Err(WorkloadError::Unsupported(reason)) => Ok(Ran::Unsupported(reason)),
        Err(error) => Err(Failure::measuring(stage, &error)),
    };
    (ran, happened.events)
}

/// Refuses figures of a payload that did not pass the overlay's interface.
async fn passed(
    deployed: &Deployed<'_>,
    work: &Work<'_>,
    (workload, target, before): (Workload, IpAddr, Option<overlay::Carried>),
    result: Result<Ran, Failure>,
) -> Result<Ran, Failure> {
    if let (Some(declared), Ok(Ran::Told(Yield { payload_bytes: Some(_), .. }))) =
        (&work.module.spec.overlay, &result)
    {
        let from = deployed.from;
        let proved = overlay::proved(declared, before, overlay::carried(from, target).await);
        let stage = Stage::Measure(workload);
        proved.map_err(|why| Failure::new(stage, Some(&from.net.name), why))?;
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
async fn gather(
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

fn all_failed(work: &Work<'_>, proof: &Proof, failure: Failure, begun: Instant) {
    all(work, proof, &outcome(work, failure), begun);
}

/// Every cell with the same outcome, and no figures.
fn all(work: &Work<'_>, proof: &Proof, outcome: &Outcome, begun: Instant) {
    for workload in work.workloads {
        let measured = Measured::nothing(outcome.clone(), begun);
        let cell = record(work.job, *workload, proof, measured);
        // What is known without a machine is a cell of this run all the same.
        work.events.cell(CellRecord { clock: work.clock, ..cell });
    }
}

/// As the fabric's kernel tells it, which is that of all machines.
async fn clock_source(cluster: &Cluster) -> Option<String> {
    cluster.fabric().clock_source().await.ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::module::spec;
    use crate::run::{self, EventKind, Events, Job, Listener, ListenerError};

    fn roam(during: &str, machine: &str, to: &str) -> Event {
        let action = Action::Roam { machine: machine.into(), to: to.into() };
        Event { during: during.into(), at: 1.0, action }
    }

    /// What the jobs of a module tell on a scenario of the project, where no machine is needed for it.
    async fn told(module: &str, scenario: &str, clock: Clock) -> Vec<CellRecord> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let module = Arc::new(spec::load(&root.join("modules"), module).unwrap());
        let path = root.join(format!("checks/{scenario}.toml"));
        let scenario = Arc::new(Scenario::load(&path, &[]).unwrap());
        let (block, heard) = (1, Arc::new(Mutex::new(Vec::new())));
        let job =
            Job { block, scenario: scenario.name.to_string(), module: module.name.to_string() };
        let work = Work {
            job: &job,
            module: &module,
            scenario: &scenario,
            workloads: &[Workload::CONNECT, Workload::RECOVER],
            seed: 1,
            quick: true,
            clock,
            date: None,
            results: None,
            events: Events::default().with(Cells(heard.clone())).of_job(0),
        };
        carry_out(&work, &Lab::from_env()).await;
        std::mem::take(&mut heard.lock().unwrap())
    }

    struct Cells(Arc<Mutex<Vec<CellRecord>>>);

    impl Listener for Cells {
        fn hear(&mut self, event: &run::Event) -> Result<(), ListenerError> {
            if let EventKind::CellFinished { cell, .. } = &event.kind {
                self.0.lock().unwrap().push((**cell).clone());
            }
            Ok(())
        }
    }

    /// A cell of another clock makes its whole run unreadable.
    #[tokio::test]
    async fn what_a_module_does_not_claim_is_unsupported_and_a_cell_of_its_run() {
        for clock in [Clock::Virtual, Clock::Real] {
            let cells = told("tinc", "two-hubs", clock).await;
            assert_eq!(cells.len(), 2);
            for cell in cells {
                let unclaimed = matches!(&cell.outcome, Outcome::Unsupported { reason } if reason.contains("several"));
                assert!(unclaimed, "{:?}", cell.outcome);
                assert_eq!(cell.clock, clock);
            }
        }
    }

    #[test]
    fn only_vacant_sites_that_a_workload_asked_for_roams_to_are_visited_and_each_once() {
        let events = [
            roam("recover", "alice", "phone"),
            roam("recover", "bob", "phone"),
            roam("recover", "alice", "home"),
            roam("tcp", "alice", "office"),
        ];
        let vacant = || vec!["phone".to_owned(), "office".to_owned()];
        let found = destinations(&events, &[Workload::RECOVER], vacant());
        assert_eq!(found, [("alice", "phone")]);
        let found = destinations(&events, &[Workload::named("tcp").unwrap()], vacant());
        assert_eq!(found, [("alice", "office")]);
        assert_eq!(destinations(&events, &[Workload::named("ping").unwrap()], vacant()), []);
    }
}
