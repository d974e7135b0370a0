//! Why machines cannot be had.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::catalogue::CatalogueError;
use crate::guest::GuestError;
use crate::machine::MachineError;
use crate::module::drive::DriveError;

/// Why machines cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// Host programs or guest images.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// QEMU or a machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// Modules whose programs must be brought along.
    #[error("no registry that the Debian provider uses has the programs of {}", listed(modules))]
    NoSource {
        /// By module, its programs that nothing provides.
        modules: BTreeMap<String, Vec<String>>,
    },
    /// Workloads whose programs the guests would not have.
    #[error(
        "guests are built without what {} needs: name it in the settings' workloads",
        workloads.join(", ")
    )]
    NoPrograms {
        /// What the settings do not name.
        workloads: Vec<String>,
    },
    /// Neither a setting nor the environment names a place for guests.
    #[error("there is no place for guests: neither HOME nor XDG_CACHE_HOME is set")]
    NoCache,
    /// A variable of the environment that is not what it should be.
    #[error("{variable} names no guests: {reason}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No such module or scenario.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A VPN that does not come up.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Virtual time needs a program that works inside the machine.
    #[error(
        "virtual time needs the runner that the package meshbench-runner carries: name it in the settings"
    )]
    NoRunner,
    /// A QEMU whose machines of virtual time do not repeat.
    #[error(
        "virtual time needs QEMU {oldest}.0 or newer, and this is {has}: leave --qemu out, and one comes with the guests"
    )]
    OldQemu {
        /// Its release.
        has: String,
        /// The first major version whose machines do.
        oldest: u32,
    },
    /// Built without an agent, and given none.
    #[error(
        "this build carries no agent: name one in the settings, or build with the feature bundled-agent"
    )]
    NoAgent,
    /// The agent that was named cannot be read.
    #[error("cannot read the agent {}: {source}", path.display())]
    Agent {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// `hyprspace (hyprspace), zerotier (zerotier-one, zerotier-cli)`.
fn listed(modules: &BTreeMap<String, Vec<String>>) -> String {
    let one =
        |(module, programs): (&String, &Vec<String>)| format!("{module} ({})", programs.join(", "));
    modules.iter().map(one).collect::<Vec<_>>().join(", ")
}
