//! Virtual machines: QEMU, its console, the agent inside, templates and forks.

mod accelerator;
mod agent;
mod bond;
mod command_line;
mod console;
mod contained;
mod disk;
mod health;
#[expect(clippy::module_inception, reason = "a room is named for what it holds")]
mod machine;
mod monitor;
mod process;
mod qemu;
mod qmp;
mod running;
pub mod sealed;
mod session;
mod shell;
mod spec;
mod template;
mod templates;
mod trial;
mod tsc;

pub use accelerator::Accelerator;
pub use agent::Output;
pub(crate) use bond::{Bond, Fallen};
pub use console::Console;
pub(crate) use contained::Around;
pub use health::Loss;
pub use machine::Machine;
pub use running::Running;
pub use shell::Shell;
pub use spec::MachineSpec;
pub(crate) use templates::prepare;
pub use templates::{Preparation, Start, Templates};
pub(crate) use trial::insist;
pub use trial::{Verdict, choose, qemu_version};

use std::os::fd::OwnedFd;
use std::time::Duration;

use meshbench_protocol::Silence;

/// How long the agent may take for what needs no waiting.
pub const PROMPT: Duration = Duration::from_secs(60);

/// How long a cold boot may take; an idle host without KVM needs a tenth of it.
pub(crate) const BOOT_DEADLINE: Duration = Duration::from_secs(240);

/// Lines of a console, or of what a program said, that are shown with an error.
const EVIDENCE: usize = 12;

/// Why a machine could not be started or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MachineError {
    /// The host refused something QEMU needs.
    #[error("{machine}: cannot {action}: {source}")]
    Host {
        /// Which machine.
        machine: String,
        /// What was tried.
        action: String,
        /// What the host said.
        source: std::io::Error,
    },
    /// The machine is gone: QEMU ended, the kernel panicked, the agent vanished.
    #[error("{machine}: lost while {stage}: {loss}{}", tail(console))]
    Lost {
        /// Which machine.
        machine: String,
        /// What was being done.
        stage: String,
        /// How it was lost.
        loss: Loss,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// A deadline passed.
    #[error("{machine}: still {stage} after {seconds:.1} s{}", tail(console))]
    Deadline {
        /// Which machine.
        machine: String,
        /// What was being waited for.
        stage: String,
        /// For how long, in seconds.
        seconds: f64,
        /// The last lines of its console.
        console: Vec<String>,
    },
    /// The agent could not do what it was asked.
    #[error("{machine}: {stage}: {reason}")]
    Agent {
        /// Which machine.
        machine: String,
        /// What was asked.
        stage: String,
        /// The agent's words.
        reason: String,
    },
    /// Nobody answered in time whom the machine was to reach; the machine itself did all that it was asked.
    #[error("{machine}: {stage}: {silence}")]
    Silent {
        /// Which machine asked.
        machine: String,
        /// What was asked.
        stage: String,
        /// How often, and for how long.
        silence: Silence,
    },
    /// A command in the machine did not exit with 0.
    #[error("{machine}: `{command}` {outcome}\n{stderr}")]
    Command {
        /// Which machine.
        machine: String,
        /// What was run.
        command: String,
        /// Exit code or signal.
        outcome: String,
        /// The end of its standard error, or of its output.
        stderr: String,
    },
    /// Its guest's files are not what they were made to be.
    #[error("{machine}: its guest is damaged: {reason}")]
    Image {
        /// Which machine.
        machine: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// QEMU could not do what it was asked on its monitor.
    #[error("{machine}: QEMU failed while {action}: {reason}")]
    Monitor {
        /// Which machine.
        machine: String,
        /// What it was asked to do.
        action: String,
        /// QEMU's words.
        reason: String,
    },
}

/// What the C library says where memory is wanting, in the language that QEMU is run in. QEMU ends with one status, and
/// QMP answers with one class of error (`GenericError`), whatever the reason was: only the words say which.
const NO_MEMORY: &str = "Cannot allocate memory";

impl MachineError {
    /// Whether it is the host that could not, such as for want of memory, for which its kernel may also end a QEMU:
    /// nothing is wrong with the machine then.
    pub(crate) fn is_the_hosts(&self) -> bool {
        match self {
            Self::Host { .. } | Self::Lost { loss: Loss::Hung(_), .. } => true,
            Self::Lost { loss: Loss::Ended { signal, stderr, .. }, .. } => {
                stderr.contains(NO_MEMORY) || *signal == Some(libc::SIGKILL)
            }
            Self::Monitor { reason, .. } => reason.contains(NO_MEMORY),
            _ => false,
        }
    }

    /// The machine it happened on.
    pub fn machine(&self) -> &str {
        match self {
            Self::Host { machine, .. }
            | Self::Lost { machine, .. }
            | Self::Deadline { machine, .. }
            | Self::Agent { machine, .. }
            | Self::Silent { machine, .. }
            | Self::Command { machine, .. }
            | Self::Image { machine, .. }
            | Self::Monitor { machine, .. } => machine,
        }
    }

    /// Whether somebody was asked, and did not answer. Who had no way to ask by has heard no silence.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Silent { silence, .. } if silence.no_way.is_none())
    }
}

/// A wire: two ends for one network card each.
pub fn wire() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = std::os::unix::net::UnixDatagram::pair()?;
    Ok((one.into(), other.into()))
}

fn tail(console: &[String]) -> String {
    if console.is_empty() {
        return "; its console is empty".into();
    }
    format!("; its console ends with\n    {}", console.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(signal: Option<i32>, stderr: &str) -> MachineError {
        let loss = Loss::Ended { status: "in words".into(), signal, stderr: stderr.into() };
        let (machine, stage, console) = ("bob".into(), "loading".into(), Vec::new());
        MachineError::Lost { machine, stage, loss, console }
    }

    #[test]
    fn a_host_without_memory_is_told_from_a_broken_template() {
        let said = "qemu-system-x86_64: cannot set up guest memory 'ram': Cannot allocate memory";
        assert!(ended(None, said).is_the_hosts());
        assert!(ended(Some(libc::SIGKILL), "").is_the_hosts());
        assert!(!ended(Some(libc::SIGSEGV), "").is_the_hosts());
        let said = "qemu-system-x86_64: load of migration failed: Invalid argument";
        assert!(!ended(None, said).is_the_hosts());
    }
}
