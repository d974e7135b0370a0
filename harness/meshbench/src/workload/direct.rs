//! How long an overlay takes to leave its relay.

use std::time::Duration;

use meshbench_protocol::Request;
use tokio::time::{Instant, sleep};

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::command;
use super::{Setting, WorkloadError};
use crate::machine::PROMPT;
use crate::results::{Better, OverlayPath, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "direct",
    summary: "time from the daemon's restart until the VPN says that its path is direct, with traffic on it",
    question: Question::Connectivity,
    // The daemon is restarted, so that what was found before does not count.
    phase: Phase::Destructive,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: 20.0, quick: 20.0 },
    metrics: &[TIME],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const TIME: Measure = Measure::new(
    "time",
    Unit::Milliseconds,
    Better::Lower,
    "the VPN's own word, asked every quarter of a second since its daemon was ready again",
);

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let Setting { deployment, from, target, .. } = setting;
    if deployment.path(from, *target).await?.is_none() {
        return Err(WorkloadError::Unsupported("the VPN has no means to tell its path".into()));
    }
    deployment.restart(from).await?;
    let begun = Instant::now();
    let target = target.to_string();
    // Many look for a better path only while there is something to carry.
    let traffic = ["ping", "-n", "-q", "-i", "0.05", "-w", "60", &target];
    let traffic = from.machine.start(&Request::Exec(command(&traffic))).await?;
    let found = until_direct(setting, begun).await;
    let _ = traffic.cancel().await;
    let _ = traffic.wait(PROMPT).await;
    Ok(vec![TIME.is(found?.as_secs_f64() * 1e3)].into())
}

async fn until_direct(setting: &Setting<'_>, begun: Instant) -> Result<Duration, WorkloadError> {
    let mut last = OverlayPath::Unknown;
    while begun.elapsed() < PATIENCE {
        last = setting.deployment.path(setting.from, setting.target).await?.unwrap_or(last);
        if last == OverlayPath::Direct {
            return Ok(begun.elapsed());
        }
        sleep(INTERVAL).await;
    }
    let seconds = PATIENCE.as_secs();
    Err(WorkloadError::Unsupported(format!("its path is {} for {seconds} s", last.word())))
}
