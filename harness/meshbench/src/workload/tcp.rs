//! The goodput of one TCP stream: to the target, from it, and both at once.

use super::iperf3::{self, Tcp};
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError};
use crate::results::{Better, Metric, Unit, names};

pub(super) const SPEC: Spec = Spec {
    name: names::TCP,
    summary: "goodput of one TCP stream: each direction, and both at once (iperf3)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: 39.0, quick: 18.0 },
    metrics: &[FORWARD, RESENT_FORWARD, REVERSE, RESENT_REVERSE, BOTH_FORWARD, BOTH_REVERSE],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const GOODPUT: &str = "iperf3: bytes received in the test's seconds, the first second left out";
const RESENT: &str = "iperf3: segments that the sender's kernel sent again";
const BOTH: &str = "iperf3 --bidir: the same while the other direction is filled, too";

const FORWARD: Measure =
    Measure::new(names::GOODPUT_FORWARD, Unit::BitsPerSecond, Better::Higher, GOODPUT);
const REVERSE: Measure =
    Measure::new(names::GOODPUT_REVERSE, Unit::BitsPerSecond, Better::Higher, GOODPUT);
const RESENT_FORWARD: Measure =
    Measure::new("retransmits-forward", Unit::Count, Better::Lower, RESENT).optional();
const RESENT_REVERSE: Measure =
    Measure::new("retransmits-reverse", Unit::Count, Better::Lower, RESENT).optional();
const BOTH_FORWARD: Measure =
    Measure::new("goodput-both-forward", Unit::BitsPerSecond, Better::Higher, BOTH);
const BOTH_REVERSE: Measure =
    Measure::new("goodput-both-reverse", Unit::BitsPerSecond, Better::Higher, BOTH);

/// What is sent in the first second, while the stream is still growing, is left out.
const OMIT: &str = "1";

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let seconds = iperf3::stream_seconds(setting.quick);
    let options = |flag| ["-O", OMIT].into_iter().chain(flag).collect::<Vec<_>>();
    let mut told = Yield { payload_bytes: Some(0.0), ..Yield::default() };
    let mut received = 0.0;
    let ways = [(None, FORWARD, RESENT_FORWARD), (Some("-R"), REVERSE, RESENT_REVERSE)];
    for (flag, goodput, resent) in ways {
        let seen = iperf3::run(setting, seconds, &options(flag), iperf3::parse_tcp).await?;
        told.payload_bytes = added(told.payload_bytes, seen.payload_bytes);
        received += seen.goodput_bits_per_second;
        told.metrics.extend(measured(seen, goodput, resent));
    }
    let both = iperf3::run(setting, seconds, &options(Some("--bidir")), iperf3::parse_both).await?;
    told.payload_bytes = added(told.payload_bytes, both.payload_bytes);
    told.metrics.push(BOTH_FORWARD.is(both.forward_bits_per_second));
    told.metrics.push(BOTH_REVERSE.is(both.reverse_bits_per_second));
    received += both.forward_bits_per_second + both.reverse_bits_per_second;
    Ok(told.through(iperf3::bytes_received(received, setting.quick)))
}

fn added(sum: Option<f64>, more: Option<f64>) -> Option<f64> {
    Some(sum? + more?)
}

fn measured(seen: Tcp, goodput: Measure, resent: Measure) -> impl Iterator<Item = Metric> {
    let first = goodput.of(seen.goodput_bits_per_second, seen.intervals_bits_per_second);
    std::iter::once(first).chain(seen.retransmits.map(|count| resent.is(count as f64)))
}
