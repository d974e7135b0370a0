//! A machine of virtual time that has stopped where its forks go on, and the files that it becomes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use meshbench_protocol::sealed::Task;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest, Sha256};

use super::command_line::Purpose;
use super::outcome::{Ended, Heard};
use super::running::{Running, content};
use super::{NAME, SealedSpec, cannot, state};
use crate::hash::hex;
use crate::machine::template::publish;
use crate::machine::{MachineError, tail};

pub(super) const RAM: &str = "ram";
pub(super) const STATE: &str = "state";
pub(super) const IDENTITY: &str = "identity";

/// Of an identity.
pub(super) const DIGITS: usize = 64;

/// How long a machine may take on the host to boot and prepare itself; a busy one took seven minutes.
const BOOTING: Duration = Duration::from_secs(1800);

/// The seed with which templates boot; forks have their own.
pub(super) const SEED: u64 = 0;

/// A machine that has stopped: its memory and devices, and its time-stamp counter then.
pub(super) struct Frozen {
    ram: File,
    state: File,
    counter: u64,
}

pub(super) async fn freeze(
    spec: &SealedSpec,
    preparation: &Task,
    cache: &Path,
) -> Result<Frozen, MachineError> {
    let ram = memory(cache, spec.memory_mib).map_err(cannot("make its memory"))?;
    let shared = OwnedFd::from(ram.try_clone().map_err(cannot("share its memory"))?);
    let mut running = Running::start(spec, &shared, preparation, SEED, Purpose::Template).await?;
    let target = running.saved_to.clone();
    let saved = running.monitored("booting", BOOTING, async |qmp| {
        qmp.stopped().await?;
        qmp.save_devices(&target).await
    });
    let saved = saved.await;
    let heard = Heard::of(&running.said()?);
    if let (Err(MachineError::Lost { console, .. }), Some((how, _))) = (&saved, &heard.end) {
        let said = String::from_utf8_lossy(&heard.stderr).into_owned();
        let reason = format!("{}: {said}{}", Ended::Task(how.clone()), tail(console));
        return Err(MachineError::Agent {
            machine: NAME.to_owned(),
            stage: "preparing its template".to_owned(),
            reason,
        });
    }
    saved?;
    running.end().await;
    let counter = heard.ready.ok_or_else(|| {
        cannot("make a template")(io::Error::other("it stopped without saying that it is ready"))
    })?;
    Ok(Frozen { ram, state: running.state, counter })
}

impl Frozen {
    /// Makes it the template of this directory.
    pub(super) fn write(&self, cache: &Path, directory: &Path) -> io::Result<()> {
        let mut state = content(&self.state)?;
        state::normalise(&mut state, self.counter)?;
        write(cache, directory, &self.ram, &state)
    }
}

pub(super) fn write(cache: &Path, directory: &Path, ram: &File, state: &[u8]) -> io::Result<()> {
    let identity = digest(ram, &state::essence(state)?)?;
    let file = |content: &[u8]| {
        let file = unnamed(cache)?;
        file.write_all_at(content, 0)?;
        Ok::<_, io::Error>(file)
    };
    let (state, identity) = (file(state)?, file(identity.as_bytes())?);
    publish(&[(RAM, ram), (STATE, &state), (IDENTITY, &identity)], directory)
}

pub(super) fn memory(directory: &Path, mib: u32) -> io::Result<File> {
    let file = unnamed(directory)?;
    file.set_len(u64::from(mib) << 20)?;
    Ok(file)
}

fn unnamed(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory)
}

/// Of memory, page by page where it is not zero, and of devices.
pub(super) fn digest(ram: &File, state: &[u8]) -> io::Result<String> {
    const PAGE: usize = 4096;
    let mut hash = Sha256::new();
    hash.update(state);
    let mut page = [0; PAGE];
    let mut start = 0;
    loop {
        start = match lseek(ram, start, Whence::SeekData) {
            Ok(offset) => offset,
            Err(Errno::ENXIO) => return Ok(hex(hash)),
            Err(error) => return Err(error.into()),
        };
        let end = lseek(ram, start, Whence::SeekHole)?;
        for offset in (start as u64..end as u64).step_by(PAGE) {
            ram.read_exact_at(&mut page, offset)?;
            if page != [0; PAGE] {
                hash.update(offset.to_le_bytes());
                hash.update(page);
            }
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_memory_knows_no_holes() {
        let directory = tempfile::tempdir().unwrap();
        let (sparse, dense) =
            (memory(directory.path(), 1).unwrap(), memory(directory.path(), 1).unwrap());
        dense.write_all_at(&[0; 8192], 4096).unwrap();
        assert_eq!(digest(&sparse, b"s").unwrap(), digest(&dense, b"s").unwrap());
        dense.write_all_at(&[1], 5000).unwrap();
        assert_ne!(digest(&sparse, b"s").unwrap(), digest(&dense, b"s").unwrap());
    }
}
