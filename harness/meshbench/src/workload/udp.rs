//! Datagrams at a rate well below the bottleneck: what is lost is lost by the way, not by a queue.

use super::iperf3::{self, Udp};
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError};
use crate::results::{Better, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "udp",
    summary: "loss and jitter of datagrams at a fixed rate (iperf3)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: 13.0, quick: 6.0 },
    metrics: &[LOSS, RECEIVED, JITTER],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const LOSS: Measure =
    Measure::new("loss", Unit::Percent, Better::Lower, "iperf3: datagrams sent and not received");
const RECEIVED: Measure = Measure::new(
    "received",
    Unit::BitsPerSecond,
    Better::Higher,
    "iperf3: payload received, by the sender's seconds",
);
const JITTER: Measure =
    Measure::new("jitter", Unit::Milliseconds, Better::Lower, "iperf3: RFC 3550, receiver")
        .optional();

/// Datagrams are paced at this rate where the link allows it, in Mbit/s.
const RATE_MBIT: f64 = 5.0;

/// Datagrams' payload in bytes: fits into every overlay without being fragmented.
const PAYLOAD: u32 = 1100;

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let rate = format!("{:.3}M", rate_mbit(setting.bottleneck_mbit));
    let seconds = iperf3::stream_seconds(setting.quick);
    let payload = PAYLOAD.to_string();
    let options = ["-u", "-b", &rate, "-l", &payload];
    Ok(measured(iperf3::run(setting, seconds, &options, iperf3::parse_udp).await?))
}

fn rate_mbit(bottleneck_mbit: Option<f64>) -> f64 {
    bottleneck_mbit.map_or(RATE_MBIT, |mbit| RATE_MBIT.min(mbit / 2.0))
}

fn measured(seen: Udp) -> Yield {
    let payload_bytes = seen.received as f64 * f64::from(PAYLOAD);
    let loss = LOSS.is(seen.loss_percent());
    let received = RECEIVED.of(seen.received_bits_per_second, seen.intervals_bits_per_second);
    let jitter = seen.jitter_ms.map(|jitter| JITTER.is(jitter));
    Yield::carried([loss, received].into_iter().chain(jitter).collect(), payload_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_never_fill_the_line() {
        assert_eq!(rate_mbit(None), 5.0);
        assert_eq!(rate_mbit(Some(100.0)), 5.0);
        assert_eq!(rate_mbit(Some(1.0)), 0.5);
    }
}
