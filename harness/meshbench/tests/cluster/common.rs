//! What the tests share: one turn at the machines at a time, the `bench` program, what it leaves behind.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use meshbench::cluster::Cluster;
use meshbench::fabric::Scenario;
use meshbench::lab::{Images, Lab, Settings, default_cache};
use meshbench::machine::{Machine, Start, Templates};
use meshbench::module::spec::{self, Module};
use meshbench::workload::Workload;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Longest time that any run of `bench` in these tests may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Where guests and templates are kept: shared by all tests, and with the user's own runs.
pub fn cache() -> PathBuf {
    let cache = default_cache().expect("HOME or MESHBENCH_CACHE is set");
    fs::create_dir_all(&cache).unwrap();
    cache
}

/// The folder of `modules/` and `checks/`.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Held while a test has machines: those that are measured by the host's time are alone, whatever runs the tests.
pub struct Turn(#[expect(dead_code, reason = "the lock ends with it")] File);

/// Waits until no other test has machines.
pub fn turn() -> Turn {
    let file = lock_file();
    file.lock().unwrap();
    Turn(file)
}

/// Waits like [`turn`], and shares it with other tests in which no other work changes what is asked: in virtual time, without
/// machines, or of what machines do, however fast.
pub fn shared_turn() -> Turn {
    let file = lock_file();
    file.lock_shared().unwrap();
    Turn(file)
}

fn lock_file() -> File {
    File::create(cache().join("tests.lock")).unwrap()
}

pub fn module(name: &str) -> Module {
    spec::load(&root().join("modules"), name).unwrap()
}

pub fn scenario(name: &str) -> Scenario {
    let workloads = Workload::all().iter().map(|workload| workload.name()).collect::<Vec<_>>();
    Scenario::load(&root().join(format!("checks/{name}.toml")), &workloads).unwrap()
}

/// A scenario that is nothing but these sites.
pub fn network(sites: &str) -> Scenario {
    let text = format!("title = \"test\"\ndescription = \"test\"\n{sites}");
    Scenario::parse("test", "test.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// The machine of that name.
pub fn machine<'a>(cluster: &'a Cluster, name: &str) -> &'a Machine {
    &cluster.member(name).unwrap_or_else(|| panic!("no {name}")).machine
}

/// What a script prints on a machine; it must succeed.
pub async fn sh(machine: &Machine, script: &str) -> String {
    let output = machine.run(&["bash", "-c", script]).await;
    output.unwrap_or_else(|error| panic!("{error}")).text()
}

/// Waits until an iperf3 server does.
pub const LISTENING: &str = "sh -c 'until ss -Hltn sport = 5201 | grep -q .; do sleep 0.1; done'";

/// A lab with the guests of the shared cache, and its templates or none.
pub fn lab(fork: bool) -> Lab {
    Lab::new(Settings { cache: Some(cache()), fork, ..Settings::default() })
}

/// The guests of `internal`.
pub async fn internal(lab: &Lab) -> Images {
    lab.images(&module("internal")).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Templates as the lab has them, kept elsewhere or not at all.
pub async fn templates(lab: &Lab, start: Start) -> Templates {
    let host = lab.host().await.unwrap_or_else(|error| panic!("{error}"));
    Templates::new(start, host.verdict.accelerator, host.qemu_version.clone())
}

/// Says why a test does nothing here. Past the capture of test output, so that it is seen and counted.
pub fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// Shows a figure, past the capture of test output.
pub fn report(figure: &str) {
    let _ = writeln!(std::io::stderr(), "measured: {figure}");
}

/// A program that ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Standard error on one line, without the frame and the line ends that reports are given.
    pub fn said(&self) -> String {
        self.stderr.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// A running program; killed when dropped.
pub struct Running {
    child: Child,
    output: Option<[JoinHandle<String>; 2]>,
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Ended {
    Running::start(command).end()
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = [collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap())];
        Self { child, output: Some(output) }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Ends it as a loss of power would; until it is gone it holds its locks.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The processes that it has started and that still run.
    pub fn children(&self) -> Vec<Process> {
        children(self.child.id())
    }

    /// Waits for something to become true while it runs.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            if let Some(status) = self.child.try_wait().unwrap() {
                let output = self.output();
                panic!("it ended ({status}) before {what}:\n{}{}", output.0, output.1);
            }
            assert!(start.elapsed() < PATIENCE, "still not {what}");
            sleep(Duration::from_millis(20));
        }
    }

    pub fn end(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            sleep(Duration::from_millis(20));
        };
        let (stdout, stderr) = self.output();
        Ended { code: status.code(), stdout, stderr }
    }

    fn output(&mut self) -> (String, String) {
        let [stdout, stderr] = self.output.take().unwrap().map(|reader| reader.join().unwrap());
        (stdout, stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A process, told from later ones of the same id by its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    started: u64,
}

impl Process {
    /// The processor time that it has taken.
    pub fn worked(&self) -> Duration {
        stat(self.pid).filter(|stat| stat.process == *self).map_or(Duration::ZERO, |it| it.worked)
    }

    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.process == *self && stat.state != "Z")
    }
}

/// Waits for processes to be gone, and panics when one stays.
pub fn assert_gone(processes: &[Process], within: Duration) {
    let start = Instant::now();
    while let Some(left) = processes.iter().find(|process| process.is_alive()) {
        assert!(start.elapsed() < within, "{left:?} still runs after {within:?}");
        sleep(Duration::from_millis(20));
    }
}

/// The unit of time in /proc, the same on every architecture of Linux.
const TICKS_PER_SECOND: u64 = 100;

struct Stat {
    process: Process,
    state: String,
    parent: u32,
    worked: Duration,
}

/// What `/proc/PID/stat` says (proc_pid_stat(5)).
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = tail.split(' ').collect();
    let name = head.split_once(" (")?.1.to_owned();
    let process = Process { pid, name, started: fields.get(19)?.parse().ok()? };
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let worked = Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
    Some(Stat { process, state: fields[0].into(), parent: fields[1].parse().ok()?, worked })
}

/// The processes that a process has started and that still run.
pub fn children(parent: u32) -> Vec<Process> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let stats = pids.filter_map(stat).filter(|stat| stat.parent == parent && stat.state != "Z");
    stats.map(|stat| stat.process).collect()
}

/// How that begins in the cache which is made of WireGuard's packages and with them.
pub const GUEST_OF_WIREGUARD: [&str; 3] = ["module-wireguard", "image-", "templates"];

/// The shared cache without what has a name that begins so.
pub fn cache_without(absent: &[&str]) -> TempDir {
    let other = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(cache()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !absent.iter().any(|start| name.starts_with(start)) && !name.ends_with(".lock") {
            symlink(entry.path(), other.path().join(name)).unwrap();
        }
    }
    other
}

/// The names of all files, directories and sockets below a directory, but for locks.
pub fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path));
        }
        if path.extension().is_none_or(|extension| extension != "lock") {
            found.insert(path);
        }
    }
    found
}
