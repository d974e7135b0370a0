//! How an overlay feels while somebody fills it: the round trips of a call while TCP sends in either direction.

use std::time::Duration;

use tokio::time::sleep;

use super::call::{self, Sides};
use super::iperf3::{self, Tcp};
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError};
use crate::results::{Better, Metric, Unit, names};
use crate::stats;

pub(super) const SPEC: Spec = Spec {
    name: names::LOADED,
    summary: "round trips of a call's packets while TCP fills one direction, then the other",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    // Each direction: a call, the margin, packets that are still to come.
    seconds: Seconds {
        full: 2.0 * (CALL.full + MARGIN) + 10.0,
        quick: 2.0 * (CALL.quick + MARGIN) + 10.0,
    },
    metrics: &[
        RTT_FORWARD,
        TRIPS_FORWARD,
        LOSS_FORWARD,
        FILLED_FORWARD,
        RTT_REVERSE,
        TRIPS_REVERSE,
        LOSS_REVERSE,
        FILLED_REVERSE,
    ],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const TRIP: &str = "the agent's ends of a call: median round trip while iperf3 sends";
const MINUTE: &str = "60,000 ms by that median: of one call's packets beside one TCP stream, which is not the RPM of the IETF's \
                      responsiveness draft, whose probes are HTTP requests on and beside as many connections as fill the line";
const LOST: &str = "the agent's ends of a call: packets that did not come at all, both directions";
const FILLED: &str =
    "iperf3: bytes of the TCP stream received meanwhile: whether, and how far, the line was filled";
const RTT_FORWARD: Measure = Measure::new("rtt-upload", Unit::Milliseconds, Better::Lower, TRIP);
const RTT_REVERSE: Measure = Measure::new("rtt-download", Unit::Milliseconds, Better::Lower, TRIP);
const TRIPS_FORWARD: Measure =
    Measure::new("trips-upload", Unit::PerMinute, Better::Higher, MINUTE);
const TRIPS_REVERSE: Measure =
    Measure::new("trips-download", Unit::PerMinute, Better::Higher, MINUTE);
const LOSS_FORWARD: Measure = Measure::new("loss-upload", Unit::Percent, Better::Lower, LOST);
const LOSS_REVERSE: Measure = Measure::new("loss-download", Unit::Percent, Better::Lower, LOST);
const FILLED_FORWARD: Measure =
    Measure::new("goodput-upload", Unit::BitsPerSecond, Better::Neutral, FILLED);
const FILLED_REVERSE: Measure =
    Measure::new("goodput-download", Unit::BitsPerSecond, Better::Neutral, FILLED);

/// How long the call lasts in either direction.
const CALL: Seconds = Seconds { full: 10.0, quick: 3.0 };

/// How much longer than until the call is over iperf3 sends, so that the line is full to its last packet.
const MARGIN: f64 = 2.0;

/// After how many seconds TCP has filled the line: iperf3 has exchanged what it is to do in five round trips, and as many
/// doublings of TCP's window later there is a queue.
fn filling(setting: &Setting<'_>) -> f64 {
    3.0 + 10.0 * setting.round_trip_ms / 1e3
}

/// For how many seconds iperf3 sends.
fn sending(setting: &Setting<'_>) -> f64 {
    filling(setting) + CALL.of(setting.quick) + MARGIN
}

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let (mut metrics, mut received) = (Vec::new(), 0.0);
    let ways = [
        (None, [RTT_FORWARD, TRIPS_FORWARD, LOSS_FORWARD], FILLED_FORWARD),
        (Some("-R"), [RTT_REVERSE, TRIPS_REVERSE, LOSS_REVERSE], FILLED_REVERSE),
    ];
    for (flag, measures, filled) in ways {
        let (rate, sides) = talk_beside(setting, flag).await?;
        let silence = "no packet of the call was answered while TCP was sending";
        metrics.extend(
            measured(&sides, measures)
                .ok_or_else(|| WorkloadError::tool(&setting.from.machine, silence))?,
        );
        metrics.push(filled.is(rate));
        received += rate / 8.0 * sending(setting);
    }
    // The call beside it is a hundredth of that, and less.
    Ok(Yield::carried(metrics, received))
}

/// A call while TCP sends; in bits a second what came of that.
async fn talk_beside(
    setting: &Setting<'_>,
    flag: Option<&str>,
) -> Result<(f64, Sides), WorkloadError> {
    let seconds = CALL.of(setting.quick);
    let options: Vec<&str> = flag.into_iter().collect();
    let talk = async || {
        sleep(Duration::from_secs_f64(filling(setting))).await;
        call::talk(setting, seconds).await
    };
    let (stream, sides) =
        iperf3::run_beside(setting, sending(setting), &options, iperf3::parse_tcp, talk).await?;
    let rate =
        filled(&stream).map_err(|reason| WorkloadError::tool(&setting.from.machine, reason))?;
    Ok((rate, sides?))
}

/// The rate at which the line was filled. Round trips beside a stream of which nothing came are those of an idle line.
fn filled(stream: &Tcp) -> Result<f64, &'static str> {
    let rate = stream.goodput_bits_per_second;
    if rate > 0.0 {
        Ok(rate)
    } else {
        Err("nothing came of the TCP stream that was to fill the line")
    }
}

fn measured(sides: &Sides, [rtt, trips, loss]: [Measure; 3]) -> Option<[Metric; 3]> {
    let all = sides.iter().flat_map(|side| &side.round_trips_us);
    let all: Vec<f64> = all.map(|us| us / 1e3).collect();
    let median = stats::median(&all)?;
    let sent: f64 = sides.iter().map(|side| f64::from(side.sent)).sum();
    let heard: f64 = sides.iter().map(|side| side.delays_us.len() as f64).sum();
    let lost = (100.0 * (1.0 - heard / sent)).max(0.0);
    Some([rtt.of(median, all), trips.is(60e3 / median.max(1e-3)), loss.is(lost)])
}

#[cfg(test)]
mod tests {
    use super::super::call::Side;
    use super::*;

    #[test]
    fn round_trips_of_both_sides_count() {
        let side = |us: f64| Side {
            sent: 2,
            delays_us: vec![0.0],
            round_trips_us: vec![us],
            ..Side::default()
        };
        let told = measured(&[side(20e3), side(40e3)], [RTT_FORWARD, TRIPS_FORWARD, LOSS_FORWARD]);
        let values = told.unwrap().map(|metric| metric.value);
        assert_eq!(values, [30.0, 2000.0, 50.0]);
        let silent = || Side { sent: 2, ..Side::default() };
        assert!(
            measured(&[silent(), silent()], [RTT_FORWARD, TRIPS_FORWARD, LOSS_FORWARD]).is_none()
        );
    }

    #[test]
    fn a_line_that_nothing_filled_is_not_loaded() {
        let stream = |rate| Tcp {
            goodput_bits_per_second: rate,
            retransmits: None,
            intervals_bits_per_second: Vec::new(),
            payload_bytes: None,
        };
        assert_eq!(filled(&stream(9e6)), Ok(9e6));
        assert!(filled(&stream(0.0)).unwrap_err().starts_with("nothing came of the TCP stream"));
    }

    /// Two seconds in a queue are a delay, which the round trips tell, and no loss.
    #[test]
    fn a_packet_that_comes_late_is_not_lost() {
        let side =
            Side { sent: 1, delays_us: vec![2e6], round_trips_us: vec![2e6], ..Side::default() };
        let told = measured(&[side.clone(), side], [RTT_FORWARD, TRIPS_FORWARD, LOSS_FORWARD]);
        assert_eq!(told.unwrap()[2].value, 0.0);
    }
}
