//! What every module promises, checked on a cluster of its own: it comes up, both ways work, a restart
//! works, what travels is encrypted and stays inside, strangers stay out, and nothing is left behind.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshbench_protocol::{Condition, Exec};

use crate::cluster::{Bound, Cluster, Member};
use crate::fabric::{Scenario, ScenarioError, TARGET};
use crate::lab::{Lab, LabError};
use crate::machine::MachineError;
use crate::module::drive::{CONNECT_DEADLINE, Connected, DriveError, STRANGER};
use crate::module::lifecycle::UNIT;
use crate::module::spec::Module;
use crate::results::{Clock, ContractRecord, Finding, SealedContract};
use crate::run::{
    self, Deployed, Errand, EventKind, Events, Failure, Stage, Told, What, connect, deploy,
};
use crate::workload::{self, Seen};

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

/// For how long the stranger tries at least; if its daemon runs at all, twice the time that a member needed.
const SIEGE: Duration = Duration::from_secs(10);

/// The contract's network.
///
/// # Errors
/// None, unless this file is wrong.
pub fn network() -> Result<Scenario, ScenarioError> {
    Scenario::parse("contract", "contract", NETWORK, &[])
}

/// Checks what a module promises, on a cluster of its own; each finding is told as soon as there is one. Stops at
/// the first step without which no other makes sense.
///
/// # Errors
/// No machines can be had. What goes wrong with the module is a finding.
pub async fn check(
    lab: &Lab,
    module: &Arc<Module>,
    clock: Clock,
    events: &Events,
) -> Result<ContractRecord, ContractError> {
    events.of_job(0).stage(Stage::Boot);
    let (findings, sealed) = match clock {
        Clock::Real => (check_real(lab, module, events).await?, None),
        Clock::Virtual => check_sealed(lab, module, events).await?,
    };
    let (module, clock) = (module.name.to_string(), Some(clock));
    Ok(ContractRecord { module, findings, clock, sealed })
}

async fn check_real(
    lab: &Lab,
    module: &Arc<Module>,
    events: &Events,
) -> Result<Vec<Finding>, ContractError> {
    lab.prepare(std::slice::from_ref(module)).await?;
    match lab.cluster(&network()?, module, SEED).await {
        Ok(cluster) => {
            let found = examine(&cluster, module, events).await;
            cluster.down().await;
            Ok(found)
        }
        Err(error) => Ok(Findings::new(&module.name, events).unstarted(error)),
    }
}

/// Checks it in virtual time.
async fn check_sealed(
    lab: &Lab,
    module: &Arc<Module>,
    events: &Events,
) -> Result<(Vec<Finding>, Option<SealedContract>), ContractError> {
    let network = network()?;
    let mut findings = Findings::new(&module.name, events);
    let mut done = false;
    let job = events.of_job(0);
    let hear = |told| match told {
        Told::Promise(finding) => findings.tell(finding),
        Told::Stage(stage) => job.stage(stage),
        Told::Warned(warning) => job.warn(warning),
        Told::Done(_) => done = true,
        _ => {}
    };
    let errand = Errand::new(What::Contract, &network, module, SEED);
    match run::send(lab, errand, (&network, module), hear).await {
        Ok((outcome, template)) => {
            if let Some(failure) = run::failure(&outcome, done, Stage::Promise) {
                findings.note("can be driven", Some(false), failure.reason);
            }
            let (template, said) = (template.identity().to_owned(), outcome.digest());
            Ok((findings.all(), Some(SealedContract { template, said })))
        }
        // What it does not claim is no broken promise.
        Err(LabError::Drive(error @ DriveError::RealTime { .. })) => {
            findings.note("can be driven", None, error);
            Ok((findings.all(), None))
        }
        Err(error) => Ok((findings.unstarted(error), None)),
    }
}

/// Checks a module on a cluster of [`network`].
pub(crate) async fn examine(
    cluster: &Arc<Cluster>,
    module: &Module,
    events: &Events,
) -> Vec<Finding> {
    let mut findings = Findings::new(&module.name, events);
    if let Err(failure) = walk(cluster, module, &mut findings).await {
        findings.note("can be driven", Some(false), failure.reason);
    }
    findings.all()
}

/// Why a contract could not be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// Guests or machines.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The contract's network, which is a mistake in this library.
    #[error(transparent)]
    Network(#[from] ScenarioError),
}

struct Findings<'a> {
    module: &'a str,
    events: &'a Events,
    found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    fn new(module: &'a str, events: &'a Events) -> Self {
        Self { module, events, found: Vec::new() }
    }

    fn note(&mut self, promise: &'static str, kept: Option<bool>, seen: impl ToString) {
        self.tell(Finding { promise: promise.into(), kept, seen: seen.to_string() });
    }

    fn unstarted(mut self, error: impl ToString) -> Vec<Finding> {
        self.note("can be started", Some(false), error);
        self.all()
    }

    /// All there are. A list without any would read as if every promise was kept.
    fn all(mut self) -> Vec<Finding> {
        if self.found.is_empty() {
            self.note("can be driven", Some(false), "nothing of it was checked");
        }
        self.found
    }

    fn tell(&mut self, finding: Finding) {
        let module = self.module.to_owned();
        self.events.emit(EventKind::PromiseChecked { module, finding: finding.clone() });
        self.found.push(finding);
    }

    /// A promise about reaching somebody. What could not be tried was not kept.
    fn reached(
        &mut self,
        promise: &'static str,
        kept: Result<bool, MachineError>,
        seen: impl ToString,
    ) {
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
    let job = findings.events.of_job(0);
    let before = match cluster.member(TARGET) {
        Some(bob) => traces(bob).await,
        // `deploy` refuses such a cluster.
        None => Ok(BTreeSet::new()),
    };
    let deployed = deploy(cluster, module, &job).await?;
    let connected = connect(&deployed, CONNECT_DEADLINE, &job).await?.connected;
    job.stage(Stage::Promise);
    is_up(&deployed, connected, findings).await.map_err(promise)?;
    let ends = (deployed.from, deployed.to);
    let watched = async { workload::look(cluster, capture?, ends, connected.target).await };
    match watched.await {
        Ok(seen) => on_the_wire(&seen, module.spec.claims.encryption, findings),
        Err(error) => findings.note("is encrypted", Some(false), error),
    }
    let target = survives(&deployed, connected, findings).await.map_err(promise)?;
    if let Some(stranger) = cluster.member(STRANGER).filter(|_| module.spec.claims.encryption) {
        if deployed.deployment.intrude(STRANGER).await.map_err(promise)? {
            besieged(stranger, target, connected.after, findings).await;
        } else {
            findings.note("keeps strangers out", None, "it has nothing for a stranger to try with");
        }
    } else {
        findings.note("keeps strangers out", None, "does not claim to");
    }
    let bob = deployed.to;
    deployed.deployment.stop(bob).await.map_err(promise)?;
    match left(before, traces(bob).await) {
        Ok(left) if left.is_empty() => {
            findings.note("leaves nothing behind", Some(true), "nothing");
        }
        Ok(left) => findings.note("leaves nothing behind", Some(false), left.join("; ")),
        Err(error) => findings.note("leaves nothing behind", Some(false), error),
    }
    Ok(())
}

fn promise(error: DriveError) -> Failure {
    Failure::driving(Stage::Promise, &error)
}

/// Version, addresses, the way back, the path.
async fn is_up(
    deployed: &Deployed<'_>,
    connected: Connected,
    findings: &mut Findings<'_>,
) -> Result<(), DriveError> {
    let Deployed { deployment, from: alice, to: bob } = deployed;
    let version = deployment.version(alice).await?.unwrap_or_else(|| "no version".into());
    findings.note("comes up", Some(true), format!("{version}, {} ms", connected.after.as_millis()));
    let own = deployment.addresses(alice).await?;
    let back = own.iter().find(|address| address.is_ipv4() == connected.target.is_ipv4());
    let distinct = !own.contains(&connected.target);
    findings.note(
        "has addresses",
        Some(back.is_some() && distinct),
        format!("{own:?}, {}", connected.target),
    );
    if let Some(back) = back {
        findings.reached("works both ways", reached(bob, *back, RECOVERY).await, back);
    }
    match deployment.path(alice, connected.target).await {
        Ok(Some(path)) => {
            findings.note("tells its path", Some(true), format!("{path:?}").to_lowercase())
        }
        Ok(None) => findings.note("tells its path", None, "has no means to"),
        Err(error) => findings.note("tells its path", Some(false), error),
    }
    Ok(())
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
    findings.note("is encrypted", kept, seen);
    let seen = if outside.is_empty() {
        "addresses of the scenario only".into()
    } else {
        outside.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    findings.note("stays inside", Some(outside.is_empty()), seen);
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
    let target = deployment.addresses(bob).await?.first().copied().unwrap_or(connected.target);
    let survived = reached(alice, target, RECOVERY).await;
    let seen = format!("{target}, {} ms after it was ready", back_at.elapsed().as_millis());
    findings.reached("survives a restart", survived, seen);
    Ok(target)
}

/// Lets a stranger try to reach a member. `needed` is what a member needed to connect.
async fn besieged(
    stranger: &Member,
    target: IpAddr,
    needed: Duration,
    findings: &mut Findings<'_>,
) {
    let daemon = daemon(stranger).await;
    let siege = if daemon == "active" { SIEGE.max(2 * needed) } else { SIEGE };
    let kept_out = reached(stranger, target, siege).await.map(|got_in| !got_in);
    let seen = format!("tried {target} for {} s, its daemon {daemon}", siege.as_secs());
    findings.reached("keeps strangers out", kept_out, seen);
}

type Traces = Result<BTreeSet<String>, MachineError>;

/// What is there after and was not before.
fn left(before: Traces, after: Traces) -> Result<Vec<String>, MachineError> {
    let before = before?;
    Ok(after?.difference(&before).cloned().collect())
}

/// Whether the address answers in time. An error is the asking machine's, which can then not tell.
async fn reached(from: &Member, target: IpAddr, deadline: Duration) -> Result<bool, MachineError> {
    match from.machine.wait(Condition::Reachable(target), deadline).await {
        Ok(_) => Ok(true),
        Err(MachineError::Agent { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What has become of a daemon, in systemd's word.
async fn daemon(member: &Member) -> String {
    let script = format!("systemctl is-active {UNIT} || true");
    let output = member.machine.run(&["sh", "-c", &script]).await;
    output.map_or_else(|error| error.to_string(), |output| output.text().trim().to_owned())
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
    use super::*;

    fn findings(canaries: usize, controls: usize, claimed: bool) -> Vec<Option<bool>> {
        let seen = Seen { packets: 9, canaries, controls, outside: BTreeSet::new() };
        let events = Events::default();
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

    #[test]
    fn a_contract_of_which_nothing_was_checked_is_not_kept() {
        let events = Events::default();
        let found = Findings::new("test", &events).all();
        assert_eq!(found.iter().map(|finding| finding.kept).collect::<Vec<_>>(), [Some(false)]);
        assert_eq!(events.stats().broken, 1);
    }

    #[test]
    fn the_network_is_a_valid_scenario_with_a_stranger() {
        let network = network().unwrap();
        assert!(network.machines.iter().any(|machine| machine.name == STRANGER));
    }
}
