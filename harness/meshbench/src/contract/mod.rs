//! What every module promises, checked on a cluster of its own: it comes up, both ways work, a restart
//! works, what travels is encrypted and stays inside, strangers stay out, and nothing is left behind.

mod findings;
mod keep;
mod promises;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use self::findings::Findings;
use self::promises::walk;
use crate::cluster::Cluster;
use crate::fabric::{Scenario, ScenarioError};
use crate::lab::{Lab, LabError};
use crate::module::drive::DriveError;
use crate::module::spec::Module;
use crate::results::{Clock, ContractContents, ContractRecord, Finding, Promise, SealedContract};
use crate::run::{
    self, Ending, Errand, EventKind, Events, Job, JobEvents, ListenerError, Stage, Warning, What,
};

pub use keep::KeepContract;

/// The network of the contract: public sites, with room for a coordinator and a stranger. It has no gateway and no line
/// that could be proved.
const NETWORK: &str = r#"
title = "The contract"
description = "Public addresses, nothing in the way"
workloads = []
[[site]]
name = "alice"
[[site]]
name = "bob"
[[site]]
name = "hub"
[[site]]
name = "mallory"
"#;

/// Of the network, on which nothing is random.
const SEED: u64 = 1;

/// The contract's network.
///
/// # Errors
/// None, unless this file is wrong.
pub fn network() -> Result<Scenario, ScenarioError> {
    Scenario::parse("contract", "contract", NETWORK, &[])
}

/// Whose promises are to be checked, and how.
#[derive(Debug, Clone)]
pub struct ContractSpec {
    /// The modules.
    pub modules: Vec<Arc<Module>>,
    /// Whose time it is.
    pub clock: Clock,
    /// Revision of the harness, which records say where it is known.
    pub revision: Option<String>,
}

/// Checks what each module promises, on a cluster of its own, told as the jobs of a run: each finding as soon as there is
/// one. In virtual time as many are checked side by side as clusters may run at once. Of a module it stops at the first
/// step without which no other makes sense. Records are in the order of the modules.
///
/// # Errors
/// A listener cannot go on. What goes wrong with a module, or that it has no machines, is a finding.
pub async fn check(
    lab: &Lab,
    spec: &ContractSpec,
    events: &Events,
) -> Result<Vec<ContractRecord>, ContractError> {
    let network = network()?;
    let ending = Ending::of(events);
    let at_once = at_once(lab, spec, &network, events).await;
    let jobs = spec.modules.iter().enumerate().map(async |(index, module)| {
        let (scenario, name) = (network.name.to_string(), module.name.to_string());
        let job = Job { block: 1, scenario, module: name };
        events.emit(EventKind::JobStarted { index, job });
        let record = check_one(lab, (&network, module), spec, &events.of_job(index)).await;
        events.emit(EventKind::ContractChecked { index, record: Box::new(record.clone()) });
        events.emit(EventKind::JobEnded { index });
        (index, record)
    });
    let mut under_way = stream::iter(jobs).buffer_unordered(at_once);
    let mut records = BTreeMap::new();
    while let Some((index, record)) = under_way.next().await {
        records.insert(index, record);
        events.failure().map_or(Ok(()), |failure| Err(ContractError::Listener(failure)))?;
    }
    ending.finish();
    Ok(records.into_values().collect())
}

/// So many modules are checked at once.
async fn at_once(lab: &Lab, spec: &ContractSpec, network: &Scenario, events: &Events) -> usize {
    if spec.clock == Clock::Real {
        return lab.clusters();
    }
    // That there is no QEMU is a finding of each module.
    if lab.prepare_sealed(&[]).await.is_ok()
        && let Some(warning) = Warning::other_qemu(lab)
    {
        events.warn(warning);
    }
    let pairs = spec.modules.iter().map(|module| (network, &**module));
    run::sealed_at_once(lab, spec.modules.len(), pairs, events)
}

async fn check_one(
    lab: &Lab,
    (network, module): (&Scenario, &Arc<Module>),
    spec: &ContractSpec,
    events: &JobEvents,
) -> ContractRecord {
    let mut findings = Findings::new(events);
    // Before anything of it is used: who edits it meanwhile has not changed what was checked.
    let module_sha256 = run::module_sha256(module);
    let checked = match spec.clock {
        Clock::Real => check_real(lab, (network, module), &mut findings).await.map(|()| None),
        Clock::Virtual => check_sealed(lab, (network, module), &mut findings).await,
    };
    let sealed = match checked {
        Ok(sealed) => sealed,
        // What it does not claim is no broken promise.
        Err(LabError::Drive(error @ DriveError::RealTime { .. })) => {
            findings.note(Promise::CanBeDriven, None, error);
            None
        }
        Err(error) => {
            findings.note(Promise::CanBeStarted, Some(false), error);
            None
        }
    };
    let contents = ContractContents {
        module_sha256,
        guest_nar_hash: guest_nar_hash(lab, module, spec.clock).await,
        harness_version: env!("CARGO_PKG_VERSION").into(),
        harness_revision: spec.revision.clone(),
    };
    let (module, findings) = (module.name.to_string(), findings.all());
    ContractRecord { module, findings, clock: Some(spec.clock), sealed, contents: Some(contents) }
}

/// The hash of a module's guest, if one was made.
async fn guest_nar_hash(lab: &Lab, module: &Module, clock: Clock) -> Option<String> {
    let guests = match clock {
        Clock::Real => lab.guests().await,
        Clock::Virtual => lab.sealed_guests().await,
    };
    guests.get(&*module.name).map(|image| image.manifest.nar_hash.clone())
}

async fn check_real(
    lab: &Lab,
    (network, module): (&Scenario, &Arc<Module>),
    findings: &mut Findings<'_>,
) -> Result<(), LabError> {
    findings.events.stage(Stage::Boot);
    lab.prepare(std::slice::from_ref(module)).await?;
    let cluster = lab.cluster(network, module, SEED).await?;
    examine_into(&cluster, module, findings).await;
    findings.events.stage(Stage::Down);
    cluster.down().await;
    Ok(())
}

/// Checks it in virtual time.
async fn check_sealed(
    lab: &Lab,
    (network, module): (&Scenario, &Arc<Module>),
    findings: &mut Findings<'_>,
) -> Result<Option<SealedContract>, LabError> {
    let errand = Errand::new(What::Contract, network, module, SEED);
    let returned = run::send(lab, errand, (network, module), findings.events, |_| ()).await?;
    let (failure, sealed) = (returned.failure(), returned.seal());
    // A machine that the host ended shows nothing of the module, and says nothing that can be said again.
    let inside = returned.ended_inside();
    findings.found.extend(returned.findings.into_iter().map(Finding::bounded));
    if let Some(failure) = failure {
        findings.note(Promise::CanBeDriven, inside.then_some(false), failure.reason);
    }
    Ok(inside.then_some(sealed))
}

/// Checks a module on a cluster of [`network`].
pub(crate) async fn examine(cluster: &Arc<Cluster>, module: &Module, events: &JobEvents) {
    let mut findings = Findings::new(events);
    examine_into(cluster, module, &mut findings).await;
    findings.all();
}

async fn examine_into(cluster: &Arc<Cluster>, module: &Module, findings: &mut Findings<'_>) {
    if let Err(failure) = walk(cluster, module, findings).await {
        findings.note(Promise::CanBeDriven, Some(false), failure.reason);
    }
}

/// Why a contract could not be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// What it tells can no longer be kept.
    #[error("the findings cannot be kept: {0}")]
    Listener(ListenerError),
    /// The contract's network, which is a mistake in this library.
    #[error(transparent)]
    Network(#[from] ScenarioError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::drive::STRANGER;

    #[test]
    fn the_network_is_a_valid_scenario_with_a_stranger() {
        let network = network().unwrap();
        assert!(network.machines.iter().any(|machine| machine.name == STRANGER));
    }
}
