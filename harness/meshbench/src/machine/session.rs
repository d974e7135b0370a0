//! The time in which one agent answers: from the power that starts its machine to the loss of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::agent::AgentClient;
use super::console::Console;
use super::health::{Health, Loss};
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
}

impl Session {
    /// Awaits something of this machine unless the machine is lost or the deadline passes first.
    pub(super) async fn guarded<T>(
        &self,
        stage: &str,
        deadline: Duration,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, MachineError> {
        tokio::select! {
            biased;
            result = work => match (result, self.health.current()) {
                (Ok(value), _) => Ok(value),
                (Err(_), Some(loss)) => Err(self.gone(stage, loss)),
                // A port breaks before it is known why.
                (Err(reason), None) => match timeout(REASON, self.health.lost()).await {
                    Ok(loss) => Err(self.gone(stage, loss)),
                    Err(_) => Err(self.refused(stage, reason)),
                },
            },
            loss = self.health.lost() => Err(self.gone(stage, loss)),
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

    fn gone(&self, stage: &str, loss: Loss) -> MachineError {
        MachineError::Lost {
            machine: self.machine.to_string(),
            stage: stage.to_owned(),
            loss,
            console: self.console.tail(EVIDENCE),
        }
    }
}
