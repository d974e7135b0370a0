//! The goodput of several TCP streams at once: what one stream leaves unused.

use super::iperf3;
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError};
use crate::results::{Better, Unit, names};

pub(super) const SPEC: Spec = Spec {
    name: "tcp-streams",
    summary: "goodput of eight TCP streams at once, in each direction (iperf3)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: 26.0, quick: 12.0 },
    metrics: &[FORWARD, REVERSE],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const SUM: &str =
    "iperf3 -P 8: bytes received by all in the test's seconds, the first second left out";
const FORWARD: Measure =
    Measure::new(names::GOODPUT_FORWARD, Unit::BitsPerSecond, Better::Higher, SUM);
const REVERSE: Measure =
    Measure::new(names::GOODPUT_REVERSE, Unit::BitsPerSecond, Better::Higher, SUM);

const STREAMS: u32 = 8;

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let seconds = iperf3::stream_seconds(setting.quick);
    let streams = STREAMS.to_string();
    let mut told = Yield::default();
    let (mut payload, mut received) = (Some(0.0), 0.0);
    for (flag, goodput) in [(None, FORWARD), (Some("-R"), REVERSE)] {
        let options = ["-O", "1", "-P", &streams].into_iter().chain(flag);
        let options: Vec<&str> = options.collect();
        let parse = |text: &str| iperf3::parse_streams(text, STREAMS);
        let seen = iperf3::run(setting, seconds, &options, parse).await?;
        payload = payload.zip(seen.payload_bytes).map(|(sum, more)| sum + more);
        received += seen.goodput_bits_per_second;
        let rates = seen.intervals_bits_per_second;
        told.metrics.push(goodput.of(seen.goodput_bits_per_second, rates));
    }
    told.payload_bytes = payload;
    Ok(told.through(iperf3::bytes_received(received, setting.quick)))
}
