//! The round trip of small packets on an idle overlay.

mod output;

use std::net::IpAddr;

pub(crate) use output::whole_answers;
pub(super) use output::{Ping, parse};

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::{command, echo_headers, said};
use super::{Setting, WorkloadError};
use crate::machine::PROMPT;
use crate::results::{Better, Metric, Unit, names};
use crate::stats;

pub(super) const SPEC: Spec = Spec {
    name: names::PING,
    summary: "round-trip time and loss of small packets on an idle overlay",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: 11.0, quick: 4.0 },
    metrics: &[RTT, RTT_P95, LOSS],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const RTT: Measure =
    Measure::new(names::RTT, Unit::Milliseconds, Better::Lower, "ping: median of the round trips");
const RTT_P95: Measure =
    Measure::new("rtt-p95", Unit::Milliseconds, Better::Lower, "ping: 95th percentile of them");
const LOSS: Measure =
    Measure::new("loss", Unit::Percent, Better::Lower, "ping: packets without an answer");

/// Seconds between two packets.
pub(super) const INTERVAL_S: f64 = 0.1;

/// How long the last packet's answer may take, in seconds.
pub(super) const WAIT_S: &str = "3";

/// Bytes of data that `ping` sends unless it is told.
const DATA: u32 = 56;

fn packets(quick: bool) -> u32 {
    if quick { 30 } else { 100 }
}

/// Sends packets on a clock and waits for each answer for as long as the rest takes.
async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let (interval, count) = (INTERVAL_S.to_string(), packets(setting.quick).to_string());
    let target = setting.target.to_string();
    let argv = ["ping", "-n", "-i", &interval, "-W", WAIT_S, "-c", &count, &target];
    let machine = &setting.from.machine;
    // Loss is a result: `ping` exits with 1 when nothing comes back.
    let output = machine.execute(command(&argv), None, PROMPT * 2).await?;
    let seen = parse(&said(&output));
    let seen = seen.map_err(|error| WorkloadError::tool(machine, error))?;
    let metrics = measured(&seen).map_err(|reason| WorkloadError::tool(machine, reason))?;
    Ok(Yield::from(metrics).through(echoed(setting.target, &seen)))
}

/// Bytes of so many requests.
pub(crate) fn requested(target: IpAddr, count: u32) -> f64 {
    f64::from(count) * f64::from(echo_headers(target) + DATA)
}

/// Bytes of the requests that were answered, and of the answers.
pub(super) fn echoed(target: IpAddr, seen: &Ping) -> f64 {
    2.0 * requested(target, seen.received)
}

fn measured(seen: &Ping) -> Result<Vec<Metric>, String> {
    let rtts = seen.rtts_ms();
    let median = stats::median(&rtts).ok_or_else(|| seen.silence())?;
    let p95 = stats::quantile(&rtts, 0.95).unwrap_or(median);
    Ok(vec![RTT.of(median, rtts), RTT_P95.is(p95), LOSS.is(seen.loss_percent())])
}

#[cfg(test)]
mod tests {
    use meshbench_protocol::Reply;

    use super::*;
    use crate::machine::Output;

    #[test]
    fn why_it_could_not_begin_is_told() {
        let reply = Reply::Exited { code: Some(2), signal: None, timed_out: false };
        let stderr = b"ping: connect: Network is unreachable\n".to_vec();
        let output = Output { reply, stdout: Vec::new(), stderr };
        let error = parse(&said(&output)).unwrap_err().to_string();
        assert!(error.contains("Network is unreachable"), "{error}");
    }
}
