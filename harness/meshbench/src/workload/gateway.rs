//! Whether a machine still has the network that it stands in.

use std::net::IpAddr;

use super::ping::{Ping, parse};
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::{command, said};
use super::{Setting, WorkloadError};
use crate::cluster::Member;
use crate::machine::PROMPT;
use crate::results::{Better, Unit};

/// Overlays with addresses of 100.64.0.0/10 are known to drop whatever else has such an address:
/// <https://github.com/tailscale/tailscale/issues/12829>.
pub(super) const SPEC: Spec = Spec {
    name: "gateway",
    summary: "whether the gateways of both ends still answer them while the VPN is up",
    question: Question::Connectivity,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds::always(4.0),
    metrics: &[LOSS],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const LOSS: Measure = Measure::new(
    "loss",
    Unit::Percent,
    Better::Lower,
    "ping: requests of both ends to their own gateways without an answer",
);

const ALONE: &str = "neither end has a gateway";

/// Requests to each gateway.
const REQUESTS: &str = "10";

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let plan = setting.deployment.cluster().plan();
    let gateways = |member: &Member| -> Vec<IpAddr> {
        let machines = plan.machines().into_iter();
        let own = machines.filter(|machine| machine.name == member.net.name);
        own.flat_map(|machine| machine.gateways).collect()
    };
    let mut seen = Vec::new();
    for member in [setting.from, setting.to] {
        for gateway in gateways(member) {
            seen.push(ask(member, gateway).await?);
        }
    }
    let percent = lost(&seen).ok_or(WorkloadError::Unsupported(ALONE.into()))?;
    Ok(Yield::from(vec![LOSS.is(percent)]).elsewhere())
}

/// No answer is a result.
async fn ask(member: &Member, gateway: IpAddr) -> Result<Ping, WorkloadError> {
    let gateway = gateway.to_string();
    let argv = ["ping", "-n", "-i", "0.2", "-W", "1", "-c", REQUESTS, &gateway];
    let output = member.machine.execute(command(&argv), None, PROMPT).await?;
    parse(&said(&output)).map_err(|error| WorkloadError::tool(&member.machine, error))
}

/// Percent of all requests; each gateway is asked as often.
fn lost(seen: &[Ping]) -> Option<f64> {
    let all: f64 = seen.iter().map(Ping::loss_percent).sum();
    (!seen.is_empty()).then(|| all / seen.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gateway_counts_alike_and_none_is_no_answer() {
        let statistics = |received: u32| {
            let replies: String = (1..=received)
                .map(|n| format!("64 bytes from 10.0.0.1: icmp_seq={n} ttl=64 time=0.1 ms\n"))
                .collect();
            let lost = 100 - 10 * received;
            let text = format!(
                "PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.\n{replies}\n--- 10.0.0.1 ping statistics ---\n\
                 10 packets transmitted, {received} received, {lost}% packet loss, time 1800ms\n"
            );
            parse(&text).unwrap()
        };
        assert_eq!(lost(&[statistics(10), statistics(10)]), Some(0.0));
        assert_eq!(lost(&[statistics(10), statistics(0)]), Some(50.0));
        assert_eq!(lost(&[]), None);
    }
}
