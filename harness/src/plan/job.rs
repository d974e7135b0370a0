//! Carrying out one job: a cluster, a module on it, its workloads.

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::event::Event;
use super::expected::expected;
use super::network::{bottleneck_mbit, link_record, nat_check, network_for};
use super::overlay::{self, Overlay, SETTLING};
use super::schedule::Job;
use super::{evidence, timeline, underlay};
use crate::cluster::{Blueprint, Capture, Cluster, EventError};
use crate::fabric::event::{self, Action};
use crate::fabric::nat_proof::{self, Reach as Probing};
use crate::fabric::plan::Plan;
use crate::fabric::proof::{self, Effort, ProofError};
use crate::fabric::scenario::{Outcome as Reach, Scenario};
use crate::machine::Templates;
use crate::module::drive::{Connected, Deployment, DriveError};
use crate::module::spec::{INTERNAL, Module};
use crate::results::{self, CellKey, CellRecord, Family, LinkRecord, Metric, NatCheck, Outcome};
use crate::workload::{self, Route, Workload};

/// Who starts every two-party workload.
const INITIATOR: &str = "alice";
/// Who answers.
const TARGET: &str = "bob";

/// What a job needs besides its name.
#[derive(Debug)]
pub struct Materials<'a> {
    /// The module to measure.
    pub module: &'a Module,
    /// The scenario to measure it in.
    pub scenario: &'a Scenario,
    /// The guests.
    pub images: Images,
    /// How machines start.
    pub templates: &'a Templates,
    /// What to measure.
    pub workloads: &'a [Workload],
    /// Seed of the run.
    pub seed: u64,
    /// Whether short runs suffice.
    pub quick: bool,
    /// The result directory, where evidence of failures is kept; absent to keep none.
    pub results: Option<&'a std::path::Path>,
}

/// The guests of a cluster.
#[derive(Debug, Clone)]
pub struct Images {
    /// What the fabric boots.
    pub fabric: std::sync::Arc<crate::guest::GuestImage>,
    /// What the members boot.
    pub member: std::sync::Arc<crate::guest::GuestImage>,
}

/// A cell that was not measured: the stage reached, where, why.
#[derive(Clone)]
struct Failure {
    stage: String,
    machine: Option<String>,
    reason: String,
    evidence: Vec<String>,
}

impl Failure {
    fn new(stage: &str, machine: Option<&str>, reason: impl ToString) -> Self {
        Self {
            stage: stage.to_owned(),
            machine: machine.map(str::to_owned),
            reason: reason.to_string(),
            evidence: Vec::new(),
        }
    }
}

impl Materials<'_> {
    /// The cluster's parts.
    pub fn blueprint(&self) -> Blueprint {
        blueprint(self.scenario, self.module, self.images.clone(), self.seed)
    }
}

/// The parts of a cluster that is a scenario's network as a module meets it.
pub fn blueprint(scenario: &Scenario, module: &Module, images: Images, seed: u64) -> Blueprint {
    let network = network_for(scenario, module.spec.has_coordinator(), module.name == INTERNAL);
    Blueprint {
        plan: Plan::new(&network, seed),
        fabric_image: images.fabric,
        member_image: images.member,
        kernel_modules: module.spec.software.debian.kernel_modules.clone(),
    }
}

/// Measures everything the job asks for; `finished` is called with each cell as soon as there is one.
/// The machines are gone afterwards. Returns the software's version, where it was asked.
pub async fn carry_out(
    index: usize,
    job: &Job,
    materials: &Materials<'_>,
    events: &UnboundedSender<Event>,
    mut finished: impl FnMut(CellRecord),
) -> Option<String> {
    let stage = |stage: &str| {
        // Nobody has to watch.
        let _ = events.send(Event::Stage { index, stage: stage.to_owned() });
    };
    let mut cells = Cells::new(job, materials);
    stage("boot");
    let cluster = match Cluster::up(&materials.blueprint(), materials.templates).await {
        Ok(cluster) => cluster,
        Err(error) => {
            let failure = Failure::new("boot", Some(error.machine()), &error);
            cells.all_failed(&failure, &mut finished);
            return None;
        }
    };
    let mut capture = None;
    let version = match measure(&cluster, &mut cells, &mut capture, &stage, &mut finished).await {
        Ok(version) => version,
        Err(mut failure) => {
            stage("evidence");
            cells.prove(&cluster, capture.take(), &mut failure).await;
            cells.all_failed(&failure, &mut finished);
            None
        }
    };
    stage("down");
    cluster.down().await;
    version
}

async fn measure(
    cluster: &Cluster,
    cells: &mut Cells<'_>,
    capture: &mut Option<Capture>,
    stage: &impl Fn(&str),
    finished: &mut impl FnMut(CellRecord),
) -> Result<Option<String>, Failure> {
    let materials = cells.materials;
    stage("proof");
    prove_network(cluster, cells).await?;
    let (Some(from), Some(to)) = (cluster.member(INITIATOR), cluster.member(TARGET)) else {
        let reason = format!("the scenario has no {INITIATOR} and {TARGET}");
        return Err(Failure::new("plan", None, reason));
    };
    if materials.results.is_some() {
        stage("watch");
        *capture = evidence::watch(cluster).await;
    }
    stage("configure");
    let drive = |e: DriveError| Failure::new("configure", e.machine(), &e);
    let deployment = Deployment::new(cluster, materials.module).await.map_err(drive)?;
    deployment.start_others(from).await.map_err(drive)?;
    let mut events = materials.scenario.events.iter();
    if events.any(|event| matches!(event.action, Action::PowerLoss { .. })) {
        let synced = cluster.sync().await;
        synced.map_err(|e| Failure::new("configure", Some(e.machine()), &e))?;
    }
    stage("connect");
    let begun = Instant::now();
    let connected = deployment.connect(from, to).await;
    let connected = connected.map_err(|e| Failure::new("connect", e.machine(), &e))?;
    stage("inspect");
    evidence::forget(cluster, capture.take()).await;
    let mut carried = underlay::carried(cluster.fabric()).await;
    let look = |known, patience| {
        overlay::inspect(&deployment, materials.module, from, connected.target, known, patience)
    };
    cells.overlay = Some(look(None, SETTLING).await.map_err(drive)?);
    let version = deployment.version(from).await.map_err(drive)?;
    let route = Route {
        from,
        to,
        target: connected.target,
        bottleneck_mbit: bottleneck_mbit(materials.scenario, [INITIATOR, TARGET]),
        quick: materials.quick,
    };
    for workload in materials.workloads {
        if *workload != Workload::Connect {
            stage("inspect");
            cells.overlay =
                Some(look(cells.overlay, Duration::ZERO).await.unwrap_or(Overlay::UNKNOWN));
        }
        stage(workload.name());
        let begun = if *workload == Workload::Connect { begun } else { Instant::now() };
        if *workload != Workload::Connect {
            carried = underlay::carried(cluster.fabric()).await;
        }
        let events = materials.scenario.events.iter();
        let events: Vec<_> = events.filter(|event| event.during == workload.name()).collect();
        if *workload == Workload::Recover && events.is_empty() {
            cells.underlay = None;
            let mut cell = cells.record(*workload, begun, Ok(Vec::new()));
            cell.outcome = Outcome::Skipped { reason: "nothing happens in this scenario".into() };
            finished(cell);
            continue;
        }
        let work = |over| run(*workload, &route, connected, over);
        let (result, happened) = timeline::during(cluster, events, work).await;
        cells.underlay = underlay::since(cluster.fabric(), carried).await;
        let outcome = result.map_err(|e| Failure::new("measure", Some(e.machine()), &e));
        let mut outcome = outcome.and_then(|metrics| match happened {
            // Without a NAT, as `internal` is measured, there is nothing to rebind.
            Err(EventError::Impossible(_)) if materials.module.name == INTERNAL => Ok(metrics),
            Err(e) => Err(Failure::new("event", e.machine(), &e)),
            Ok(()) => Ok(metrics),
        });
        if let Err(failure) = &mut outcome {
            cells.prove(cluster, None, failure).await;
        }
        finished(cells.record(*workload, begun, outcome));
    }
    Ok(version)
}

/// Refuses a network that is not what the scenario says.
async fn prove_network(cluster: &Cluster, cells: &mut Cells<'_>) -> Result<(), Failure> {
    let effort = if cells.materials.quick { Effort::QUICK } else { Effort::FULL };
    let (links, verdict) = proof::prove(cluster.fabric(), &cluster.plan, effort).await;
    cells.links = links.iter().map(link_record).collect();
    verdict.map_err(differs)?;
    prove_gateways(cluster, cells).await?;
    for (machine, site) in destinations(cells.materials, &cluster.plan) {
        let Some(member) = cluster.member(machine) else { continue };
        let home = member.net.site.clone();
        for (to, arrived) in [(site, true), (home.as_str(), false)] {
            let roam = Action::Roam { machine: machine.to_owned(), to: to.to_owned() };
            let moved = cluster.apply(&roam).await;
            moved.map_err(|e| Failure::new("proof", Some(e.machine().unwrap_or(machine)), &e))?;
            if arrived {
                prove_gateways(cluster, cells).await?;
            }
        }
    }
    Ok(())
}

/// Refuses gateways that are not what the scenario says, behind which somebody is now.
async fn prove_gateways(cluster: &Cluster, cells: &mut Cells<'_>) -> Result<(), Failure> {
    let find = |name: &str| cluster.member(name).map(|member| &member.machine);
    let plan = cluster.plan_now().await;
    let (nats, verdict) = nat_proof::prove(cluster.fabric(), &plan, Probing::MEASURING, find).await;
    for check in nats.iter().map(nat_check) {
        let known = |other: &NatCheck| other.site == check.site && other.underlay == check.underlay;
        cells.nats.retain(|other| !known(other));
        cells.nats.push(check);
    }
    verdict.map_err(differs)
}

fn differs(error: ProofError) -> Failure {
    Failure::new("proof", Some("fabric"), error)
}

/// Who will roam to a site whose gateway nobody is behind at first. They go there once before, so that
/// it can be probed.
fn destinations<'a>(materials: &Materials<'a>, plan: &Plan) -> Vec<(&'a str, &'a str)> {
    let mut vacant = nat_proof::vacant(plan);
    let mut destinations = Vec::new();
    let asked =
        |event: &&event::Event| materials.workloads.iter().any(|w| w.name() == event.during);
    for event in materials.scenario.events.iter().filter(asked) {
        if let Action::Roam { machine, to } = &event.action
            && vacant.contains(to)
        {
            vacant.retain(|site| site != to);
            destinations.push((machine.as_str(), to.as_str()));
        }
    }
    destinations
}

async fn run(
    workload: Workload,
    route: &Route<'_>,
    connected: Connected,
    events_over: oneshot::Receiver<()>,
) -> Result<Vec<Metric>, workload::WorkloadError> {
    match workload {
        Workload::Connect => Ok(vec![workload::connect_metric(connected.after)]),
        Workload::Ping => workload::run_ping(route).await,
        Workload::Tcp => workload::run_tcp(route).await,
        Workload::Udp => workload::run_udp(route).await,
        Workload::Recover => workload::run_recover(route, events_over).await,
    }
}

/// Turns what happened into records.
struct Cells<'a> {
    job: &'a Job,
    materials: &'a Materials<'a>,
    started: Instant,
    links: Vec<LinkRecord>,
    nats: Vec<NatCheck>,
    overlay: Option<Overlay>,
    underlay: Option<Family>,
}

impl<'a> Cells<'a> {
    fn new(job: &'a Job, materials: &'a Materials<'a>) -> Self {
        let (links, nats) = (Vec::new(), Vec::new());
        let started = Instant::now();
        Self { job, materials, started, links, nats, overlay: None, underlay: None }
    }

    /// Keeps what shows the failure. What is expected to fail needs no evidence.
    async fn prove(&self, cluster: &Cluster, capture: Option<Capture>, failure: &mut Failure) {
        let expected = !matches!(self.outcome(failure.clone()), Outcome::Failed { .. });
        match self.materials.results.filter(|_| !expected) {
            Some(results) => {
                let stage = failure.stage.clone();
                failure.evidence =
                    evidence::gather(cluster, capture, results, self.job, &stage).await;
            }
            None => evidence::forget(cluster, capture).await,
        }
    }

    fn all_failed(&self, failure: &Failure, finished: &mut impl FnMut(CellRecord)) {
        for workload in self.materials.workloads {
            finished(self.record(*workload, self.started, Err(failure.clone())));
        }
    }

    fn record(
        &self,
        workload: Workload,
        begun: Instant,
        result: Result<Vec<Metric>, Failure>,
    ) -> CellRecord {
        let (outcome, metrics) = match result {
            Ok(metrics) => (Outcome::ok(), metrics),
            Err(failure) => (self.outcome(failure), Vec::new()),
        };
        let duration = begun.elapsed();
        CellRecord {
            format: results::FORMAT,
            key: CellKey {
                block: self.job.block,
                scenario: self.job.scenario.clone(),
                module: self.job.module.clone(),
                workload: workload.name().into(),
            },
            started: results::rfc3339(SystemTime::now() - duration),
            duration_seconds: duration.as_secs_f64(),
            outcome,
            metrics,
            path: self.overlay.as_ref().map_or(results::Path::Unknown, |o| o.path),
            inner_mtu: self.overlay.as_ref().and_then(|o| o.inner_mtu),
            underlay: self.underlay,
            links: self.links.clone(),
            nats: self.nats.clone(),
        }
    }

    fn outcome(&self, failure: Failure) -> Outcome {
        if let Some(reason) = self.excuse(&failure.stage) {
            return Outcome::Unsupported { reason: reason.into() };
        }
        let Failure { stage, machine, reason, evidence } = failure;
        Outcome::Failed { stage, machine, reason, evidence }
    }

    /// A module that does not claim to get through such a network is not blamed for it.
    fn excuse(&self, stage: &str) -> Option<&'static str> {
        let claims = &self.materials.module.spec.claims;
        let ipv6_only = self.materials.scenario.sites.iter().any(|site| !site.ipv4);
        if ipv6_only && !claims.ipv6_underlay && ["configure", "connect"].contains(&stage) {
            return Some("does not claim to run over IPv6");
        }
        match expected(self.materials.scenario, claims).filter(|_| stage == "connect") {
            Some(Reach::Unreachable) => {
                Some("does not claim to cross such a network, and does not")
            }
            _ => None,
        }
    }
}
