//! A machine that was booted once and frozen, on disk; and its forks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::{AT_FDCWD, AtFlags};

use super::accelerator::Accelerator;
use super::machine::Machine;
use super::qemu::cannot;
use super::spec::{MachineSpec, Origin};
use super::{MachineError, disk};
use crate::blocking::blocking;

const RAM: &str = "ram";
const DISK: &str = "disk";
const STATE: &str = "state";

/// A template whose files are open: its forks come about also if another harness removes it meanwhile.
#[derive(Debug)]
pub(super) struct Template {
    directory: PathBuf,
    ram: OwnedFd,
    disk: File,
    state: File,
}

impl Template {
    /// The template in this directory for machines of that much memory, if there is a whole one.
    ///
    /// # Errors
    /// One that this user cannot use as QEMU must.
    pub(super) fn open(directory: &Path, memory_mib: u32) -> io::Result<Option<Self>> {
        let file = |name: &str, written: bool| {
            OpenOptions::new().read(true).write(written).open(directory.join(name))
        };
        // QEMU opens a file of memory for writing also where it writes to its own copy only.
        let files =
            [(RAM, true), (DISK, false), (STATE, false)].map(|(name, written)| file(name, written));
        let [ram, disk, state] = match files {
            [Ok(ram), Ok(disk), Ok(state)] => [ram, disk, state],
            [Err(error), ..] | [_, Err(error), _] | [.., Err(error)] => {
                return if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) };
            }
        };
        let whole = ram.metadata()?.len() == u64::from(memory_mib) << 20
            && disk.metadata()?.len() == disk::SIZE
            && state.metadata()?.len() > 0;
        // Who may read a file of another user may not set its times: it may then seem unused.
        let _ = state.set_modified(SystemTime::now());
        let directory = directory.to_owned();
        Ok(whole.then(|| Self { directory, ram: ram.into(), disk, state }))
    }

    /// A machine that goes on where this one was frozen.
    pub(super) async fn fork(
        &self,
        spec: &MachineSpec,
        accelerator: Accelerator,
        cards: &[OwnedFd],
    ) -> Result<Machine, MachineError> {
        let start = Instant::now();
        let disk = self.disk.try_clone().map_err(cannot(spec, "share its template's disk"))?;
        let disk = blocking(move || disk::copy(&disk, &std::env::temp_dir())).await;
        let disk = disk.map_err(cannot(spec, "copy its template's disk"))?;
        let cards: io::Result<Vec<_>> = cards.iter().map(OwnedFd::try_clone).collect();
        let cards = cards.map_err(cannot(spec, "share its cards"))?;
        let origin = Origin::Fork(&self.ram);
        let machine =
            Machine::launch(spec.clone(), accelerator, origin, disk.into(), cards).await?;
        let launched = start.elapsed();
        machine.load_state(self.state.as_fd()).await?;
        let loaded = start.elapsed();
        machine.resumed().await?;
        let name = machine.name();
        tracing::debug!(name, ?launched, ?loaded, answered = ?start.elapsed(), "fork");
        Ok(machine)
    }

    /// Removes it, unless another one has taken its place by now.
    pub(super) fn discard(&self) -> io::Result<()> {
        discard(&self.state, &self.directory)
    }
}

/// Removes a template, of which this file is open, unless another one has taken its place by now.
pub(super) fn discard(state: &File, directory: &Path) -> io::Result<()> {
    if is_current(state, &directory.join(STATE)) { remove(directory) } else { Ok(()) }
}

/// Whether an open file is still what is found by its path.
fn is_current(file: &File, path: &Path) -> bool {
    let place = |file: fs::Metadata| (file.dev(), file.ino());
    let there = fs::metadata(path).map(place);
    there.is_ok_and(|there| file.metadata().map(place).is_ok_and(|own| own == there))
}

/// The files of a template to be. They have no names, so that a harness that is killed leaves none.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) ram: OwnedFd,
    pub(super) disk: File,
    pub(super) state: File,
}

impl Draft {
    pub(super) fn new(cache: &Path, memory_mib: u32) -> io::Result<Self> {
        let unnamed = |length: u64| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600);
            let file = options.open(cache)?;
            file.set_len(length)?;
            Ok::<_, io::Error>(file)
        };
        let ram = unnamed(u64::from(memory_mib) << 20)?;
        Ok(Self { ram: ram.into(), disk: unnamed(disk::SIZE)?, state: unnamed(0)? })
    }

    /// Makes it the template of this directory. It is on the host's disk before it is there: memory of
    /// which a crash of the host has left a part would be forked without complaint.
    pub(super) fn publish(self, directory: &Path) -> io::Result<()> {
        let ram = File::from(self.ram);
        publish(&[(RAM, &ram), (DISK, &self.disk), (STATE, &self.state)], directory)
    }
}

/// Gives files without names these in a new directory, which takes the place of what is there.
pub(super) fn publish(files: &[(&str, &File)], directory: &Path) -> io::Result<()> {
    let fresh = directory.with_extension("tmp");
    remove(&fresh)?;
    fs::create_dir(&fresh)?;
    for (name, file) in files {
        file.sync_all()?;
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        let (path, flags) = (fresh.join(name), AtFlags::AT_SYMLINK_FOLLOW);
        nix::unistd::linkat(AT_FDCWD, source.as_str(), AT_FDCWD, &path, flags)?;
    }
    File::open(&fresh)?.sync_all()?;
    remove(directory)?;
    fs::rename(&fresh, directory)?;
    directory.parent().map_or(Ok(()), |cache| File::open(cache)?.sync_all())
}

/// Removes a template, or a part of one, if it is there.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// How long ago a template was last used.
pub(super) fn unused_for(directory: &Path) -> Option<Duration> {
    let used = fs::metadata(directory.join(STATE)).or_else(|_| fs::metadata(directory));
    used.ok()?.modified().ok()?.elapsed().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY_MIB: u32 = 4;

    fn published(directory: &Path) {
        let draft = Draft::new(directory.parent().unwrap(), MEMORY_MIB).unwrap();
        let mut state = &draft.state;
        io::Write::write_all(&mut state, b"state").unwrap();
        draft.publish(directory).unwrap();
    }

    #[test]
    fn only_a_whole_template_is_used_and_a_new_one_takes_the_place_of_a_part() {
        let cache = tempfile::tempdir().unwrap();
        let directory = cache.path().join("key");
        let open = || Template::open(&directory, MEMORY_MIB).unwrap();
        assert!(open().is_none());
        published(&directory);
        assert!(open().is_some() && Template::open(&directory, 8).unwrap().is_none());
        for (name, length) in [(RAM, 4096), (DISK, 4096), (STATE, 0)] {
            let file = OpenOptions::new().write(true).open(directory.join(name)).unwrap();
            file.set_len(length).unwrap();
            assert!(open().is_none(), "{name} is too short");
            published(&directory);
            assert!(open().is_some());
        }
        let names: Vec<_> = fs::read_dir(cache.path()).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn a_template_that_another_took_the_place_of_is_not_current() {
        let cache = tempfile::tempdir().unwrap();
        let directory = cache.path().join("key");
        published(&directory);
        let old = Template::open(&directory, MEMORY_MIB).unwrap().unwrap();
        assert!(is_current(&old.state, &old.directory.join(STATE)));
        published(&directory);
        assert!(!is_current(&old.state, &old.directory.join(STATE)));
        remove(&directory).unwrap();
        assert!(!is_current(&old.state, &old.directory.join(STATE)));
    }
}
