use std::fmt;

use serde::{Deserialize, Serialize};

use crate::results::Promise;
use crate::workload::Workload;

/// What is being done for a job. The only thing by which listeners and outcomes tell stages apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Stage {
    /// Machines start.
    Boot,
    /// Links and gateways are measured.
    Proof,
    /// A capture begins, to be kept if something fails.
    Watch,
    /// The module is put in place; all daemons but the initiator's start.
    Configure,
    /// The initiator's daemon starts; until its first packet is answered.
    Connect,
    /// Path and MTU of the overlay are looked at.
    Inspect,
    /// A workload runs.
    Measure(Workload),
    /// A promise of the contract is checked.
    Promise(Promise),
    /// What shows a failure is gathered.
    Evidence,
    /// Machines end.
    Down,
}

impl Stage {
    /// Whether time spent in it is time spent measuring. Connecting is: its duration is a result.
    pub fn is_measuring(self) -> bool {
        matches!(self, Self::Connect | Self::Measure(_))
    }

    /// The word for it in records: a workload is told by the record's own key, a promise by the finding.
    pub fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Proof => "proof",
            Self::Watch => "watch",
            Self::Configure => "configure",
            Self::Connect => "connect",
            Self::Inspect => "inspect",
            Self::Measure(_) => "measure",
            Self::Promise(_) => "promise",
            Self::Evidence => "evidence",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measure(workload) => formatter.write_str(workload.name()),
            Self::Promise(promise) => promise.fmt(formatter),
            stage => formatter.write_str(stage.word()),
        }
    }
}
