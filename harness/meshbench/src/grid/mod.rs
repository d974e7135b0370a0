//! NAT × NAT: whether, how and how soon a VPN connects two sites behind each pair of gateways.

mod obstacle;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::cluster::proof::{Effort, Probed};
use crate::fabric::{Facts, INITIATOR, Scenario, ScenarioError, TARGET, UdpFacts};
use crate::lab::Lab;
use crate::module::spec::Module;
use crate::results::{
    Better, CellRecord, Clock, Family, Metric, Outcome, OverlayPath, Sealed, Unit,
};
use crate::run::{
    self, Cause, Errand, Events, Failure, Kept, Learned, Measured, Overlay, Proof, RunError,
    RunSpec, Runner, SpecError, Stage, Stats, What, Work, connect, deploy, prove, record, recorded,
    unsent,
};
use crate::workload::{self, Workload};
use obstacle::obstacle;

/// Kinds of a grid that names none, from what lets everything in to what lets nothing.
pub const GRID_KINDS: [&str; 6] =
    ["none", "full-cone", "restricted-cone", "home", "symmetric", "cgnat"];

/// A second: the links of the grid are clear, and only shall not be broken.
const EFFORT: Effort = Effort { count: 100, interval_us: 10_000 };

/// Between two looks at the path of a connection that is relayed.
const LOOK: Duration = Duration::from_millis(250);

/// A grid to be filled: every pair of these kinds, each on a cluster of its own.
#[derive(Debug)]
pub struct Grid {
    kinds: Vec<&'static str>,
    patience: Duration,
    spec: RunSpec,
    evidence: Option<PathBuf>,
}

impl Grid {
    /// The grid of a module. `patience` is how long the first packet may take, and after it a direct path.
    ///
    /// # Errors
    /// None that these kinds could cause.
    pub fn new(
        module: Arc<Module>,
        kinds: Vec<&'static str>,
        seed: u64,
        patience: Duration,
    ) -> Result<Self, GridError> {
        let pairs = kinds.iter().flat_map(|alice| kinds.iter().map(move |bob| (alice, bob)));
        let scenarios = pairs.map(|(alice, bob)| grid_scenario(alice, bob).map(Arc::new));
        let scenarios = scenarios.collect::<Result<Vec<_>, _>>()?;
        let spec = RunSpec::new(vec![module], scenarios, &[], seed)?.blocks(1).quick(true);
        Ok(Self { kinds, patience, spec, evidence: None })
    }

    /// Keeps what shows failures below this result directory.
    pub fn evidence(&mut self, dir: &Path) {
        self.evidence = Some(dir.to_owned());
    }

    /// What is measured, as for any run.
    pub fn spec_mut(&mut self) -> &mut RunSpec {
        &mut self.spec
    }

    /// Measures all pairs, told as the events of a run with one cell a job.
    ///
    /// # Errors
    /// As a run's.
    pub async fn fill(&self, lab: &Lab, events: &Events) -> Result<Stats, RunError> {
        let mut jobs = self.spec.jobs();
        // In the order of the table, which fills as one reads.
        jobs.sort_by_key(|job| self.place(&job.scenario));
        let runner = Runner::new(&self.spec, lab, events.clone());
        let runner = match &self.evidence {
            Some(dir) => runner.evidence(dir),
            None => runner,
        };
        let patience = self.patience;
        runner.run_by(&jobs, async |work, lab| Pair { work, patience }.carry_out(lab).await).await
    }

    fn place(&self, scenario: &str) -> Option<usize> {
        self.spec.scenarios.iter().position(|other| other.name == *scenario)
    }

    /// The kinds, in the order of rows and columns.
    pub fn kinds(&self) -> &[&'static str] {
        &self.kinds
    }
}

/// Why there is no such grid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// An unknown kind.
    #[error(transparent)]
    Kind(#[from] ScenarioError),
    /// Nothing to measure.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// The name of a field's network, by the kinds that the two sites are behind.
pub fn grid_name(alice: &str, bob: &str) -> String {
    format!("{FIELD}{alice}-{bob}")
}

/// With which the names of all fields begin.
const FIELD: &str = "nat-";

/// The network of one field: two sites behind these kinds, and a public one for coordinators and relays.
///
/// # Errors
/// An unknown kind.
pub(crate) fn grid_scenario(alice: &str, bob: &str) -> Result<Scenario, ScenarioError> {
    let text = format!(
        "title = \"{alice} to {bob}\"\ndescription = \"One field of the grid NAT × NAT.\"\n\
         workloads = [\"connect\"]\n[[site]]\nname = \"{INITIATOR}\"\nnat = \"{alice}\"\n\
         [[site]]\nname = \"{TARGET}\"\nnat = \"{bob}\"\n[[site]]\nname = \"hub\"\n"
    );
    Scenario::parse(&grid_name(alice, bob), "nat-grid", &text, &[])
}

/// The network of the field that has this name, `nat-home-cgnat`.
pub fn grid_scenario_named(name: &str) -> Option<Scenario> {
    let pair = name.strip_prefix(FIELD)?;
    let cuts = pair.match_indices('-').map(|(at, _)| (&pair[..at], &pair[at + 1..]));
    cuts.filter_map(|(alice, bob)| grid_scenario(alice, bob).ok()).next()
}

/// One field.
pub(crate) struct Pair<'a> {
    pub(crate) work: &'a Work<'a>,
    /// How long the first packet may take, and after it a direct path.
    pub(crate) patience: Duration,
}

/// What cells of a grid name as what was measured on their clusters.
const GRID: &str = "nat-grid";

/// A pair that was connected.
struct Reached {
    after: Duration,
    path: OverlayPath,
    /// From the daemon's start until the VPN said that the path is direct, where it was not at first.
    direct_after: Option<Duration>,
    /// What carried the tunnel.
    underlay: Option<Family>,
}

impl Pair<'_> {
    /// Measures the pair on a cluster of its own.
    pub(crate) async fn carry_out(&self, lab: &Lab) -> Learned {
        let (begun, Work { module, scenario, seed, events, .. }) = (Instant::now(), self.work);
        if self.work.clock == Clock::Virtual {
            return self.carry_out_sealed(lab, begun).await;
        }
        events.stage(Stage::Boot);
        match lab.cluster(scenario, module, *seed).await {
            Ok(cluster) => {
                let learned = self.on(&cluster, begun).await;
                events.stage(Stage::Down);
                cluster.down().await;
                learned
            }
            Err(error) => self.failed(unsent(&error), begun),
        }
    }

    /// The command that measures this field, and those of the same kinds with it.
    fn command(&self) -> String {
        let Work { module, scenario, seed, .. } = self.work;
        let kinds = match scenario.title.split_once(" to ") {
            Some((alice, bob)) if alice != bob => format!("{alice},{bob}"),
            Some((alice, _)) => alice.to_owned(),
            None => return String::new(),
        };
        format!(
            "bench nat-grid {} --kinds {kinds} --patience {} --seed {} --clock virtual",
            module.name,
            self.patience.as_secs(),
            seed.wrapping_sub(1),
        )
    }

    /// Measures the pair in virtual time.
    async fn carry_out_sealed(&self, lab: &Lab, begun: Instant) -> Learned {
        let Work { job, module, scenario, seed, date, results, events, .. } = self.work;
        let (patience_ms, evidence) = (self.patience.as_millis() as u64, results.is_some());
        let errand = Errand::new(What::Pair { patience_ms, evidence }, scenario, module, *seed);
        let mut kept = Kept::default();
        let keep = |file| kept.take(self.work, file);
        let returned = match run::send(lab, errand, (scenario, module), events, keep).await {
            Ok(returned) => returned,
            Err(error) => return self.failed(unsent(&error), begun),
        };
        let sealed = returned.sealed(vec![GRID.to_owned()], evidence);
        let command = match evidence && lab.is_packaged() {
            true => self.command(),
            false => String::new(),
        };
        let sealed = Sealed { patience_ms: Some(patience_ms), command, ..sealed };
        if let Some(failure) = returned.failure() {
            if !returned.ended_inside() {
                return self.failed(failure, begun);
            }
            let outcome = self.outcome(failure, &[]);
            events.cell(run::unmeasured(self.work, Workload::CONNECT, outcome, sealed));
            return Learned::default();
        }
        for told in returned.cells {
            let mut cell = run::cell(told, job, sealed.clone(), *date);
            kept.name_in(&mut cell);
            events.cell(cell);
        }
        returned.learned.unwrap_or_default()
    }

    fn failed(&self, failure: Failure, begun: Instant) -> Learned {
        let measured = Measured::nothing(self.outcome(failure, &[]), begun);
        let cell = recorded(self.work, Workload::CONNECT, &Proof::default(), measured);
        self.work.events.cell(cell);
        Learned::default()
    }

    /// Measures the pair on a cluster that is there.
    pub(crate) async fn on(&self, cluster: &Arc<Cluster>, begun: Instant) -> Learned {
        let Work { job, proved, events, .. } = self.work;
        let mut learned = Learned::of(cluster).await;
        events.stage(Stage::Proof);
        let (proof, probed) = prove(cluster, EFFORT, proved, events).await;
        let result = match probed {
            Ok(nats) => {
                let reached = self.connect(cluster, &mut learned).await;
                reached.map_err(|failure| (failure, nats))
            }
            Err(failure) => Err((failure, Vec::new())),
        };
        let measured = match result {
            Ok(reached) => reached.measured(begun),
            Err((mut failure, nats)) => {
                if matches!(self.outcome(failure.clone(), &nats), Outcome::Failed { .. }) {
                    run::gather(cluster, self.work, None, &mut failure).await;
                }
                Measured::nothing(self.outcome(failure, &nats), begun)
            }
        };
        events.cell(record(job, Workload::CONNECT, &proof, measured));
        learned
    }

    async fn connect(
        &self,
        cluster: &Arc<Cluster>,
        learned: &mut Learned,
    ) -> Result<Reached, Failure> {
        let events = &self.work.events;
        let deployed = deploy(cluster, self.work.module, events).await?;
        let connection = connect(&deployed, self.patience, events).await?;
        learned.version = deployed.deployment.version(deployed.from).await.ok().flatten();
        let target = connection.connected.target;
        events.stage(Stage::Inspect);
        let look = async || {
            let path = deployed.deployment.path(deployed.from, target).await;
            path.map_err(|e| Failure::driving(Stage::Inspect, &e))
        };
        let (mut path, mut direct_after) = (look().await?, None);
        let end = Instant::now() + self.patience;
        while path == Some(OverlayPath::Relayed) && Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            path = look().await?;
            if path == Some(OverlayPath::Direct) {
                direct_after = Some(connection.begun.elapsed());
            }
        }
        let path = path.unwrap_or(OverlayPath::Unknown);
        // Last, since what is sent for it may change the path.
        let underlay = run::prove_carried(&deployed, target, Stage::Connect).await?;
        Ok(Reached { after: connection.connected.after, path, direct_after, underlay })
    }

    /// A pair that the VPN's own means cannot connect is not held against it, and the reason is said.
    fn outcome(&self, failure: Failure, nats: &[Probed]) -> Outcome {
        let Work { module, scenario, .. } = self.work;
        let claims = &module.spec.claims;
        if failure.stage == Stage::Connect && failure.cause == Cause::Unreached {
            let facts = |site| (kind(scenario, site), udp_facts(nats, site));
            if let Some(reason) = obstacle(claims, facts(INITIATOR), facts(TARGET)) {
                return Outcome::Unsupported { reason };
            }
        }
        failure.outcome(scenario, claims)
    }
}

impl Reached {
    fn measured(self, begun: Instant) -> Measured {
        let mut metrics = vec![workload::connect_metric(self.after)];
        if let Some(after) = self.direct_after {
            metrics.push(Metric {
                name: "direct-after".into(),
                unit: Unit::Milliseconds,
                better: Better::Lower,
                value: after.as_secs_f64() * 1e3,
                samples: Vec::new(),
            });
        }
        let overlay = Overlay { path: self.path, inner_mtu: None };
        let (costs, duration) = (Vec::new(), begun.elapsed());
        Measured {
            outcome: Outcome::ok(),
            metrics,
            costs,
            overlay,
            underlay: self.underlay,
            events: Vec::new(),
            after: None,
            duration,
        }
    }
}

/// A site that was not probed neither translates nor filters.
fn udp_facts(nats: &[Probed], site: &str) -> Option<UdpFacts> {
    let probed = nats.iter().find(|probed| probed.site == site && !probed.ipv6);
    probed.map_or(Facts::PLAIN, |probed| probed.seen).udp
}

fn kind<'a>(scenario: &'a Scenario, site: &str) -> &'a str {
    scenario.site(site).map_or("none", |site| &site.gateway.kind)
}

/// What is written into a field.
pub fn grid_field(cell: &CellRecord) -> String {
    let seconds = |name: &str| {
        let metric = cell.metrics.iter().find(|metric| metric.name == name)?;
        Some(metric.value / 1e3)
    };
    let mut text = match (&cell.outcome, cell.path) {
        (Outcome::Ok {}, OverlayPath::Relayed) => "relayed".to_owned(),
        (Outcome::Ok {}, OverlayPath::Direct) => "direct".to_owned(),
        (Outcome::Ok {}, OverlayPath::Unknown) => "connected".to_owned(),
        (Outcome::Unsupported { .. }, _) => return "–".to_owned(),
        (outcome, _) => return outcome.word().to_owned(),
    };
    let direct = seconds("direct-after");
    if direct.is_some() {
        text = "relayed".to_owned();
    }
    // Writing to a String does not fail.
    if let Some(after) = seconds("time") {
        let _ = write!(text, " {after:.1} s");
    }
    if let Some(after) = direct {
        let _ = write!(text, ", direct {after:.1} s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::KINDS;
    use crate::name::Name;

    #[test]
    fn every_pair_of_kinds_has_a_name_that_files_can_have() {
        for alice in KINDS {
            for bob in KINDS {
                let scenario = grid_scenario(alice.name, bob.name).unwrap();
                assert!(Name::parse(&scenario.name).is_ok());
                let again = grid_scenario_named(&scenario.name).unwrap();
                assert_eq!(again.title, scenario.title, "its name says which pair it is");
            }
        }
        assert!(grid_scenario_named("nat-home").is_none());
    }
}
