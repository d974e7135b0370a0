//! What a mesh costs as it grows.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError, traffic};
use crate::cluster::Member;
use crate::fabric::Role;
use crate::machine::Running;
use crate::module::usage::Usage;
use crate::results::{Better, Metric, Unit, names};
use crate::stats;

pub(super) const SPEC: Spec = Spec {
    name: "many-peers",
    summary: "time until all pairs talk, and what each member's daemon costs when nobody does",
    question: Question::Overhead,
    phase: Phase::Destructive,
    members: 3,
    software: Software::NONE,
    seconds: Seconds { full: 180.0, quick: 90.0 },
    metrics: &[MEMBERS, ALL, HALF, PAIRS, BYTES, PACKETS, CPU, MEMORY, LEAVING],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const MEMBERS: Measure = Measure::new(
    names::MEMBERS,
    Unit::Count,
    Better::Neutral,
    "peers whose daemons were started at once",
);
const FIRST: &str = "the agents: each asks every other four times a second until it answers, since all daemons were started at once";
const ALL: Measure =
    Measure::new("all-pairs", Unit::Milliseconds, Better::Lower, FIRST).unreached();
const HALF: Measure =
    Measure::new("half-of-pairs", Unit::Milliseconds, Better::Lower, FIRST).unreached();
const PAIRS: Measure = Measure::new(
    "pairs",
    Unit::Percent,
    Better::Higher,
    "the agents: of all pairs in both directions, those that talked in time",
);
const EACH: &str = "mean of all members in a minute in which nobody sends anything";
const BYTES: Measure = Measure::new("idle-bytes", Unit::Bytes, Better::Lower, EACH).optional();
const PACKETS: Measure =
    Measure::new("idle-packets", Unit::PerMinute, Better::Lower, EACH).optional();
const CPU: Measure = Measure::new("daemon-cpu", Unit::Milliseconds, Better::Lower, EACH).optional();
const MEMORY: Measure = Measure::new(
    "memory",
    Unit::Bytes,
    Better::Lower,
    "mean proportional set size (PSS) of all members' daemons",
)
.optional();
const LEAVING: Measure = Measure::new(
    "bytes-of-a-leave",
    Unit::Bytes,
    Better::Lower,
    "mean of the other members while one leaves and joins again, about a minute (30 s in quick \
     runs), less what they send in as long when idle; 0 where that is more",
)
.optional();

const PORT: u16 = 7003;

/// How long all pairs may take to talk, in seconds.
const PATIENCE_S: f64 = 120.0;

/// Between leaving and joining again.
const AWAY: Duration = Duration::from_secs(10);

/// What one member tells.
#[derive(Debug, Deserialize)]
struct Reached {
    asked: usize,
    answered_ms: BTreeMap<String, f64>,
}

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let deployment = setting.deployment;
    let peers: Vec<&Member> =
        deployment.participants().filter(|member| member.net.role == Role::Peer).collect();
    let addresses = deployment.addresses_like(&peers, setting.target).await?;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    try_join_all(peers.iter().map(|peer| deployment.stop(peer))).await?;
    let mut asking = try_join_all(peers.iter().enumerate().map(|(index, peer)| {
        let others = addresses.iter().enumerate().filter(move |(at, _)| *at != index);
        ask(peer, others.map(|(_, address)| address.as_str()).collect())
    }))
    .await?;
    let begun = Instant::now();
    let started = try_join_all(peers.iter().map(|peer| deployment.start(peer)));
    let told = join_all(peers.iter().zip(&mut asking).map(|(peer, asking)| async {
        let reached = told(peer, &mut asking.program).await?;
        Ok::<_, WorkloadError>(reached.since(begun - asking.since))
    }));
    let (started, told) = tokio::join!(started, told);
    for asking in asking {
        traffic::end(asking.program).await;
    }
    started?;
    let told = told.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut metrics = vec![MEMBERS.is(peers.len() as f64)];
    metrics.extend(spread(&told));
    let minutes = if setting.quick { 0.5 } else { 1.0 };
    let idle = used(&peers, async {
        sleep(Duration::from_secs_f64(60.0 * minutes)).await;
        Ok(())
    });
    let idle = idle.await?.a_minute();
    let told = [
        (BYTES, idle.bytes),
        (PACKETS, idle.packets),
        (CPU, idle.unit_us.map(|us| us / 1e3)),
        (MEMORY, idle.pss),
    ];
    metrics.extend(told.into_iter().filter_map(|(measure, value)| Some(measure.is(value?))));
    let leaver = peers.last().copied().unwrap_or(setting.to);
    let leaving = async {
        deployment.stop(leaver).await?;
        sleep(AWAY).await;
        deployment.start(leaver).await?;
        sleep(Duration::from_secs_f64(60.0 * minutes) - AWAY).await;
        Ok::<_, WorkloadError>(())
    };
    let others = &peers[..peers.len() - 1];
    let disturbed = used(others, leaving).await?;
    metrics.extend(of_a_leave(&disturbed, &idle).map(|bytes| LEAVING.is(bytes)));
    Ok(metrics.into())
}

/// A member that asks the others, and since when it counts.
struct Asking {
    program: Running,
    since: Instant,
}

async fn ask(peer: &Member, others: Vec<&str>) -> Result<Asking, WorkloadError> {
    let (port, patience) = (PORT.to_string(), PATIENCE_S.to_string());
    let words: Vec<&str> = ["reach", &port, &patience].into_iter().chain(others).collect();
    let program = traffic::serve(peer, &words).await?;
    Ok(Asking { program, since: Instant::now() })
}

impl Reached {
    /// The same, counted from so much later on.
    fn since(mut self, later: Duration) -> Self {
        let later_ms = later.as_secs_f64() * 1e3;
        self.answered_ms.values_mut().for_each(|ms| *ms = (*ms - later_ms).max(0.0));
        self
    }
}

async fn told(peer: &Member, asking: &mut Running) -> Result<Reached, WorkloadError> {
    let patience = Duration::from_secs_f64(2.0 * PATIENCE_S);
    let line = asking.until_line("answered_ms", patience).await?;
    traffic::told(peer, &line)
}

/// When half of the pairs talked, and all.
fn spread(told: &[Reached]) -> Vec<Metric> {
    let asked: usize = told.iter().map(|member| member.asked).sum();
    let mut times: Vec<f64> =
        told.iter().flat_map(|member| member.answered_ms.values().copied()).collect();
    times.sort_by(f64::total_cmp);
    let share = 100.0 * times.len() as f64 / asked.max(1) as f64;
    let mut metrics = vec![PAIRS.is(share)];
    if 2 * times.len() >= asked {
        metrics.extend(times.get((asked.max(1) - 1) / 2).map(|ms| HALF.is(*ms)));
    }
    if times.len() == asked {
        metrics.extend(times.last().copied().map(|ms| ALL.of(ms, times)));
    }
    metrics
}

/// What members used in the mean while something went on, and for how long.
#[derive(Debug)]
struct Used {
    usage: Usage,
    minutes: f64,
}

impl Used {
    /// A minute's share of all but memory, which is held at any moment.
    fn a_minute(&self) -> Usage {
        let share = |all: Option<f64>| all.map(|all| all / self.minutes);
        let Usage { bytes, packets, unit_us, .. } = self.usage;
        let (bytes, packets, unit_us) = (share(bytes), share(packets), share(unit_us));
        Usage { bytes, packets, unit_us, ..self.usage }
    }
}

/// Bytes that a member's leaving and joining has cost each of the others once: more than they send in as long when idle.
/// Less is none, and counts as that: left out, only what cost something would be in a median.
fn of_a_leave(disturbed: &Used, idle: &Usage) -> Option<f64> {
    let more = disturbed.usage.bytes? - idle.bytes? * disturbed.minutes;
    Some(more.max(0.0))
}

async fn used(
    members: &[&Member],
    meanwhile: impl Future<Output = Result<(), WorkloadError>>,
) -> Result<Used, WorkloadError> {
    let read = || try_join_all(members.iter().map(|member| Usage::of(&member.machine)));
    let (before, begun) = (read().await?, Instant::now());
    meanwhile.await?;
    let (minutes, after) = (begun.elapsed().as_secs_f64() / 60.0, read().await?);
    let mean = |of: fn(&Usage) -> Option<f64>| {
        let moved = before.iter().zip(&after).map(|(then, now)| Some(of(now)? - of(then)?));
        let moved: Vec<f64> = moved.collect::<Option<_>>()?;
        // A daemon that was started anew counts from nothing again.
        stats::mean(&moved).filter(|mean| *mean >= 0.0)
    };
    let held: Option<Vec<f64>> = after.iter().map(|usage| usage.pss).collect();
    let usage = Usage {
        bytes: mean(|usage| usage.bytes),
        packets: mean(|usage| usage.packets),
        unit_us: mean(|usage| usage.unit_us),
        pss: held.and_then(|bytes| stats::mean(&bytes)),
        ..Usage::default()
    };
    Ok(Used { usage, minutes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(asked: usize, answered: &[f64]) -> Reached {
        let answered = answered.iter().enumerate();
        let answered_ms = answered.map(|(at, ms)| (at.to_string(), *ms)).collect();
        Reached { asked, answered_ms }
    }

    fn value(metrics: &[Metric], name: &str) -> Option<f64> {
        metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    }

    #[test]
    fn half_and_all_of_the_pairs_have_their_time() {
        let told = spread(&[member(2, &[10.0, 40.0]), member(2, &[20.0, 30.0])]);
        assert_eq!(value(&told, "half-of-pairs"), Some(20.0));
        assert_eq!(value(&told, "all-pairs"), Some(40.0));
        assert_eq!(value(&told, "pairs"), Some(100.0));
    }

    #[test]
    fn who_had_to_wait_for_the_daemons_start_did_not_need_that_time() {
        let told = member(1, &[900.0]).since(Duration::from_millis(650));
        assert_eq!(value(&spread(&[told]), "all-pairs"), Some(250.0));
    }

    #[test]
    fn a_pair_that_never_talked_is_no_time() {
        let told = spread(&[member(2, &[10.0]), member(2, &[20.0, 30.0])]);
        assert_eq!(value(&told, "half-of-pairs"), Some(20.0));
        assert_eq!(value(&told, "all-pairs"), None);
        assert_eq!(value(&told, "pairs"), Some(75.0));
    }

    #[test]
    fn a_leave_costs_the_same_in_half_a_minute_as_in_a_whole_one() {
        let idle = Usage { bytes: Some(600.0), ..Usage::default() };
        let disturbed = |bytes, minutes| {
            let usage = Usage { bytes: Some(bytes), pss: Some(7.0), ..Usage::default() };
            Used { usage, minutes }
        };
        assert_eq!(of_a_leave(&disturbed(300.0 + 5000.0, 0.5), &idle), Some(5000.0));
        assert_eq!(of_a_leave(&disturbed(600.0 + 5000.0, 1.0), &idle), Some(5000.0));
        assert_eq!(of_a_leave(&disturbed(599.0, 1.0), &idle), Some(0.0), "less is none");
        let a_minute = disturbed(300.0, 0.5).a_minute();
        assert_eq!((a_minute.bytes, a_minute.pss), (Some(600.0), Some(7.0)));
    }
}
