use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::StoreError;
use super::file::io;

/// The right to write in a directory, which ends with the file.
pub(super) fn lock(dir: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK).open(dir);
    let file = file.map_err(io("open", dir))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::Busy { path: dir.into(), by: holder(&file) })
        }
        Err(TryLockError::Error(error)) => Err(io("lock", dir)(error)),
    }
}

/// Who has a file locked: proc_locks(5) names locks by the inode's number.
fn holder(file: &File) -> Option<u32> {
    let inode = format!(":{}", file.metadata().ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let fields = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut locks = fields.filter(|fields| fields.get(1) == Some(&"FLOCK"));
    locks.find(|fields| fields.get(5).is_some_and(|id| id.ends_with(&inode)))?.get(4)?.parse().ok()
}
