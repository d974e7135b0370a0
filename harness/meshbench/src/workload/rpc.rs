//! Requests and answers: what an application feels that asks a database, a file server, a web service.

use std::net::SocketAddr;

use serde::Deserialize;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError, traffic};
use crate::results::{Better, Metric, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "rpc",
    summary: "rate and latency of requests and answers of 1 byte and 4 KiB over TCP, one and sixteen at a time",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: 40.0, quick: 12.0 },
    metrics: &METRICS,
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const RATE: &str = "the agent's client: answers a second, the next request sent when one came";
const LATENCY: &str = "the agent's client: HdrHistogram of requests on a schedule at half of that rate, each from when it was due";

/// Bytes of a request, and how many are under way at once.
const KINDS: [(u32, u32); 4] = [(1, 1), (1, 16), (4096, 1), (4096, 16)];

/// Of each kind the rate, the median, p99 and p99.9.
const METRICS: [Measure; 16] = [
    rate("rate-1b-1"),
    latency("p50-1b-1"),
    latency("p99-1b-1"),
    latency("p999-1b-1"),
    rate("rate-1b-16"),
    latency("p50-1b-16"),
    latency("p99-1b-16"),
    latency("p999-1b-16"),
    rate("rate-4k-1"),
    latency("p50-4k-1"),
    latency("p99-4k-1"),
    latency("p999-4k-1"),
    rate("rate-4k-16"),
    latency("p50-4k-16"),
    latency("p99-4k-16"),
    latency("p999-4k-16"),
];

const fn rate(name: &'static str) -> Measure {
    Measure::new(name, Unit::PerSecond, Better::Higher, RATE)
}

const fn latency(name: &'static str) -> Measure {
    Measure::new(name, Unit::Milliseconds, Better::Lower, LATENCY)
}

const PORT: u16 = 7001;

/// What the client tells.
#[derive(Debug, Deserialize)]
struct Seen {
    rate: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    bytes: f64,
}

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let address = SocketAddr::new(setting.target, PORT).to_string();
    let server = traffic::serve(setting.to, &["rpc", "serve", &address]).await?;
    let asked = ask(setting, &address).await;
    traffic::end(server).await;
    asked
}

async fn ask(setting: &Setting<'_>, address: &str) -> Result<Yield, WorkloadError> {
    // Half of it as fast as it goes, half on a schedule.
    let seconds = SPEC.seconds.of(setting.quick) / (2 * KINDS.len()) as f64;
    let (mut told, mut bytes) = (Vec::new(), 0.0);
    for ((size, at_once), metrics) in KINDS.iter().zip(METRICS.chunks(METRICS.len() / KINDS.len()))
    {
        let (size, at_once) = (size.to_string(), at_once.to_string());
        let words = ["rpc", "ask", address, &size, &at_once, &seconds.to_string()];
        let seen: Seen = traffic::ask(setting.from, &words, 2.0 * seconds).await?;
        bytes += seen.bytes;
        told.extend(measured(&seen, metrics));
    }
    Ok(Yield::carried(told, bytes))
}

fn measured(seen: &Seen, metrics: &[Measure]) -> Vec<Metric> {
    let latencies = [seen.p50_us, seen.p99_us, seen.p999_us].map(|us| us / 1e3);
    let values = [seen.rate].into_iter().chain(latencies);
    metrics.iter().zip(values).map(|(metric, value)| metric.is(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_kind_bear_its_name() {
        let seen = Seen { rate: 900.0, p50_us: 500.0, p99_us: 900.0, p999_us: 2e3, bytes: 0.0 };
        let told = measured(&seen, &METRICS[12..]);
        let told: Vec<_> = told.iter().map(|metric| (metric.name.as_str(), metric.value)).collect();
        let want =
            [("rate-4k-16", 900.0), ("p50-4k-16", 0.5), ("p99-4k-16", 0.9), ("p999-4k-16", 2.0)];
        assert_eq!(told, want);
    }
}
