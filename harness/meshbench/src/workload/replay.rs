//! Whether packets that were overheard have an effect when they are sent again.

use std::net::IpAddr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::Deserialize;

use super::leak::ONE_WAY_OUT;
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::command;
use super::{Setting, WorkloadError, ping, traffic};
use crate::cluster::{Bound, Member};
use crate::machine::PROMPT;
use crate::results::{Better, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "replay",
    summary: "echo requests that a member accepts when the packets that carried them are sent again",
    question: Question::Security,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds::always(8.0),
    metrics: &[ACCEPTED, ARRIVED, REPLAYED],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const ACCEPTED: Measure = Measure::new(
    "accepted",
    Unit::Count,
    Better::Lower,
    "the member's kernel: echo requests that came again (InEchos), of 20 that were overheard",
);
const ARRIVED: Measure = Measure::new(
    "arrived",
    Unit::Count,
    Better::Neutral,
    "the member's kernel: of these 20, those that came the first time",
);
const REPLAYED: Measure = Measure::new(
    "replayed",
    Unit::Count,
    Better::Neutral,
    "the fabric: packets on their way to the member's site that were sent once more",
);

/// Echo requests that are overheard.
const REQUESTS: u32 = 20;

/// How long what was sent again may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(3);

#[derive(Debug, Deserialize)]
struct Injected {
    sent: u32,
}

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let cluster = setting.deployment.cluster();
    if setting.from.net.site == setting.to.net.site {
        return Err(WorkloadError::Unsupported(ONE_WAY_OUT.into()));
    }
    let place = cluster.plan().down(&setting.to.net.site);
    let capture = cluster.capture("replay", std::slice::from_ref(&place), Bound::WHOLE).await?;
    let at_first = echoes(setting.to, setting.target).await?;
    let (requests, target) = (REQUESTS.to_string(), setting.target.to_string());
    let argv = ["ping", "-n", "-q", "-c", &requests, "-i", "0.1", "-W", "2", &target];
    setting.from.machine.execute(command(&argv), None, PROMPT).await?;
    let overheard = capture.stop(cluster.fabric()).await?.packets;
    let before = echoes(setting.to, setting.target).await?;
    let arrived = before.saturating_sub(at_first);
    came(arrived).map_err(|reason| WorkloadError::tool(&setting.to.machine, reason))?;
    let mut frames = String::new();
    for packet in overheard.iter().filter(|packet| packet.bytes.len() == packet.length as usize) {
        frames.push_str(&HEXLOWER.encode(&packet.bytes));
        frames.push('\n');
    }
    let words = traffic::argv(&["inject", &place.namespace, &place.device]);
    let injected = cluster.fabric().run_within(&words, Some(frames.as_bytes()), PROMPT).await?;
    let injected = serde_json::from_str::<Injected>(&injected.text())
        .map_err(|error| WorkloadError::tool(cluster.fabric(), error))?;
    sent_again(overheard.len(), injected.sent)
        .map_err(|reason| WorkloadError::tool(cluster.fabric(), reason))?;
    tokio::time::sleep(ARRIVAL).await;
    let after = echoes(setting.to, setting.target).await?;
    let accepted = after.saturating_sub(before);
    let metrics = vec![
        ACCEPTED.is(accepted as f64),
        ARRIVED.is(arrived as f64),
        REPLAYED.is(f64::from(injected.sent)),
    ];
    // Whether they were answered is not asked.
    Ok(Yield::from(metrics).through(ping::requested(setting.target, REQUESTS)))
}

/// That nothing was accepted says something only of requests that came once.
fn came(arrived: u64) -> Result<(), &'static str> {
    let nothing = "no echo request came to the member at first: sent again they prove nothing";
    if arrived == 0 { Err(nothing) } else { Ok(()) }
}

/// And of packets that were sent again.
fn sent_again(overheard: usize, sent: u32) -> Result<(), String> {
    let none = || {
        format!(
            "of {overheard} packets to the member's site that were overheard none was sent again"
        )
    };
    if sent == 0 { Err(none()) } else { Ok(()) }
}

/// Echo requests that the member's kernel has taken in.
async fn echoes(member: &Member, target: IpAddr) -> Result<u64, WorkloadError> {
    let file = if target.is_ipv4() { "/proc/net/snmp" } else { "/proc/net/snmp6" };
    let text = member.machine.run(&["cat", file]).await?.text();
    let count = if target.is_ipv4() { in_echos(&text) } else { in_echos_6(&text) };
    count.ok_or_else(|| WorkloadError::tool(&member.machine, format!("{file} counts no echoes")))
}

/// Two lines begin with `Icmp:`: names, then numbers.
fn in_echos(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp:"));
    let at = lines.next()?.split_whitespace().position(|name| name == "InEchos")?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

fn in_echos_6(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("Icmp6InEchos")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_requests_are_read_for_both_families() {
        let four = "Ip: Forwarding DefaultTTL\nIp: 1 64\nIcmp: InMsgs InErrors InEchos\nIcmp: 9 0 7\nIcmpMsg: InType8\nIcmpMsg: 7\n";
        assert_eq!(in_echos(four), Some(7));
        assert_eq!(in_echos("Icmp: InMsgs\nIcmp: 9\n"), None);
        assert_eq!(
            in_echos_6("Icmp6InErrors \t0\nIcmp6InEchos                    \t12\n"),
            Some(12)
        );
    }

    #[test]
    fn nothing_accepted_of_nothing_sent_is_no_proof() {
        assert_eq!((came(20), sent_again(20, 20)), (Ok(()), Ok(())));
        assert!(came(0).unwrap_err().starts_with("no echo request came"));
        assert!(sent_again(0, 0).unwrap_err().starts_with("of 0 packets"));
        assert!(sent_again(20, 0).unwrap_err().ends_with("none was sent again"));
    }
}
