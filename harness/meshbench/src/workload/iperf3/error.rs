//! Why a test has no figures.

use thiserror::Error;

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
