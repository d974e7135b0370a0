use std::fmt;

use serde::{Deserialize, Serialize};

use crate::guest::Qemu;
use crate::lab::Lab;

/// What is worth knowing of a run although it goes on. Its text says what to do about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// Machines are booted one by one, for this reason.
    NoForks(String),
    /// The host works for others beside this run.
    HostBusy {
        /// Load average over the last minute.
        load: f64,
        /// Logical processors.
        cores: u32,
    },
    /// Packets could not be captured, so a failure will have less evidence.
    NoCapture(String),
    /// Not all evidence of a failure could be kept.
    EvidenceLost(String),
    /// A workload ended before an event of the scenario was due.
    TooLate {
        /// The event's name.
        action: String,
        /// Seconds after the workload's start at which it was due.
        at: f64,
        /// The workload.
        during: String,
    },
    /// A link of the scenario was not compared with what was asked for.
    Unproved {
        /// Whose uplink.
        site: String,
        /// Seen from the site.
        up: bool,
        /// Why not.
        reason: String,
    },
    /// A guest's files are not what its manifest says.
    GuestDiffers(String),
    /// What is repeated was measured with something else, in words.
    OtherTestbed(String),
    /// The guests' archive brought another QEMU than the one that this library is pinned to.
    OtherQemu {
        /// Its release.
        has: String,
        /// The pinned one.
        pinned: String,
    },
    /// Fewer clusters at once than were asked for.
    FewerAtOnce {
        /// As many as were asked for.
        asked: usize,
        /// As many as there will be.
        now: usize,
        /// Memory that is free, in MiB.
        free_mib: u64,
    },
}

impl Warning {
    /// That the QEMU that came with the guests is not the pinned one.
    pub(crate) fn other_qemu(lab: &Lab) -> Option<Self> {
        let qemu = lab.brought_qemu().filter(|qemu| !qemu.is_pinned())?;
        let (has, pinned) = (qemu.release().to_owned(), Qemu::pinned().to_owned());
        Some(Self::OtherQemu { has, pinned })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoForks(reason) => write!(
                formatter,
                "machines are booted, not forked: {reason}. Each takes seconds longer; do not compare with a run of forks"
            ),
            Self::HostBusy { load, cores } => write!(
                formatter,
                "the host is busy (load {load:.1} on {cores} cores), which is in every number of a real clock: \
                 measure again on an idle host"
            ),
            Self::NoCapture(reason) => {
                write!(formatter, "no packets are captured as evidence: {reason}")
            }
            Self::GuestDiffers(reason) => write!(
                formatter,
                "a guest is damaged, and what failed may be no fault of the VPN's: {reason}"
            ),
            Self::EvidenceLost(reason) => {
                write!(formatter, "evidence could not be kept: {reason}")
            }
            Self::TooLate { action, at, during } => write!(
                formatter,
                "{action} at {at} s happened after {during} was over, which did not see it. Give it an earlier second, or run without --quick"
            ),
            Self::Unproved { site, up, reason } => {
                let way = if *up { "up" } else { "down" };
                write!(
                    formatter,
                    "{site}'s {way}link was not compared with what was asked for: {reason}"
                )
            }
            Self::OtherTestbed(differs) => {
                write!(formatter, "the testbed is another one, so figures may be: {differs}")
            }
            Self::OtherQemu { has, pinned } => write!(
                formatter,
                "QEMU is {has}, where this version of the project is pinned to {pinned}: figures of virtual time are \
                 alike among runs of one QEMU only. An archive of a day that had it, such as one of \
                 snapshot.debian.org, is named by MESHBENCH_DEBIAN_MIRROR and taken with --refresh"
            ),
            Self::FewerAtOnce { asked, now, free_mib } => write!(
                formatter,
                "{now} clusters at once instead of {asked}: {free_mib} MiB of memory are free. The figures are the same"
            ),
        }
    }
}
