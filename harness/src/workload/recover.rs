//! How long an overlay is silent when the network changes under it.

use std::time::Duration;

use super::ping::Ping;

/// Seconds between two packets.
pub(super) const INTERVAL_S: f64 = 0.1;

/// How long an overlay is watched after the last event has happened.
pub(super) const WATCH: Duration = Duration::from_secs(30);

/// How long it may then take to come back: many send something once a minute to notice that nobody answers.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// An overlay that has answered none of the last packets has not come back; so many seconds of them.
pub(super) const END_S: f64 = 3.0;

/// A gap between two answers that is an outage, in seconds.
const OUTAGE_S: f64 = 1.0;

/// How an overlay took what happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recovery {
    /// The longest time between two successive answers, in milliseconds. Undisturbed, about that between
    /// two packets.
    pub(super) silence_ms: f64,
    /// Every time longer than a second, in milliseconds, in order.
    pub(super) outages_ms: Vec<f64>,
}

/// From packets that were sent on a clock.
///
/// # Errors
/// A sentence: nothing was answered, or nothing at the end.
pub(super) fn recovery(seen: &Ping) -> Result<Recovery, String> {
    let end = (END_S / INTERVAL_S) as u32;
    let last = seen.replies.iter().map(|reply| u32::from(reply.sequence)).max();
    let last = last.ok_or("no packet was answered")?;
    if last + end < seen.sent {
        let silent = f64::from(seen.sent - last) * INTERVAL_S;
        return Err(format!("it did not come back: silent for the last {silent:.0} s"));
    }
    let mut arrivals: Vec<f64> = seen.replies.iter().map(|reply| reply.at_seconds).collect();
    arrivals.sort_by(f64::total_cmp);
    let gaps: Vec<f64> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let silence = gaps.iter().copied().fold(0.0, f64::max);
    let outages = gaps.into_iter().filter(|gap| *gap > OUTAGE_S).map(|gap| gap * 1e3).collect();
    Ok(Recovery { silence_ms: silence * 1e3, outages_ms: outages })
}

#[cfg(test)]
mod tests {
    use super::super::ping::Reply;
    use super::*;

    /// Packets of which these were answered at once.
    fn seen(sent: u32, answered: impl Iterator<Item = u16>) -> Ping {
        let reply = |sequence| Reply {
            at_seconds: 1e9 + f64::from(sequence) * INTERVAL_S,
            sequence,
            rtt_ms: 1.0,
            duplicate: false,
        };
        let replies: Vec<Reply> = answered.map(reply).collect();
        Ping {
            sent,
            received: replies.len() as u32,
            duplicates: 0,
            replies,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn an_outage_lasts_from_the_last_answer_before_to_the_first_after() {
        let found = recovery(&seen(400, (1..=50).chain(80..=200).chain(203..=399))).unwrap();
        assert!((found.silence_ms - 3000.0).abs() < 1.0, "{found:?}");
        assert_eq!(found.outages_ms.len(), 1);
    }

    #[test]
    fn silence_to_the_end_is_no_recovery() {
        let error = recovery(&seen(400, 1..=300)).unwrap_err();
        assert_eq!(error, "it did not come back: silent for the last 10 s");
        assert!(recovery(&seen(400, 0..0)).is_err());
        assert!(recovery(&seen(400, 1..=380)).is_ok());
    }
}
