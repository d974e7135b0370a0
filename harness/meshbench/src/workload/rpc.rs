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
    seconds: Seconds {
        full: 4.0 * (CLOSED.full + SCHEDULED.full),
        quick: 4.0 * (CLOSED.quick + SCHEDULED.quick),
    },
    metrics: METRICS.as_flattened(),
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const RATE: &str = "the agent's client: answers a second, the next request sent when one came";
const LATENCY: &str = "the agent's client: HdrHistogram of requests on a schedule, each from when it was due; the schedule is of the \
                       scenario and the same for all: each connection asks once in four round trips of the lines alone, or \
                       in 40 ms where these take less; all together ask 200 times a second at most, with at most a quarter of \
                       the line";
const P99: &str = "the same; told from 100 requests on";
const P999: &str = "the same; told from 1,000 requests on";
const SENT: &str = "the agent's client: requests on that schedule";

/// Bytes of a request, and how many are under way at once.
const KINDS: [(u32, u32); 4] = [(1, 1), (1, 16), (4096, 1), (4096, 16)];

/// Of a kind the rate, how many were on schedule, the median, p99 and p99.9 of these.
macro_rules! of_kind {
    ($kind:literal) => {
        [
            rate(concat!("rate-", $kind)),
            sent(concat!("scheduled-", $kind)),
            latency(concat!("p50-", $kind), LATENCY),
            latency(concat!("p99-", $kind), P99).optional(),
            latency(concat!("p999-", $kind), P999).optional(),
        ]
    };
}

const METRICS: [[Measure; 5]; KINDS.len()] =
    [of_kind!("1b-1"), of_kind!("1b-16"), of_kind!("4k-1"), of_kind!("4k-16")];

const fn rate(name: &'static str) -> Measure {
    Measure::new(name, Unit::PerSecond, Better::Higher, RATE)
}

const fn sent(name: &'static str) -> Measure {
    Measure::new(name, Unit::Count, Better::Neutral, SENT)
}

const fn latency(name: &'static str, source: &'static str) -> Measure {
    Measure::new(name, Unit::Milliseconds, Better::Lower, source)
}

/// Seconds as fast as answers come, and on the schedule: 100 requests of one connection where a round trip is 50 ms.
const CLOSED: Seconds = Seconds { full: 4.0, quick: 1.5 };
const SCHEDULED: Seconds = Seconds { full: 20.0, quick: 3.0 };

/// Requests of which a tail can be told: below these, p99 and p99.9 are the slowest one.
const FOR_P99: f64 = 100.0;
const FOR_P999: f64 = 1000.0;

/// A connection asks once in so many round trips of the lines alone, so that one over a far relay keeps up, too.
const ROUND_TRIPS: f64 = 4.0;

/// Nor more often than this where lines have no delay, in ms; nor all together more often, a second: a processor that is
/// emulated keeps up with it.
const LEAST_INTERVAL_MS: f64 = 40.0;
const MOST_A_SECOND: f64 = 200.0;

/// What of the line requests, or their answers, may take.
const SHARE_OF_LINE: f64 = 0.25;

/// Bytes around 1,200 of a message: Ethernet, IP and TCP twice, and what a VPN adds.
const AROUND: f64 = 180.0;
const SEGMENT: f64 = 1200.0;

/// Requests a second of a kind, the same for the wire and for every VPN: at a share of what each manages, a slow one would
/// have an easier time.
fn scheduled_rate(setting: &Setting<'_>, kind: (u32, u32)) -> f64 {
    rate_on(setting.round_trip_ms, setting.bottleneck_mbit, kind)
}

fn rate_on(round_trip_ms: f64, bottleneck_mbit: Option<f64>, (size, at_once): (u32, u32)) -> f64 {
    let interval_ms = (ROUND_TRIPS * round_trip_ms).max(LEAST_INTERVAL_MS);
    let of_connections = f64::from(at_once) * 1e3 / interval_ms;
    let size = f64::from(size);
    let bytes = size + AROUND * (size / SEGMENT).ceil();
    let of_line = bottleneck_mbit.map(|mbit| SHARE_OF_LINE * mbit * 1e6 / 8.0 / bytes);
    of_connections.min(MOST_A_SECOND).min(of_line.unwrap_or(f64::INFINITY))
}

const PORT: u16 = 7001;

/// What the client tells.
#[derive(Debug, Deserialize)]
struct Seen {
    rate: f64,
    scheduled: f64,
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
    let (closed, scheduled) = (CLOSED.of(setting.quick), SCHEDULED.of(setting.quick));
    let (mut told, mut bytes) = (Vec::new(), 0.0);
    for (kind, metrics) in KINDS.iter().zip(&METRICS) {
        let ((size, at_once), rate) = (kind, scheduled_rate(setting, *kind));
        let numbers = [*size, *at_once].map(|number| number.to_string());
        let [size, at_once] = &numbers;
        let (seconds, rate, length) = (closed.to_string(), rate.to_string(), scheduled.to_string());
        let words = ["rpc", "ask", address, size, at_once, &seconds, &rate, &length];
        let seen: Seen = traffic::ask(setting.from, &words, closed + scheduled).await?;
        bytes += seen.bytes;
        told.extend(measured(&seen, metrics));
    }
    Ok(Yield::carried(told, bytes))
}

/// A tail of few requests is the slowest of them, and is not told.
fn measured(seen: &Seen, metrics: &[Measure]) -> Vec<Metric> {
    let tail = |us: f64, least: f64| (seen.scheduled >= least).then_some(us / 1e3);
    let values = [
        Some(seen.rate),
        Some(seen.scheduled),
        Some(seen.p50_us / 1e3),
        tail(seen.p99_us, FOR_P99),
        tail(seen.p999_us, FOR_P999),
    ];
    metrics.iter().zip(values).filter_map(|(metric, value)| Some(metric.is(value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(scheduled: f64) -> Vec<(String, f64)> {
        let (p50_us, p99_us, p999_us) = (500.0, 900.0, 2e3);
        let seen = Seen { rate: 900.0, scheduled, p50_us, p99_us, p999_us, bytes: 0.0 };
        let told = measured(&seen, &METRICS[3]);
        told.into_iter().map(|metric| (metric.name, metric.value)).collect()
    }

    #[test]
    fn figures_of_a_kind_bear_its_name() {
        let want = [
            ("rate-4k-16", 900.0),
            ("scheduled-4k-16", 1000.0),
            ("p50-4k-16", 0.5),
            ("p99-4k-16", 0.9),
            ("p999-4k-16", 2.0),
        ];
        assert_eq!(told(1000.0), want.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_tail_is_told_only_of_enough_requests() {
        let names = |scheduled| told(scheduled).into_iter().map(|it| it.0).collect::<Vec<_>>();
        assert_eq!(names(999.0)[2..], ["p50-4k-16", "p99-4k-16"]);
        assert_eq!(names(99.0)[2..], ["p50-4k-16"]);
    }

    #[test]
    fn the_schedule_is_of_the_lines_and_of_nothing_else() {
        // Two homes at 10 Mbit/s, 48 ms: a request in 192 ms, for each connection.
        assert!((rate_on(48.0, Some(10.0), (1, 1)) - 1e3 / 192.0).abs() < 1e-9);
        assert!((rate_on(48.0, Some(10.0), (1, 16)) - 16e3 / 192.0).abs() < 1e-9);
        // Larger ones take a quarter of the line: 4 × 180 bytes around 4,096.
        assert!((rate_on(48.0, Some(10.0), (4096, 16)) - 2.5e6 / 8.0 / 4816.0).abs() < 1e-9);
        assert_eq!(rate_on(0.0, None, (1, 1)), 25.0);
        assert_eq!(rate_on(0.0, None, (1, 16)), 200.0);
    }

    #[test]
    fn a_home_is_asked_often_enough_for_a_tail() {
        assert!(SCHEDULED.full * rate_on(48.0, Some(10.0), (1, 1)) >= FOR_P99);
        assert!(SCHEDULED.full * rate_on(48.0, Some(10.0), (1, 16)) >= FOR_P999);
    }
}
