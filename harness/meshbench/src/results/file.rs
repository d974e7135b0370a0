use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::file;
use crate::position::without_position;

pub(super) const RUN: &str = "run.json";
pub(super) const CELLS: &str = "cells";

/// Files begun but not finished; left only by a harness that died while writing.
pub(super) const TEMPORARY: &str = ".tmp-";

/// A result directory could not be written or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file operation failed.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}{}: {reason}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, where it is known.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// A new run was to be written where one is.
    #[error("{} already holds a run: resume it, or choose another directory", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// Findings of a contract were to be written where a run is, whose report they would replace.
    #[error("{} holds a run, whose junit.xml the findings would replace: choose another directory for them", path.display())]
    OfRun {
        /// The directory.
        path: PathBuf,
    },
    /// A run was to begin where findings of a contract are, whose report it would replace.
    #[error("{} holds a contract's findings, whose junit.xml the run would replace: choose another directory for it", path.display())]
    OfContract {
        /// The directory.
        path: PathBuf,
    },
    /// A new run was to be written among cells of another.
    #[error(
        "{} holds cells, and there is no {RUN} that they are of: put it back to go on with that run, move them away, or choose another directory",
        path.display()
    )]
    Leftover {
        /// The directory of the cells.
        path: PathBuf,
    },
    /// Somebody else writes there.
    #[error("{} is being written by {}: wait for it, or end it", path.display(), writer(*by))]
    Busy {
        /// The directory.
        path: PathBuf,
        /// Its process, where it can be told.
        by: Option<u32>,
    },
    /// A finished cell was to be replaced.
    #[error("{cell} is measured, and a finished cell is final")]
    Final {
        /// Its file.
        cell: String,
    },
    /// A record that breaks the format was to be written.
    #[error("cannot write {what}: {reason}")]
    Unsound {
        /// Which record.
        what: String,
        /// What is wrong.
        reason: String,
    },
}

fn writer(by: Option<u32>) -> String {
    by.map_or("another program".into(), |pid| format!("process {pid}"))
}

pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |error| StoreError::Io { action, path, error }
}

pub(super) fn malformed(path: &Path) -> impl FnOnce(String) -> StoreError {
    let path = path.to_path_buf();
    move |reason| StoreError::Malformed { path, line: None, reason }
}

pub(super) fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|error| StoreError::Malformed {
        path: path.into(),
        line: (error.line() > 0).then(|| error.line()),
        reason: without_position(&error),
    })
}

pub(super) fn read_text(path: &Path) -> Result<String, StoreError> {
    file::read_text(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidData => {
            malformed(path)(error.to_string())
        }
        _ => io("open", path)(error),
    })
}

/// Writes beside the place, syncs, renames, syncs the directory. On failure nothing is left.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let failed = || io("write", path);
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        // The umask takes its share; temporary files are private otherwise.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .map_err(failed())?;
    file.write_all(bytes).map_err(failed())?;
    file.as_file().sync_all().map_err(failed())?;
    file.persist(path).map_err(|error| error.error).map_err(failed())?;
    sync_directory(dir).map_err(io("sync", dir))
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    let dir: File = OpenOptions::new().read(true).open(dir)?;
    dir.sync_all()
}

/// Writes a record as JSON, as [`write_file`] does.
pub(super) fn write_json(path: &Path, record: &impl Serialize) -> Result<(), StoreError> {
    let mut bytes = serde_json::to_vec_pretty(record).map_err(|error| StoreError::Unsound {
        what: path.display().to_string(),
        reason: error.to_string(),
    })?;
    bytes.push(b'\n');
    write_file(path, &bytes)
}
