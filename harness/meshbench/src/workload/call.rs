//! A telephone call: what people hear of an overlay.

use std::net::SocketAddr;

use serde::Deserialize;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError, traffic};
use crate::machine::PROMPT;
use crate::results::{Better, Unit};
use crate::stats;

pub(super) const SPEC: Spec = Spec {
    name: "call",
    summary: "a two-way call of 50 packets a second: delay, loss, and the opinion of who hears it (E-model)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: 32.0, quick: 8.0 },
    metrics: &[DELAY, JITTER, LOSS_FORWARD, LOSS_REVERSE, SCORE],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const LOST: &str = "the agent's ends of the call: packets that did not come within the buffer";
const DELAY: Measure = Measure::new(
    "delay",
    Unit::Milliseconds,
    Better::Lower,
    "half of the median round trip: the clocks of two machines do not agree",
);
const JITTER: Measure = Measure::new(
    "delay-variation-p95",
    Unit::Milliseconds,
    Better::Lower,
    "95th percentile of how much longer than the quickest packets were under way (PDV of RFC 5481)",
);
const LOSS_FORWARD: Measure = Measure::new("loss-forward", Unit::Percent, Better::Lower, LOST);
const LOSS_REVERSE: Measure = Measure::new("loss-reverse", Unit::Percent, Better::Lower, LOST);
const SCORE: Measure = Measure::new(
    "score",
    Unit::OpinionScore,
    Better::Higher,
    "mean opinion score of the worse side by ITU-T G.107's E-model, for G.711 with concealment",
);

const PORT: u16 = 7002;

/// How much later than the quickest packet one may come to be heard, in milliseconds; it delays all by as much.
const BUFFER_MS: f64 = 60.0;

/// A packet is sent when its 20 ms of sound have been spoken.
const PACKET_MS: f64 = 20.0;

/// Bytes of a packet: those of its voice, and RTP's header.
pub(super) const PACKET_BYTES: f64 = 172.0;

/// What one side tells.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Side {
    pub(super) sent: u32,
    /// Of each packet that it heard: how much longer than the quickest it was under way.
    pub(super) delays_us: Vec<f64>,
    pub(super) round_trips_us: Vec<f64>,
}

/// Both sides, the one who called first.
pub(super) type Sides = [Side; 2];

/// Lets two members speak for so long.
pub(super) async fn talk(setting: &Setting<'_>, seconds: f64) -> Result<Sides, WorkloadError> {
    let address = SocketAddr::new(setting.target, PORT).to_string();
    let length = seconds.to_string();
    let answering = traffic::serve(setting.to, &["call", "answer", &address, &length]).await?;
    let words = ["call", "dial", &address, &length];
    let dialled = traffic::ask(setting.from, &words, seconds).await;
    let Ok(dialled) = dialled else {
        traffic::end(answering).await;
        return dialled.map(|side| [side, Side::default()]);
    };
    let answered = answering.wait(PROMPT).await?.text();
    Ok([dialled, traffic::told(setting.to, &answered)?])
}

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let sides = talk(setting, SPEC.seconds.of(setting.quick) - 2.0).await?;
    let [dialled, answered] = &sides;
    let trips: Vec<f64> = sides.iter().flat_map(|side| &side.round_trips_us).copied().collect();
    let Some(trip_us) = stats::median(&trips) else {
        let reason = "no packet of the call was answered";
        return Err(WorkloadError::tool(&setting.from.machine, reason));
    };
    let delay_ms = trip_us / 2e3;
    let delays: Vec<f64> = sides.iter().flat_map(|side| &side.delays_us).copied().collect();
    let forward = lost(dialled.sent, &answered.delays_us);
    let reverse = lost(answered.sent, &dialled.delays_us);
    let score = opinion(delay_ms + BUFFER_MS + PACKET_MS, forward.max(reverse));
    let metrics = vec![
        DELAY.of(delay_ms, trips.iter().map(|us| us / 2e3).collect()),
        JITTER.is(stats::quantile(&delays, 0.95).unwrap_or(0.0) / 1e3),
        LOSS_FORWARD.is(forward),
        LOSS_REVERSE.is(reverse),
        SCORE.is(score),
    ];
    let packets = sides.iter().map(|side| side.delays_us.len()).sum::<usize>();
    Ok(Yield::carried(metrics, PACKET_BYTES * packets as f64))
}

/// What did not come in time, of 100.
fn lost(sent: u32, delays_us: &[f64]) -> f64 {
    let heard = delays_us.iter().filter(|us| **us <= BUFFER_MS * 1e3).count() as f64;
    if sent == 0 { 100.0 } else { (100.0 * (1.0 - heard / f64::from(sent))).max(0.0) }
}

/// The mean opinion score of a connection with this delay from mouth to ear and this loss: ITU-T G.107 (06/2015) with
/// its default values (R₀ − Is = 93.2), echo cancelled, loss at random; G.711 with packet loss concealment has Ie = 0
/// and Bpl = 25.1 by G.113, Appendix I.
fn opinion(delay_ms: f64, loss_percent: f64) -> f64 {
    let late = if delay_ms <= 100.0 {
        0.0
    } else {
        let x = (delay_ms / 100.0).log2();
        let root = |x: f64| (1.0 + x.powi(6)).powf(1.0 / 6.0);
        25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
    };
    let damaged = 95.0 * loss_percent / (loss_percent + 25.1);
    let rating = (93.2 - late - damaged).clamp(0.0, 100.0);
    1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R = 93.2 is 4.41 (G.107, Annex B); 177.3 ms is where the delay begins to be felt (R falls by about 4 to 5).
    #[test]
    fn the_opinion_is_that_of_the_recommendation() {
        assert!((opinion(50.0, 0.0) - 4.41).abs() < 0.005);
        assert!((opinion(400.0, 0.0) - 3.3).abs() < 0.4, "{}", opinion(400.0, 0.0));
        assert!((opinion(50.0, 25.1) - 2.36).abs() < 0.1, "{}", opinion(50.0, 25.1));
        assert!(opinion(50.0, 1.0) > opinion(50.0, 2.0));
        assert!(opinion(2000.0, 100.0) >= 1.0);
    }

    #[test]
    fn what_comes_behind_the_buffer_is_lost() {
        assert_eq!(lost(4, &[0.0, 59e3, 61e3]), 50.0);
        assert_eq!(lost(0, &[]), 100.0);
    }
}
