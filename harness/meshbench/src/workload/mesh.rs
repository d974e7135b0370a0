//! All members at once, each to each: what remains when a mesh is used as one.

use futures_util::future::try_join_all;

use super::iperf3;
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError};
use crate::cluster::Member;
use crate::results::{Better, Unit};
use crate::stats;

pub(super) const SPEC: Spec = Spec {
    name: "mesh",
    summary: "TCP from every member to every other at once: the sum, the worst pair, fairness (iperf3)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 3,
    software: Software::NONE,
    seconds: Seconds { full: 13.0, quick: 6.0 },
    metrics: &[SUM, WORST, FAIRNESS],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const SUM: Measure = Measure::new(
    "goodput",
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
    let members: Vec<&Member> = setting.deployment.addressed().await?;
    if members.len() < SPEC.members {
        let (needed, there) = (SPEC.members, members.len());
        let reason =
            format!("needs {needed} members with an address on the overlay; here are {there}");
        return Err(WorkloadError::Unsupported(reason));
    }
    let addresses = setting.deployment.addresses_like(&members, setting.target).await?;
    let reached = || members.iter().copied().zip(addresses.iter().copied());
    let pairs = members.iter().flat_map(|from| reached().map(move |to| (*from, to)));
    let pairs: Vec<_> = pairs.filter(|(from, (to, _))| from.net.name != to.net.name).collect();
    let tests = pairs.iter().zip(FIRST_PORT..).map(|((from, (to, target)), port)| async move {
        let pair = Setting { from, to, target: *target, ..*setting };
        let (seconds, port) = (iperf3::stream_seconds(setting.quick), port.to_string());
        iperf3::run_at(&pair, &port, seconds, &["-O", "1"], iperf3::parse_tcp).await
    });
    let seen = try_join_all(tests).await?;
    let payload = seen.iter().map(|test| test.payload_bytes).sum();
    let rates: Vec<f64> = seen.iter().map(|test| test.goodput_bits_per_second).collect();
    let worst = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let sum = rates.iter().sum();
    let fairness = stats::fairness(&rates);
    let metrics = vec![SUM.of(sum, rates), WORST.is(worst), FAIRNESS.is(fairness)];
    let own = |name: &str| name == setting.from.net.name;
    let through = pairs
        .iter()
        .zip(&seen)
        .filter(|((from, (to, _)), _)| own(&from.net.name) || own(&to.net.name));
    let through: f64 = through.map(|(_, test)| test.goodput_bits_per_second).sum();
    let told = Yield { payload_bytes: payload, ..Yield::from(metrics) };
    Ok(told.through(iperf3::bytes_received(through, setting.quick)))
}
