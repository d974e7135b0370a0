use std::io;
use std::path::{Path, PathBuf};

/// Why a guest image is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// A `guest.json` that cannot be used.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Line in it, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    File {
        /// Such as "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A host program that failed.
    #[error("{command}: {status}{advice}\n{tail}", advice = advice_text(advice))]
    Command {
        /// The command as typed in a shell.
        command: String,
        /// How it ended.
        status: String,
        /// Its last lines of output.
        tail: String,
        /// What to do, or empty.
        advice: String,
    },
    /// Host programs that are not installed.
    #[error("not installed: {programs}; install with `{install}`", programs = programs.join(", "))]
    MissingTools {
        /// Their names.
        programs: Vec<String>,
        /// The command that installs them.
        install: String,
    },
    /// Too little room in the cache's file system.
    #[error("no space for guest images: {path} has {free_mib} MiB free, {needed_mib} MiB are needed; \
             free some or choose another cache directory", path = path.display())]
    NoSpace {
        /// The cache.
        path: PathBuf,
        /// Available to this user, in MiB.
        free_mib: u64,
        /// Wanted, in MiB.
        needed_mib: u64,
    },
    /// A program that cannot run in the guest.
    #[error("{path} cannot run in the guest: {reason}", path = path.display())]
    Program {
        /// The program.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// Output of a program, or a file of a package, that is not as documented.
    #[error("{subject}: {reason}")]
    Unexpected {
        /// What was read.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
}

fn advice_text(advice: &str) -> String {
    if advice.is_empty() { String::new() } else { format!("; {advice}") }
}

impl GuestError {
    /// For `map_err` on what touches `path`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn unexpected(subject: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unexpected { subject: subject.into(), reason: reason.into() }
    }
}
