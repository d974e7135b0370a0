//! The goodput of one TCP stream, to the target and then from it.

use super::iperf3::{self, Tcp};
use super::tool::metric;
use super::{Route, WorkloadError};
use crate::results::{Better, Metric, Unit};

pub(super) const SUMMARY: &str = "goodput of one TCP stream in each direction (iperf3)";

/// What is sent in the first second, while the stream is still growing, is left out.
const OMIT: &str = "1";

pub(super) fn seconds(quick: bool) -> f64 {
    2.0 * iperf3::seconds(quick)
}

pub(super) async fn run(route: &Route<'_>) -> Result<Vec<Metric>, WorkloadError> {
    let mut metrics = Vec::new();
    for (direction, flag) in [("forward", None), ("reverse", Some("-R"))] {
        let seconds = iperf3::stream_seconds(route.quick).to_string();
        let options: Vec<&str> = ["-t", &seconds, "-O", OMIT].into_iter().chain(flag).collect();
        let seen = iperf3::run(route, &options, iperf3::parse_tcp).await?;
        metrics.extend(measured(direction, seen));
    }
    Ok(metrics)
}

fn measured(direction: &str, seen: Tcp) -> Vec<Metric> {
    let name = format!("goodput-{direction}");
    let goodput = metric(
        &name,
        Unit::BitsPerSecond,
        Better::Higher,
        seen.goodput_bits_per_second,
        seen.intervals_bits_per_second,
    );
    let name = format!("retransmits-{direction}");
    let again = |count| metric(&name, Unit::Count, Better::Lower, count as f64, Vec::new());
    std::iter::once(goodput).chain(seen.retransmits.map(again)).collect()
}
