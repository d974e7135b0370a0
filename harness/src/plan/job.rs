//! Carrying out one job: a cluster, a module on it, its workloads.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use tokio::sync::mpsc::UnboundedSender;

use super::event::Event;
use super::network::{bottleneck_mbit, link_record, network_for};
use super::schedule::Job;
use crate::cluster::{Blueprint, Cluster, Member};
use crate::fabric::plan::Plan;
use crate::fabric::proof::{self, Effort};
use crate::fabric::scenario::{Outcome as Reach, Scenario};
use crate::machine::Templates;
use crate::module::drive::{Connected, Deployment};
use crate::module::spec::{INTERNAL, Module, NatTraversal};
use crate::results::{self, CellKey, CellRecord, Family, LinkRecord, Metric, Outcome};
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
struct Failure {
    stage: String,
    machine: Option<String>,
    reason: String,
}

/// What is known about a connected overlay.
struct Overlay {
    path: results::Path,
    inner_mtu: Option<u32>,
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
    let mut cells =
        Cells { job, materials, started: Instant::now(), links: Vec::new(), overlay: None };
    stage("boot");
    let cluster = match Cluster::up(&materials.blueprint(), materials.templates).await {
        Ok(cluster) => cluster,
        Err(error) => {
            let machine = Some(error.machine().to_owned());
            let failure = Failure { stage: "boot".into(), machine, reason: error.to_string() };
            cells.all_failed(&failure, &mut finished);
            return None;
        }
    };
    let version = match measure(&cluster, &mut cells, &stage, &mut finished).await {
        Ok(version) => version,
        Err(failure) => {
            cells.all_failed(&failure, &mut finished);
            None
        }
    };
    cluster.down().await;
    version
}

async fn measure(
    cluster: &Cluster,
    cells: &mut Cells<'_>,
    stage: &impl Fn(&str),
    finished: &mut impl FnMut(CellRecord),
) -> Result<Option<String>, Failure> {
    let materials = cells.materials;
    stage("proof");
    let effort = if materials.quick { Effort::QUICK } else { Effort::FULL };
    let fail = |stage: &str, machine: Option<&str>, reason: String| Failure {
        stage: stage.to_owned(),
        machine: machine.map(str::to_owned),
        reason,
    };
    let (links, verdict) = proof::prove(cluster.fabric(), &cluster.plan, effort).await;
    cells.links = links.iter().map(link_record).collect();
    verdict.map_err(|e| fail("proof", Some("fabric"), e.to_string()))?;
    let (Some(from), Some(to)) = (cluster.member(INITIATOR), cluster.member(TARGET)) else {
        let reason = format!("the scenario has no {INITIATOR} and {TARGET}");
        return Err(fail("plan", None, reason));
    };
    stage("configure");
    let drive = |e: crate::module::drive::DriveError| fail("configure", e.machine(), e.to_string());
    let deployment = Deployment::new(cluster, materials.module).await.map_err(drive)?;
    deployment.start_others(from).await.map_err(drive)?;
    stage("connect");
    let begun = Instant::now();
    let connected = deployment.connect(from, to).await;
    let connected = connected.map_err(|e| fail("connect", e.machine(), e.to_string()))?;
    let path = deployment.path(from, connected.target).await.map_err(drive)?;
    let inner_mtu = inner_mtu(from, connected.target).await;
    let version = deployment.version(from).await.map_err(drive)?;
    cells.overlay = Some(Overlay { path: path_named(&path), inner_mtu });
    let route = Route {
        from,
        to,
        target: connected.target,
        bottleneck_mbit: bottleneck_mbit(materials.scenario, [INITIATOR, TARGET]),
        quick: materials.quick,
    };
    for workload in materials.workloads {
        stage(workload.name());
        let begun = if *workload == Workload::Connect { begun } else { Instant::now() };
        let result = run(*workload, &route, connected).await;
        let outcome = result.map_err(|e| fail("measure", Some(e.machine()), e.to_string()));
        finished(cells.record(*workload, begun, outcome));
    }
    Ok(version)
}

async fn run(
    workload: Workload,
    route: &Route<'_>,
    connected: Connected,
) -> Result<Vec<Metric>, workload::WorkloadError> {
    match workload {
        Workload::Connect => Ok(vec![workload::connect_metric(connected.after)]),
        Workload::Ping => workload::run_ping(route).await,
        Workload::Tcp => workload::run_tcp(route).await,
        Workload::Udp => workload::run_udp(route).await,
    }
}

/// Turns what happened into records.
struct Cells<'a> {
    job: &'a Job,
    materials: &'a Materials<'a>,
    started: Instant,
    links: Vec<LinkRecord>,
    overlay: Option<Overlay>,
}

impl Cells<'_> {
    fn all_failed(&self, failure: &Failure, finished: &mut impl FnMut(CellRecord)) {
        for workload in self.materials.workloads {
            let failure = Failure {
                stage: failure.stage.clone(),
                machine: failure.machine.clone(),
                reason: failure.reason.clone(),
            };
            finished(self.record(*workload, self.started, Err(failure)));
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
            underlay: self.overlay.as_ref().map(|_| self.underlay()),
            links: self.links.clone(),
        }
    }

    /// A module that does not claim to get through such a network is not blamed for it.
    fn outcome(&self, failure: Failure) -> Outcome {
        let claims = &self.materials.module.spec.claims;
        let traversal = match claims.nat_traversal {
            NatTraversal::None => "none",
            NatTraversal::PortForward => "port-forward",
            NatTraversal::HolePunching => "hole-punching",
        };
        let expected = self.materials.scenario.expect.outcome(traversal, claims.relay);
        if failure.stage == "connect" && expected == Some(Reach::Unreachable) {
            let reason = "does not claim to cross such a network, and does not".into();
            return Outcome::Unsupported { reason };
        }
        let Failure { stage, machine, reason } = failure;
        Outcome::Failed { stage, machine, reason, evidence: Vec::new() }
    }

    fn underlay(&self) -> Family {
        let ipv4 = self.materials.scenario.sites.iter().all(|site| site.ipv4);
        if ipv4 { Family::Ipv4 } else { Family::Ipv6 }
    }
}

fn path_named(name: &str) -> results::Path {
    match name {
        "direct" => results::Path::Direct,
        "relayed" => results::Path::Relayed,
        _ => results::Path::Unknown,
    }
}

/// The largest packet that passes whole. The route's own MTU is tried first; where it lies, the truth
/// is searched for.
async fn inner_mtu(from: &Member, target: IpAddr) -> Option<u32> {
    let headers = if target.is_ipv4() { 28 } else { 48 };
    let script = format!(
        "fits() {{ ping -n -c 2 -i 0.2 -W 1 -M do -s $(($1 - {headers})) {target} >/dev/null 2>&1; }}
         device=$(ip -json route get {target} | jq -r '.[0].dev')
         high=$(cat /sys/class/net/$device/mtu); low=576
         if fits $high; then echo $high; exit; fi
         while [ $((high - low)) -gt 4 ]; do
             middle=$(((high + low) / 2)); if fits $middle; then low=$middle; else high=$middle; fi
         done
         echo $low"
    );
    // Without an answer the MTU is unknown, which the record can say.
    let output = from.machine.run(&["sh", "-c", &script]).await.ok()?;
    output.text().trim().parse().ok()
}
