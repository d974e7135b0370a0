//! Each promise, checked on one overlay, and how what is seen is judged.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshbench_protocol::{Condition, Exec};

use super::findings::Findings;
use crate::cluster::{Bound, Capture, Cluster, Member};
use crate::fabric::TARGET;
use crate::machine::MachineError;
use crate::module::drive::{CONNECT_DEADLINE, Connected, DriveError, STRANGER};
use crate::module::spec::Module;
use crate::results::Promise;
use crate::run::{Deployed, Failure, Stage, connect, deploy};
use crate::workload::{self, Seen, Siege};

/// How long a restarted VPN may take until it works again; how long it took is told. ZeroTier, for one, sends
/// to a port that is gone until it forgets the path, after nearly five minutes.
const RECOVERY: Duration = Duration::from_secs(360);

/// How long the kernel may take until a machine's addresses are its own.
const SETTLING: Duration = Duration::from_secs(30);

/// All promises in turn, on one overlay.
pub(super) async fn walk(
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
        (Ok((_, 0)), Ok(())) => findings.note(promise, Some(false), workload::UNANSWERED),
        (Ok((seen, _)), Ok(())) => {
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
    use crate::run::Events;

    fn findings(canaries: usize, controls: usize, claimed: bool) -> Vec<Option<bool>> {
        let seen = Seen { packets: 9, canaries, controls, outside: BTreeSet::new() };
        let events = Events::default().of_job(0);
        let mut findings = Findings::new(&events);
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
            let mut findings = Findings::new(&events);
            kept_out(answered(waited), String::new(), &mut findings);
            assert_eq!(findings.found[0].kept, kept, "{:?}", findings.found);
        }
    }
}
