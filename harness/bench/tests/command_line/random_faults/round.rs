//! A harness under way, all that descends from it, and what must not come of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::common::files;

/// By what the descendants of a round are known, whoever has adopted them.
const MARK: &str = "MESHBENCH_FAULT_ROUND";

/// How long what a dead harness had started may live on; builders have five seconds to clean up.
pub(super) const LINGER: Duration = Duration::from_secs(12);

/// How long a harness may take to end when it is asked to.
pub(super) const OBEYS: Duration = Duration::from_secs(15);

/// How long a whole run may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// Between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// What must not be.
#[derive(Debug, Default)]
pub(super) struct Broken {
    pub(super) orphans: Vec<String>,
    pub(super) lost: Vec<String>,
    pub(super) late: Vec<String>,
}

impl Broken {
    pub(super) fn add(&mut self, other: Self) {
        self.orphans.extend(other.orphans);
        self.lost.extend(other.lost);
        self.late.extend(other.late);
    }
}

/// A run under way, with places of its own.
pub(super) struct Round {
    mark: String,
    temporary: TempDir,
    harness: std::process::Child,
}

impl Round {
    pub(super) fn start(mark: String, mut command: Command) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        command.env(MARK, &mark).env("TMPDIR", temporary.path());
        // Nobody hears what it says, and what it says finds no room: nothing may be lost by that.
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        command.stdout(std::process::Stdio::null()).stderr(full);
        Self { mark, temporary, harness: command.spawn().unwrap() }
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.harness.try_wait().unwrap().is_some()
    }

    /// Waits for that long, or until it has ended.
    pub(super) fn wait(&mut self, time: Duration) -> bool {
        let start = Instant::now();
        while !self.has_ended() && start.elapsed() < time {
            sleep(LOOK);
        }
        self.has_ended()
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        // Its number may be somebody else's afterwards.
        if !self.has_ended() {
            let _ = kill(Pid::from_raw(self.harness.id() as i32), signal);
        }
    }

    /// Its exit code, once it has ended by itself.
    pub(super) fn code(&mut self) -> Option<i32> {
        self.harness.try_wait().unwrap().and_then(|status| status.code())
    }

    /// Its descendants whose program's name begins so, the harness not among them.
    pub(super) fn descendants(&self, name: &str) -> Vec<Pid> {
        let own = self.harness.id() as i32;
        let marked = marked(&self.mark).into_iter().filter(|(pid, _)| *pid != own);
        marked.filter(|(_, it)| it.starts_with(name)).map(|(pid, _)| Pid::from_raw(pid)).collect()
    }

    /// Waits until there are some.
    pub(super) fn until_there_are(&mut self, name: &str) -> Vec<Pid> {
        let start = Instant::now();
        loop {
            let there = self.descendants(name);
            if !there.is_empty() || self.has_ended() || start.elapsed() > PATIENCE {
                return there;
            }
            sleep(LOOK);
        }
    }

    /// The harness must be gone by now, and all that it has started a moment later.
    pub(super) fn check(mut self, broken: &mut Broken, what: &str) {
        if !self.has_ended() {
            broken.late.push(format!("{what}: the harness does not end"));
            self.signal(Signal::SIGKILL);
        }
        let _ = self.harness.wait();
        let end = Instant::now() + LINGER;
        while !marked(&self.mark).is_empty() && Instant::now() < end {
            sleep(LOOK);
        }
        for (pid, name) in marked(&self.mark) {
            broken.orphans.push(format!("{what}: process {pid} {name}"));
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for file in files(self.temporary.path()) {
            broken.orphans.push(format!("{what}: {}", file.display()));
        }
    }
}

/// Processes with this mark in their environment, by id, with the names of their programs.
fn marked(mark: &str) -> BTreeMap<i32, String> {
    let wanted = format!("{MARK}={mark}");
    let is_marked = |path: &Path| {
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let found = processes.filter(|path| is_marked(path)).filter_map(|path| {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        Some((path.file_name()?.to_str()?.parse().ok()?, name.trim().to_owned()))
    });
    found.collect()
}
