//! Datagrams at a rate well below the bottleneck: what is lost is lost by the way, not by a queue.

use super::iperf3::{self, Udp};
use super::tool::metric;
use super::{Route, WorkloadError};
use crate::results::{Better, Metric, Unit};

pub(super) const SUMMARY: &str = "loss and jitter of datagrams at a fixed rate (iperf3)";

/// Datagrams are paced at this rate where the link allows it, in Mbit/s.
const RATE_MBIT: f64 = 5.0;

/// Datagrams' payload in bytes: fits into every overlay without being fragmented.
const PAYLOAD: &str = "1100";

pub(super) fn seconds(quick: bool) -> f64 {
    iperf3::seconds(quick)
}

pub(super) async fn run(route: &Route<'_>) -> Result<Vec<Metric>, WorkloadError> {
    let rate = format!("{:.3}M", rate_mbit(route.bottleneck_mbit));
    let seconds = iperf3::stream_seconds(route.quick).to_string();
    let options = ["-u", "-b", &rate, "-l", PAYLOAD, "-t", &seconds];
    Ok(measured(iperf3::run(route, &options, iperf3::parse_udp).await?))
}

fn rate_mbit(bottleneck_mbit: Option<f64>) -> f64 {
    bottleneck_mbit.map_or(RATE_MBIT, |mbit| RATE_MBIT.min(mbit / 2.0))
}

fn measured(seen: Udp) -> Vec<Metric> {
    let loss = metric("loss", Unit::Percent, Better::Lower, seen.loss_percent(), Vec::new());
    let received = metric(
        "received",
        Unit::BitsPerSecond,
        Better::Higher,
        seen.received_bits_per_second,
        seen.intervals_bits_per_second,
    );
    let jitter = |jitter| metric("jitter", Unit::Milliseconds, Better::Lower, jitter, Vec::new());
    [loss, received].into_iter().chain(seen.jitter_ms.map(jitter)).collect()
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
