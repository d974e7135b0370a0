//! What came of a sealed machine's run.

use std::fmt;
use std::time::Duration;

use meshbench_protocol::sealed::{End, Said};

use crate::hash::sha256;

/// What a machine did.
#[derive(Debug, Clone)]
pub struct SealedOutcome {
    /// How it ended.
    pub ended: Ended,
    /// What its program wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What its program wrote to its standard error.
    pub stderr: Vec<u8>,
    /// Every byte that it said, which repeats: output, its order, how it ended and when.
    pub said: Vec<u8>,
    /// How long it ran on the host.
    pub wall: Duration,
    /// How long its task took in its own time; absent when it did not come to an end.
    pub took: Option<Duration>,
    /// The last lines of its console.
    pub console: Vec<String>,
}

impl SealedOutcome {
    /// SHA-256 of all that it said, in hexadecimal: equal where everything was.
    pub fn digest(&self) -> String {
        sha256(&self.said)
    }
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// By itself, its task over.
    Task(End),
    /// It did not end within this time of the host, and was killed.
    OutOfWallTime(Duration),
    /// It wrote more than anybody has to tell, and was killed.
    SaidTooMuch {
        /// On what.
        stream: &'static str,
        /// More than so many MiB.
        mib: u64,
    },
    /// Its QEMU ended before its task was over: the kernel panicked, or QEMU failed.
    Lost(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(End::Exited(0)) => f.write_str("its program ended well"),
            Self::Task(End::Exited(code)) => write!(f, "its program exited with {code}"),
            Self::Task(End::Killed(signal)) => {
                write!(f, "its program was killed by signal {signal}")
            }
            Self::Task(End::OutOfTime) => f.write_str(
                "its program ran for longer than its task allows in the machine's own time",
            ),
            Self::Task(End::Failed(reason)) => f.write_str(reason),
            Self::OutOfWallTime(bound) => write!(
                f,
                "it did not come to an end within {} s of the host's time, and was killed",
                bound.as_secs()
            ),
            Self::SaidTooMuch { stream, mib } => {
                write!(f, "it wrote more than {mib} MiB on {stream}, and was ended")
            }
            Self::Lost(reason) => write!(f, "it was lost: {reason}"),
        }
    }
}

/// What frames say.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    /// Its time-stamp counter where it stopped.
    pub(super) ready: Option<u64>,
    pub(super) end: Option<(End, Duration)>,
}

impl Heard {
    /// Reads as many frames as are whole; what a broken machine has said after them is left out.
    pub(super) fn of(mut bytes: &[u8]) -> Self {
        let mut heard = Self::default();
        while let Ok(Some((said, length))) = Said::decode(bytes) {
            bytes = &bytes[length..];
            match said {
                Said::Stdout(bytes) => heard.stdout.extend(bytes),
                Said::Stderr(bytes) => heard.stderr.extend(bytes),
                Said::Ready(counter) => heard.ready = Some(counter),
                Said::End { how, took_ns } => {
                    heard.end = Some((how, Duration::from_nanos(took_ns)));
                }
            }
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_before_it_broke_off_is_heard() {
        let all = [
            Said::Stdout(b"a".to_vec()),
            Said::Stderr(b"b".to_vec()),
            Said::Stdout(b"c".to_vec()),
            Said::End { how: End::Exited(1), took_ns: 5 },
        ];
        let bytes: Vec<u8> = all.iter().flat_map(|said| said.encode().unwrap()).collect();
        let heard = Heard::of(&bytes);
        assert_eq!((&heard.stdout[..], &heard.stderr[..]), (&b"ac"[..], &b"b"[..]));
        assert_eq!(heard.end, Some((End::Exited(1), Duration::from_nanos(5))));
        let heard = Heard::of(&bytes[..bytes.len() - 1]);
        assert!(heard.end.is_none() && heard.stdout == b"ac");
    }
}
