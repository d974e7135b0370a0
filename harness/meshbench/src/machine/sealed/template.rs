//! A sealed machine that was booted once, and its forks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use meshbench_protocol::sealed::{Job, Said, Then};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest, Sha256};

use super::command_line::{self, Files, Purpose};
use super::outcome::{Ended, Heard, Outcome};
use super::running::{Running, content, path};
use super::{Bounds, NAME, SealedSpec, cannot, state};
use crate::hash::hex;
use crate::machine::template::publish;
use crate::machine::templates::lock;
use crate::machine::{MachineError, tail};

const RAM: &str = "ram";
const STATE: &str = "state";
const IDENTITY: &str = "identity";

/// How long a machine may take on the host to boot and prepare itself; a busy one took seven minutes.
const BOOTING: Duration = Duration::from_secs(1800);

/// How long QEMU may take to load a state.
const LOADING: Duration = Duration::from_secs(120);

/// The seed with which templates boot; forks have their own.
const SEED: u64 = 0;

/// A machine that has booted, prepared itself and stopped.
#[derive(Debug)]
pub struct SealedTemplate {
    spec: SealedSpec,
    ram: OwnedFd,
    state: File,
    identity: String,
    is_new: bool,
}

impl SealedTemplate {
    /// The template of such machines in `cache`, made if it is missing: booted, and `preparation` done in it.
    /// All that shapes it belongs to the key that it is found by.
    ///
    /// # Errors
    /// A guest that does not boot, a preparation that fails, no room.
    pub async fn get(
        spec: &SealedSpec,
        preparation: &Job,
        cache: &Path,
    ) -> Result<Self, MachineError> {
        let preparation = Job { then: Then::Stop, ..preparation.clone() };
        let directory = cache.join(key(spec, &preparation)?);
        if let Some(template) = Self::open(spec, &directory)? {
            return Ok(template);
        }
        fs::create_dir_all(cache).map_err(cannot("make the template cache"))?;
        let _lock = lock(cache, &|| ()).await.map_err(cannot("lock the template cache"))?;
        // Whoever had the lock may have made it.
        if let Some(template) = Self::open(spec, &directory)? {
            return Ok(template);
        }
        make(spec, &preparation, cache, &directory).await?;
        let gone = || cannot("find its template")(io::ErrorKind::NotFound.into());
        let template = Self::open(spec, &directory)?.ok_or_else(gone)?;
        Ok(Self { is_new: true, ..template })
    }

    /// Whether it was missing, and was made just now.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    fn open(spec: &SealedSpec, directory: &Path) -> Result<Option<Self>, MachineError> {
        let open = |name: &str, written: bool| {
            OpenOptions::new().read(true).write(written).open(directory.join(name))
        };
        let identity = match fs::read_to_string(directory.join(IDENTITY)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(cannot("read its template"))?,
        };
        // QEMU opens a file of memory for writing also where it writes to its own copy only.
        let ram = open(RAM, true).map_err(cannot("open its template"))?.into();
        let state = open(STATE, false).map_err(cannot("open its template"))?;
        Ok(Some(Self { spec: spec.clone(), ram, state, identity, is_new: false }))
    }

    /// Digest of memory and devices where it stopped, as digits: two hosts with the same have the same machine.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// A machine that goes on from here with a job and a seed, until it ends. Any number at once.
    ///
    /// # Errors
    /// A QEMU that does not start or load the template. What the machine does then is an [`Outcome`].
    pub async fn fork(
        &self,
        job: &Job,
        seed: u64,
        bounds: Bounds,
    ) -> Result<Outcome, MachineError> {
        self.fork_telling(job, seed, bounds, |_| ()).await
    }

    /// As [`SealedTemplate::fork`]; `tell` hears what the machine says while it runs.
    ///
    /// # Errors
    /// As there.
    pub async fn fork_telling(
        &self,
        job: &Job,
        seed: u64,
        bounds: Bounds,
        tell: impl FnMut(&Said),
    ) -> Result<Outcome, MachineError> {
        let mut running = Running::start(&self.spec, &self.ram, job, seed, Purpose::Fork).await?;
        // Opened anew: forks must not share a position in it.
        let state = File::open(path(&self.state)).map_err(cannot("open its template"))?;
        running
            .monitored("loading its template", LOADING, async |qmp| {
                qmp.load_devices(state.as_fd()).await
            })
            .await?;
        running.finish(bounds.wall, tell).await
    }
}

/// Boots such a machine without a template, with its job, until it ends.
///
/// # Errors
/// A QEMU that does not start.
pub async fn boot(
    spec: &SealedSpec,
    job: &Job,
    seed: u64,
    bounds: Bounds,
) -> Result<Outcome, MachineError> {
    let ram = memory(&std::env::temp_dir(), spec.memory_mib);
    let ram = OwnedFd::from(ram.map_err(cannot("make its memory"))?);
    Running::start(spec, &ram, job, seed, Purpose::Boot).await?.finish(bounds.wall, |_| ()).await
}

/// Everything that shapes a template, hashed.
fn key(spec: &SealedSpec, preparation: &Job) -> Result<String, MachineError> {
    let placeholder = || String::from("-");
    let files = Files {
        ram: placeholder(),
        job: placeholder(),
        output: placeholder(),
        console: placeholder(),
        monitor: 0,
    };
    let mut layers = spec.layers().map_err(cannot("find its layers"))?;
    layers.iter_mut().for_each(|layer| layer.path = "-".into());
    let mut nameless = spec.clone();
    let image = std::sync::Arc::make_mut(&mut nameless.image);
    // What they hold is in the hash of the whole.
    image.dir = "/".into();
    let words = command_line::arguments(&nameless, &layers, &files, Purpose::Template, SEED);
    let job = preparation.encode().map_err(io::Error::other).map_err(cannot("write its job"))?;
    let shape = (spec.qemu.version(), &spec.image.manifest.nar_hash, words);
    let mut hash = Sha256::new();
    hash.update(format!("{shape:?}"));
    hash.update(job);
    Ok(format!("sealed-{}", &hex(hash)[..32]))
}

async fn make(
    spec: &SealedSpec,
    preparation: &Job,
    cache: &Path,
    directory: &Path,
) -> Result<(), MachineError> {
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
        let reason = format!("{}: {said}{}", Ended::Job(how.clone()), tail(console));
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
    let written = content(&running.state).and_then(|mut bytes| {
        state::normalise(&mut bytes, counter)?;
        write(cache, directory, &ram, &bytes)
    });
    written.map_err(cannot("put its template in place"))
}

fn write(cache: &Path, directory: &Path, ram: &File, state: &[u8]) -> io::Result<()> {
    let identity = digest(ram, &state::essence(state)?)?;
    let file = |content: &[u8]| {
        let file = unnamed(cache)?;
        file.write_all_at(content, 0)?;
        Ok::<_, io::Error>(file)
    };
    let (state, identity) = (file(state)?, file(identity.as_bytes())?);
    publish(&[(RAM, ram), (STATE, &state), (IDENTITY, &identity)], directory)
}

fn memory(directory: &Path, mib: u32) -> io::Result<File> {
    let file = unnamed(directory)?;
    file.set_len(u64::from(mib) << 20)?;
    Ok(file)
}

fn unnamed(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(directory)
}

/// Of memory, page by page where it is not zero, and of devices.
fn digest(ram: &File, state: &[u8]) -> io::Result<String> {
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
