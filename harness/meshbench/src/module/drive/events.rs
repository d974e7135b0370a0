//! What happens to machines whose daemons somebody has started.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use super::{Deployment, DriveError};
use crate::cluster::{EventError, Member};
use crate::fabric::Action;
use crate::module::lifecycle::UNIT;
use crate::module::spec::INTERNAL;
use crate::module::unit;

impl Deployment {
    /// Whether an event happens here: not to a machine that this module does without, such as a coordinator, and on the
    /// wire not to a gateway.
    pub(crate) fn concerns(&self, action: &Action) -> bool {
        action.machine().is_none_or(|machine| self.cluster.member(machine).is_some())
            && (self.module.name != INTERNAL || action.happens_on_the_wire())
    }

    /// Makes an event happen, also while a workload runs; returns when it has happened. A machine that
    /// gets its power back has then booted, and runs its daemon if it did before.
    ///
    /// # Errors
    /// An unknown name, what this network cannot do, or a machine that does not follow.
    pub async fn apply(&self, action: &Action) -> Result<(), EventError> {
        match action {
            Action::DaemonStop { machine } => self.halt(self.cluster.member_named(machine)?).await,
            Action::DaemonStart { machine } => begin(self.cluster.member_named(machine)?).await,
            Action::PowerLoss { machine } => {
                if runs(self.cluster.member_named(machine)?).await {
                    self.interrupted().insert(machine.clone());
                }
                self.cluster.apply(action).await
            }
            Action::PowerOn { machine, .. } => {
                self.cluster.apply(action).await?;
                if self.interrupted().remove(machine) {
                    begin(self.cluster.member_named(machine)?).await?;
                }
                Ok(())
            }
            Action::Reboot { machine } => {
                let member = self.cluster.member_named(machine)?;
                let ran = runs(member).await;
                self.cluster.apply(action).await?;
                if ran { begin(member).await } else { Ok(()) }
            }
            _ => self.cluster.apply(action).await,
        }
    }

    fn interrupted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.interrupted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops a daemon as an event does: no error is the VPN's.
    async fn halt(&self, member: &Member) -> Result<(), EventError> {
        match self.stop(member).await {
            Err(DriveError::Machine { source, .. }) => Err((*source).into()),
            // Nothing else can become of a verb without a result.
            _ => Ok(()),
        }
    }
}

async fn begin(member: &Member) -> Result<(), EventError> {
    member.machine.run(&["systemctl", "start", UNIT]).await?;
    Ok(())
}

/// Whether its daemon runs. A machine that does not answer has none that could be started again.
async fn runs(member: &Member) -> bool {
    unit::runs(member).await.unwrap_or(false)
}
