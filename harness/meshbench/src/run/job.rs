//! A job, step by step: each returns what the next ones stand on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cell::{Failure, Proof};
use super::cost::Counters;
use super::event::JobEvents;
use super::measure::{all_failed, events_of, gather, measure_all, unhappened, unless_lost};
use super::proved::{prove, prove_gateways};
use super::spec::loses_power;
use super::timeline::Happened;
use super::work::{Connection, Deployed, Learned, Work};
use super::{Stage, evidence, sealed, timeline};
use crate::cluster::Cluster;
use crate::cluster::proof::Effort;
use crate::fabric::{Action, Event, INITIATOR, TARGET};
use crate::lab::Lab;
use crate::module::drive::{CONNECT_DEADLINE, Deployment};
use crate::module::fit;
use crate::module::spec::Module;
use crate::results::{Clock, Metric};
use crate::workload::Workload;

/// Measures everything the job asks for, on a cluster of its own that is gone afterwards.
pub(crate) async fn carry_out(work: &Work<'_>, lab: &Lab) -> Learned {
    let begun = Instant::now();
    let unable = |failure| {
        all_failed(work, work.workloads, &Proof::default(), &[], failure, begun);
        Learned::default()
    };
    if let Err(error) = fit::check(work.module, work.scenario, work.clock) {
        return unable(Failure::driving(Stage::Configure, &error));
    }
    if work.clock == Clock::Virtual {
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
    let mut learned = Learned::of(cluster).await;
    let (mut proof, probed) = prove(cluster, effort, work.proved, &work.events).await;
    let (mut watch, mut happened) = (None, Happened::default());
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
        let (connection, events) = connect_amid(&deployed, work).await;
        happened = events;
        let (connection, costs) = connection?;
        Ok::<_, Failure>((deployed, connection, costs))
    };
    let reached = reached.await;
    match reached {
        Err(mut failure) => {
            gather(cluster, work, watch, &mut failure).await;
            all_failed(work, work.workloads, &proof, &happened.events, failure, begun);
        }
        Ok((deployed, connection, costs)) => {
            work.events.stage(Stage::Inspect);
            evidence::forget(cluster, watch).await;
            learned.version = deployed.deployment.version(deployed.from).await.ok().flatten();
            let reached = (connection, costs, happened);
            measure_all(cluster, work, &proof, &deployed, reached).await;
        }
    }
    learned
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
                let (nats, verdict) = prove_gateways(cluster).await;
                proof.renew(nats);
                verdict?;
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

/// As [`connect`], with what it has cost, while happens what the scenario has for that.
async fn connect_amid(
    deployed: &Deployed<'_>,
    work: &Work<'_>,
) -> (Result<(Connection, Vec<Metric>), Failure>, Happened) {
    let events = events_of(work.scenario, Workload::CONNECT);
    let Deployed { deployment, from, to } = deployed;
    let counters = || Counters::read(from, to, deployment.cluster().fabric());
    let before = counters().await.unstarted();
    let connecting = async |_| {
        let connection = connect(deployed, CONNECT_DEADLINE, &work.events).await?;
        Ok((connection, counters().await.since(&before, None)))
    };
    let during = timeline::during(deployment, events, &work.events, connecting);
    let (connection, happened) =
        match unless_lost(deployment.cluster(), Stage::Connect, during).await {
            Ok(ended) => ended,
            Err(failure) => return (Err(failure), Happened::default()),
        };
    (unhappened(Stage::Connect, happened.failure.as_ref()).and(connection), happened)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::fabric::Scenario;
    use crate::module::spec;
    use crate::results::{CellRecord, Outcome};
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
            proved: &Default::default(),
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
