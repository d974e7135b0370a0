//! Virtual machines: QEMU, its console, the agent inside, templates and forks.

mod accelerator;
mod agent;
mod command_line;
mod console;
mod disk;
mod health;
mod process;
mod qemu;
mod qmp;
mod template;
mod templates;
mod tsc;

pub use accelerator::{Accelerator, Verdict, choose, qemu_version};
pub use agent::{AgentClient, Output, Running};
pub use console::Console;
pub use health::Loss;
pub use qemu::{Machine, MachineSpec, PROMPT, QEMU};
pub use templates::{Preparation, Start, Templates};

use std::os::fd::OwnedFd;

/// Why a machine could not be started or asked.
#[derive(Debug, thiserror::Error)]
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
    /// No accelerator runs the guest's kernel.
    #[error("no accelerator runs this kernel: {reason}")]
    Accelerator {
        /// What was tried and seen.
        reason: String,
    },
}

impl MachineError {
    /// The machine it happened on.
    pub fn machine(&self) -> &str {
        match self {
            Self::Host { machine, .. }
            | Self::Lost { machine, .. }
            | Self::Deadline { machine, .. }
            | Self::Agent { machine, .. }
            | Self::Command { machine, .. }
            | Self::Monitor { machine, .. } => machine,
            Self::Accelerator { .. } => "host",
        }
    }
}

/// A wire: two ends for one network card each.
pub fn wire() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = std::os::unix::net::UnixDatagram::pair()?;
    Ok((one.into(), other.into()))
}

/// The host's processor, as `/proc/cpuinfo` names it.
pub fn host_cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or("unknown".into(), |(_, v)| v.trim().into())
}

/// What of the host a guest sees that runs on its processor: the processor's kind, down to its microcode,
/// and the kernel that virtualises it.
pub(crate) fn host_platform() -> String {
    const KINDS: [&str; 14] = [
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "stepping",
        "microcode",
        "flags",
        "bugs",
        "CPU implementer",
        "CPU architecture",
        "CPU variant",
        "CPU part",
        "CPU revision",
        "Features",
    ];
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = text.lines().take_while(|line| !line.is_empty());
    let fields = first
        .filter(|line| line.split_once(':').is_some_and(|(name, _)| KINDS.contains(&name.trim())));
    let kernel = nix::sys::utsname::uname().ok();
    let kernel = kernel.map(|name| name.release().to_string_lossy().into_owned());
    fields.chain(kernel.as_deref()).collect::<Vec<_>>().join("\n")
}

fn tail(console: &[String]) -> String {
    if console.is_empty() {
        return "; its console is empty".into();
    }
    format!("; its console ends with\n    {}", console.join("\n    "))
}
