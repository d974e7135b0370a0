//! Control groups for containers: what systemd in a container manages, and accounts by, lies below one of its own.

use std::fs;
use std::io::{self, Error};
use std::path::{Path, PathBuf};

/// What a container's systemd may account by and limit, where the machine has it.
const CONTROLLERS: [&str; 4] = ["+cpu", "+memory", "+pids", "+io"];

/// Makes an empty group below the root of them all.
pub(crate) fn make(name: &str) -> io::Result<PathBuf> {
    let root = root()?;
    for controller in CONTROLLERS {
        // The kernel may lack it, or version 1 of control groups may have it.
        let _ = fs::write(root.join("cgroup.subtree_control"), controller);
    }
    let group = root.join(format!("meshbench-{name}"));
    remove(&group)?;
    fs::create_dir(&group)?;
    Ok(group)
}

/// Moves this process into a group.
pub(crate) fn enter(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.procs"), "0")
}

/// Removes a group and those below it, in which no process may be left.
pub(crate) fn remove(group: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(group) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Where version 2 of control groups is mounted.
fn root() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = mounts.find_map(|words| match words[..] {
        [_, place, "cgroup2", ..] => Some(PathBuf::from(place)),
        _ => None,
    });
    found.ok_or_else(|| Error::other("no control groups of version 2 are mounted"))
}
