//! Starting machines: forks of templates, which are made where they are missing, or cold boots.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard, oneshot};

use super::accelerator::Accelerator;
use super::command_line::shape;
use super::machine::Machine;
use super::qemu::cannot;
use super::spec::{MachineSpec, Origin};
use super::template::{self, Draft, Template};
use super::{BOOT_DEADLINE, MachineError, PROMPT, disk, wire};
use crate::blocking::blocking;
use crate::guest::{GuestError, GuestImage, Made, Prepares, Preparing};
use crate::host;

/// A template that no run has used for so long is removed when another one is made.
const UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// What is done once to a machine after its first boot, before anything else: in a template, or in
/// each machine when there is none.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Preparation {
    /// Files to write: path, mode, content.
    pub files: Vec<(String, u32, String)>,
    /// A shell script.
    pub script: String,
}

/// How machines of a run are started.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Start {
    /// By forking templates kept in this directory.
    Fork(PathBuf),
    /// By booting each, for the reason given.
    Boot(String),
}

/// Starts machines: forks of templates, or cold boots.
#[derive(Clone)]
pub struct Templates {
    start: Start,
    accelerator: Accelerator,
    qemu_version: String,
    boot_deadline: Duration,
    progress: Prepares,
}

impl fmt::Debug for Templates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Templates");
        shown.field("start", &self.start).field("accelerator", &self.accelerator);
        shown.finish_non_exhaustive()
    }
}

impl Templates {
    /// Machines of this accelerator, started as `start` says.
    pub fn new(start: Start, accelerator: Accelerator, qemu_version: String) -> Self {
        let (boot_deadline, progress) = (BOOT_DEADLINE, Arc::new(|_: &Preparing| ()));
        Self { start, accelerator, qemu_version, boot_deadline, progress }
    }

    /// Gives machines another time to boot than the four minutes that suit a slow host.
    pub fn boot_deadline(mut self, deadline: Duration) -> Self {
        self.boot_deadline = deadline;
        self
    }

    /// Tells of waits for another harness, and of templates that had to be made anew.
    pub fn progress(mut self, progress: Prepares) -> Self {
        self.progress = progress;
        self
    }

    /// The accelerator of all machines.
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// How machines are started.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// Makes the template of such machines unless it exists; without forks there is nothing to do.
    /// Says whether one was made. Where templates cannot be had, all machines are booted from now on: for whoever has
    /// not begun to measure.
    pub async fn warm(
        &mut self,
        spec: &MachineSpec,
        preparation: &Preparation,
    ) -> Result<bool, MachineError> {
        let Start::Fork(cache) = &self.start else { return Ok(false) };
        match self.template(cache, spec, preparation).await {
            Ok((_, made)) => Ok(made),
            Err(
                error @ (MachineError::Host { .. }
                | MachineError::Monitor { .. }
                | MachineError::Lost { .. }),
            ) => {
                // A memory file that outgrows its file system ends QEMU by a mere SIGBUS.
                let room = host::free_mib(cache)
                    .map(|mib| format!("; {} has {mib} MiB left", cache.display()));
                let room = room.unwrap_or_default();
                self.start = Start::Boot(format!("no template can be had: {error}{room}"));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Starts a machine and waits until its agent answers. A template that is gone or that cannot be
    /// forked is made anew: machines of one run all start alike.
    pub async fn machine(
        &self,
        spec: MachineSpec,
        preparation: &Preparation,
        cards: Vec<OwnedFd>,
    ) -> Result<Machine, MachineError> {
        spec.image.check_layers().map_err(|error| Unready::Damaged(error).of(&spec.name))?;
        let Start::Fork(cache) = &self.start else {
            return self.boot(spec, preparation, cards).await;
        };
        let (template, _) = self.template(cache, &spec, preparation).await?;
        // A busy host is late, or out of processes for a moment.
        let forked = once_more(
            |error| !error.is_the_hosts(),
            async || template.fork(&spec, self.accelerator, &cards).await,
        );
        match forked.await {
            Ok(machine) => Ok(machine),
            Err(error) if error.is_the_hosts() => Err(error),
            Err(error) => {
                (self.progress)(&Preparing::Remaking {
                    what: Made::Template,
                    reason: error.to_string(),
                });
                self.discard(cache, template)
                    .await
                    .map_err(cannot(&spec, "remove its template"))?;
                let (template, _) = self.template(cache, &spec, preparation).await?;
                template.fork(&spec, self.accelerator, &cards).await
            }
        }
    }

    async fn boot(
        &self,
        spec: MachineSpec,
        preparation: &Preparation,
        cards: Vec<OwnedFd>,
    ) -> Result<Machine, MachineError> {
        let disk = disk::blank(&std::env::temp_dir());
        let disk = disk.map_err(cannot(&spec, "make its state disk"))?;
        let machine = Machine::launch(
            spec,
            self.accelerator,
            Origin::Cold { machine_id: None },
            disk.into(),
            cards,
        )
        .await?;
        machine.booted(self.boot_deadline).await?;
        prepare(&machine, preparation).await?;
        Ok(machine)
    }

    /// The template of such machines, and whether it was made just now.
    async fn template(
        &self,
        cache: &Path,
        spec: &MachineSpec,
        preparation: &Preparation,
    ) -> Result<(Template, bool), MachineError> {
        let key = self.key(spec, preparation);
        let directory = cache.join(key.map_err(cannot(spec, "name its template"))?);
        let open = || {
            let opened = Template::open(&directory, spec.memory_mib);
            opened.map_err(cannot(spec, &format!("use the template in {}", directory.display())))
        };
        if let Some(template) = open()? {
            return Ok((template, false));
        }
        fs::create_dir_all(cache).map_err(cannot(spec, "make the template cache"))?;
        let lock = self.lock(cache).await.map_err(cannot(spec, "lock the template cache"))?;
        // Whoever had the lock may have made it.
        if let Some(template) = open()? {
            return Ok((template, false));
        }
        let _lock = self.make(lock, cache, &directory, spec, preparation).await?;
        let gone = || cannot(spec, "find the template just made")(io::ErrorKind::NotFound.into());
        Ok((open()?.ok_or_else(gone)?, true))
    }

    /// Everything that shapes a template, hashed.
    fn key(&self, spec: &MachineSpec, preparation: &Preparation) -> io::Result<String> {
        let host = match self.accelerator {
            // A saved state of the host's own processor runs on no other.
            Accelerator::Kvm => host::platform(),
            Accelerator::Tcg => String::new(),
        };
        let shape = (
            (host, &self.qemu_version, shape(spec, self.accelerator)?, disk::SIZE),
            (&spec.image.manifest.nar_hash, meshbench_protocol::PROTOCOL, preparation),
        );
        let hash = Sha256::digest(format!("{shape:?}"));
        Ok(nix_base32::to_nix_base32(&hash[..20]))
    }

    /// Makes it under the lock, which is given back.
    async fn make(
        &self,
        lock: Lock,
        cache: &Path,
        directory: &Path,
        spec: &MachineSpec,
        preparation: &Preparation,
    ) -> Result<Lock, MachineError> {
        let (ready, lock) = make_ready(lock, cache, &spec.image, spec.memory_mib).await;
        ready.map_err(|why| why.of(&spec.name))?;
        let draft = once_more(was_struck, async || {
            let draft = Draft::new(cache, spec.memory_mib);
            let draft = draft.map_err(cannot(spec, "make its template's files"))?;
            self.boot_and_save(spec, preparation, &draft).await.map(|()| draft)
        });
        let (draft, directory) = (draft.await?, directory.to_owned());
        let (published, lock) = blocking(move || (draft.publish(&directory), lock)).await;
        published.map_err(cannot(spec, "put its template in place"))?;
        Ok(lock)
    }

    async fn boot_and_save(
        &self,
        spec: &MachineSpec,
        preparation: &Preparation,
        draft: &Draft,
    ) -> Result<(), MachineError> {
        let disk = draft.disk.try_clone().map_err(cannot(spec, "share its template's disk"))?;
        // The template's cards lead nowhere and stay down.
        let wires: io::Result<Vec<_>> = (0..spec.cards).map(|_| wire()).collect();
        let wires = wires.map_err(cannot(spec, "make its cards"))?;
        let (_far, cards): (Vec<_>, Vec<_>) = wires.into_iter().unzip();
        let origin = Origin::Template(&draft.ram);
        let machine =
            Machine::launch(spec.clone(), self.accelerator, origin, disk.into(), cards).await?;
        machine.booted(self.boot_deadline).await?;
        prepare(&machine, preparation).await?;
        machine.save_state(draft.state.as_fd()).await?;
        machine.end().await;
        Ok(())
    }

    /// Removes a template that cannot be forked, unless it is gone or another one is there by now.
    async fn discard(&self, cache: &Path, template: Template) -> io::Result<()> {
        let lock = self.lock(cache).await?;
        blocking(move || (template.discard(), lock)).await.0
    }

    /// The right to make and remove templates, which one harness has at a time.
    async fn lock(&self, cache: &Path) -> io::Result<Lock> {
        lock(cache, &|| (self.progress)(&Preparing::Waiting { what: Made::Template })).await
    }
}

/// Does something, and once more where it failed in such a way.
pub(super) async fn once_more<T>(
    may_pass: impl Fn(&MachineError) -> bool,
    mut work: impl AsyncFnMut() -> Result<T, MachineError>,
) -> Result<T, MachineError> {
    match work().await {
        Err(error) if may_pass(&error) => work().await,
        done => done,
    }
}

/// Whether its QEMU ended or failed, such as one that the kernel has chosen to end for want of memory: chance shall not
/// decide how the machines of a run start.
pub(super) fn was_struck(error: &MachineError) -> bool {
    matches!(error, MachineError::Lost { .. } | MachineError::Monitor { .. })
}

/// Held while templates of a directory are made or removed.
#[derive(Debug)]
#[expect(dead_code, reason = "the locks end with it")]
pub(super) struct Lock(File, MutexGuard<'static, ()>);

/// The lock of a directory of templates; whoever has to wait for another harness is told so. Machines of the own one
/// take turns in silence.
pub(super) async fn lock(cache: &Path, waits: &(dyn Fn() + Sync)) -> io::Result<Lock> {
    static OWN: Mutex<()> = Mutex::const_new(());
    let turn = OWN.lock().await;
    let file = File::create(cache.join("making.lock"))?;
    match file.try_lock() {
        Ok(()) => return Ok(Lock(file, turn)),
        Err(TryLockError::WouldBlock) => waits(),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    Ok(Lock(locked(file).await?, turn))
}

/// Waits for the lock of a file on a thread for that. When nobody wants it any more, the thread stays behind, and lets
/// go of what it gets; not one of the runtime's, which ends only after them.
async fn locked(file: File) -> io::Result<File> {
    let (tell, told) = oneshot::channel();
    let wait = move || tell.send(file.lock().map(|()| file));
    thread::Builder::new().name("lock".into()).spawn(wait)?;
    told.await.map_err(io::Error::other)?
}

/// Does to a machine what is done to it once.
pub(crate) async fn prepare(
    machine: &Machine,
    preparation: &Preparation,
) -> Result<(), MachineError> {
    for (path, mode, content) in &preparation.files {
        machine.write_file(path, *mode, content.as_bytes()).await?;
    }
    if !preparation.script.is_empty() {
        let input = Some(preparation.script.as_bytes());
        machine.run_within(&["sh", "-e"], input, PROMPT * 4).await?;
    }
    Ok(())
}

/// A template is sparse, a quarter of its memory, but nobody knows beforehand; and memory that finds no room kills QEMU
/// by a signal that says nothing.
fn check_space(cache: &Path, memory_mib: u32) -> io::Result<()> {
    let free_mib = host::free_mib(cache)?;
    if free_mib > u64::from(memory_mib) {
        return Ok(());
    }
    let reason = format!(
        "{free_mib} MiB are left in {}, of {memory_mib} MiB that it may take",
        cache.display()
    );
    Err(io::Error::new(io::ErrorKind::StorageFull, reason))
}

/// Why no template can be begun.
pub(super) enum Unready {
    NoRoom(io::Error),
    Damaged(GuestError),
}

impl Unready {
    /// As the error of a machine.
    pub(super) fn of(self, machine: &str) -> MachineError {
        let machine = machine.to_owned();
        match self {
            Self::NoRoom(source) => {
                MachineError::Host { machine, action: "make a template".into(), source }
            }
            Self::Damaged(error) => MachineError::Image { machine, reason: error.to_string() },
        }
    }
}

/// Removes what nobody uses any more, sees whether there is room, and checks every byte of the guest that a template is
/// to be of; gives the lock back.
pub(super) async fn make_ready(
    lock: Lock,
    cache: &Path,
    image: &Arc<GuestImage>,
    memory_mib: u32,
) -> (Result<(), Unready>, Lock) {
    let (cache, image) = (cache.to_owned(), image.clone());
    blocking(move || {
        remove_unused(&cache);
        let room = check_space(&cache, memory_mib).map_err(Unready::NoRoom);
        (room.and_then(|()| image.verify().map_err(Unready::Damaged)), lock)
    })
    .await
}

/// Best effort: what stays only takes up space.
fn remove_unused(cache: &Path) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let is_part = path.extension().is_some_and(|extension| extension == "tmp");
        if is_part || template::unused_for(&path).is_some_and(|time| time > UNUSED) {
            let _ = template::remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use futures_util::FutureExt;
    use tokio::sync::mpsc;

    use super::super::Loss;
    use super::*;

    #[test]
    fn templates_unused_for_weeks_and_parts_of_dead_ones_are_removed() {
        let cache = tempfile::tempdir().unwrap();
        for name in ["new", "old", "half.tmp"] {
            let directory = cache.path().join(name);
            fs::create_dir(&directory).unwrap();
            let state = File::create(directory.join("state")).unwrap();
            let age = if name == "old" { UNUSED + Duration::from_secs(60) } else { Duration::ZERO };
            state.set_modified(SystemTime::now() - age).unwrap();
        }
        remove_unused(cache.path());
        let left: Vec<_> = fs::read_dir(cache.path()).unwrap().flatten().collect();
        assert!(left.len() == 1 && left[0].file_name() == "new", "{left:?}");
    }

    #[test]
    fn a_file_system_too_small_for_a_template_is_told_before_anything_boots() {
        let cache = tempfile::tempdir().unwrap();
        check_space(cache.path(), 1).unwrap();
        let error = check_space(cache.path(), u32::MAX).unwrap_err();
        assert!(error.to_string().contains(", of 4294967295 MiB"), "{error}");
    }

    /// How often something is done that fails so the first time.
    async fn times(may_pass: impl Fn(&MachineError) -> bool, first: MachineError) -> usize {
        let (mut first, mut times) = (Some(first), 0);
        let done = once_more(may_pass, async || {
            times += 1;
            first.take().map_or(Ok(()), Err)
        });
        assert_eq!(done.await.is_ok(), times == 2);
        times
    }

    #[tokio::test]
    async fn what_chance_may_have_done_is_tried_once_more() {
        let (machine, stage, console) = (|| "bob".to_owned(), || "x".to_owned(), Vec::new);
        let deadline = || MachineError::Deadline {
            machine: machine(),
            stage: stage(),
            seconds: 60.0,
            console: console(),
        };
        let ended = |signal: i32, stderr: &str| {
            let (status, signal) = ("in words".into(), Some(signal));
            let loss = Loss::Ended { status, signal, stderr: stderr.into() };
            MachineError::Lost { machine: machine(), stage: stage(), loss, console: console() }
        };
        let late = "qemu_thread_create: Resource temporarily unavailable";
        // A fork, before its template is condemned.
        let condemns = |error: &MachineError| !error.is_the_hosts();
        assert_eq!(times(condemns, deadline()).await, 2);
        assert_eq!(times(condemns, ended(libc::SIGABRT, late)).await, 2);
        assert_eq!(times(condemns, ended(libc::SIGKILL, "")).await, 1);
        // A template that is made.
        assert_eq!(times(was_struck, ended(libc::SIGKILL, "")).await, 2);
        assert_eq!(times(was_struck, deadline()).await, 1);
    }

    #[tokio::test]
    async fn who_waits_for_another_harness_says_so_and_can_be_stopped() {
        let cache = tempfile::tempdir().unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        let start = Start::Fork(cache.path().to_owned());
        let templates = Templates::new(start, Accelerator::Tcg, String::new())
            .progress(Arc::new(move |told: &Preparing| tell.send(told.to_string()).unwrap()));
        // As another harness would.
        let held = File::create(cache.path().join("making.lock")).unwrap();
        held.lock().unwrap();
        tokio::select! {
            _ = templates.lock(cache.path()) => panic!("another harness has it"),
            text = told.recv() => assert!(text.unwrap().contains("waiting for another")),
        }
        drop(held);
        // Whoever has stopped waiting above lets go of it again.
        let own = templates.lock(cache.path()).await.unwrap();
        while told.try_recv().is_ok() {}
        let other = templates.lock(cache.path()).now_or_never();
        assert!(other.is_none(), "two machines of one harness take turns");
        assert!(told.try_recv().is_err(), "in silence");
        drop(own);
        templates.lock(cache.path()).await.unwrap();
    }
}
