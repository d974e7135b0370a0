//! The highest rate at which hardly any datagram is lost: throughput as RFC 2544 (26.1) means it, with the loss that
//! MLRsearch (draft-ietf-bmwg-mlrsearch) calls a goal of 1 %, and its bisection on a logarithmic scale. RFC 2544 (24)
//! asks for trials of 60 s; these are shorter, since nine of them are made: the one that decides is made twice.

use std::ops::Range;

use super::iperf3::{self, Iperf3Error, Said};
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
    seconds: Seconds { full: 10.0 * TRIAL.full, quick: 10.0 * TRIAL.quick },
    metrics: &[RATE],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const RATE: Measure = Measure::new(
    "rate",
    Unit::BitsPerSecond,
    Better::Higher,
    "iperf3: payload that the receiver had a second, once a trial had lasted for two (one in quick runs), at the highest \
     rate sent of which at most 1 % was lost in either of two trials of 7 s (3); each sample a rate tried",
);

/// How long a trial lasts, in seconds, and what is left out at its beginning: queues fill then, and what they hold is
/// sent and has not come.
const TRIAL: Seconds = Seconds { full: 7.0, quick: 3.0 };
const FILL: Seconds = Seconds { full: 2.0, quick: 1.0 };

/// Datagrams' payload in bytes: fits into every overlay without being fragmented.
const PAYLOAD: u32 = 1100;

/// The share of the line that is payload then, without a VPN. Lines count Ethernet frames: 14 bytes of Ethernet, 20 of
/// IPv4 and 8 of UDP are around it.
const MOST: f64 = 1100.0 / 1142.0;

/// What may be lost, of 100.
const GOAL_PERCENT: f64 = 1.0;

/// Where the search begins without a link that limits it, in Mbit/s.
const FASTEST_MBIT: f64 = 2000.0;

/// Below this a rate is not worth a name, in Mbit/s.
const SLOWEST_MBIT: f64 = 0.05;

/// The search ends when its bounds are this near to each other.
const PRECISION: f64 = 1.03;

/// A path whose rates are carried once and not again is left at this.
const MOST_TRIALS: usize = 24;

/// The rates to try next, and what was found.
#[derive(Debug, Clone, PartialEq)]
struct Search {
    /// The rates that were carried, from the lowest to the highest.
    carried: Vec<f64>,
    /// The lowest that was not.
    lost: f64,
}

impl Search {
    fn new(line_mbit: Option<f64>) -> Self {
        let most = line_mbit.map_or(FASTEST_MBIT, |mbit| mbit * MOST * PRECISION);
        Self { carried: Vec::new(), lost: most }
    }

    /// The highest rate that was carried.
    fn best(&self) -> Option<f64> {
        self.carried.last().copied()
    }

    /// The middle between the bounds, by their ratio; nothing once they are near enough.
    fn next(&self) -> Option<f64> {
        let carried = self.best().unwrap_or(SLOWEST_MBIT);
        (self.lost / carried > PRECISION).then(|| (self.lost * carried).sqrt())
    }

    /// Takes in what a rate was found to lose. What the sender could not send counts as its limit.
    fn learn(&mut self, tried: f64, sent: f64, loss_percent: f64) {
        if loss_percent > GOAL_PERCENT {
            self.lost = tried;
        } else if sent < 0.95 * tried {
            let limit = sent.max(self.best().unwrap_or(SLOWEST_MBIT));
            self.lost = limit;
            self.carried.push(limit);
        } else {
            self.carried.push(tried);
        }
    }

    /// Takes back the highest rate: it was carried once, and not the second time.
    fn refute(&mut self) {
        self.lost = self.carried.pop().unwrap_or(self.lost);
    }
}

/// What became of one trial.
struct Trial {
    /// Sent, in Mbit/s of payload.
    sent_mbit: f64,
    /// Received after the fill, in Mbit/s of payload.
    received_mbit: f64,
    /// Of all that was sent.
    loss_percent: f64,
    /// Datagrams received.
    received: u64,
}

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let mut search = Search::new(setting.forward_mbit);
    let (mut tried, mut received) = (Vec::new(), 0);
    while tried.len() < MOST_TRIALS {
        let next = search.next();
        let Some(mbit) = next.or(search.best()) else { break };
        let trial = trial(setting, mbit).await?;
        tried.push(mbit * 1e6);
        received += trial.received;
        match next {
            Some(_) => search.learn(mbit, trial.sent_mbit, trial.loss_percent),
            None if trial.loss_percent > GOAL_PERCENT => search.refute(),
            None => {
                let metrics = vec![RATE.of(trial.received_mbit * 1e6, tried)];
                return Ok(Yield::carried(metrics, received as f64 * f64::from(PAYLOAD)));
            }
        }
    }
    let reason = too_lossy(&tried);
    // A line that loses as many by itself has no such rate, and nobody is to blame.
    if setting.forward_loss_percent >= GOAL_PERCENT {
        return Err(WorkloadError::Unsupported(reason));
    }
    Err(WorkloadError::tool(&setting.from.machine, reason))
}

/// Why there is no such rate.
fn too_lossy(tried: &[f64]) -> String {
    let least = tried.iter().copied().fold(f64::INFINITY, f64::min) / 1e6;
    format!(
        "of {} rates tried, from {least:.2} Mbit/s on, none lost at most {GOAL_PERCENT} % twice",
        tried.len()
    )
}

async fn trial(setting: &Setting<'_>, mbit: f64) -> Result<Trial, WorkloadError> {
    let (seconds, fill) = (TRIAL.of(setting.quick), FILL.of(setting.quick));
    let (rate, payload) = (format!("{mbit:.4}M"), PAYLOAD.to_string());
    let options = ["-u", "-b", &rate, "-l", &payload];
    let read = |said: &Said| seen(said, fill..seconds);
    iperf3::run_of_both(setting, seconds, &options, read).await
}

/// Reads what both ends said of a trial.
fn seen(said: &Said, after_fill: Range<f64>) -> Result<Trial, Iperf3Error> {
    let whole = iperf3::parse_udp(&said.client.report)?;
    let untold = || Iperf3Error::Unexpected("the server told of no second of the test".into());
    let rate = iperf3::datagrams_per_second(&said.server, after_fill).ok_or_else(untold)?;
    Ok(Trial {
        sent_mbit: whole.sent_bits_per_second / 1e6,
        received_mbit: rate * 8.0 * f64::from(PAYLOAD) / 1e6,
        loss_percent: whole.loss_percent(),
        received: whole.received,
    })
}

#[cfg(test)]
mod tests {
    use super::super::iperf3::Client;
    use super::*;

    /// Searches on a line that carries so much, from a sender that manages so much.
    fn found(bottleneck: Option<f64>, line: f64, sender: f64) -> (Option<f64>, usize) {
        let (mut search, mut count) = (Search::new(bottleneck), 0);
        while let Some(rate) = search.next() {
            let sent = rate.min(sender);
            search.learn(rate, sent, (100.0 * (1.0 - line / sent)).max(0.0));
            count += 1;
        }
        (search.best(), count)
    }

    #[test]
    fn the_highest_rate_is_found_within_the_precision() {
        for line in [0.3, 9.6, 95.0, 640.0] {
            let (carried, count) = found(None, line, 1e6);
            let carried = carried.unwrap();
            assert!(carried >= line / PRECISION && carried <= line / 0.98, "{line}: {carried}");
            assert!(count <= 9, "{count} rates tried");
        }
        let (carried, count) = found(Some(10.0), 9.6, 1e6);
        assert!((9.3..9.8).contains(&carried.unwrap()) && count <= 8, "{carried:?} after {count}");
        let (carried, _) = found(Some(10.0), 11.0, 1e6);
        assert!(carried.unwrap() <= 10.0 * MOST * PRECISION, "{carried:?}: no line carries that");
    }

    #[test]
    fn a_sender_that_manages_less_is_the_limit() {
        let (carried, _) = found(None, 1e6, 120.0);
        assert!((116.0..=120.1).contains(&carried.unwrap()), "{carried:?}");
    }

    #[test]
    fn a_line_that_loses_everything_has_no_rate() {
        assert_eq!(found(None, 0.0, 1e6).0, None);
        let said = too_lossy(&[10e6, 0.06e6]);
        assert_eq!(said, "of 2 rates tried, from 0.06 Mbit/s on, none lost at most 1 % twice");
    }

    #[test]
    fn a_rate_that_is_not_carried_again_gives_way_to_the_next_lower_one() {
        let mut search = Search { carried: vec![5.0, 9.0], lost: 9.2 };
        assert_eq!((search.next(), search.best()), (None, Some(9.0)));
        search.refute();
        assert_eq!(search, Search { carried: vec![5.0], lost: 9.0 });
        assert!(search.next().is_some_and(|rate| rate > 5.0 && rate < 9.0));
    }

    /// What a queue took in was sent, and has not come.
    #[test]
    fn the_rate_is_what_the_receiver_had_and_not_what_was_sent() {
        let client = include_str!("fixtures/iperf3-udp-sent.json").to_owned();
        let full = include_str!("fixtures/iperf3-udp-server.txt");
        let trial = |server: &str| {
            let client = Client { report: client.clone(), complaints: String::new() };
            seen(&Said { client, server: server.to_owned() }, 1.0..4.0)
        };
        let all = trial(full).unwrap();
        assert!((all.sent_mbit - 2.6).abs() < 0.01 && all.loss_percent == 0.0);
        assert!((all.received_mbit - 886.0 / 3.0 * 8800.0 / 1e6).abs() < 1e-9);
        let queued = trial(&full.replace("/295", "/200").replace("/296", "/200")).unwrap();
        assert!((queued.received_mbit - 200.0 * 8800.0 / 1e6).abs() < 1e-9);
        assert!(trial("").is_err());
    }
}
