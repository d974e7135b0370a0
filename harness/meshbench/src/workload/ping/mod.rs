//! The round trip of small packets on an idle overlay.

mod output;

pub(super) use output::{Ping, parse};

use super::tool::{command, metric};
use super::{Route, WorkloadError};
use crate::machine::PROMPT;
use crate::results::{Better, Metric, Unit};
use crate::stats;

pub(super) const SUMMARY: &str = "round-trip time and loss of small packets on an idle overlay";

/// Seconds between two packets.
pub(super) const INTERVAL_S: f64 = 0.1;

/// How long the last packet's answer may take, in seconds.
pub(super) const WAIT_S: &str = "3";

fn packets(quick: bool) -> u32 {
    if quick { 30 } else { 100 }
}

pub(super) fn seconds(quick: bool) -> f64 {
    f64::from(packets(quick)) * INTERVAL_S + 1.0
}

/// Sends packets on a clock and waits for each answer for as long as the rest takes.
pub(super) async fn run(route: &Route<'_>) -> Result<Vec<Metric>, WorkloadError> {
    let (interval, count) = (INTERVAL_S.to_string(), packets(route.quick).to_string());
    let target = route.target.to_string();
    let argv = ["ping", "-n", "-i", &interval, "-W", WAIT_S, "-c", &count, &target];
    let machine = &route.from.machine;
    // Loss is a result: `ping` exits with 1 when nothing comes back.
    let output = machine.execute(command(&argv), None, PROMPT * 2).await?;
    // It tells on standard error why it could not begin or send.
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let seen = parse(&String::from_utf8_lossy(&text));
    let seen = seen.map_err(|error| WorkloadError::tool(machine, error))?;
    measured(&seen).map_err(|reason| WorkloadError::tool(machine, reason))
}

fn measured(seen: &Ping) -> Result<Vec<Metric>, String> {
    let rtts = seen.rtts_ms();
    let median = stats::median(&rtts).ok_or_else(|| seen.silence())?;
    let p95 = stats::quantile(&rtts, 0.95).unwrap_or(median);
    Ok(vec![
        metric("rtt", Unit::Milliseconds, Better::Lower, median, rtts),
        metric("rtt-p95", Unit::Milliseconds, Better::Lower, p95, Vec::new()),
        metric("loss", Unit::Percent, Better::Lower, seen.loss_percent(), Vec::new()),
    ])
}
