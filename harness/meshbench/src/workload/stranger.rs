//! Whether somebody gets in who was not let in.

use std::net::IpAddr;
use std::time::Duration;

use meshbench_protocol::Condition;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::{Setting, WorkloadError};
use crate::cluster::Member;
use crate::machine::MachineError;
use crate::module::drive::STRANGER;
use crate::module::unit;
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
    is_there(setting).await?;
    let Siege { waited, runs, .. } = besiege(stranger, setting.target, setting.connected).await?;
    let got_in = got_in(waited)?;
    let metrics =
        vec![GOT_IN.is(f64::from(u8::from(got_in))), DAEMON.is(f64::from(u8::from(runs)))];
    Ok(Yield::from(metrics).elsewhere())
}

/// A stranger that has tried to reach a member.
pub(crate) struct Siege {
    /// For how long it tried at most.
    pub(crate) patience: Duration,
    /// When the member answered, or why it did not.
    pub(crate) waited: Result<Duration, MachineError>,
    /// Whether its own daemon ran at the end.
    pub(crate) runs: bool,
}

/// Lets a stranger, which runs what the module has for it, try to reach a member; `needed` is what a member needed to
/// connect.
pub(crate) async fn besiege(
    stranger: &Member,
    target: IpAddr,
    needed: Duration,
) -> Result<Siege, MachineError> {
    let patience = SIEGE.max(2 * needed);
    let waited = stranger.machine.wait(Condition::Reachable(target), patience).await;
    let runs = unit::runs(stranger).await?;
    Ok(Siege { patience, waited, runs })
}

/// Of an address that nobody has, a stranger is kept out by nobody.
async fn is_there(setting: &Setting<'_>) -> Result<(), WorkloadError> {
    let reachable = Condition::Reachable(setting.target);
    match setting.from.machine.wait(reachable, SIEGE.max(2 * setting.connected)).await {
        Ok(_) => Ok(()),
        Err(error @ MachineError::Silent { .. }) => Err(WorkloadError::Unreached {
            machine: setting.from.net.name.clone(),
            reason: format!("before the siege, by a member: {error}"),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Whether it got in. One that had no way to try by was kept out by nobody.
fn got_in(waited: Result<Duration, MachineError>) -> Result<bool, WorkloadError> {
    match waited {
        Ok(_) => Ok(true),
        Err(error) if error.is_silence() => Ok(false),
        Err(MachineError::Silent { silence, .. }) => {
            Err(WorkloadError::Unsupported(silence.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use meshbench_protocol::Silence;

    use super::*;

    #[test]
    fn a_stranger_that_could_not_try_was_not_kept_out() {
        let silent = |no_way: Option<&str>| {
            let no_way = no_way.map(str::to_owned);
            let silence = Silence { probes: 200, patience_ms: 10_000, no_way };
            let (machine, stage) = (STRANGER.to_owned(), "waiting".to_owned());
            Err(MachineError::Silent { machine, stage, silence })
        };
        let (machine, stage) = (STRANGER.to_owned(), "waiting".to_owned());
        let failed = Err(MachineError::Agent { machine, stage, reason: "EPERM".into() });
        assert!(matches!(got_in(Ok(Duration::ZERO)), Ok(true)));
        assert!(matches!(got_in(silent(None)), Ok(false)));
        let unsupported = got_in(silent(Some("ENETUNREACH")));
        assert!(matches!(unsupported, Err(WorkloadError::Unsupported(_))), "{unsupported:?}");
        assert!(matches!(got_in(failed), Err(WorkloadError::Machine(_))));
    }
}
