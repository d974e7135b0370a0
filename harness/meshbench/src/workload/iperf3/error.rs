//! Why a test has no figures.

use thiserror::Error;

use super::Client;

/// The output is not that of a test that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::workload) enum Iperf3Error {
    /// iperf3 says that it failed. What it measured until then is not used: the receiver's figures
    /// are zero in it.
    #[error("iperf3: {reason}")]
    Failed {
        /// Its words.
        reason: String,
        /// Whether the test was under way.
        begun: bool,
    },
    /// Not JSON, or cut off.
    #[error("line {line} of iperf3's output: {reason}")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// JSON, but not of the test asked for.
    #[error("iperf3's output: {0}")]
    Unexpected(String),
}

impl Iperf3Error {
    /// With what stands on standard error, if that is a reason: iperf3 then gave up on a report that is missing or cut
    /// off.
    pub(super) fn with_complaints(self, said: &Client) -> Self {
        let silent = said.report.trim().is_empty();
        let mut lines = said.complaints.lines().map(str::trim).filter(|line| !line.is_empty());
        let own = lines.clone().find_map(|line| line.strip_prefix("iperf3: "));
        let Some(reason) = own.or_else(|| lines.next().filter(|_| silent)) else { return self };
        let with = |told: String| match told.contains(reason) {
            true => told,
            false => format!("{told}; {reason}"),
        };
        match self {
            Self::Failed { reason: told, begun } => Self::Failed { reason: with(told), begun },
            Self::Unexpected(told) if !silent => Self::Unexpected(with(told)),
            // It says nothing before it ends: of what is cut off, the test was over.
            Self::Unexpected(_) | Self::Malformed { .. } => {
                Self::Failed { reason: reason.to_owned(), begun: !silent }
            }
        }
    }
}
