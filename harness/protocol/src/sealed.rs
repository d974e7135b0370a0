//! What a sealed machine is given and what it gives back: one task, and one stream of frames.
//!
//! Nothing comes in and nothing waits for the outside while it runs: the task lies in the firmware's
//! configuration before the machine starts or goes on, and what it says is written to a port that is a file.

use serde::{Deserialize, Serialize};

/// The task's name among the files of the firmware's configuration (QEMU's fw_cfg).
pub const TASK_FILE: &str = "opt/meshbench/task";

/// The I/O port whose bytes are what the machine says.
pub const OUTPUT_PORT: u16 = 0xe9;

/// The environment variable by which a task's program learns where the agent's program is.
pub const AGENT_VARIABLE: &str = "MESHBENCH_AGENT_PROGRAM";

/// What a sealed machine is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Files to write before, in this order.
    pub files: Vec<TaskFile>,
    /// The program and its arguments; nothing is run where it is empty.
    pub argv: Vec<String>,
    /// How long it may take in the machine's own time, in seconds.
    pub limit_s: u64,
    /// What the machine does when it is done.
    pub then: Then,
}

/// What a sealed machine does after a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// It says how the task ended and switches itself off.
    #[default]
    PowerOff,
    /// It stops; when it goes on, in each fork, there is another task. One that failed switches it off.
    Stop,
}

/// A file of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFile {
    /// Absolute path in the machine; directories above it are made.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// Its content.
    #[serde(skip)]
    pub content: Vec<u8>,
    /// Length of its content, as written before all contents.
    size: usize,
}

impl TaskFile {
    /// A file to write.
    pub fn new(path: impl Into<String>, mode: u32, content: Vec<u8>) -> Self {
        Self { path: path.into(), mode, size: content.len(), content }
    }
}

impl Task {
    /// A task that runs this program.
    pub fn of(argv: &[&str], limit_s: u64) -> Self {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        Self { argv, limit_s, ..Self::default() }
    }

    /// A line of JSON, then the contents of the files one after the other.
    ///
    /// # Errors
    /// None that can happen to such a type.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        self.files.iter().for_each(|file| bytes.extend(&file.content));
        Ok(bytes)
    }

    /// What [`Task::encode`] wrote.
    ///
    /// # Errors
    /// Bytes that are no task, or a part of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, SealedError> {
        let end = bytes.iter().position(|&byte| byte == b'\n').ok_or(SealedError::Short)?;
        let mut task: Self = serde_json::from_slice(&bytes[..end])?;
        let mut rest = &bytes[end + 1..];
        for file in &mut task.files {
            let (content, more) = rest.split_at_checked(file.size).ok_or(SealedError::Short)?;
            (file.content, rest) = (content.to_vec(), more);
        }
        Ok(task)
    }
}

/// Something that a sealed machine says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It has booted and prepared itself, and stops at its time-stamp counter's value here.
    Ready(u64),
    /// Its program wrote this to its standard output.
    Stdout(Vec<u8>),
    /// Its program wrote this to its standard error.
    Stderr(Vec<u8>),
    /// The task is over.
    End {
        /// How.
        how: End,
        /// How long it took in the machine's own time, in nanoseconds.
        took_ns: u64,
    },
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Its program ended with this status.
    Exited(i32),
    /// A signal killed its program.
    Killed(i32),
    /// Its program ran for longer than the task allows, in the machine's own time.
    OutOfTime,
    /// It could not be done, for this reason.
    Failed(String),
}

/// What is no task, or no frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedError {
    /// Part of it is missing.
    #[error("cut off")]
    Short,
    /// It is not as agreed.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A kind of frame that this version does not know.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
}

const HEAD: usize = 5;

impl Said {
    /// Kind, length of the rest (little-endian, 4 bytes), rest.
    ///
    /// # Errors
    /// None that can happen to such a type.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let (kind, rest) = match self {
            Self::Ready(counter) => (b'r', counter.to_le_bytes().to_vec()),
            Self::Stdout(bytes) => (b'o', bytes.clone()),
            Self::Stderr(bytes) => (b'e', bytes.clone()),
            Self::End { how, took_ns } => (b'x', serde_json::to_vec(&(how, took_ns))?),
        };
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        Ok([&[kind], &length.to_le_bytes()[..], &rest].concat())
    }

    /// The first frame of `bytes` and how long it is; `None` while it is not whole.
    ///
    /// # Errors
    /// Bytes that are no frame.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, SealedError> {
        let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return Ok(None) };
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some(rest) = rest.get(..length) else { return Ok(None) };
        let said = match head[0] {
            b'r' => {
                Self::Ready(u64::from_le_bytes(rest.try_into().map_err(|_| SealedError::Short)?))
            }
            b'o' => Self::Stdout(rest.to_vec()),
            b'e' => Self::Stderr(rest.to_vec()),
            b'x' => {
                let (how, took_ns) = serde_json::from_slice(rest)?;
                Self::End { how, took_ns }
            }
            kind => return Err(SealedError::Kind(kind)),
        };
        Ok(Some((said, HEAD + length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_arrives_as_it_was_sent() {
        let mut task = Task::of(&["sh", "-c", "true"], 60);
        task.files = vec![
            TaskFile::new("/run/a", 0o755, b"{\n}".to_vec()),
            TaskFile::new("/run/b", 0o600, Vec::new()),
        ];
        let bytes = task.encode().unwrap();
        assert_eq!(Task::decode(&bytes).unwrap(), task);
        assert!(matches!(Task::decode(&bytes[..bytes.len() - 1]), Err(SealedError::Short)));
    }

    #[test]
    fn frames_arrive_whole_or_not_yet() {
        let all = [
            Said::Ready(7),
            Said::Stdout(b"out".to_vec()),
            Said::Stderr(Vec::new()),
            Said::End { how: End::Exited(3), took_ns: 5 },
        ];
        for said in all {
            let bytes = said.encode().unwrap();
            assert_eq!(Said::decode(&bytes).unwrap(), Some((said, bytes.len())));
            assert_eq!(Said::decode(&bytes[..bytes.len() - 1]).unwrap(), None);
        }
        assert!(matches!(Said::decode(b"?\0\0\0\0"), Err(SealedError::Kind(b'?'))));
    }
}
