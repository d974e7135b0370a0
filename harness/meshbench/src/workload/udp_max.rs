//! The highest rate at which hardly any datagram is lost: throughput as RFC 2544 means it, with the loss that
//! MLRsearch (RFC 9411's successor in draft) calls a goal of 1 %, and its bisection on a logarithmic scale.

use super::iperf3;
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError};
use crate::results::{Better, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "udp-max",
    summary: "highest rate of datagrams with at most 1 % loss, by bisection (iperf3)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: 60.0, quick: 32.0 },
    metrics: &[RATE],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const RATE: Measure = Measure::new(
    "rate",
    Unit::BitsPerSecond,
    Better::Higher,
    "iperf3: highest rate of payload sent for some seconds of which at most 1 % was lost, and no more than the line can \
     carry: what its queue took in counts as carried; each sample a rate tried",
);

/// Datagrams' payload in bytes: fits into every overlay without being fragmented.
const PAYLOAD: u32 = 1100;

/// The share of the line that is payload then, without a VPN: IPv4's and UDP's headers are 28 bytes.
const MOST: f64 = 1100.0 / 1128.0;

/// What may be lost, of 100.
const GOAL_PERCENT: f64 = 1.0;

/// Where the search begins without a link that limits it, in Mbit/s.
const FASTEST_MBIT: f64 = 2000.0;

/// Below this a rate is not worth a name, in Mbit/s.
const SLOWEST_MBIT: f64 = 0.05;

/// The search ends when its bounds are this near to each other.
const PRECISION: f64 = 1.03;

/// The rates to try next, and what was found.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Search {
    /// The highest rate that was carried.
    carried: f64,
    /// The lowest that was not.
    lost: f64,
}

impl Search {
    fn new(bottleneck_mbit: Option<f64>) -> Self {
        let most = bottleneck_mbit.map_or(FASTEST_MBIT, |mbit| mbit * MOST * PRECISION);
        Self { carried: SLOWEST_MBIT, lost: most }
    }

    /// The middle between the bounds, by their ratio; nothing once they are near enough.
    fn next(&self) -> Option<f64> {
        (self.lost / self.carried > PRECISION).then(|| (self.lost * self.carried).sqrt())
    }

    /// Takes in what a rate was found to lose. What the sender could not send counts as its limit.
    fn learn(&mut self, tried: f64, sent: f64, loss_percent: f64) {
        if loss_percent > GOAL_PERCENT {
            self.lost = tried;
        } else if sent < 0.95 * tried {
            (self.carried, self.lost) = (self.carried.max(sent), sent.max(self.carried));
        } else {
            self.carried = tried;
        }
    }
}

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let seconds = if setting.quick { 2.0 } else { 5.0 };
    let mut search = Search::new(setting.bottleneck_mbit);
    let (payload, mut received) = (PAYLOAD.to_string(), 0);
    let mut tried = Vec::new();
    while let Some(mbit) = search.next() {
        let rate = format!("{mbit:.4}M");
        let options = ["-u", "-b", &rate, "-l", &payload];
        let seen = iperf3::run(setting, seconds, &options, iperf3::parse_udp).await?;
        received += seen.received;
        let loss = seen.loss_percent();
        let arrived = 1.0 - loss / 100.0;
        let sent = if arrived > 0.0 { seen.received_bits_per_second / arrived / 1e6 } else { mbit };
        tried.push(mbit * 1e6);
        search.learn(mbit, sent, loss);
    }
    if search.carried <= SLOWEST_MBIT {
        let reason = format!("more than {GOAL_PERCENT} % are lost even at {SLOWEST_MBIT} Mbit/s");
        return Err(WorkloadError::tool(&setting.from.machine, reason));
    }
    let told = Yield::from(vec![RATE.of(search.carried * 1e6, tried)]);
    Ok(told.through(received as f64 * f64::from(PAYLOAD)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches on a line that carries so much, from a sender that manages so much.
    fn found(bottleneck: Option<f64>, line: f64, sender: f64) -> (f64, usize) {
        let (mut search, mut count) = (Search::new(bottleneck), 0);
        while let Some(rate) = search.next() {
            let sent = rate.min(sender);
            search.learn(rate, sent, (100.0 * (1.0 - line / sent)).max(0.0));
            count += 1;
        }
        (search.carried, count)
    }

    #[test]
    fn the_highest_rate_is_found_within_the_precision() {
        for line in [0.3, 9.6, 95.0, 640.0] {
            let (carried, count) = found(None, line, 1e6);
            assert!(carried >= line / PRECISION && carried <= line / 0.98, "{line}: {carried}");
            assert!(count <= 9, "{count} rates tried");
        }
        let (carried, count) = found(Some(10.0), 9.6, 1e6);
        assert!((9.3..9.8).contains(&carried) && count <= 8, "{carried} after {count}");
        let (carried, _) = found(Some(10.0), 11.0, 1e6);
        assert!(carried <= 10.0 * MOST * PRECISION, "{carried} is more than the line can carry");
    }

    #[test]
    fn a_sender_that_manages_less_is_the_limit() {
        let (carried, _) = found(None, 1e6, 120.0);
        assert!((116.0..=120.1).contains(&carried), "{carried}");
    }

    #[test]
    fn a_line_that_loses_everything_has_no_rate() {
        assert_eq!(found(None, 0.0, 1e6).0, SLOWEST_MBIT);
    }
}
