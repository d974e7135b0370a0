//! What every module promises, checked on a cluster of its own: it comes up, both ways work, a restart
//! works, what travels is encrypted and stays inside, strangers stay out, and nothing is left behind.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ::agent::{Condition, Exec};

use crate::cluster::{Bound, Captured, Cluster, Member};
use crate::fabric::scenario::{Scenario, ScenarioError};
use crate::machine::MachineError;
use crate::module::drive::{Deployment, DriveError, STRANGER};
use crate::module::spec::Module;
use crate::results::Finding;

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

/// How long a restarted VPN may take until it works again.
const RECOVERY: Duration = Duration::from_secs(120);

/// How long the kernel may take until a machine's addresses are its own.
const SETTLING: Duration = Duration::from_secs(30);

/// For how long the stranger tries.
const SIEGE: Duration = Duration::from_secs(10);

/// Packets that carry the canary.
const CANARIES: usize = 5;

/// The contract's network.
///
/// # Errors
/// None, unless this file is wrong.
pub fn network() -> Result<Scenario, ScenarioError> {
    Scenario::parse("contract", "contract", NETWORK, &[])
}

/// Checks a module on a cluster of [`network`]. Stops at the first step without which no other makes sense.
pub async fn check(cluster: &Cluster, module: &Module) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    if let Err(error) = walk(cluster, module, &mut findings).await {
        findings.note("can be driven", Some(false), error);
    }
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn note(&mut self, promise: &'static str, kept: Option<bool>, seen: impl ToString) {
        self.0.push(Finding { promise: promise.into(), kept, seen: seen.to_string() });
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

async fn walk(
    cluster: &Cluster,
    module: &Module,
    findings: &mut Findings,
) -> Result<(), DriveError> {
    let (Some(alice), Some(bob)) = (cluster.member("alice"), cluster.member("bob")) else {
        return Ok(());
    };
    let bound = Bound { frame_bytes: 0, megabytes: 16 };
    let capture = cluster.capture("contract", &cluster.uplinks(), bound).await;
    let mut deployment = Deployment::new(cluster, module).await?;
    let before = traces(bob).await;
    deployment.start_others(alice).await?;
    let connected = deployment.connect(alice, bob).await?;
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
    let canary = canary();
    let sent = send_canary(alice, connected.target, &canary).await;
    match capture {
        Ok(capture) => match capture.stop(cluster.fabric()).await {
            Ok(captured) => wire(&captured, connected.target, &canary, sent, module, findings),
            Err(error) => findings.note("is encrypted", Some(false), error),
        },
        Err(error) => findings.note("is encrypted", Some(false), error),
    }
    deployment.restart(bob).await?;
    let target = deployment.addresses(bob).await?.first().copied().unwrap_or(connected.target);
    findings.reached("survives a restart", reached(alice, target, RECOVERY).await, target);
    if let Some(stranger) = cluster.member(STRANGER).filter(|_| module.spec.claims.encryption) {
        deployment.intrude(stranger).await?;
        let kept_out = reached(stranger, target, SIEGE).await.map(|got_in| !got_in);
        let seen = format!("tried {target} for {} s", SIEGE.as_secs());
        findings.reached("keeps strangers out", kept_out, seen);
    } else {
        findings.note("keeps strangers out", None, "does not claim to");
    }
    deployment.stop(bob).await?;
    match (before, traces(bob).await) {
        (Ok(before), Ok(after)) => {
            let left: Vec<_> = after.difference(&before).cloned().collect();
            let seen = if left.is_empty() { "nothing".into() } else { left.join("; ") };
            findings.note("leaves nothing behind", Some(left.is_empty()), seen);
        }
        (Err(error), _) | (_, Err(error)) => {
            findings.note("leaves nothing behind", Some(false), error);
        }
    }
    Ok(())
}

/// Whether the address answers in time. An error is the asking machine's, which can then not tell.
async fn reached(from: &Member, target: IpAddr, deadline: Duration) -> Result<bool, MachineError> {
    match from.machine.wait(Condition::Reachable(target), deadline).await {
        Ok(_) => Ok(true),
        Err(MachineError::Agent { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sixteen bytes that nothing else on the wire contains.
fn canary() -> String {
    crate::cluster::random_hex::<16>()
}

/// Sends echo requests filled with the canary; the answers bring it back.
async fn send_canary(from: &Member, target: IpAddr, canary: &str) -> Result<(), MachineError> {
    let (count, target) = (CANARIES.to_string(), target.to_string());
    let argv =
        ["ping", "-n", "-c", &count, "-i", "0.2", "-W", "5", "-s", "200", "-p", canary, &target];
    from.machine.run(&argv).await.map(drop)
}

/// What the captured wire shows: the canary must not be in clear, and nobody outside is addressed.
fn wire(
    captured: &Captured,
    target: IpAddr,
    canary: &str,
    sent: Result<(), MachineError>,
    module: &Module,
    findings: &mut Findings,
) {
    let bytes: Vec<u8> = (0..canary.len() / 2)
        .filter_map(|at| u8::from_str_radix(&canary[2 * at..2 * at + 2], 16).ok())
        .collect();
    let clear = captured.packets.iter().filter(|p| contains(&p.bytes, &bytes)).count();
    let seen = format!("{clear} of {} packets carry the canary in clear", captured.packets.len());
    let claimed = module.spec.claims.encryption;
    match sent {
        Err(error) => findings.note("is encrypted", Some(false), error),
        // Each goes and comes back over two uplinks: with fewer packets the capture itself is in doubt.
        Ok(()) if captured.packets.len() < 4 * CANARIES => {
            findings.note("is encrypted", Some(false), seen)
        }
        Ok(()) if claimed => findings.note("is encrypted", Some(clear == 0), seen),
        // That the detector finds what is in clear is what `internal` is measured for.
        Ok(()) => findings.note("is in clear, as it says", Some(clear > 0), seen),
    }
    let outside: BTreeSet<IpAddr> = captured
        .packets
        .iter()
        .filter_map(|packet| destination(&packet.bytes))
        // The harness's own probes: until the tunnel is there, they follow the default route.
        .filter(|address| !inside(*address) && *address != target)
        .collect();
    let seen = if outside.is_empty() {
        "addresses of the scenario only".into()
    } else {
        outside.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    findings.note("stays inside", Some(outside.is_empty()), seen);
}

fn contains(packet: &[u8], needle: &[u8]) -> bool {
    packet.windows(needle.len()).any(|window| window == needle)
}

/// Destination of an Ethernet frame that holds an IP packet.
fn destination(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [0x08, 0x00] => <[u8; 4]>::try_from(frame.get(30..34)?).ok().map(IpAddr::from),
        [0x86, 0xdd] => <[u8; 16]>::try_from(frame.get(38..54)?).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Whether the address belongs to the scenario's Internet, or to nobody beyond the next router.
fn inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.octets()[0] == 5 || v4.is_multicast() || v4.is_broadcast() || v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            v6.segments()[0] == 0x2a0e || v6.is_multicast() || v6.is_unicast_link_local()
        }
    }
}

/// Interfaces, routes, rules and programs of a machine.
async fn traces(member: &Member) -> Result<BTreeSet<String>, MachineError> {
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

    #[test]
    fn the_network_is_a_valid_scenario_with_a_stranger() {
        let network = network().unwrap();
        assert!(network.machines.iter().any(|machine| machine.name == STRANGER));
    }

    #[test]
    fn the_destination_of_a_frame_is_read_for_both_families() {
        let mut v4 = vec![0; 34];
        v4[12..14].copy_from_slice(&[0x08, 0x00]);
        v4[30..34].copy_from_slice(&[5, 1, 0, 2]);
        assert_eq!(destination(&v4), Some("5.1.0.2".parse().unwrap()));
        let mut v6 = vec![0; 54];
        v6[12..14].copy_from_slice(&[0x86, 0xdd]);
        v6[38] = 0x2a;
        assert_eq!(destination(&v6), Some("2a00::".parse().unwrap()));
        assert_eq!(destination(&[0; 20]), None);
    }

    #[test]
    fn an_address_of_the_real_internet_is_outside() {
        assert!(!inside("192.0.2.1".parse().unwrap()));
        assert!(inside("5.3.1.10".parse().unwrap()));
        assert!(!inside("2001:db8::1".parse().unwrap()));
    }
}
