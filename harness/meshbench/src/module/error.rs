//! Why a module could not be brought up.

use std::path::PathBuf;

use crate::cluster::NoMember;
use crate::machine::MachineError;

/// Why a module could not be brought up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// A machine or a command on it failed.
    #[error("{stage}: {source}{}", log_text(log))]
    Machine {
        /// The verb, or what else was being done.
        stage: String,
        /// The machine it happened on.
        machine: String,
        /// What happened.
        source: Box<MachineError>,
        /// The end of the daemon's log.
        log: String,
    },
    /// The module's `configure` ended with an error: it says that it cannot.
    #[error("configure: {source}{}", log_text(log))]
    Refused {
        /// The machine.
        machine: String,
        /// How it ended, and what it said.
        source: Box<MachineError>,
        /// The end of the daemon's log.
        log: String,
    },
    /// The daemon ended before it was ready.
    #[error("{machine}: its daemon ended while {stage}: {status}{}", log_text(log))]
    Ended {
        /// The machine.
        machine: String,
        /// What was waited for.
        stage: String,
        /// How it ended, in systemd's words.
        status: String,
        /// The end of the daemon's log.
        log: String,
    },
    /// A verb printed what it should not.
    #[error("{machine}: `lifecycle {verb}` printed {text:?}: {reason}")]
    Output {
        /// The machine.
        machine: String,
        /// The verb.
        verb: String,
        /// What it printed, shortened.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A verb printed more than anybody has to say.
    #[error("{machine}: `lifecycle {verb}` printed {bytes} bytes, and may print {most} bytes")]
    TooLong {
        /// The machine.
        machine: String,
        /// The verb.
        verb: String,
        /// So many it printed.
        bytes: usize,
        /// So many it may print.
        most: usize,
    },
    /// The module's lifecycle cannot be read on the host.
    #[error("cannot read {}: {source}", path.display())]
    Lifecycle {
        /// The script.
        path: PathBuf,
        /// The host's words.
        source: std::io::Error,
    },
    /// More coordinators than the module says it can have.
    #[error("{module} does not claim several coordinators (`several-coordinators` of module.toml), and there are {}", coordinators.join(", "))]
    SeveralCoordinators {
        /// The module.
        module: String,
        /// Its coordinators.
        coordinators: Vec<String>,
    },
    /// No coordinator where the module has one: each member would make a world of its own.
    #[error(
        "{module} needs a coordinator, and no machine of the scenario has that role: name one `hub`, or give one `role = \"coordinator\"`"
    )]
    NoCoordinator {
        /// The module.
        module: String,
    },
    /// Members of the scenario have names, and it takes addresses only.
    #[error("{module} takes no names, and here members are known by them")]
    NoNames {
        /// The module.
        module: String,
    },
    /// Nothing connects the two that are measured, as the module meets the network.
    #[error(
        "nothing connects {from} and {to} with {module}: one has only {from_family}, the other only {to_family}, and it claims no relay or there is none that both reach"
    )]
    NoWay {
        /// The module.
        module: String,
        /// Who starts.
        from: String,
        /// The family of its site.
        from_family: &'static str,
        /// Who answers.
        to: String,
        /// The family of its site.
        to_family: &'static str,
    },
    /// No coordinator is found at the ports that the module needs.
    #[error("{module} needs {ports} of `{coordinator}`, whose gateway does not let that in")]
    PortsClosed {
        /// The module.
        module: String,
        /// Its coordinator.
        coordinator: String,
        /// What is not let in, in words.
        ports: String,
    },
    /// The module says why it cannot be measured in virtual time.
    #[error("{module} can be measured in real time only: {reason}")]
    RealTime {
        /// The module.
        module: String,
        /// Its reason.
        reason: String,
    },
    /// Somebody who is not there was to be connected.
    #[error(transparent)]
    NoMember(#[from] NoMember),
}

impl DriveError {
    /// The machine it happened on, where there is one.
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::Machine { machine, .. }
            | Self::Refused { machine, .. }
            | Self::Ended { machine, .. }
            | Self::Output { machine, .. }
            | Self::TooLong { machine, .. } => Some(machine),
            Self::Lifecycle { .. }
            | Self::SeveralCoordinators { .. }
            | Self::NoCoordinator { .. }
            | Self::NoNames { .. }
            | Self::NoWay { .. }
            | Self::PortsClosed { .. }
            | Self::RealTime { .. }
            | Self::NoMember(_) => None,
        }
    }
}

fn log_text(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("\nits daemon's log ends with\n{log}") }
}
