//! What systemd says of a VPN's unit.

use super::lifecycle::UNIT;
use crate::cluster::Member;
use crate::machine::MachineError;

/// Whether it runs.
///
/// # Errors
/// A machine that does not answer.
pub(crate) async fn runs(member: &Member) -> Result<bool, MachineError> {
    match member.machine.run(&["systemctl", "is-active", "--quiet", UNIT]).await {
        Ok(_) => Ok(true),
        Err(MachineError::Command { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
