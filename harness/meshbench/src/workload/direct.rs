//! How long an overlay takes to leave its relay.

use std::time::Duration;

use meshbench_protocol::{Condition, Request};
use tokio::time::{Instant, sleep};

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::command;
use super::{Setting, WorkloadError};
use crate::machine::{MachineError, PROMPT};
use crate::results::{Better, OverlayPath, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "direct",
    summary: "time from before the daemon's restart until its path is direct by its own word, and answers",
    question: Question::Connectivity,
    // The daemon is restarted, so that what was found before does not count.
    phase: Phase::Destructive,
    members: 2,
    software: Software::NONE,
    seconds: Seconds::always(20.0),
    metrics: &[TIME],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const TIME: Measure = Measure::new(
    "time",
    Unit::Milliseconds,
    Better::Lower,
    "from before its daemon is stopped to be started again: the VPN's own word, asked every quarter of a second once it \
     is ready, and an answer to an echo request sent after that word; a path that is not direct within a minute fails \
     where the scenario expects one",
);

/// How long it may take once its daemon is ready, and how long the answer after that.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let Setting { deployment, from, target, .. } = setting;
    if deployment.path(from, *target).await?.is_none() {
        return Err(WorkloadError::Unsupported("the VPN has no means to tell its path".into()));
    }
    let begun = Instant::now();
    deployment.restart(from).await?;
    // Many look for a better path only while there is something to carry.
    let address = target.to_string();
    let traffic = ["ping", "-n", "-q", "-i", "0.05", "-w", "120", &address];
    let traffic = from.machine.start(&Request::Exec(command(&traffic))).await?;
    let found = until_direct(setting).await.map(|()| begun.elapsed());
    let _ = traffic.cancel().await;
    let _ = traffic.wait(PROMPT).await;
    Ok(vec![TIME.is(found?.as_secs_f64() * 1e3)].into())
}

/// Waits for the VPN's word and then for an answer: some say no other word, whether there is a path or not.
async fn until_direct(setting: &Setting<'_>) -> Result<(), WorkloadError> {
    let Setting { deployment, from, target, .. } = setting;
    let (ready, mut last) = (Instant::now(), OverlayPath::Unknown);
    while ready.elapsed() < PATIENCE {
        last = deployment.path(from, *target).await?.unwrap_or(last);
        if last == OverlayPath::Direct {
            return answered(setting).await;
        }
        sleep(INTERVAL).await;
    }
    Err(not_direct(&from.net.name, last, setting.expects_direct))
}

async fn answered(setting: &Setting<'_>) -> Result<(), WorkloadError> {
    let machine = &setting.from.machine;
    match machine.wait(Condition::Reachable(setting.target), PATIENCE).await {
        Ok(_) => Ok(()),
        Err(MachineError::Silent { silence, .. }) => Err(WorkloadError::Unreached {
            machine: machine.name().to_owned(),
            reason: format!(
                "its path is direct as the VPN tells, and nothing is answered: {silence}"
            ),
        }),
        Err(error) => Err(error.into()),
    }
}

/// A detour where the way is open is a failure: left out, it would make the median of those who found it better.
fn not_direct(machine: &str, last: OverlayPath, expected: bool) -> WorkloadError {
    let said = format!("its path is {} for {} s", last.word(), PATIENCE.as_secs());
    if expected {
        let reason = format!("{said}, and the scenario expects a direct one");
        return WorkloadError::Tool { machine: machine.to_owned(), reason };
    }
    WorkloadError::Unsupported(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detour_fails_only_where_a_direct_path_is_expected() {
        let expected = not_direct("alice", OverlayPath::Relayed, true);
        let reason = "alice: its path is relayed for 60 s, and the scenario expects a direct one";
        assert!(matches!(expected, WorkloadError::Tool { .. }), "{expected:?}");
        assert_eq!(expected.to_string(), reason);
        let allowed = not_direct("alice", OverlayPath::Relayed, false);
        assert!(matches!(allowed, WorkloadError::Unsupported(_)), "{allowed:?}");
        assert_eq!(allowed.to_string(), "its path is relayed for 60 s");
    }
}
