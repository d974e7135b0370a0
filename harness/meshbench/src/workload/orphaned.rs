//! What works while the coordinator is dead.

use std::time::Duration;

use futures_util::future::try_join_all;
use meshbench_protocol::Condition;

use super::ping;
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::command;
use super::{Setting, WorkloadError};
use crate::cluster::Member;
use crate::fabric::Role;
use crate::machine::{MachineError, PROMPT};
use crate::module::drive::Counted;
use crate::results::{Better, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "orphaned",
    summary: "with a dead coordinator: whether tunnels live on, a member that restarts comes back, a new one can join",
    question: Question::Reliability,
    phase: Phase::Destructive,
    members: 2,
    software: Software::NONE,
    seconds: Seconds { full: 310.0, quick: 260.0 },
    metrics: &[LOSS, CAME_BACK, BACK_AFTER, JOINED, RECOVERED, RECOVERY],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const LOSS: Measure = Measure::new(
    "tunnel-loss",
    Unit::Percent,
    Better::Lower,
    "ping over a tunnel that answered just before, for a minute (20 s in quick runs) after the coordinator's daemon \
     stopped",
);
const CAME_BACK: Measure = Measure::new(
    "restart-works",
    Unit::Count,
    Better::Higher,
    "1 if a member whose daemon was restarted is reached again within a minute of its daemon's start, else 0",
);
const BACK_AFTER: Measure = Measure::new(
    "restart-time",
    Unit::Milliseconds,
    Better::Lower,
    "from its daemon's start until it is reached",
)
.unreached();
const JOINED: Measure = Measure::new(
    "join-works",
    Unit::Count,
    Better::Higher,
    "1 if a member with a new identity and no state is reached within a minute after its daemon \
     is ready, else 0; not told of a VPN in which that does not work with a coordinator either",
)
.optional();
const RECOVERED: Measure = Measure::new(
    "recovered",
    Unit::Count,
    Better::Higher,
    "1 if a member that was restarted meanwhile is reached within two minutes of the coordinator's start, else 0",
);
const RECOVERY: Measure = Measure::new(
    "recovery-time",
    Unit::Milliseconds,
    Better::Lower,
    "from the coordinator's start until that member is reached",
)
.unreached();

const MINUTE: Duration = Duration::from_secs(60);

/// Members may tell a coordinator only once a minute where they are, and are asked for only then.
const TWO_MINUTES: Duration = Duration::from_secs(120);

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let deployment = setting.deployment;
    let coordinators: Vec<&Member> =
        deployment.participants().filter(|member| member.net.role == Role::Coordinator).collect();
    if coordinators.is_empty() {
        return Err(WorkloadError::Unsupported("has no coordinator that could die".into()));
    }
    let stop = || try_join_all(coordinators.iter().map(|it| deployment.stop(it)));
    let start = || try_join_all(coordinators.iter().map(|it| deployment.start(it)));
    lives(setting).await?;
    stop().await?;
    let loss = loss(setting).await?;
    deployment.stop(setting.to).await?;
    // Whether it says that it is ready without a coordinator is its own affair: what counts is whether it is reached.
    let before = carried(setting).await;
    let (_, back) = tokio::join!(deployment.start(setting.to), reached(setting, before, MINUTE));
    let back = back?;
    let before = carried(setting).await;
    let (started, recovered) = tokio::join!(start(), reached(setting, before, TWO_MINUTES));
    started?;
    let recovered = recovered?;
    // Last, since who does not come in as somebody new is nobody any more.
    stop().await?;
    let joined = joins(setting).await?;
    start().await?;
    let can_join = joined || joins(setting).await?;
    let mut metrics = vec![
        LOSS.is(loss),
        CAME_BACK.is(f64::from(u8::from(back.is_some()))),
        RECOVERED.is(f64::from(u8::from(recovered.is_some()))),
    ];
    metrics.extend(back.map(|after| BACK_AFTER.is(after.as_secs_f64() * 1e3)));
    metrics.extend(recovered.map(|after| RECOVERY.is(after.as_secs_f64() * 1e3)));
    metrics.extend(can_join.then(|| JOINED.is(f64::from(u8::from(joined)))));
    // Who joined as somebody new may have another address: each step has proved its own packets.
    Ok(Yield::from(metrics).elsewhere())
}

/// Waits until the tunnel is there. What ran before may have restarted members, which learn of each other's new
/// addresses only a minute later: a tunnel that was down already would be blamed on the coordinator's death.
async fn lives(setting: &Setting<'_>) -> Result<(), WorkloadError> {
    let alive = reached(setting, carried(setting).await, TWO_MINUTES).await?;
    alive.map(drop).ok_or_else(|| WorkloadError::Unreached {
        machine: setting.from.net.name.clone(),
        reason: format!(
            "no answer over the tunnel within {} s, with the coordinator alive",
            TWO_MINUTES.as_secs()
        ),
    })
}

async fn loss(setting: &Setting<'_>) -> Result<f64, WorkloadError> {
    let machine = &setting.from.machine;
    let count = if setting.quick { "40" } else { "120" };
    let target = setting.target.to_string();
    let argv = ["ping", "-n", "-i", "0.5", "-W", "3", "-c", count, &target];
    let before = carried(setting).await;
    let output = machine.execute(command(&argv), None, PROMPT * 3).await?;
    let seen = ping::parse(&output.text());
    let seen = seen.map_err(|error| WorkloadError::tool(machine, error))?;
    // Of a tunnel that is gone nothing leads there, and nothing has answered.
    if seen.received > 0 {
        through(setting, before, ping::echoed(setting.target, &seen)).await?;
    }
    Ok(seen.loss_percent())
}

/// What the overlay's interface has carried so far. It takes a moment to ask, which belongs to no clock.
async fn carried(setting: &Setting<'_>) -> Counted {
    setting.deployment.carried(setting.from, setting.target).await
}

/// Refuses answers that did not come through the overlay.
async fn through(setting: &Setting<'_>, before: Counted, least: f64) -> Result<(), WorkloadError> {
    let Setting { deployment, from, target, .. } = *setting;
    let carried = deployment.check_carried((from, target), before, least).await;
    carried.map_err(|why| WorkloadError::tool(&from.machine, why))
}

/// Whether the answering member can join as somebody new, and is reached then.
async fn joins(setting: &Setting<'_>) -> Result<bool, WorkloadError> {
    // That it cannot be admitted or started is an answer.
    if setting.deployment.join_anew(setting.to).await.is_err() {
        return Ok(false);
    }
    let Setting { deployment, from, to, target, .. } = *setting;
    let Ok(target) = deployment.address_like(from, to, target).await else {
        return Ok(false);
    };
    let anew = Setting { target, ..*setting };
    Ok(reached(&anew, carried(&anew).await, MINUTE).await?.is_some())
}

/// How long it took from now on until the target answered, by the asking machine's clock; nothing if it did not.
async fn reached(
    setting: &Setting<'_>,
    before: Counted,
    patience: Duration,
) -> Result<Option<Duration>, WorkloadError> {
    let reachable = Condition::Reachable(setting.target);
    match setting.from.machine.wait(reachable, patience).await {
        Ok(after) => through(setting, before, 0.0).await.map(|()| Some(after)),
        Err(MachineError::Silent { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
