//! Templates: machines booted once and frozen; and their forks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::accelerator::Accelerator;
use super::command_line::{DEVICES_VERSION, kernel_options};
use super::qemu::{BOOT_DEADLINE, Machine, MachineSpec, Origin};
use super::qmp::Qmp;
use super::{MachineError, disk};

/// What is done once to a machine after its first boot, before anything else: in a template, or in
/// each machine when there is none.
#[derive(Debug, Clone, Default)]
pub struct Preparation {
    /// Files to write: path, mode, content.
    pub files: Vec<(String, u32, String)>,
    /// A shell script.
    pub script: String,
}

/// How machines of a run are started.
#[derive(Debug, Clone)]
pub enum Start {
    /// By forking templates kept in this directory.
    Fork(PathBuf),
    /// By booting each, for the reason given.
    Boot(String),
}

/// Starts machines: forks of templates, or cold boots.
#[derive(Debug, Clone)]
pub struct Templates {
    start: Start,
    accelerator: Accelerator,
    qemu_version: String,
    boot_deadline: Duration,
}

/// A frozen machine on disk.
#[derive(Debug, Clone)]
pub struct Template {
    directory: PathBuf,
}

impl Templates {
    /// Machines of this accelerator, started as `start` says.
    pub fn new(start: Start, accelerator: Accelerator, qemu_version: String) -> Self {
        Self { start, accelerator, qemu_version, boot_deadline: BOOT_DEADLINE }
    }

    /// Gives machines another time to boot than the four minutes that suit a slow host.
    pub fn boot_deadline(mut self, deadline: Duration) -> Self {
        self.boot_deadline = deadline;
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
    /// Says whether one was made. A template that cannot be made turns into cold boots.
    pub async fn warm(
        &mut self,
        spec: &MachineSpec,
        preparation: &Preparation,
    ) -> Result<bool, MachineError> {
        let Start::Fork(cache) = &self.start else { return Ok(false) };
        let directory = cache.join(self.key(spec, preparation));
        if Template::open(&directory).is_some() {
            return Ok(false);
        }
        match self.make(cache, &directory, spec, preparation).await {
            Ok(()) => Ok(true),
            Err(error @ MachineError::Host { .. } | error @ MachineError::Monitor { .. }) => {
                self.start = Start::Boot(format!("no template could be made: {error}"));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Starts a machine and waits until its agent answers.
    pub async fn machine(
        &self,
        spec: MachineSpec,
        preparation: &Preparation,
        cards: Vec<OwnedFd>,
    ) -> Result<Machine, MachineError> {
        if let Start::Fork(cache) = &self.start {
            let directory = cache.join(self.key(&spec, preparation));
            if let Some(template) = Template::open(&directory) {
                return template.fork(spec, self.accelerator, cards).await;
            }
        }
        let disk =
            disk::blank(&std::env::temp_dir()).map_err(host(&spec, "make its state disk"))?;
        let machine =
            Machine::launch(spec, self.accelerator, Origin::Cold, disk.into(), cards).await?;
        machine.booted(self.boot_deadline).await?;
        prepare(&machine, preparation).await?;
        Ok(machine)
    }

    /// Everything that shapes a template, hashed.
    fn key(&self, spec: &MachineSpec, preparation: &Preparation) -> String {
        let mut hash = Sha256::new();
        let accelerator = (self.accelerator.option(), self.accelerator.cpu());
        let shape = (spec.memory_mib, spec.cpus, spec.cards, DEVICES_VERSION);
        let cpu = match self.accelerator {
            // A saved state of the host's own processor runs on no other.
            Accelerator::Kvm => crate::machine::host_cpu(),
            Accelerator::Tcg => kernel_options(self.accelerator),
        };
        let text = format!(
            "{}\0{}\0{accelerator:?}\0{shape:?}\0{cpu}\0{preparation:?}\0{}",
            spec.image.manifest.nar_hash, self.qemu_version, spec.image.manifest.cmdline
        );
        hash.update(text.as_bytes());
        nix_base32::to_nix_base32(&hash.finalize()[..20])
    }

    async fn make(
        &self,
        cache: &Path,
        directory: &Path,
        spec: &MachineSpec,
        preparation: &Preparation,
    ) -> Result<(), MachineError> {
        fs::create_dir_all(cache).map_err(host(spec, "make the template cache"))?;
        let _lock = lock(directory).await.map_err(host(spec, "lock the template cache"))?;
        if Template::open(directory).is_some() {
            return Ok(());
        }
        let unnamed = |what: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600);
            options.open(cache).map_err(host(spec, what))
        };
        let ram = unnamed("make the template's memory file")?;
        ram.set_len(u64::from(spec.memory_mib) << 20)
            .map_err(host(spec, "size its memory file"))?;
        let state = unnamed("make the template's state file")?;
        let disk = unnamed("make the template's disk")?;
        disk.set_len(2 << 30).map_err(host(spec, "size its disk"))?;
        let files = [("ram", ram), ("state", state), ("disk", disk)];
        self.boot_and_save(spec, preparation, &files).await?;
        publish(directory, &files).map_err(host(spec, "put the template in its place"))
    }

    async fn boot_and_save(
        &self,
        spec: &MachineSpec,
        preparation: &Preparation,
        [(_, ram), (_, state), (_, disk)]: &[(&str, File); 3],
    ) -> Result<(), MachineError> {
        let clone = |file: &File| {
            file.try_clone().map(OwnedFd::from).map_err(host(spec, "share the template's files"))
        };
        let (ram, disk) = (clone(ram)?, clone(disk)?);
        // The template's cards lead nowhere and stay down.
        let (_far, cards) = loose_cards(spec.cards).map_err(host(spec, "make its cards"))?;
        let origin = Origin::Template(&ram);
        let mut machine =
            Machine::launch(spec.clone(), self.accelerator, origin, disk, cards).await?;
        machine.booted(self.boot_deadline).await?;
        prepare(&machine, preparation).await?;
        let mut qmp = monitor(&mut machine).await?;
        let saved = qmp.save_state(state.as_fd()).await;
        saved.map_err(refused(&machine, "to save its state"))?;
        machine.end().await;
        Ok(())
    }
}

impl Template {
    /// The template in this directory, if it is whole.
    fn open(directory: &Path) -> Option<Self> {
        let names = ["ram", "disk", "state"];
        let whole = names.iter().all(|name| directory.join(name).is_file());
        whole.then(|| Self { directory: directory.to_owned() })
    }

    async fn fork(
        &self,
        spec: MachineSpec,
        accelerator: Accelerator,
        cards: Vec<OwnedFd>,
    ) -> Result<Machine, MachineError> {
        let start = std::time::Instant::now();
        let (ram, state) = (self.directory.join("ram"), self.directory.join("state"));
        let disk = disk::copy(&self.directory.join("disk"), &std::env::temp_dir());
        let disk = disk.map_err(host(&spec, "copy the template's disk"))?;
        let state = File::open(state).map_err(host(&spec, "open the template's state"))?;
        let origin = Origin::Fork { ram: &ram };
        let mut machine = Machine::launch(spec, accelerator, origin, disk.into(), cards).await?;
        let launched = start.elapsed();
        let resumed = async {
            let mut qmp = monitor(&mut machine).await?;
            let negotiated = start.elapsed();
            let loaded = qmp.load_state(state.as_fd()).await;
            loaded.map_err(refused(&machine, "to load a template's state"))?;
            let loaded = start.elapsed();
            machine.resumed().await?;
            let name = machine.name();
            tracing::debug!(name, ?launched, ?negotiated, ?loaded, answered = ?start.elapsed(), "fork");
            Ok(())
        };
        if let Err(error) = resumed.await {
            // Whatever broke it, the next run shall make a new one.
            let _ = fs::remove_dir_all(&self.directory);
            return Err(error);
        }
        Ok(machine)
    }
}

async fn monitor(machine: &mut Machine) -> Result<Qmp, MachineError> {
    let Some(socket) = machine.take_monitor() else {
        return Err(refused(machine, "a second monitor")(io::Error::other("it has only one")));
    };
    Qmp::open(socket).await.map_err(refused(machine, "to speak on its monitor"))
}

fn refused(machine: &Machine, action: &str) -> impl FnOnce(io::Error) -> MachineError {
    let (machine, action) = (machine.name().to_owned(), action.to_owned());
    move |source| MachineError::Monitor { machine, action, reason: source.to_string() }
}

async fn prepare(machine: &Machine, preparation: &Preparation) -> Result<(), MachineError> {
    for (path, mode, content) in &preparation.files {
        machine.write_file(path, *mode, content.as_bytes()).await?;
    }
    if !preparation.script.is_empty() {
        let input = Some(preparation.script.as_bytes());
        machine.run_within(&["sh", "-e"], input, super::PROMPT * 4).await?;
    }
    Ok(())
}

/// Gives the unnamed files their names; the state comes last and makes the template whole.
fn publish(directory: &Path, files: &[(&str, File)]) -> io::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    for name in ["ram", "disk", "state"] {
        let Some((_, file)) = files.iter().find(|(n, _)| *n == name) else { continue };
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = AtFlags::AT_SYMLINK_FOLLOW;
        nix::unistd::linkat(AT_FDCWD, source.as_str(), AT_FDCWD, &directory.join(name), flags)?;
    }
    Ok(())
}

/// Only one harness makes a template; the others wait for it.
async fn lock(directory: &Path) -> io::Result<Flock<File>> {
    let path = directory.with_extension("lock");
    let task = tokio::task::spawn_blocking(move || {
        let file = File::create(path)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))
    });
    task.await.map_err(io::Error::other)?
}

/// Cards whose other ends nobody reads.
fn loose_cards(count: usize) -> io::Result<(Vec<OwnedFd>, Vec<OwnedFd>)> {
    (0..count).map(|_| super::wire()).collect()
}

fn host(spec: &MachineSpec, action: &str) -> impl FnOnce(io::Error) -> MachineError {
    let (machine, action) = (spec.name.clone(), action.to_owned());
    move |source| MachineError::Host { machine, action, source }
}
