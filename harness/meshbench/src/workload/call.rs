//! A telephone call: what people hear of an overlay.

use std::net::SocketAddr;

use serde::Deserialize;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError, traffic};
use crate::machine::PROMPT;
use crate::results::{Better, Metric, Unit};
use crate::stats;

pub(super) const SPEC: Spec = Spec {
    name: "call",
    summary: "a two-way call of 50 packets a second: delay, loss, and the opinion of who hears it (E-model)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: SPEECH.full + TAIL_S, quick: SPEECH.quick + TAIL_S },
    metrics: &[DELAY, JITTER, LOSS_FORWARD, LATE_FORWARD, LOSS_REVERSE, LATE_REVERSE, SCORE],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const LOST: &str = "the agent's ends of the call: packets that did not come at all, waited for 5 s after the last one";
const LATE: &str = "the agent's ends of the call: packets that came more than 60 ms behind the quickest, which a telephone's \
                    jitter buffer of that length throws away; no loss of the network";
const DELAY: Measure = Measure::new(
    "delay",
    Unit::Milliseconds,
    Better::Lower,
    "median of how long packets were under way, both directions, where all members have one clock (virtual time); else \
     half of the median round trip, since the clocks of two machines do not agree",
);
const JITTER: Measure = Measure::new(
    "delay-variation-p95",
    Unit::Milliseconds,
    Better::Lower,
    "95th percentile of how much longer than the quickest packets were under way (PDV of RFC 5481)",
);
const LOSS_FORWARD: Measure = Measure::new("loss-forward", Unit::Percent, Better::Lower, LOST);
const LOSS_REVERSE: Measure = Measure::new("loss-reverse", Unit::Percent, Better::Lower, LOST);
const LATE_FORWARD: Measure = Measure::new("late-forward", Unit::Percent, Better::Lower, LATE);
const LATE_REVERSE: Measure = Measure::new("late-reverse", Unit::Percent, Better::Lower, LATE);
const SCORE: Measure = Measure::new(
    "score",
    Unit::OpinionScore,
    Better::Higher,
    "mean opinion score of the worse side by ITU-T G.107's E-model, for G.711 with concealment, to which a packet that is \
     late is lost",
);

const PORT: u16 = 7002;

/// How long each speaks.
const SPEECH: Seconds = Seconds { full: 30.0, quick: 6.0 };

/// How long packets under way are waited for at the end, in seconds: longer than the queues and delays of any line are
/// together, since what waits in a queue is late, and not lost.
const TAIL_S: f64 = 5.0;

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
    /// When the quickest packet came by this side's clock, less when it was sent by the other's.
    pub(super) quickest_us: f64,
    /// Of each packet that it heard: how much longer than the quickest it was under way.
    pub(super) delays_us: Vec<f64>,
    pub(super) round_trips_us: Vec<f64>,
}

impl Side {
    /// How long each packet was under way that this side heard, if both sides' clocks are one.
    fn under_way_ms(&self) -> impl Iterator<Item = f64> {
        self.delays_us.iter().map(|us| (us + self.quickest_us) / 1e3)
    }
}

/// Both sides, the one who called first.
pub(super) type Sides = [Side; 2];

/// Lets two members speak for so long.
pub(super) async fn talk(setting: &Setting<'_>, seconds: f64) -> Result<Sides, WorkloadError> {
    let address = SocketAddr::new(setting.target, PORT).to_string();
    let (length, tail) = (seconds.to_string(), TAIL_S.to_string());
    let words = ["call", "answer", &address, &length, &tail];
    let answering = traffic::serve(setting.to, &words).await?;
    let words = ["call", "dial", &address, &length, &tail];
    let dialled = traffic::ask(setting.from, &words, seconds + TAIL_S).await;
    let Ok(dialled) = dialled else {
        traffic::end(answering).await;
        return dialled.map(|side| [side, Side::default()]);
    };
    Ok([dialled, traffic::finished(setting.to, answering, PROMPT).await?])
}

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let sides = talk(setting, SPEECH.of(setting.quick)).await?;
    // Containers share their kernel, and so its clock.
    let one_clock = !setting.from.machine.can_lose_power();
    let silence = "no packet of the call was answered";
    let metrics = measured(&sides, one_clock)
        .ok_or_else(|| WorkloadError::tool(&setting.from.machine, silence))?;
    let packets = sides.iter().map(|side| side.delays_us.len()).sum::<usize>();
    Ok(Yield::carried(metrics, PACKET_BYTES * packets as f64))
}

/// Nothing where neither side has had an answer.
fn measured(sides: &Sides, one_clock: bool) -> Option<Vec<Metric>> {
    let [dialled, answered] = sides;
    let trips = || sides.iter().flat_map(|side| &side.round_trips_us);
    let half_ms: Vec<f64> = trips().map(|us| us / 2e3).collect();
    let half_trip_ms = stats::median(&half_ms)?;
    let under_way: Vec<f64> = sides.iter().flat_map(Side::under_way_ms).collect();
    let samples = if one_clock { under_way } else { half_ms };
    let delay_ms = stats::median(&samples)?;
    let delays: Vec<f64> = sides.iter().flat_map(|side| &side.delays_us).copied().collect();
    let [forward, reverse] = [(dialled, answered), (answered, dialled)].map(|(from, to)| {
        let lost = lost(from.sent, &to.delays_us);
        let of_this_way: Vec<f64> = to.under_way_ms().collect();
        let own_ms = one_clock.then(|| stats::median(&of_this_way)).flatten();
        let mouth_to_ear_ms = own_ms.unwrap_or(half_trip_ms) + BUFFER_MS + PACKET_MS;
        (lost, opinion(mouth_to_ear_ms, lost.network + lost.late))
    });
    Some(vec![
        DELAY.of(delay_ms, samples),
        JITTER.is(stats::quantile(&delays, 0.95).unwrap_or(0.0) / 1e3),
        LOSS_FORWARD.is(forward.0.network),
        LATE_FORWARD.is(forward.0.late),
        LOSS_REVERSE.is(reverse.0.network),
        LATE_REVERSE.is(reverse.0.late),
        SCORE.is(forward.1.min(reverse.1)),
    ])
}

/// What of 100 packets nobody hears.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lost {
    /// They never came.
    network: f64,
    /// They came when their sound was over.
    late: f64,
}

fn lost(sent: u32, delays_us: &[f64]) -> Lost {
    if sent == 0 {
        return Lost { network: 100.0, late: 0.0 };
    }
    let share = |count: usize| 100.0 * count as f64 / f64::from(sent);
    let late = delays_us.iter().filter(|us| **us > BUFFER_MS * 1e3).count();
    let network = (100.0 - share(delays_us.len())).max(0.0);
    Lost { network, late: share(late) }
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
    use crate::fabric::{self, Direction, Profile};

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
    fn what_comes_behind_the_buffer_is_late_and_only_what_never_came_is_lost() {
        assert_eq!(lost(4, &[0.0, 59e3, 2e6]), Lost { network: 25.0, late: 25.0 });
        assert_eq!(lost(0, &[]), Lost { network: 100.0, late: 0.0 });
        // A copy more than was sent.
        assert_eq!(lost(1, &[0.0, 0.0]).network, 0.0);
    }

    /// A way of 10 ms there and 30 ms back.
    fn sides() -> Sides {
        let side = |quickest_us| Side {
            sent: 2,
            quickest_us,
            delays_us: vec![0.0, 0.0],
            round_trips_us: vec![40e3],
        };
        [side(30e3), side(10e3)]
    }

    #[test]
    fn one_clock_tells_what_each_way_takes_and_two_clocks_only_half_of_both() {
        let value = |told: &[Metric], name: &str| {
            told.iter().find(|metric| metric.name == name).unwrap().value
        };
        let halves = measured(&sides(), false).unwrap();
        assert_eq!(value(&halves, "delay"), 20.0);
        let absolute = measured(&sides(), true).unwrap();
        let delay = absolute.iter().find(|metric| metric.name == "delay").unwrap();
        assert_eq!(delay.samples, [30.0, 30.0, 10.0, 10.0]);
        // The worse side waits 30 ms, and 20 more are felt once they are more than 100.
        assert!(value(&absolute, "score") < value(&halves, "score"));
        assert_eq!(measured(&[Side::default(), Side::default()], true), None);
    }

    /// Nothing may be under way for longer than it is waited for.
    #[test]
    fn the_tail_is_longer_than_any_two_lines_hold_a_packet() {
        let held = |direction: &Direction| {
            direction.delay_ms + direction.jitter_ms + direction.queue_ms + direction.reorder_ms
        };
        let longest = |way: fn(&Profile) -> &Direction| {
            fabric::profiles().values().map(|profile| held(way(profile))).fold(0.0, f64::max)
        };
        let both = longest(|profile| &profile.up) + longest(|profile| &profile.down);
        assert!(both < 1e3 * TAIL_S, "{both} ms");
    }
}
