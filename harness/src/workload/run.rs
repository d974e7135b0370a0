//! Running workloads between two members.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ::agent::{Exec, Frame, Kind, Request};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::recover::{END_S, INTERVAL_S, PATIENCE, WATCH, recovery};
use super::{iperf3, ping};
use crate::cluster::Member;
use crate::machine::{Machine, MachineError, PROMPT, Running};
use crate::results::{Better, Metric, Unit};
use crate::stats;

/// One thing measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Time from the daemon's start to the first answered packet through the overlay.
    Connect,
    /// Round-trip time of small packets on an idle overlay.
    Ping,
    /// One TCP stream, in each direction.
    Tcp,
    /// Datagrams at a fixed rate.
    Udp,
    /// How long the overlay is silent when the scenario's events happen.
    Recover,
}

/// Between whom, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// Who starts it.
    pub from: &'a Member,
    /// Who answers.
    pub to: &'a Member,
    /// The answering member's overlay address.
    pub target: IpAddr,
    /// Lowest rate configured on the way, in Mbit/s.
    pub bottleneck_mbit: Option<f64>,
    /// Whether short runs suffice.
    pub quick: bool,
}

/// Why a workload has no result.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// A machine or a command on it failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The tool ran, and its output is no result.
    #[error("{machine}: {reason}")]
    Tool {
        /// Where it ran.
        machine: String,
        /// What its output says.
        reason: String,
    },
}

impl WorkloadError {
    /// The machine it happened on.
    pub fn machine(&self) -> &str {
        match self {
            Self::Machine(error) => error.machine(),
            Self::Tool { machine, .. } => machine,
        }
    }
}

/// Datagrams are paced at this rate where the link allows it, in Mbit/s.
const UDP_MBIT: f64 = 5.0;

/// Datagrams' payload in bytes: fits into every overlay without being fragmented.
const UDP_PAYLOAD: &str = "1100";

impl Workload {
    /// All of them, in the order in which they run: the overlay must be connected first.
    /// What disturbs the network comes last.
    pub const ALL: [Self; 5] = [Self::Connect, Self::Ping, Self::Tcp, Self::Udp, Self::Recover];

    /// Its name in flags, files and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Ping => "ping",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Recover => "recover",
        }
    }

    /// What it measures, in a line.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Connect => "time from the daemon's start to the first answered overlay packet",
            Self::Ping => "round-trip time and loss of small packets on an idle overlay",
            Self::Tcp => "goodput of one TCP stream in each direction (iperf3)",
            Self::Udp => "loss and jitter of datagrams at a fixed rate (iperf3)",
            Self::Recover => "longest silence of the overlay while the scenario's events happen",
        }
    }

    /// The workload of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    /// About how many seconds it takes.
    pub fn seconds(self, quick: bool) -> f64 {
        match self {
            Self::Connect => 0.0,
            Self::Ping => f64::from(pings(quick)) * 0.1 + 1.0,
            Self::Tcp => 2.0 * (tcp_seconds(quick) + 3.0),
            Self::Udp => tcp_seconds(quick) + 3.0,
            Self::Recover => 2.0 * WATCH.as_secs_f64(),
        }
    }
}

fn pings(quick: bool) -> u32 {
    if quick { 30 } else { 100 }
}

fn tcp_seconds(quick: bool) -> f64 {
    if quick { 3.0 } else { 10.0 }
}

/// The `connect` workload's metric.
pub fn connect_metric(after: Duration) -> Metric {
    metric("time", Unit::Milliseconds, Better::Lower, after.as_secs_f64() * 1e3, Vec::new())
}

/// Sends packets on a clock and waits for each answer for as long as the rest takes.
pub async fn ping(route: &Route<'_>) -> Result<Vec<Metric>, WorkloadError> {
    let (count, target) = (pings(route.quick).to_string(), route.target.to_string());
    let argv = ["ping", "-D", "-n", "-i", "0.1", "-W", "3", "-c", &count, &target];
    let machine = &route.from.machine;
    // Loss is a result: `ping` exits with 1 when nothing comes back.
    let output = machine.execute(command(&argv), None, PROMPT * 2).await?;
    let seen = ping::parse(&output.text()).map_err(|e| tool(machine, e))?;
    let loss = seen.loss_percent();
    let rtts = seen.rtts_ms();
    let Some(median) = stats::median(&rtts) else {
        return Err(tool(machine, format!("none of {count} packets to {target} was answered")));
    };
    let p95 = stats::quantile(&rtts, 0.95).unwrap_or(median);
    Ok(vec![
        metric("rtt", Unit::Milliseconds, Better::Lower, median, rtts),
        metric("rtt-p95", Unit::Milliseconds, Better::Lower, p95, Vec::new()),
        metric("loss", Unit::Percent, Better::Lower, loss, Vec::new()),
    ])
}

/// Sends packets on a clock from before the first event until well after the last one, which has happened
/// when `events_over` resolves.
pub async fn recover(
    route: &Route<'_>,
    events_over: impl Future,
) -> Result<Vec<Metric>, WorkloadError> {
    let (interval, target) = (INTERVAL_S.to_string(), route.target.to_string());
    let argv = ["ping", "-D", "-n", "-i", &interval, "-W", "3", &target];
    let machine = &route.from.machine;
    let mut pinging = machine.start(&Request::Exec(command(&argv))).await?;
    let (last_answer, mut said) = (watch::Sender::new(Instant::now()), Vec::new());
    let listen = async {
        while let Some(frame) = pinging.next().await {
            match frame.kind {
                Kind::Output => {
                    said.extend_from_slice(&frame.payload);
                    // Others tell of errors on the way.
                    if String::from_utf8_lossy(&frame.payload).contains(" bytes from ") {
                        last_answer.send_replace(Instant::now());
                    }
                }
                Kind::Reply => return Ok(()),
                _ => {}
            }
        }
        // How the machine was lost says more.
        machine.echo().await?;
        Err(tool(machine, "`ping` was lost"))
    };
    let end = async {
        events_over.await;
        sleep(WATCH).await;
        let mut answers = last_answer.subscribe();
        if last_answer.borrow().elapsed().as_secs_f64() > END_S {
            // It may stay silent.
            let _ = timeout(PATIENCE - WATCH, answers.changed()).await;
        }
        // So that it prints how many it has sent.
        machine.run(&["pkill", "-INT", "-x", "ping"]).await?;
        sleep(PROMPT).await;
        Err::<(), _>(tool(machine, "`ping` does not end"))
    };
    tokio::select! {
        ended = listen => ended?,
        Err(error) = end => return Err(error),
    }
    let seen = String::from_utf8_lossy(&said);
    let seen = ping::parse(&seen).map_err(|e| tool(machine, e))?;
    let found = recovery(&seen).map_err(|reason| tool(machine, reason))?;
    let loss = seen.loss_percent();
    Ok(vec![
        metric("silence", Unit::Milliseconds, Better::Lower, found.silence_ms, found.outages_ms),
        metric("loss", Unit::Percent, Better::Lower, loss, Vec::new()),
    ])
}

/// One stream to the target, then one from it.
pub async fn tcp(route: &Route<'_>) -> Result<Vec<Metric>, WorkloadError> {
    let mut metrics = Vec::new();
    for (name, flag) in [("forward", None), ("reverse", Some("-R"))] {
        let seconds = tcp_seconds(route.quick).to_string();
        let more: Vec<&str> = ["-t", &seconds, "-O", "1"].into_iter().chain(flag).collect();
        let text = iperf3(route, &more).await?;
        let seen = iperf3::parse_tcp(&text).map_err(|e| tool(&route.from.machine, e))?;
        metrics.push(metric(
            &format!("goodput-{name}"),
            Unit::BitsPerSecond,
            Better::Higher,
            seen.goodput_bits_per_second,
            seen.intervals_bits_per_second,
        ));
        if let Some(count) = seen.retransmits {
            let name = format!("retransmits-{name}");
            metrics.push(metric(&name, Unit::Count, Better::Lower, count as f64, Vec::new()));
        }
    }
    Ok(metrics)
}

/// Datagrams at a rate well below the bottleneck: what is lost is lost by the way, not by a queue.
pub async fn udp(route: &Route<'_>) -> Result<Vec<Metric>, WorkloadError> {
    let rate = route.bottleneck_mbit.map_or(UDP_MBIT, |mbit| UDP_MBIT.min(mbit / 2.0));
    let (rate, seconds) = (format!("{rate:.3}M"), tcp_seconds(route.quick).to_string());
    let text = iperf3(route, &["-u", "-b", &rate, "-l", UDP_PAYLOAD, "-t", &seconds]).await?;
    let seen = iperf3::parse_udp(&text).map_err(|e| tool(&route.from.machine, e))?;
    let mut metrics = vec![
        metric("loss", Unit::Percent, Better::Lower, seen.loss_percent(), Vec::new()),
        metric(
            "received",
            Unit::BitsPerSecond,
            Better::Higher,
            seen.received_bits_per_second,
            seen.intervals_bits_per_second.clone(),
        ),
    ];
    if let Some(jitter) = seen.jitter_ms {
        metrics.push(metric("jitter", Unit::Milliseconds, Better::Lower, jitter, Vec::new()));
    }
    Ok(metrics)
}

/// iperf3 gives up when one packet of its own set-up is lost, which on a bad link is no result: behind two
/// links that lose 2 % one test in 13.
const ATTEMPTS: usize = 5;

/// Runs one test; again when it could not even begin.
async fn iperf3(route: &Route<'_>, more: &[&str]) -> Result<String, WorkloadError> {
    let mut text = String::new();
    for _ in 0..ATTEMPTS {
        text = iperf3_once(route, more).await?;
        let begun = serde_json::from_str::<serde_json::Value>(&text)
            .is_ok_and(|report| report["intervals"].as_array().is_some_and(|all| !all.is_empty()));
        if begun {
            break;
        }
    }
    Ok(text)
}

/// Runs one test against a server of its own.
async fn iperf3_once(route: &Route<'_>, more: &[&str]) -> Result<String, WorkloadError> {
    let target = route.target.to_string();
    let server = serve(&route.to.machine, &target).await?;
    let mut argv = vec!["iperf3", "-J", "-c", &target, "--connect-timeout", "10000"];
    argv.extend(more);
    let client = route.from.machine.execute(command(&argv), None, PROMPT * 3).await;
    // It ends by itself after its only test, but not when the test never reached it. The next one
    // needs its port, so its end is awaited; an error means that its machine is gone.
    let _ = server.cancel().await;
    let _ = tokio::time::timeout(PROMPT, server.finish()).await;
    Ok(client?.text())
}

/// Starts a server for one test and waits until it listens.
async fn serve(machine: &Machine, address: &str) -> Result<Running, WorkloadError> {
    let argv = ["iperf3", "-s", "-1", "-B", address, "--forceflush"];
    let mut server = machine.start(&Request::Exec(command(&argv))).await?;
    let mut said = Vec::new();
    let listening = async {
        while let Some(Frame { kind, payload, .. }) = server.next().await {
            said.extend_from_slice(&payload);
            if String::from_utf8_lossy(&said).contains("Server listening") {
                return true;
            }
            if kind == Kind::Reply {
                return false;
            }
        }
        false
    };
    match tokio::time::timeout(PROMPT, listening).await {
        Ok(true) => Ok(server),
        _ => {
            let said = String::from_utf8_lossy(&said).into_owned();
            Err(tool(machine, format!("iperf3 -s does not listen: {said}")))
        }
    }
}

fn command(argv: &[&str]) -> Exec {
    let argv = argv.iter().map(ToString::to_string).collect();
    let env = [("LC_ALL".to_owned(), "C".to_owned())].into();
    Exec { argv, env, ..Exec::default() }
}

fn metric(name: &str, unit: Unit, better: Better, value: f64, samples: Vec<f64>) -> Metric {
    Metric { name: name.to_owned(), unit, better, value, samples }
}

fn tool(machine: &Machine, reason: impl ToString) -> WorkloadError {
    WorkloadError::Tool { machine: machine.name().to_owned(), reason: reason.to_string() }
}
