//! Why there is no site.

use std::io;
use std::path::PathBuf;

/// A site could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A file operation failed.
    #[error("cannot write {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// The folder holds something else.
    #[error("{} holds something that is no site of meshbench: choose another folder, or empty it", .0.display())]
    Foreign(PathBuf),
    /// A page could not be made.
    #[error("cannot make {page}: {reason}")]
    Page {
        /// Which.
        page: String,
        /// Why.
        reason: String,
    },
}
