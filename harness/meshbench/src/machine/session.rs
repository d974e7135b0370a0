//! The time in which one agent answers: from the power that starts its machine to the loss of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::agent::AgentClient;
use super::bond::Bond;
use super::console::Console;
use super::health::Health;
use super::{EVIDENCE, MachineError};

/// How long a machine that broke off a conversation may take until it is known to be lost.
const REASON: Duration = Duration::from_secs(5);

/// An agent, and the machine around it as far as errors tell of it.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) machine: Arc<str>,
    pub(super) agent: AgentClient,
    pub(super) console: Console,
    pub(super) health: Health,
    /// What ties the machine to others; nothing as yet.
    pub(super) bond: Bond,
}

impl Session {
    /// Ties its machine to others.
    pub(super) fn tie(&mut self, bond: &Bond) {
        bond.tie(self.machine.clone(), self.health.clone(), self.console.clone());
        self.bond = bond.clone();
    }

    /// Awaits something of this machine unless it, or one that it is tied to, is lost or the deadline passes first.
    pub(super) async fn guarded<T>(
        &self,
        stage: &str,
        deadline: Duration,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, MachineError> {
        tokio::select! {
            biased;
            result = work => match result {
                Ok(value) => Ok(value),
                // A port breaks before it is known why.
                Err(reason) => match timeout(REASON, self.lost(stage)).await {
                    Ok(lost) => Err(lost),
                    Err(_) => Err(self.refused(stage, reason)),
                },
            },
            lost = self.lost(stage) => Err(lost),
            () = tokio::time::sleep(deadline) => Err(MachineError::Deadline {
                machine: self.machine.to_string(),
                stage: stage.to_owned(),
                seconds: deadline.as_secs_f64(),
                console: self.console.tail(EVIDENCE),
            }),
        }
    }

    pub(super) fn refused(&self, stage: &str, reason: String) -> MachineError {
        let (machine, stage) = (self.machine.to_string(), stage.to_owned());
        MachineError::Agent { machine, stage, reason }
    }

    /// Resolves when nothing more can become of what is being done: the error names who was lost.
    pub(super) async fn lost(&self, stage: &str) -> MachineError {
        tokio::select! {
            biased;
            loss = self.health.lost() => MachineError::Lost {
                machine: self.machine.to_string(),
                stage: stage.to_owned(),
                loss,
                console: self.console.tail(EVIDENCE),
            },
            fallen = self.bond.broken() => fallen.error(format!("{} was {stage}", self.machine)),
        }
    }
}
