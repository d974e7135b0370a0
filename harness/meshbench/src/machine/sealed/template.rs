//! A sealed machine that was booted once, and its forks.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meshbench_protocol::sealed::{End, Said, Task, Then};
use sha2::{Digest, Sha256};

use super::command_line::{self, Files, Purpose};
use super::frozen::{DIGITS, IDENTITY, RAM, SEED, STATE, digest, freeze, memory};
use super::outcome::{Ended, SealedOutcome};
use super::running::{Running, content, path};
use super::{Bounds, NAME, SealedSpec, cannot, state};
use crate::blocking::blocking;
use crate::guest::{Made, Prepares, Preparing};
use crate::hash::hex;
use crate::machine::MachineError;
use crate::machine::template::discard;
use crate::machine::templates::{Lock, lock, make_ready, once_more, was_struck};

/// How a file is refused that is not there, or is not what was written.
const UNUSABLE: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::InvalidData];

/// How long QEMU may take to load a state.
const LOADING: Duration = Duration::from_secs(120);

/// A machine that has booted, prepared itself and stopped.
pub struct SealedTemplate {
    recipe: Recipe,
    directory: PathBuf,
    ram: OwnedFd,
    state: File,
    identity: String,
    is_new: bool,
}

/// What one is made by.
#[derive(Clone)]
struct Recipe {
    spec: SealedSpec,
    preparation: Task,
    cache: PathBuf,
    progress: Prepares,
}

impl fmt::Debug for SealedTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SealedTemplate")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Recipe {
    async fn template(&self) -> Result<SealedTemplate, MachineError> {
        let Self { spec, preparation, cache, .. } = self;
        let own = self.clone();
        // Its task carries a program.
        let directory = cache.join(blocking(move || key(&own.spec, &own.preparation)).await?);
        if let Some(template) = self.open(&directory)? {
            return Ok(template);
        }
        fs::create_dir_all(cache).map_err(cannot("make the template cache"))?;
        let lock = self.lock().await?;
        // Whoever had the lock may have made it.
        if let Some(template) = self.open(&directory)? {
            return Ok(template);
        }
        let (ready, lock) = make_ready(lock, cache, &spec.image, spec.memory_mib).await;
        ready.map_err(|why| why.of(NAME))?;
        let frozen = once_more(was_struck, async || freeze(spec, preparation, cache).await).await?;
        let (cache, place) = (cache.clone(), directory.clone());
        let (written, _lock) = blocking(move || (frozen.write(&cache, &place), lock)).await;
        written.map_err(cannot("put its template in place"))?;
        let gone = || cannot("find its template")(io::ErrorKind::NotFound.into());
        let template = self.open(&directory)?.ok_or_else(gone)?;
        Ok(SealedTemplate { is_new: true, ..template })
    }

    /// The template in this directory, if there is a whole one.
    fn open(&self, directory: &Path) -> Result<Option<SealedTemplate>, MachineError> {
        let file = |name: &str, written: bool| {
            OpenOptions::new().read(true).write(written).open(directory.join(name))
        };
        // QEMU opens a file of memory for writing also where it writes to its own copy only.
        let opened = file(RAM, true).and_then(|ram| {
            let state = file(STATE, false)?;
            let mut identity = String::new();
            file(IDENTITY, false)?.take(DIGITS as u64 + 1).read_to_string(&mut identity)?;
            let whole = ram.metadata()?.len() == u64::from(self.spec.memory_mib) << 20
                && state.metadata()?.len() > 0
                && identity.len() == DIGITS
                && identity.bytes().all(|byte| byte.is_ascii_hexdigit());
            Ok((whole, ram, state, identity))
        });
        let (whole, ram, state, identity) = match opened {
            Err(error) if UNUSABLE.contains(&error.kind()) => return Ok(None),
            opened => {
                opened.map_err(cannot(&format!("use the template in {}", directory.display())))?
            }
        };
        // Who may read a file of another user may not set its times: it may then seem unused.
        let _ = state.set_modified(SystemTime::now());
        let (recipe, directory, ram) = (self.clone(), directory.to_owned(), ram.into());
        Ok(whole.then_some(SealedTemplate {
            recipe,
            directory,
            ram,
            state,
            identity,
            is_new: false,
        }))
    }

    /// The right to make and remove templates, which one harness has at a time.
    async fn lock(&self) -> Result<Lock, MachineError> {
        let waits = || (self.progress)(&Preparing::Waiting { what: Made::Template });
        lock(&self.cache, &waits).await.map_err(cannot("lock the template cache"))
    }
}

impl SealedTemplate {
    /// The template of such machines in `cache`, made if it is missing or only a part of it is there: booted, and
    /// `preparation` done in it. All that shapes it belongs to the key that it is found by.
    ///
    /// # Errors
    /// A damaged guest, one that does not boot, a preparation that fails, no room.
    pub async fn get(
        spec: &SealedSpec,
        preparation: &Task,
        cache: &Path,
    ) -> Result<Self, MachineError> {
        Self::get_telling(spec, preparation, cache, Arc::new(|_| ())).await
    }

    /// As [`SealedTemplate::get`]; `progress` is told of waits for another harness, and of a template that had to be
    /// made anew.
    ///
    /// # Errors
    /// As there.
    pub async fn get_telling(
        spec: &SealedSpec,
        preparation: &Task,
        cache: &Path,
        progress: Prepares,
    ) -> Result<Self, MachineError> {
        let preparation = Task { then: Then::Stop, ..preparation.clone() };
        let (spec, cache) = (spec.clone(), cache.to_owned());
        Recipe { spec, preparation, cache, progress }.template().await
    }

    /// Whether it was missing, and was made just now.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Removes it, unless another one has taken its place by now.
    async fn discard(&self) -> Result<(), MachineError> {
        let lock = self.recipe.lock().await?;
        let state = self.state.try_clone().map_err(cannot("remove its template"))?;
        let directory = self.directory.clone();
        let (removed, _lock) = blocking(move || (discard(&state, &directory), lock)).await;
        removed.map_err(cannot("remove its template"))
    }

    /// Whether memory and devices are still what they were when it was made, which takes seconds.
    async fn is_sound(&self) -> io::Result<bool> {
        let (ram, state) = (File::from(self.ram.try_clone()?), self.state.try_clone()?);
        let found = blocking(move || digest(&ram, &state::essence(&content(&state)?)?));
        Ok(found.await? == self.identity)
    }

    /// Digest of memory and devices where it stopped, as digits: two hosts with the same have the same machine.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// A machine that goes on from here with a task and a seed, until it ends. Any number at once.
    ///
    /// # Errors
    /// A QEMU that does not start or load the template. What the machine does then is an [`SealedOutcome`].
    pub async fn fork(
        &self,
        task: &Task,
        seed: u64,
        bounds: Bounds,
    ) -> Result<SealedOutcome, MachineError> {
        self.fork_telling(task, seed, bounds, |_| ()).await
    }

    /// As [`SealedTemplate::fork`]; `tell` hears what the machine says while it runs.
    ///
    /// # Errors
    /// As there.
    pub async fn fork_telling(
        &self,
        task: &Task,
        seed: u64,
        bounds: Bounds,
        tell: impl FnMut(&Said),
    ) -> Result<SealedOutcome, MachineError> {
        self.load(task, seed).await?.finish(bounds.wall, tell).await
    }

    /// As [`SealedTemplate::fork_telling`]. A template that cannot be loaded is made anew first; where what was forked
    /// fails, a damaged one is removed.
    ///
    /// # Errors
    /// As there; or a template that was damaged, with which all that was told is void.
    pub async fn fork_mending(
        &mut self,
        task: &Task,
        seed: u64,
        bounds: Bounds,
        tell: impl FnMut(&Said),
    ) -> Result<SealedOutcome, MachineError> {
        // A busy host may be late.
        let loaded = once_more(|error| !error.is_the_hosts(), async || self.load(task, seed).await);
        let running = match loaded.await {
            Err(error) if !error.is_the_hosts() => {
                let reason = error.to_string();
                (self.recipe.progress)(&Preparing::Remaking { what: Made::Template, reason });
                self.discard().await?;
                *self = self.recipe.template().await?;
                self.load(task, seed).await?
            }
            loaded => loaded?,
        };
        let outcome = running.finish(bounds.wall, tell).await?;
        let well = outcome.ended == Ended::Task(End::Exited(0));
        if !well && matches!(self.is_sound().await, Ok(false)) {
            self.discard().await?;
            let reason = format!(
                "{} was not what it was made to be, and is removed: whoever needs it next makes it anew; {}",
                self.directory.display(),
                outcome.ended
            );
            return Err(cannot("use its template")(io::Error::other(reason)));
        }
        Ok(outcome)
    }

    /// A machine that goes on from here.
    async fn load(&self, task: &Task, seed: u64) -> Result<Running, MachineError> {
        let mut running =
            Running::start(&self.recipe.spec, &self.ram, task, seed, Purpose::Fork).await?;
        // Opened anew: forks must not share a position in it.
        let state = File::open(path(&self.state)).map_err(cannot("open its template"))?;
        running
            .monitored("loading its template", LOADING, async |qmp| {
                qmp.load_devices(state.as_fd()).await
            })
            .await?;
        Ok(running)
    }
}

/// Boots such a machine without a template, with its task, until it ends.
///
/// # Errors
/// A QEMU that does not start.
pub async fn boot(
    spec: &SealedSpec,
    task: &Task,
    seed: u64,
    bounds: Bounds,
) -> Result<SealedOutcome, MachineError> {
    let ram = memory(&std::env::temp_dir(), spec.memory_mib);
    let ram = OwnedFd::from(ram.map_err(cannot("make its memory"))?);
    Running::start(spec, &ram, task, seed, Purpose::Boot).await?.finish(bounds.wall, |_| ()).await
}

/// Everything that shapes a template, hashed.
fn key(spec: &SealedSpec, preparation: &Task) -> Result<String, MachineError> {
    let placeholder = || String::from("-");
    let files = Files {
        ram: placeholder(),
        task: placeholder(),
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
    let task = preparation.encode().map_err(io::Error::other).map_err(cannot("write its task"))?;
    let shape = (spec.qemu.version(), &spec.image.manifest.nar_hash, words);
    let mut hash = Sha256::new();
    hash.update(format!("{shape:?}"));
    hash.update(task);
    Ok(format!("sealed-{}", &hex(hash)[..32]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::frozen::write;
    use super::*;
    use crate::guest::{Qemu, sample};

    /// Of a machine with a MiB of memory.
    fn recipe(cache: &Path) -> Recipe {
        let qemu = Qemu::new(vec!["echo".into(), "QEMU emulator version 10.0.0".into()]).unwrap();
        let spec = SealedSpec::new(qemu, Arc::new(sample(cache)), 1);
        let (preparation, progress) = (Task::default(), Arc::new(|_: &Preparing| ()));
        Recipe { spec, preparation, cache: cache.to_owned(), progress }
    }

    #[test]
    fn only_a_whole_template_is_used() {
        let cache = tempfile::tempdir().unwrap();
        let recipe = recipe(cache.path());
        let directory = cache.path().join("sealed-1");
        let open = || recipe.open(&directory).unwrap();
        let made = || {
            let ram = memory(cache.path(), 1).unwrap();
            write(cache.path(), &directory, &ram, b"state").unwrap();
        };
        assert!(open().is_none());
        made();
        let template = open().unwrap();
        assert_eq!(template.identity().len(), DIGITS);
        for (name, length) in [(RAM, 4096), (STATE, 0), (IDENTITY, 7), (IDENTITY, 1 << 20)] {
            let file = OpenOptions::new().write(true).open(directory.join(name)).unwrap();
            file.set_len(length).unwrap();
            assert!(open().is_none(), "{name} has {length} bytes");
            made();
            fs::remove_file(directory.join(name)).unwrap();
            assert!(open().is_none(), "{name} is gone");
            made();
            assert!(open().is_some());
        }
        fs::write(directory.join(IDENTITY), [0xff; DIGITS]).unwrap();
        assert!(open().is_none());
    }

    #[tokio::test]
    async fn a_template_that_has_no_room_is_not_begun() {
        let cache = tempfile::tempdir().unwrap();
        let mut recipe = recipe(cache.path());
        Arc::make_mut(&mut recipe.spec.image).manifest.layers.clear();
        recipe.spec.memory_mib = u32::MAX;
        let error = recipe.template().await.unwrap_err().to_string();
        assert!(error.contains("MiB are left in"), "{error}");
    }

    #[tokio::test]
    async fn who_waits_for_another_harness_says_so() {
        let cache = tempfile::tempdir().unwrap();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let progress: Prepares = Arc::new(move |told| tell.send(told.to_string()).unwrap());
        let recipe = Recipe { progress, ..recipe(cache.path()) };
        // As another harness would.
        let held = File::create(cache.path().join("making.lock")).unwrap();
        held.lock().unwrap();
        tokio::select! {
            _ = recipe.lock() => panic!("another harness has it"),
            text = told.recv() => assert!(text.unwrap().contains("waiting for another harness")),
        }
    }

    #[tokio::test]
    async fn a_template_whose_memory_is_another_one_is_not_sound() {
        let cache = tempfile::tempdir().unwrap();
        let recipe = recipe(cache.path());
        let directory = cache.path().join("sealed-1");
        let ram = memory(cache.path(), 1).unwrap();
        ram.write_all_at(b"kernel", 8192).unwrap();
        write(cache.path(), &directory, &ram, b"state").unwrap();
        let template = recipe.open(&directory).unwrap().unwrap();
        assert!(template.is_sound().await.unwrap());
        ram.write_all_at(b"k", 4096).unwrap();
        assert!(!template.is_sound().await.unwrap());
        template.discard().await.unwrap();
        assert!(!directory.exists());
    }
}
