//! All peers at once, each to each: what remains when a mesh is used as one.

use super::iperf3::{self, Tcp};
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError};
use crate::cluster::Member;
use crate::fabric::Role;
use crate::results::{Better, Unit, names};
use crate::stats;

pub(super) const SPEC: Spec = Spec {
    name: "mesh",
    summary: "TCP from every peer to every other at once: the sum, the worst pair, fairness (iperf3)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 3,
    software: Software::NONE,
    seconds: Seconds { full: 13.0, quick: 6.0 },
    metrics: &[SUM, WORST, FAIRNESS],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const SUM: Measure = Measure::new(
    names::GOODPUT,
    Unit::BitsPerSecond,
    Better::Higher,
    "iperf3: sum of what all pairs received; each sample a pair",
);
const WORST: Measure =
    Measure::new("goodput-worst", Unit::BitsPerSecond, Better::Higher, "iperf3: the slowest pair");
const FAIRNESS: Measure = Measure::new(
    "fairness",
    Unit::Ratio,
    Better::Higher,
    "Jain's index over all pairs (Jain, Chiu and Hawe 1984): 1 if all have the same",
);

/// The first port; a test has a port of its own, since an iperf3 server serves one at a time.
const FIRST_PORT: u16 = 5300;

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    // Peers only, as on the wire: some hubs have an address and some have none, and their pairs would be others.
    let peers = setting.deployment.participants().filter(|member| member.net.role == Role::Peer);
    let peers: Vec<&Member> = peers.collect();
    let addresses = setting.deployment.addresses_like(&peers, setting.target).await?;
    let reached = || peers.iter().copied().zip(addresses.iter().copied());
    let pairs = peers.iter().flat_map(|from| reached().map(move |to| (*from, to)));
    let pairs: Vec<_> = pairs.filter(|(from, (to, _))| from.net.name != to.net.name).collect();
    let tests = pairs.iter().zip(FIRST_PORT..).map(|((from, (to, target)), port)| {
        (Setting { from, to, target: *target, ..*setting }, port.to_string())
    });
    let (tests, seconds) = (tests.collect::<Vec<_>>(), iperf3::stream_seconds(setting.quick));
    let seen = iperf3::run_at_once(&tests, seconds, &["-O", "1"], iperf3::parse_tcp).await?;
    let own = setting.from.net.name.as_str();
    let is_own = pairs.iter().map(|(from, (to, _))| from.net.name == own || to.net.name == own);
    Ok(measured(&seen, is_own, setting.quick))
}

/// Figures of all pairs. The payload, and what must have passed the overlay, is that of the pairs that the initiator is
/// one of, since the bytes on the wire by which it is divided are those of its card.
fn measured(seen: &[Tcp], is_own: impl Iterator<Item = bool>, quick: bool) -> Yield {
    let rates: Vec<f64> = seen.iter().map(|test| test.goodput_bits_per_second).collect();
    let worst = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let sum = rates.iter().sum();
    let fairness = stats::fairness(&rates);
    let metrics = vec![SUM.of(sum, rates), WORST.is(worst), FAIRNESS.is(fairness)];
    let own: Vec<&Tcp> = seen.iter().zip(is_own).filter(|(_, own)| *own).map(|it| it.0).collect();
    let payload_bytes = own.iter().map(|test| test.payload_bytes).sum();
    let through: f64 = own.iter().map(|test| test.goodput_bits_per_second).sum();
    let told = Yield { payload_bytes, ..Yield::from(metrics) };
    told.through(iperf3::bytes_received(through, quick))
}

#[cfg(test)]
mod tests {
    use super::super::spec::Through;
    use super::*;

    #[test]
    fn payload_is_what_passed_the_initiators_own_card() {
        let test = |bytes| Tcp {
            goodput_bits_per_second: 8.0 * bytes,
            retransmits: None,
            intervals_bits_per_second: Vec::new(),
            payload_bytes: Some(bytes),
        };
        let told =
            measured(&[test(1.0), test(2.0), test(4.0)], [true, false, true].into_iter(), true);
        assert_eq!(told.metrics[0].value, 8.0 * 7.0, "the sum is of all");
        assert_eq!(told.payload_bytes, Some(5.0));
        assert_eq!(told.through, Through::AtLeast(5.0 * iperf3::stream_seconds(true)));
    }
}
