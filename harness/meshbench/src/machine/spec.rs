//! What a machine is made of.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::guest::GuestImage;

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Its name in messages and as host name.
    pub name: String,
    /// What it boots.
    pub image: Arc<GuestImage>,
    /// Memory in MiB; only what the guest touches costs anything.
    pub memory_mib: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// Number of network cards.
    pub cards: usize,
}

/// Where RAM and device state come from.
#[derive(Debug)]
pub(crate) enum Origin<'a> {
    /// A cold boot with anonymous memory.
    Cold {
        /// Its machine-id, where it had one before.
        machine_id: Option<&'a str>,
    },
    /// A cold boot whose memory lies in this file, to be saved as a template.
    Template(&'a OwnedFd),
    /// A fork: private memory over this file, a template's; device state is loaded by monitor.
    Fork(&'a OwnedFd),
}
