//! What an overlay costs when nobody uses it: a laptop's battery, a phone's volume. And whether it is still there when
//! somebody does.

use std::net::IpAddr;
use std::time::Duration;

use meshbench_protocol::{Connect, Exec};
use tokio::time::sleep;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::echo_headers;
use super::{Setting, WorkloadError};
use crate::cluster::Member;
use crate::module::usage::Usage;
use crate::results::{Better, Metric, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "idle",
    summary: "what one member costs while nothing is sent, and how soon the first packet after that is answered",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: 510.0, quick: 270.0 },
    metrics: &[BYTES, PACKETS, CPU, WAKEUPS, WRITTEN, MEMORY, FIRST, FIRST_BACK],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const BYTES: Measure = Measure::new(
    "bytes",
    Unit::Bytes,
    Better::Lower,
    "the initiator's network card: bytes both ways in a minute",
);
const PACKETS: Measure = Measure::new(
    "packets",
    Unit::PerMinute,
    Better::Lower,
    "the initiator's network card: packets both ways in a minute",
)
.optional();
const CPU: Measure = Measure::new(
    "daemon-cpu",
    Unit::Milliseconds,
    Better::Lower,
    "control group of the VPN's unit: processor time in a minute",
)
.optional();
const WAKEUPS: Measure = Measure::new(
    "wakeups",
    Unit::PerMinute,
    Better::Lower,
    "voluntary context switches of the unit's threads in a minute",
)
.optional();
const WRITTEN: Measure = Measure::new(
    "written",
    Unit::Bytes,
    Better::Lower,
    "/proc/PID/io: bytes that the unit's processes had written to storage in a minute; not told in \
     virtual time, where what a member writes stays in memory, which no counter tells from the rest",
)
.optional();
const MEMORY: Measure = Measure::new(
    "memory",
    Unit::Bytes,
    Better::Lower,
    "proportional set size (PSS) of the unit's processes",
)
.optional();

const FIRST: Measure = Measure::new(
    "first-answer",
    Unit::Milliseconds,
    Better::Lower,
    "ten echo requests a second from the initiator after a pause: time until one is answered, the longest; \
     each sample a pause",
);
const FIRST_BACK: Measure = Measure::new(
    "first-answer-back",
    Unit::Milliseconds,
    Better::Lower,
    "the same from the target",
);

/// How long costs are counted.
const COUNTED: Seconds = Seconds { full: 300.0, quick: 60.0 };

/// Pauses after which somebody writes. What keeps a mapping alive comes at moments of its own, and before the next one
/// the mapping is oldest: 48 s are just before the second packet of who sends one every 25 s, and 57 s before that of
/// WireGuard, which puts off its first by the keepalive that answers data after 10 s.
const PAUSES: [Duration; 2] = [Duration::from_secs(57), Duration::from_secs(48)];

/// Between two packets of who writes first.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long the first answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let seconds = COUNTED.of(setting.quick);
    let machine = &setting.from.machine;
    let before = Usage::of(machine).await?;
    sleep(Duration::from_secs_f64(seconds)).await;
    let after = Usage::of(machine).await?;
    let mut metrics = measured(&before, &after, seconds / 60.0);
    if metrics.iter().all(|metric| metric.name != BYTES.name) {
        return Err(WorkloadError::tool(machine, "its card's counters cannot be read"));
    }
    metrics.extend(after_pauses(setting).await?);
    let answers = 1 + 2 * PAUSES.len() as u32;
    Ok(Yield::from(metrics).through(f64::from(2 * answers * echo_headers(setting.target))))
}

/// Who writes first after a pause is answered by whoever the gateways still know. From either side, since a gateway
/// forgets those outside and not those within. It is asked after a pause.
async fn after_pauses(setting: &Setting<'_>) -> Result<[Metric; 2], WorkloadError> {
    let Setting { deployment, from, to, target, .. } = *setting;
    let back = deployment.address_like(to, from, target).await?;
    let (mut forth_ms, mut back_ms) = (vec![first_answer(from, target).await?], Vec::new());
    for pause in PAUSES {
        sleep(pause).await;
        back_ms.push(first_answer(to, back).await?);
        sleep(pause).await;
        forth_ms.push(first_answer(from, target).await?);
    }
    let longest = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    Ok([FIRST.of(longest(&forth_ms), forth_ms), FIRST_BACK.of(longest(&back_ms), back_ms)])
}

/// Milliseconds until one of the packets that are sent from now on is answered.
async fn first_answer(from: &Member, target: IpAddr) -> Result<f64, WorkloadError> {
    let probe = Connect {
        start: Exec::default(),
        target,
        interval_ms: INTERVAL.as_millis() as u64,
        deadline_ms: PATIENCE.as_millis() as u64,
    };
    let (after, _) = from.machine.connect(probe).await?;
    Ok(after.as_secs_f64() * 1e3)
}

fn measured(before: &Usage, after: &Usage, minutes: f64) -> Vec<Metric> {
    let moved = |of: fn(&Usage) -> Option<f64>| Some(of(after)? - of(before)?);
    let told = [
        (BYTES, moved(|usage| usage.bytes)),
        (PACKETS, moved(|usage| usage.packets)),
        (CPU, moved(|usage| usage.unit_us).map(|us| us / 1e3)),
        (WAKEUPS, moved(|usage| usage.wakeups)),
        (WRITTEN, moved(|usage| usage.written)),
        (MEMORY, after.pss.map(|bytes| bytes * minutes)),
    ];
    // A process that ended took its counters along: what went backwards is not known.
    let sound = |(measure, value): (Measure, Option<f64>)| {
        value.filter(|value| *value >= 0.0).map(|value| measure.is(value / minutes))
    };
    told.into_iter().filter_map(sound).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_a_minute() {
        let before = Usage {
            unit_us: Some(1000.0),
            bytes: Some(100.0),
            packets: Some(2.0),
            wakeups: Some(12.0),
            ..Usage::default()
        };
        let after = Usage {
            unit_us: Some(11000.0),
            bytes: Some(700.0),
            packets: Some(12.0),
            wakeups: Some(30.0),
            written: Some(4096.0),
            pss: Some(128.0),
            ..before
        };
        let told = measured(&before, &after, 2.0);
        let value = |name| told.iter().find(|metric| metric.name == name).map(|m| m.value);
        assert_eq!(value("bytes"), Some(300.0));
        assert_eq!(value("packets"), Some(5.0));
        assert_eq!(value("daemon-cpu"), Some(5.0));
        assert_eq!(value("wakeups"), Some(9.0));
        assert_eq!(value("written"), None, "there was nothing to compare with");
        assert_eq!(value("memory"), Some(128.0));
    }
}
