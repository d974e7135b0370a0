//! What the workloads share: programs run in the guest, and what they give.

use std::net::IpAddr;

use meshbench_protocol::{Exec, Request};

use crate::machine::{Machine, MachineError, Output, PROMPT, Running};
use crate::module::drive::DriveError;

/// What an echo request to this address has beside its data, in bytes.
pub(crate) fn echo_headers(target: IpAddr) -> u32 {
    if target.is_ipv4() { 28 } else { 48 }
}

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

/// All that a program said: its reasons stand on standard error.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Whether `ping` was told, by the sender's kernel or a router, that its packets are too big.
pub(crate) fn is_too_big(said: &str) -> bool {
    let refused = ["message too long", "Message too long", "Frag needed", "Packet too big"];
    refused.iter().any(|words| said.contains(words))
}

/// A program whose output is to be parsed, and so must not be translated.
pub(crate) fn command(argv: &[&str]) -> Exec {
    let argv = argv.iter().map(ToString::to_string).collect();
    let env = [("LC_ALL".to_owned(), "C".to_owned())].into();
    Exec { argv, env, ..Exec::default() }
}

/// Starts a server, and waits until it says that it serves.
pub(super) async fn serve(
    machine: &Machine,
    exec: Exec,
    ready: &str,
) -> Result<Running, WorkloadError> {
    let mut server = machine.start(&Request::Exec(exec)).await?;
    if let Err(error) = server.until_line(ready, PROMPT).await {
        // It may still be running; where it is not, there is nothing to end.
        let _ = server.cancel().await;
        return Err(error.into());
    }
    Ok(server)
}

/// A folder in the memory of a machine, empty.
///
/// # Errors
/// If the machine is lost, or has no room.
pub(super) async fn make_folder(machine: &Machine, folder: &str) -> Result<(), WorkloadError> {
    machine.run(&["rm", "-rf", folder]).await?;
    machine.run(&["mkdir", "-p", folder]).await?;
    Ok(())
}

/// Takes it away. An error means that its machine is gone, which whoever used it has told.
pub(super) async fn remove_folder(machine: &Machine, folder: &str) {
    let _ = machine.run(&["rm", "-rf", folder]).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_packets_that_are_too_big_the_kernel_and_routers_tell_in_words_of_their_own() {
        assert!(is_too_big("ping: local error: message too long, mtu=1420"));
        assert!(is_too_big("From 5.1.0.1 icmp_seq=1 Frag needed and DF set (mtu = 1400)"));
        assert!(is_too_big("From 2a0e::1 icmp_seq=1 Packet too big: mtu=1280"));
        assert!(!is_too_big("From 5.1.0.1 icmp_seq=1 Destination Host Unreachable"));
    }
}
