//! Making network namespaces what they are told to be.

use std::fs;
use std::io::{self, Error};

use meshbench_protocol::{Namespace, Reply};

use crate::{exec, ip, netns, schedule};

/// Applies all of them, in their order; stops at the first thing that fails.
pub(crate) fn apply(namespaces: &[Namespace]) -> io::Result<Reply> {
    schedule::before_all_others();
    for namespace in namespaces {
        let done = one(namespace);
        done.map_err(|why| Error::other(format!("namespace {:?}: {why}", namespace.name)))?;
    }
    Ok(Reply::Done)
}

fn one(namespace: &Namespace) -> io::Result<()> {
    netns::enter(&namespace.name)?;
    ip::batch(namespace.ip.iter().map(String::as_str))?;
    if !namespace.nft.is_empty() {
        exec::checked(&["nft", "-f", "-"], &namespace.nft)?;
    }
    for (path, value) in &namespace.sysctls {
        sysctl(path, value)?;
    }
    if !namespace.tc.is_empty() {
        exec::checked(&["tc", "-batch", "-"], &(namespace.tc.join("\n") + "\n"))?;
    }
    for (path, content) in &namespace.files {
        fs::write(path, content).map_err(|e| Error::new(e.kind(), format!("{path}: {e}")))?;
    }
    for command in &namespace.commands {
        exec::checked(&["sh", "-euc", command], "")?;
    }
    Ok(())
}

fn sysctl(path: &str, value: &str) -> io::Result<()> {
    let (optional, path) = path.strip_prefix('-').map_or((false, path), |path| (true, path));
    let path = format!("/proc/sys/{path}");
    match fs::write(&path, value) {
        Err(error) if optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(|e| Error::new(e.kind(), format!("{path}: {e}"))),
    }
}
