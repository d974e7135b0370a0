//! Network namespaces with names, as `ip netns` keeps them.

use std::fs::{self, File};
use std::io::{self, Error};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

const DIRECTORY: &str = "/run/netns";

/// Where this thread's own namespace is.
const OWN: &str = "/proc/thread-self/ns/net";

/// Moves this thread into a namespace: that of the machine when the name is empty.
pub(crate) fn enter(name: &str) -> io::Result<()> {
    let namespace = if name.is_empty() { File::open("/proc/1/ns/net")? } else { open(name)? };
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// Opens a namespace by name, or by the number of a thread in it, as `ip` does.
pub(crate) fn open(name: &str) -> io::Result<File> {
    File::open(path(name)).map_err(|e| Error::new(e.kind(), format!("namespace {name}: {e}")))
}

/// Makes a namespace that lasts, with nothing in it.
pub(crate) fn add(name: &str) -> io::Result<()> {
    fs::create_dir_all(DIRECTORY)?;
    let path = path(name);
    File::create_new(&path)?;
    let home = File::open(OWN)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let kept = mount(Some(OWN), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>);
    // Whoever asked stays where it is.
    setns(home, CloneFlags::CLONE_NEWNET)?;
    Ok(kept?)
}

fn path(name: &str) -> PathBuf {
    if name.parse::<u32>().is_ok() {
        return Path::new("/proc").join(name).join("ns/net");
    }
    Path::new(DIRECTORY).join(name)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::thread;

    use super::*;
    use crate::ip;

    /// Does something in a network namespace of its own, where `lo` has 192.0.2.1 and swallows what is sent to
    /// 198.51.100.0/24; nothing, and says so, where the machine grants none.
    pub(crate) fn alone(work: impl FnOnce() + Send + 'static) {
        let there = thread::spawn(move || {
            if let Err(why) = unshare(CloneFlags::CLONE_NEWNET) {
                let _ = writeln!(io::stderr(), "skipped: no network namespace: {why}");
                return;
            }
            let lines = [
                "link set lo up",
                "address add 192.0.2.1/32 dev lo",
                "route add 198.51.100.0/24 dev lo",
            ];
            ip::batch(lines).unwrap();
            work();
        });
        there.join().unwrap();
    }
}
