//! Whether somebody gets in who was not let in.

use std::time::Duration;

use meshbench_protocol::Condition;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError};
use crate::machine::MachineError;
use crate::module::drive::STRANGER;
use crate::module::lifecycle::UNIT;
use crate::results::{Better, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "stranger",
    summary: "whether a machine with the same software and no credentials reaches a member",
    question: Question::Security,
    phase: Phase::Destructive,
    members: 2,
    software: Software::NONE,
    seconds: Seconds::always(15.0),
    metrics: &[GOT_IN, DAEMON],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const GOT_IN: Measure = Measure::new(
    "got-in",
    Unit::Count,
    Better::Lower,
    "1 if the stranger had an answer from the member's overlay address, else 0",
);
const DAEMON: Measure = Measure::new(
    "daemon-runs",
    Unit::Count,
    Better::Neutral,
    "systemd: 1 if the stranger's daemon ran at the end of the siege",
);

/// For how long the stranger tries at least; twice the time that a member needed, if that is longer.
const SIEGE: Duration = Duration::from_secs(10);

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let Some(stranger) = setting.deployment.cluster().member(STRANGER) else {
        let reason = format!("the scenario has no machine `{STRANGER}`");
        return Err(WorkloadError::Unsupported(reason));
    };
    if !setting.deployment.module().spec.claims.encryption {
        return Err(WorkloadError::Unsupported("does not claim to keep anybody out".into()));
    }
    if !setting.deployment.intrude(STRANGER).await? {
        let reason = "the module has nothing that a stranger could run";
        return Err(WorkloadError::Unsupported(reason.into()));
    }
    let siege = SIEGE.max(2 * setting.connected);
    let got_in = match stranger.machine.wait(Condition::Reachable(setting.target), siege).await {
        Ok(_) => true,
        Err(MachineError::Agent { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let active = ["systemctl", "is-active", "--quiet", UNIT];
    let runs = stranger.machine.run(&active).await.is_ok();
    Ok(vec![GOT_IN.is(f64::from(u8::from(got_in))), DAEMON.is(f64::from(u8::from(runs)))].into())
}
