//! How long it takes until an overlay can be used.

use std::time::Duration;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use crate::results::{Better, Metric, Unit, names};

pub(super) const SPEC: Spec = Spec {
    name: names::CONNECT,
    summary: "time from the daemon's start to the first answered overlay packet",
    question: Question::Connectivity,
    phase: Phase::Connecting,
    members: 2,
    software: Software::NONE,
    seconds: Seconds::always(0.0),
    metrics: &[TIME],
    run: Run::BuiltIn(|setting, _| {
        Box::pin(async { Ok(Yield::from(vec![metric(setting.connected)])) })
    }),
};

const TIME: Measure = Measure::new(
    names::CONNECT_TIME,
    Unit::Milliseconds,
    Better::Lower,
    "the initiator's agent, by the machine's monotonic clock",
);

/// The time from the daemon's start to the first answer.
pub fn metric(after: Duration) -> Metric {
    TIME.is(after.as_secs_f64() * 1e3)
}
