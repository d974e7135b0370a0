//! Faults at random moments of random runs: nothing is left, nothing is lost, nothing waits for ever.
//!
//! `MESHBENCH_FAULTS=ROUNDS` or `ROUNDS,SEED` has them; the same seed draws the same faults.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use meshbench::results;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::common::{cache, files, lab, module, report, scenario, skip, turn};
use crate::program::bench;

/// How many rounds, and the seed.
const VARIABLE: &str = "MESHBENCH_FAULTS";

/// By what the descendants of a round are known, whoever has adopted them.
const MARK: &str = "MESHBENCH_FAULT_ROUND";

/// How long what a dead harness had started may live on; builders have five seconds to clean up.
const LINGER: Duration = Duration::from_secs(12);

/// How long a harness may take to end when it is asked to.
const OBEYS: Duration = Duration::from_secs(15);

/// How long until something becomes of a cell whose machine was killed, and of one whose machine hangs: what the
/// harness allows itself, evidence included, and as much again for a busy host.
const KILLED: Duration = Duration::from_secs(2 * (2 + 30));
const HUNG: Duration = Duration::from_secs(2 * (20 + 30));

/// How long a round may take in all.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long a harness is paused: longer than a machine may be silent, which is nobody's silence here.
const PAUSE: Duration = Duration::from_secs(20);

/// Of so many runs that a fault did not end, one goes on to its end; the others are interrupted once it is told, and
/// a later round goes on with them.
const TO_THE_END: u64 = 4;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A signal to the harness.
    Harness(Signal),
    /// A harness that does not run for some seconds.
    HarnessPauses,
    /// A signal to one of its machines.
    Machine(Signal),
    /// A machine that does not run for some seconds.
    MachinePauses,
    /// No room for results.
    DiskFull,
    /// The end of a harness that builds a guest.
    Building(Signal),
    /// The end of a builder.
    Builder,
}

const FAULTS: [Fault; 12] = [
    Fault::Harness(Signal::SIGKILL),
    Fault::Harness(Signal::SIGINT),
    Fault::Harness(Signal::SIGTERM),
    Fault::HarnessPauses,
    Fault::Machine(Signal::SIGKILL),
    Fault::Machine(Signal::SIGKILL),
    Fault::Machine(Signal::SIGSTOP),
    Fault::MachinePauses,
    Fault::DiskFull,
    Fault::Building(Signal::SIGKILL),
    Fault::Building(Signal::SIGTERM),
    Fault::Builder,
];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// What must not be.
#[derive(Debug, Default)]
struct Broken {
    orphans: Vec<String>,
    lost: Vec<String>,
    late: Vec<String>,
}

/// A run under way, with places of its own.
struct Round {
    mark: String,
    temporary: TempDir,
    harness: std::process::Child,
}

impl Round {
    fn start(mark: String, mut command: Command) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        command.env(MARK, &mark).env("TMPDIR", temporary.path());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        Self { mark, temporary, harness: command.spawn().unwrap() }
    }

    fn has_ended(&mut self) -> bool {
        self.harness.try_wait().unwrap().is_some()
    }

    /// Waits for that long, or until it has ended.
    fn wait(&mut self, time: Duration) -> bool {
        let start = Instant::now();
        while !self.has_ended() && start.elapsed() < time {
            sleep(LOOK);
        }
        self.has_ended()
    }

    fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.harness.id() as i32), signal);
    }

    /// Its descendants whose program's name begins so, the harness not among them.
    fn descendants(&self, name: &str) -> Vec<Pid> {
        let own = self.harness.id() as i32;
        let marked = marked(&self.mark).into_iter().filter(|(pid, _)| *pid != own);
        marked.filter(|(_, it)| it.starts_with(name)).map(|(pid, _)| Pid::from_raw(pid)).collect()
    }

    /// Waits until there are some.
    fn until_there_are(&mut self, name: &str) -> Vec<Pid> {
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
    fn check(mut self, broken: &mut Broken, what: &str) {
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

/// A result directory that rounds add to until its run is whole.
struct Ground {
    place: TempDir,
    /// Finished cells, by their files.
    kept: BTreeMap<PathBuf, Vec<u8>>,
}

impl Ground {
    fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap(), kept: BTreeMap::new() }
    }

    fn out(&self) -> PathBuf {
        self.place.path().join("run")
    }

    /// Begins the run or goes on with it.
    fn command(&self) -> Command {
        let out = self.out();
        if out.join("run.json").exists() {
            let mut command = bench(&["run", "--resume"]);
            command.arg(out);
            return command;
        }
        // What was killed before it began has left an empty place.
        let _ = fs::remove_dir_all(&out);
        let mut command = bench(&["internal", "--quick", "--clock", "real", "--scenario", "lan"]);
        command.args(["--workload", "connect,ping", "--blocks", "3", "--seed", "1", "--out"]);
        command.arg(out);
        command
    }

    fn cells(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.out().join("cells")).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let paths = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
        paths.filter_map(|path| Some((path.clone(), fs::read(path).ok()?))).collect()
    }

    /// What was finished before is as it was, and what is there can be read.
    fn check(&mut self, broken: &mut Broken, what: &str) {
        let cells = self.cells();
        for (path, record) in &self.kept {
            if cells.get(path) != Some(record) {
                broken.lost.push(format!("{what}: {}", path.display()));
            }
        }
        if self.out().join("run.json").exists()
            && let Err(error) = results::load(&self.out())
        {
            broken.lost.push(format!("{what}: {error}"));
        }
        self.kept = cells;
    }

    fn is_whole(&self) -> bool {
        self.kept.len() == 6
    }
}

/// A run, and a fault in its middle.
fn measuring(
    ground: &mut Ground,
    fault: Fault,
    dice: &mut Dice,
    mark: String,
    broken: &mut Broken,
) {
    let what = format!("round {mark}, {fault:?}");
    let mut round = Round::start(mark, ground.command());
    if !matches!(fault, Fault::Harness(_)) || dice.below(4) > 0 {
        round.until_there_are("qemu-");
    }
    round.wait(Duration::from_millis(dice.below(15_000)));
    let before = ground.cells().len();
    match fault {
        Fault::Harness(Signal::SIGKILL) => {
            round.signal(Signal::SIGKILL);
            round.wait(LINGER);
        }
        Fault::Harness(signal) => {
            round.signal(signal);
            round.wait(OBEYS);
        }
        Fault::HarnessPauses => {
            round.signal(Signal::SIGSTOP);
            sleep(PAUSE);
            round.signal(Signal::SIGCONT);
        }
        Fault::Machine(_) | Fault::MachinePauses => {
            let machines = round.until_there_are("qemu-");
            if let Some(machine) = machines.get(dice.below(machines.len().max(1) as u64) as usize) {
                strike(&mut round, ground, (*machine, fault), before, (broken, &what));
            }
        }
        _ => unreachable!("{fault:?} is no fault of a measurement"),
    }
    if !matches!(fault, Fault::Harness(_)) {
        go_on(&mut round, ground, dice, broken, &what);
    }
    round.check(broken, &what);
    ground.check(broken, &what);
}

/// What was not ended goes on: with its next cell, or to its end.
fn go_on(round: &mut Round, ground: &Ground, dice: &mut Dice, broken: &mut Broken, what: &str) {
    if dice.below(TO_THE_END) == 0 {
        round.wait(PATIENCE);
        return;
    }
    let before = ground.cells().len();
    let start = Instant::now();
    while !round.has_ended() && ground.cells().len() == before {
        if start.elapsed() > PATIENCE {
            broken.late.push(format!("{what}: it does not go on"));
            break;
        }
        sleep(LOOK);
    }
    round.signal(Signal::SIGINT);
    round.wait(OBEYS);
}

/// A signal to a machine: something becomes of its cell in time.
fn strike(
    round: &mut Round,
    ground: &Ground,
    (machine, fault): (Pid, Fault),
    before: usize,
    (broken, what): (&mut Broken, &str),
) {
    let within = match fault {
        Fault::MachinePauses => {
            let _ = kill(machine, Signal::SIGSTOP);
            sleep(Duration::from_secs(3));
            let _ = kill(machine, Signal::SIGCONT);
            return;
        }
        Fault::Machine(Signal::SIGSTOP) => {
            let _ = kill(machine, Signal::SIGSTOP);
            HUNG
        }
        _ => {
            let _ = kill(machine, Signal::SIGKILL);
            KILLED
        }
    };
    let start = Instant::now();
    while !round.has_ended() && ground.cells().len() == before {
        if start.elapsed() > within {
            broken.late.push(format!("{what}: nothing has become of it after {within:?}"));
            break;
        }
        sleep(LOOK);
    }
    report(&format!("{what}: {:.1} s", start.elapsed().as_secs_f64()));
}

/// A run whose results find no room at some point.
fn full(dice: &mut Dice, mark: String, broken: &mut Broken) {
    let what = format!("round {mark}, {:?}", Fault::DiskFull);
    let place = tempfile::tempdir().unwrap();
    let ground = Ground { place, kept: BTreeMap::new() };
    let inner = ground.command();
    let size = 8 + dice.below(32);
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c"]);
    command.arg(format!(
        "mount -t tmpfs -o size={size}k none \"$0\" && \"$@\"; status=$?; cp -r \"$0\"/. \"$0\".kept; exit $status"
    ));
    command.arg(ground.place.path()).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let kept = PathBuf::from(format!("{}.kept", ground.place.path().display()));
    fs::create_dir(&kept).unwrap();
    let mut round = Round::start(mark, command);
    round.wait(PATIENCE);
    round.check(broken, &what);
    let inside = kept.join("run");
    if inside.join("run.json").exists()
        && let Err(error) = results::load(&inside)
    {
        broken.lost.push(format!("{what}: {error}"));
    }
    fs::remove_dir_all(kept).unwrap();
}

/// A guest that is built among the rests of earlier ones, and a fault in its middle.
fn building(works: &mut TempDir, fault: Fault, dice: &mut Dice, mark: &str, broken: &mut Broken) {
    let what = format!("round {mark}, {fault:?}");
    let mut round = Round::start(mark.to_owned(), guest_in(works));
    let builders = round.until_there_are("");
    if round.wait(Duration::from_millis(dice.below(3000))) {
        broken.lost.push(format!("{what}: the build ends before anything happens to it"));
    }
    match fault {
        Fault::Builder => {
            let builder = builders.get(dice.below(builders.len().max(1) as u64) as usize);
            if let Some(builder) = builder {
                let _ = kill(*builder, Signal::SIGKILL);
            }
            round.wait(PATIENCE);
        }
        Fault::Building(signal) => {
            round.signal(signal);
            round.wait(OBEYS);
        }
        _ => unreachable!("{fault:?} is no fault of a build"),
    }
    if succeeded(&mut round) {
        *works = cache_without_a_guest();
    }
    round.check(broken, &what);
    if dice.below(TO_THE_END) == 0 {
        complete(works, mark, broken, &what);
    }
}

/// A build among such rests that nothing happens to, after which there is nothing left to build.
fn complete(works: &mut TempDir, mark: &str, broken: &mut Broken, what: &str) {
    let mut round = Round::start(format!("{mark}-again"), guest_in(works));
    round.wait(PATIENCE);
    if !succeeded(&mut round) {
        broken.lost.push(format!("{what}: the next build fails"));
    }
    round.check(broken, what);
    *works = cache_without_a_guest();
}

fn succeeded(round: &mut Round) -> bool {
    round.harness.try_wait().unwrap().is_some_and(|status| status.success())
}

/// Builds the guest that is not in this cache.
fn guest_in(works: &TempDir) -> Command {
    let mut command = bench(&["guest", "wireguard"]);
    command.env("MESHBENCH_CACHE", works.path());
    command
}

/// The shared cache without what is made for one module.
fn cache_without_a_guest() -> TempDir {
    let other = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(cache()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let absent = ["module-wireguard", "image-", "templates"];
        if !absent.iter().any(|start| name.starts_with(start)) && !name.ends_with(".lock") {
            symlink(entry.path(), other.path().join(name)).unwrap();
        }
    }
    other
}

#[tokio::test]
async fn faults_at_random_leave_nothing_lose_nothing_and_hold_nobody_up() {
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    let (rounds, seed) = asked.split_once(',').unwrap_or((&asked, "1"));
    let (Ok(rounds), Ok(seed)) = (rounds.parse::<u64>(), seed.parse()) else {
        return skip(&format!("faults at random: {VARIABLE} does not say how many"));
    };
    let _turn = turn();
    let warmed = lab(true).warm(&scenario("lan"), &module("internal")).await;
    warmed.unwrap_or_else(|error| panic!("{error}"));
    let (mut dice, mut broken, mut ground) = (Dice(seed), Broken::default(), Ground::new());
    let mut works = cache_without_a_guest();
    for number in 1..=rounds {
        // A first round for each.
        let drawn = dice.below(FAULTS.len() as u64) as usize;
        let fault = FAULTS[if number <= FAULTS.len() as u64 { number as usize - 1 } else { drawn }];
        let mark = format!("{}-{number}", std::process::id());
        let start = Instant::now();
        match fault {
            Fault::DiskFull => full(&mut dice, mark, &mut broken),
            Fault::Building(_) | Fault::Builder => {
                building(&mut works, fault, &mut dice, &mark, &mut broken);
            }
            _ => measuring(&mut ground, fault, &mut dice, mark, &mut broken),
        }
        let seconds = start.elapsed().as_secs_f64();
        report(&format!("round {number} of {rounds}, {fault:?}: {seconds:.1} s"));
        if ground.is_whole() {
            ground = Ground::new();
        }
    }
    let mark = format!("{}-last", std::process::id());
    complete(&mut works, &mark, &mut broken, "after all rounds");
    let Broken { orphans, lost, late } = &broken;
    report(&format!(
        "{rounds} rounds of seed {seed}: {} orphans, {} lost cells, {} waits past their deadline",
        orphans.len(),
        lost.len(),
        late.len()
    ));
    assert!(orphans.is_empty() && lost.is_empty() && late.is_empty(), "{broken:#?}");
}
