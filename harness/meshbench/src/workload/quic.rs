//! QUIC: what a modern application feels and gets.

use std::net::SocketAddr;

use serde::Deserialize;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::{make_folder, remove_folder};
use super::{Setting, WorkloadError, certificate, traffic};
use crate::results::{Better, Metric, Unit, names};
use crate::stats;

pub(super) const SPEC: Spec = Spec {
    name: names::QUIC,
    summary: "QUIC handshake, time to the first byte, goodput from the target (quinn)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software { debian: &[], nixpkgs: &["openssl"] },
    seconds: Seconds { full: 16.0, quick: 6.0 },
    metrics: &[HANDSHAKE, FIRST, GOODPUT, DATAGRAM],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const HANDSHAKE: Measure = Measure::new(
    "handshake",
    Unit::Milliseconds,
    Better::Lower,
    "the agent's client (quinn): median time until a new connection is set up",
);
const FIRST: Measure = Measure::new(
    names::FIRST_BYTE,
    Unit::Milliseconds,
    Better::Lower,
    "the agent's client (quinn): median time from before a new connection to the first byte asked for over it",
);
const GOODPUT: Measure = Measure::new(
    names::GOODPUT,
    Unit::BitsPerSecond,
    Better::Higher,
    "the agent's client (quinn): bytes of a stream from the target, the first second left out",
);
const DATAGRAM: Measure = Measure::new(
    "datagram",
    Unit::Bytes,
    Better::Neutral,
    "the agent's client (quinn): the largest datagram that path MTU discovery found to pass",
);

const PORT: u16 = 7009;
const FOLDER: &str = "/run/meshbench-quic";

/// Around the stream: connections before it, and its first second.
const AROUND: f64 = 3.0;

/// What the client tells.
#[derive(Debug, Deserialize)]
struct Seen {
    handshakes_us: Vec<f64>,
    first_bytes_us: Vec<f64>,
    bits_per_second: f64,
    bytes: f64,
    datagram: f64,
}

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let told = serve_and_ask(setting).await;
    for member in [setting.from, setting.to] {
        remove_folder(&member.machine, FOLDER).await;
    }
    told
}

async fn serve_and_ask(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let Setting { from, to, .. } = setting;
    for member in [from, to] {
        make_folder(&member.machine, FOLDER).await?;
    }
    certificate::make(to, from, FOLDER, setting.target).await?;
    let address = SocketAddr::new(setting.target, PORT).to_string();
    let file = |name: &str| format!("{FOLDER}/{name}");
    let (trusted, key) = (file(certificate::CERTIFICATE), file(certificate::KEY));
    let server = traffic::serve(to, &["quic", "serve", &address, &trusted, &key]).await?;
    let connections = if setting.quick { "5" } else { "20" };
    let seconds = SPEC.seconds.of(setting.quick) - AROUND;
    let words = ["quic", "ask", &address, &trusted, connections, &seconds.to_string()];
    let seen = traffic::ask(from, &words, SPEC.seconds.of(setting.quick)).await;
    traffic::end(server).await;
    measured(seen?).map_err(|reason| WorkloadError::tool(&from.machine, reason))
}

/// # Errors
/// A sentence: nothing came.
fn measured(seen: Seen) -> Result<Yield, String> {
    let milliseconds = |us: Vec<f64>| us.into_iter().map(|us| us / 1e3).collect::<Vec<_>>();
    let of = |measure: Measure, samples: Vec<f64>| -> Result<Metric, String> {
        let median = stats::median(&samples);
        Ok(measure.of(median.ok_or("no connection was set up")?, samples))
    };
    if seen.bits_per_second <= 0.0 {
        return Err(format!(
            "{} bytes of the stream came, none after its first second",
            seen.bytes
        ));
    }
    let metrics = vec![
        of(HANDSHAKE, milliseconds(seen.handshakes_us))?,
        of(FIRST, milliseconds(seen.first_bytes_us))?,
        GOODPUT.is(seen.bits_per_second),
        DATAGRAM.is(seen.datagram),
    ];
    Ok(Yield::carried(metrics, seen.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Result<Yield, String> {
        measured(serde_json::from_str(text).map_err(|error| error.to_string())?)
    }

    /// As the agent printed it between two processes of one machine.
    const SAID: &str = include_str!("fixtures/quic.json");

    #[test]
    fn what_the_client_tells_is_measured() {
        let told = seen(SAID).unwrap();
        let value = |name| told.metrics.iter().find(|metric| metric.name == name).unwrap().value;
        assert!(value("handshake") > 0.0 && value("first-byte") > value("handshake"));
        assert!(value("goodput") > 1e6 && value("datagram") >= 1200.0);
        assert!(told.payload_bytes.unwrap() > 0.0);
    }

    #[test]
    fn a_stream_of_which_nothing_came_is_no_number() {
        let without = |from: &str, to: &str| {
            let text = SAID.replacen(from, to, 1);
            assert_ne!(text, SAID);
            seen(&text)
        };
        let rate = SAID.split("bits_per_second\":").nth(1).unwrap().split(',').next().unwrap();
        assert!(without(rate, "0.0").unwrap_err().contains("none after its first second"));
        assert!(without(rate, "NaN").is_err());
        let list = SAID.split("handshakes_us\":").nth(1).unwrap().split(']').next().unwrap();
        assert_eq!(without(list, "[").unwrap_err(), "no connection was set up");
    }
}
