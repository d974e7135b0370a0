//! Proof that the network is what the scenario says, before a VPN is measured on it.

mod gateways;
mod links;
mod measured;

pub use gateways::{Probed, Probing};
pub use links::Effort;
pub use measured::{Measured, Unproved};

use crate::machine::MachineError;

/// A network that is not what the scenario says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It could not be measured.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// It was measured, and differs.
    #[error("{0}")]
    Differs(String),
}

impl ProofError {
    /// The machine that could not be measured; a network that differs is the fabric's.
    pub fn machine(&self) -> &str {
        match self {
            Self::Machine(error) => error.machine(),
            Self::Differs(_) => "fabric",
        }
    }
}
