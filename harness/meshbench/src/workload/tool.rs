//! What the workloads share: programs run in the guest, and what they give.

use meshbench_protocol::Exec;

use crate::machine::{Machine, MachineError};
use crate::module::drive::DriveError;

/// Why a workload has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// A machine or a command on it failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The VPN could not be driven.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// This cannot be measured here, and nobody is to blame.
    #[error("{0}")]
    Unsupported(String),
    /// The other side was silent to the end.
    #[error("{machine}: {reason}")]
    Unreached {
        /// Who asked.
        machine: String,
        /// For how long.
        reason: String,
    },
    /// The tool ran, and its output is no result.
    #[error("{machine}: {reason}")]
    Tool {
        /// Where it ran.
        machine: String,
        /// What its output says.
        reason: String,
    },
}

impl WorkloadError {
    pub(super) fn tool(machine: &Machine, reason: impl ToString) -> Self {
        Self::Tool { machine: machine.name().to_owned(), reason: reason.to_string() }
    }

    /// The machine it happened on.
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::Machine(error) => Some(error.machine()),
            Self::Drive(error) => error.machine(),
            Self::Unsupported(_) => None,
            Self::Unreached { machine, .. } | Self::Tool { machine, .. } => Some(machine),
        }
    }
}

/// A program whose output is to be parsed, and so must not be translated.
pub(super) fn command(argv: &[&str]) -> Exec {
    let argv = argv.iter().map(ToString::to_string).collect();
    let env = [("LC_ALL".to_owned(), "C".to_owned())].into();
    Exec { argv, env, ..Exec::default() }
}
