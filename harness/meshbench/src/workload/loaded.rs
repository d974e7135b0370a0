//! How an overlay feels while somebody fills it: the round trips of a call while TCP sends in either direction.

use super::call::{self, Sides};
use super::iperf3;
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError};
use crate::results::{Better, Metric, Unit};
use crate::stats;

pub(super) const SPEC: Spec = Spec {
    name: "loaded",
    summary: "round trips of a call's packets while TCP fills one direction, then the other",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: 30.0, quick: 16.0 },
    metrics: &[RTT_FORWARD, RPM_FORWARD, LOSS_FORWARD, RTT_REVERSE, RPM_REVERSE, LOSS_REVERSE],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const TRIP: &str = "the agent's ends of a call: median round trip while iperf3 sends";
const MINUTE: &str =
    "60,000 ms by that median, as in the IETF's responsiveness under working conditions";
const LOST: &str = "the agent's ends of a call: packets that did not come, both directions";
const RTT_FORWARD: Measure = Measure::new("rtt-upload", Unit::Milliseconds, Better::Lower, TRIP);
const RTT_REVERSE: Measure = Measure::new("rtt-download", Unit::Milliseconds, Better::Lower, TRIP);
const RPM_FORWARD: Measure = Measure::new("trips-upload", Unit::PerMinute, Better::Higher, MINUTE);
const RPM_REVERSE: Measure =
    Measure::new("trips-download", Unit::PerMinute, Better::Higher, MINUTE);
const LOSS_FORWARD: Measure = Measure::new("loss-upload", Unit::Percent, Better::Lower, LOST);
const LOSS_REVERSE: Measure = Measure::new("loss-download", Unit::Percent, Better::Lower, LOST);

/// How much longer than the call iperf3 sends, so that the line is full from its first packet to its last.
const MARGIN: f64 = 5.0;

/// Seconds after which TCP has filled the line.
const FILLING: f64 = 3.0;

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let seconds = SPEC.seconds.of(setting.quick) / 2.0 - MARGIN;
    let (mut metrics, mut received) = (Vec::new(), 0.0);
    let ways = [
        (None, [RTT_FORWARD, RPM_FORWARD, LOSS_FORWARD]),
        (Some("-R"), [RTT_REVERSE, RPM_REVERSE, LOSS_REVERSE]),
    ];
    for (flag, measures) in ways {
        let options: Vec<&str> = flag.into_iter().collect();
        let filling = iperf3::run(setting, seconds + MARGIN, &options, iperf3::parse_tcp);
        let talking = async {
            tokio::time::sleep(std::time::Duration::from_secs_f64(FILLING)).await;
            call::talk(setting, seconds).await
        };
        let (filled, sides) = tokio::join!(filling, talking);
        received += filled?.goodput_bits_per_second / 8.0 * (seconds + MARGIN);
        metrics.extend(measured(&sides?, measures).ok_or_else(|| {
            let reason = "no packet of the call was answered while TCP was sending";
            WorkloadError::tool(&setting.from.machine, reason)
        })?);
    }
    Ok(Yield::from(metrics).through(received))
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
        let side = |us: f64| Side { sent: 2, delays_us: vec![0.0], round_trips_us: vec![us] };
        let told = measured(&[side(20e3), side(40e3)], [RTT_FORWARD, RPM_FORWARD, LOSS_FORWARD]);
        let values = told.unwrap().map(|metric| metric.value);
        assert_eq!(values, [30.0, 2000.0, 50.0]);
        let silent = || Side { sent: 2, ..Side::default() };
        assert!(
            measured(&[silent(), silent()], [RTT_FORWARD, RPM_FORWARD, LOSS_FORWARD]).is_none()
        );
    }
}
