//! What every module promises, checked on a cluster of its own: it comes up, both ways work, a restart
//! works, what travels is encrypted and stays inside, strangers stay out, and nothing is left behind.

mod keep;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use meshbench_protocol::{Condition, Exec};

use crate::cluster::{Bound, Capture, Cluster, Member};
use crate::fabric::{Scenario, ScenarioError, TARGET};
use crate::lab::{Lab, LabError};
use crate::machine::MachineError;
use crate::module::drive::{CONNECT_DEADLINE, Connected, DriveError, STRANGER};
use crate::module::spec::Module;
use crate::results::{Clock, ContractContents, ContractRecord, Finding, Promise, SealedContract};
use crate::run::{
    self, Deployed, Ending, Errand, EventKind, Events, Failure, Job, JobEvents, ListenerError,
    Stage, Warning, What, connect, deploy,
};
use crate::workload::{self, Seen, Siege};

pub use keep::KeepContract;

/// The network of the contract: public sites, with room for a coordinator and a stranger.
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

/// How long a restarted VPN may take until it works again; how long it took is told. ZeroTier, for one, sends
/// to a port that is gone until it forgets the path, after nearly five minutes.
const RECOVERY: Duration = Duration::from_secs(360);

/// How long the kernel may take until a machine's addresses are its own.
const SETTLING: Duration = Duration::from_secs(30);

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
    let mut findings = Findings::new(&module.name, events);
    // Before anything of it is used: who edits it meanwhile has not changed what was checked.
    let module_sha256 = run::module_sha256(module);
    let checked = match spec.clock {
        Clock::Real => check_real(lab, (network, module), &mut findings).await.map(|()| None),
        Clock::Virtual => check_sealed(lab, (network, module), &mut findings).await.map(Some),
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
) -> Result<SealedContract, LabError> {
    let errand = Errand::new(What::Contract, network, module, SEED);
    let returned = run::send(lab, errand, (network, module), findings.events, |_| ()).await?;
    let (failure, sealed) = (returned.failure(), returned.seal());
    findings.found.extend(returned.findings.into_iter().map(Finding::bounded));
    if let Some(failure) = failure {
        findings.note(Promise::CanBeDriven, Some(false), failure.reason);
    }
    Ok(sealed)
}

/// Checks a module on a cluster of [`network`].
pub(crate) async fn examine(cluster: &Arc<Cluster>, module: &Module, events: &JobEvents) {
    let mut findings = Findings::new(&module.name, events);
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

struct Findings<'a> {
    module: &'a str,
    events: &'a JobEvents,
    found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    fn new(module: &'a str, events: &'a JobEvents) -> Self {
        Self { module, events, found: Vec::new() }
    }

    /// Tells that it is being checked.
    fn begin(&self, promise: Promise) {
        self.events.stage(Stage::Promise(promise));
    }

    fn note(&mut self, promise: Promise, kept: Option<bool>, seen: impl ToString) {
        let finding = Finding::new(promise, kept, seen);
        self.events.promise(self.module, finding.clone());
        self.found.push(finding);
    }

    /// All there are. A list without any would read as if every promise was kept.
    fn all(mut self) -> Vec<Finding> {
        if self.found.is_empty() {
            self.note(Promise::CanBeDriven, Some(false), "nothing of it was checked");
        }
        self.found
    }

    /// A promise about reaching somebody through the overlay: who answers beside it breaks it.
    fn through(
        &mut self,
        promise: Promise,
        reached: Result<bool, MachineError>,
        carried: Result<(), String>,
        seen: impl ToString,
    ) {
        match (reached, carried) {
            (Ok(true), Err(beside)) => {
                self.note(promise, Some(false), format!("{}: {beside}", seen.to_string()));
            }
            (reached, _) => self.reached(promise, reached, seen),
        }
    }

    /// A promise about reaching somebody. What could not be tried was not kept.
    fn reached(&mut self, promise: Promise, kept: Result<bool, MachineError>, seen: impl ToString) {
        match kept {
            Ok(kept) => self.note(promise, Some(kept), seen),
            Err(error) => self.note(promise, Some(false), error),
        }
    }
}

/// All promises in turn, on one overlay.
async fn walk(
    cluster: &Arc<Cluster>,
    module: &Module,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    let bound = Bound { frame_bytes: 0, megabytes: 16 };
    let capture = cluster.capture("contract", &cluster.uplinks(), bound).await;
    let job = findings.events;
    let before = match cluster.member(TARGET) {
        Some(bob) => traces(bob).await,
        // `deploy` refuses such a cluster.
        None => Ok(BTreeSet::new()),
    };
    let deployed = deploy(cluster, module, job).await?;
    let connected = connect(&deployed, CONNECT_DEADLINE, job).await?.connected;
    is_up(&deployed, connected, findings).await.map_err(failed(Promise::ComesUp))?;
    is_encrypted(&deployed, connected.target, capture, findings).await;
    findings.begin(Promise::SurvivesARestart);
    let survived = survives(&deployed, connected, findings).await;
    let target = survived.map_err(failed(Promise::SurvivesARestart))?;
    keeps_out(&deployed, module, (target, connected.after), findings).await?;
    leaves_nothing(&deployed, before, findings).await
}

/// What the wire shows of a payload. One that went past the overlay shows nothing of the VPN.
async fn is_encrypted(
    deployed: &Deployed<'_>,
    target: IpAddr,
    capture: Result<Capture, MachineError>,
    findings: &mut Findings<'_>,
) {
    let promise = Promise::IsEncrypted;
    findings.begin(promise);
    let Deployed { deployment, from, to } = deployed;
    let before = deployment.carried(from, target).await;
    let cluster = deployment.cluster();
    let watched = async { workload::look(cluster, capture?, (from, to), target).await };
    let watched = watched.await;
    let least = workload::canary_bytes(target);
    let carried = deployment.check_carried((from, target), before, least).await;
    match (watched, carried) {
        (Ok(seen), Ok(())) => {
            on_the_wire(&seen, deployment.module().spec.claims.encryption, findings);
        }
        (Ok(_), Err(beside)) => findings.note(promise, Some(false), beside),
        (Err(error), _) => findings.note(promise, Some(false), error),
    }
}

/// Whether somebody without a key is kept out. `needed` is what a member needed to connect.
async fn keeps_out(
    deployed: &Deployed<'_>,
    module: &Module,
    (target, needed): (IpAddr, Duration),
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    let promise = Promise::KeepsStrangersOut;
    let stranger = deployed.deployment.cluster().member(STRANGER);
    let Some(stranger) = stranger.filter(|_| module.spec.claims.encryption) else {
        findings.note(promise, None, "does not claim to");
        return Ok(());
    };
    findings.begin(promise);
    if deployed.deployment.intrude(STRANGER).await.map_err(failed(promise))? {
        besieged(stranger, target, needed, findings).await;
    } else {
        findings.note(promise, None, "it has nothing for a stranger to try with");
    }
    Ok(())
}

/// Whether a member that is stopped is as it was before.
async fn leaves_nothing(
    deployed: &Deployed<'_>,
    before: Traces,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    let promise = Promise::LeavesNothingBehind;
    findings.begin(promise);
    deployed.deployment.stop(deployed.to).await.map_err(failed(promise))?;
    match left(before, traces(deployed.to).await) {
        Ok(left) if left.is_empty() => findings.note(promise, Some(true), "nothing"),
        Ok(left) => findings.note(promise, Some(false), left.join("; ")),
        Err(error) => findings.note(promise, Some(false), error),
    }
    Ok(())
}

fn failed(promise: Promise) -> impl Fn(DriveError) -> Failure {
    move |error| Failure::driving(Stage::Promise(promise), &error)
}

/// Version, addresses, the way back, the path.
async fn is_up(
    deployed: &Deployed<'_>,
    connected: Connected,
    findings: &mut Findings<'_>,
) -> Result<(), DriveError> {
    findings.begin(Promise::ComesUp);
    let Deployed { deployment, from: alice, to: bob } = deployed;
    let version = deployment.version(alice).await?.unwrap_or_else(|| "no version".into());
    let seen = format!("{version}, {} ms", connected.after.as_millis());
    // Its first packet is all that it has carried.
    let carried = deployment.check_carried((alice, connected.target), Ok(None), 0.0).await;
    findings.through(Promise::ComesUp, Ok(true), carried, seen);
    if let Some(back) = has_addresses(deployed, connected.target, findings).await {
        findings.begin(Promise::WorksBothWays);
        let before = deployment.carried(bob, back).await;
        let answered = reached(bob, back, RECOVERY).await;
        let carried = deployment.check_carried((bob, back), before, 0.0).await;
        findings.through(Promise::WorksBothWays, answered, carried, back);
    }
    findings.begin(Promise::TellsItsPath);
    match deployment.path(alice, connected.target).await {
        Ok(Some(path)) => {
            findings.note(Promise::TellsItsPath, Some(true), format!("{path:?}").to_lowercase())
        }
        Ok(None) => findings.note(Promise::TellsItsPath, None, "has no means to"),
        Err(error) => findings.note(Promise::TellsItsPath, Some(false), error),
    }
    Ok(())
}

/// Whether each member has an address of its own on the overlay; the initiator's, by which the target can ask back.
async fn has_addresses(
    deployed: &Deployed<'_>,
    target: IpAddr,
    findings: &mut Findings<'_>,
) -> Option<IpAddr> {
    let Deployed { deployment, from: alice, to: bob } = deployed;
    let own = async {
        let own = deployment.addresses(alice).await?;
        Ok::<_, DriveError>((deployment.address_like(bob, alice, target).await?, own))
    };
    match own.await {
        Ok((back, own)) => {
            let distinct = !own.contains(&target);
            findings.note(Promise::HasAddresses, Some(distinct), format!("{own:?}, {target}"));
            Some(back)
        }
        Err(error) => {
            findings.note(Promise::HasAddresses, Some(false), error);
            None
        }
    }
}

/// Judges what the wire shows; `claimed` is whether the VPN says that it encrypts.
fn on_the_wire(seen: &Seen, claimed: bool, findings: &mut Findings<'_>) {
    let Seen { packets, canaries, controls, outside } = seen;
    let seen = format!(
        "{canaries} of {packets} packets carry the canary in clear, {controls} what was sent past the VPN"
    );
    // Where even that was not seen, the capture proves nothing.
    let kept = match *controls {
        0 => Some(false),
        _ => claimed.then_some(*canaries == 0),
    };
    findings.note(Promise::IsEncrypted, kept, seen);
    let seen = if outside.is_empty() {
        "addresses of the scenario only".into()
    } else {
        outside.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    findings.note(Promise::StaysInside, Some(outside.is_empty()), seen);
}

/// A restart, and where it is reached after that.
async fn survives(
    deployed: &Deployed<'_>,
    connected: Connected,
    findings: &mut Findings<'_>,
) -> Result<IpAddr, DriveError> {
    let Deployed { deployment, from: alice, to: bob } = deployed;
    deployment.restart(bob).await?;
    let back_at = Instant::now();
    let target = match deployment.address_like(alice, bob, connected.target).await {
        Ok(target) => target,
        Err(error) => {
            findings.note(Promise::SurvivesARestart, Some(false), error);
            return Ok(connected.target);
        }
    };
    let before = deployment.carried(alice, target).await;
    let survived = reached(alice, target, RECOVERY).await;
    let seen = format!("{target}, {} ms after it was ready", back_at.elapsed().as_millis());
    let carried = deployment.check_carried((alice, target), before, 0.0).await;
    findings.through(Promise::SurvivesARestart, survived, carried, seen);
    Ok(target)
}

/// Lets a stranger try to reach a member. `needed` is what a member needed to connect.
async fn besieged(
    stranger: &Member,
    target: IpAddr,
    needed: Duration,
    findings: &mut Findings<'_>,
) {
    match workload::besiege(stranger, target, needed).await {
        Ok(Siege { patience, waited, runs }) => {
            let daemon = if runs { "runs" } else { "does not run" };
            let seconds = patience.as_secs();
            let seen = format!("tried {target} for {seconds} s, its daemon {daemon}");
            kept_out(answered(waited), seen, findings);
        }
        Err(error) => findings.note(Promise::KeepsStrangersOut, Some(false), error),
    }
}

/// Judges whether a stranger got in. One that had no way to try by was kept out by nobody: that is not known.
fn kept_out(got_in: Result<bool, MachineError>, seen: String, findings: &mut Findings<'_>) {
    let promise = Promise::KeepsStrangersOut;
    match got_in {
        Err(error @ MachineError::Silent { .. }) => {
            findings.note(promise, None, format!("{seen}; {error}"));
        }
        got_in => findings.reached(promise, got_in.map(|got_in| !got_in), seen),
    }
}

type Traces = Result<BTreeSet<String>, MachineError>;

/// What is there after and was not before.
fn left(before: Traces, after: Traces) -> Result<Vec<String>, MachineError> {
    let before = before?;
    Ok(after?.difference(&before).cloned().collect())
}

/// Whether the address answers in time. An error is the asking machine's, which can then not tell.
async fn reached(from: &Member, target: IpAddr, deadline: Duration) -> Result<bool, MachineError> {
    answered(from.machine.wait(Condition::Reachable(target), deadline).await)
}

fn answered(waited: Result<Duration, MachineError>) -> Result<bool, MachineError> {
    match waited {
        Ok(_) => Ok(true),
        Err(error) if error.is_silence() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Interfaces, routes, rules and programs of a machine.
async fn traces(member: &Member) -> Traces {
    // A fork is faster than its kernel, which makes sure for a second that a link-local address is
    // nobody else's; only then does it have the route.
    let settled = ["sh", "-c", "[ -z \"$(ip -6 address show tentative)\" ]"];
    let settled = Exec { argv: settled.map(String::from).to_vec(), ..Exec::default() };
    member.machine.wait(Condition::Succeeds(settled), SETTLING).await?;
    let script = "ip -o link | awk -F': ' '{print \"interface \" $2}'
ip route show table all | sed 's/^/route /; s/ expires [0-9]*sec//'
ip -6 route show table all | sed 's/^/route /; s/ expires [0-9]*sec//'
ip rule | sed 's/^/rule /'
ps -e -o comm= | grep -v -e '^kworker' -e '^sh$' -e '^ps$' -e '^sed$' -e '^grep$' -e '^awk$' -e '^mawk$' | sed 's/^/process /'";
    let output = member.machine.run(&["sh", "-c", script]).await?;
    Ok(output.text().lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use meshbench_protocol::Silence;

    use super::*;

    fn findings(canaries: usize, controls: usize, claimed: bool) -> Vec<Option<bool>> {
        let seen = Seen { packets: 9, canaries, controls, outside: BTreeSet::new() };
        let events = Events::default().of_job(0);
        let mut findings = Findings::new("test", &events);
        on_the_wire(&seen, claimed, &mut findings);
        findings.found.iter().map(|finding| finding.kept).collect()
    }

    #[test]
    fn a_canary_in_clear_breaks_the_promise_and_so_does_a_capture_that_misses_what_is_in_clear() {
        assert_eq!(findings(0, 1, true)[0], Some(true));
        assert_eq!(findings(1, 1, true)[0], Some(false));
        assert_eq!(findings(0, 0, true)[0], Some(false));
        assert_eq!(findings(1, 1, false)[0], None);
        assert_eq!(findings(0, 0, false)[0], Some(false));
    }

    fn silent(no_way: Option<&str>) -> MachineError {
        let no_way = no_way.map(str::to_owned);
        let silence = Silence { probes: 200, patience_ms: 10_000, no_way };
        let (machine, stage) = (STRANGER.to_owned(), "waiting".to_owned());
        MachineError::Silent { machine, stage, silence }
    }

    #[test]
    fn a_stranger_is_kept_out_only_if_it_has_tried() {
        let failed = |reason: &str| {
            let (machine, stage) = (STRANGER.to_owned(), "waiting".to_owned());
            MachineError::Agent { machine, stage, reason: reason.into() }
        };
        for (waited, kept) in [
            (Ok(Duration::ZERO), Some(false)),
            (Err(silent(None)), Some(true)),
            (Err(silent(Some("ENETUNREACH"))), None),
            (Err(failed("EPERM: Operation not permitted")), Some(false)),
        ] {
            let events = Events::default().of_job(0);
            let mut findings = Findings::new("test", &events);
            kept_out(answered(waited), String::new(), &mut findings);
            assert_eq!(findings.found[0].kept, kept, "{:?}", findings.found);
        }
    }

    #[test]
    fn an_answer_beside_the_overlay_keeps_no_promise() {
        let beside = || Err("lo leads there".to_owned());
        for (reached, carried, kept) in [
            (Ok(true), Ok(()), true),
            (Ok(true), beside(), false),
            (Ok(false), beside(), false),
            (Err(silent(None)), Ok(()), false),
        ] {
            let events = Events::default().of_job(0);
            let mut findings = Findings::new("test", &events);
            findings.through(Promise::WorksBothWays, reached, carried, "10.77.0.1");
            assert_eq!(findings.found[0].kept, Some(kept), "{:?}", findings.found);
        }
    }

    #[test]
    fn a_contract_of_which_nothing_was_checked_is_not_kept() {
        let events = Events::default();
        let found = Findings::new("test", &events.of_job(0)).all();
        assert_eq!(found.iter().map(|finding| finding.kept).collect::<Vec<_>>(), [Some(false)]);
        assert_eq!(events.stats().broken, 1);
    }

    #[test]
    fn the_network_is_a_valid_scenario_with_a_stranger() {
        let network = network().unwrap();
        assert!(network.machines.iter().any(|machine| machine.name == STRANGER));
    }
}
