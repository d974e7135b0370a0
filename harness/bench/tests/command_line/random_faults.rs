//! Faults at random moments of random runs: nothing is left, nothing is lost, nothing waits for ever.
//!
//! `MESHBENCH_FAULTS=ROUNDS` or `ROUNDS,SEED` has them; the same seed draws the same faults, and no seed is that of the
//! day. The first rounds have one fault of each kind, in an order that the seed draws: since these were drawn, a seed
//! has other faults than it had before.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::mem::discriminant;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use meshbench::results::{self, Outcome, exit};
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
/// harness allows itself, and its thirty seconds for evidence.
const KILLED: Duration = Duration::from_secs(2 + 30);
const HUNG: Duration = Duration::from_secs(20 + 30);

/// How long a whole run may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long a builder that is stopped may stand still, and clean up then.
const STOPPED: Duration = Duration::from_secs(20 + 10);

/// How long a harness is paused: longer than a machine may be silent, which is nobody's silence here.
const PAUSE: Duration = Duration::from_secs(20);

/// What a run here has: two cells of each of three blocks.
const CELLS: usize = 6;

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
    /// No room at some point.
    DiskFull(Place),
    /// The end of a harness that builds a guest.
    Building(Signal),
    /// A signal to a builder.
    Builder(Signal),
}

/// For what there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Results,
    /// What machines write.
    Temporary,
}

const FAULTS: [Fault; 14] = [
    Fault::Harness(Signal::SIGKILL),
    Fault::Harness(Signal::SIGINT),
    Fault::Harness(Signal::SIGTERM),
    Fault::HarnessPauses,
    Fault::Machine(Signal::SIGKILL),
    Fault::Machine(Signal::SIGKILL),
    Fault::Machine(Signal::SIGSTOP),
    Fault::MachinePauses,
    Fault::DiskFull(Place::Results),
    Fault::DiskFull(Place::Temporary),
    Fault::Building(Signal::SIGKILL),
    Fault::Building(Signal::SIGTERM),
    Fault::Builder(Signal::SIGKILL),
    Fault::Builder(Signal::SIGSTOP),
];

/// The faults of the first rounds: all of them, one of each kind before the others.
fn first_rounds(dice: &mut Dice) -> Vec<Fault> {
    let mut faults = FAULTS.to_vec();
    for at in (1..faults.len()).rev() {
        faults.swap(at, dice.below(at as u64 + 1) as usize);
    }
    let mut kinds = HashSet::new();
    let (first, others): (Vec<_>, Vec<_>) =
        faults.into_iter().partition(|fault| kinds.insert(discriminant(fault)));
    [first, others].concat()
}

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

    /// Its exit code, once it has ended by itself.
    fn code(&mut self) -> Option<i32> {
        self.harness.try_wait().unwrap().and_then(|status| status.code())
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

    /// What was finished before is as it was, what is there can be read, and nothing has failed but by what was struck.
    fn check(&mut self, struck: &Struck, broken: &mut Broken, what: &str) {
        let cells = self.cells();
        for (path, record) in &self.kept {
            if cells.get(path) != Some(record) {
                broken.lost.push(format!("{what}: {}", path.display()));
            }
        }
        if self.out().join("run.json").exists() {
            match results::load(&self.out()) {
                Ok(set) => broken.lost.extend(self.failures(&set.cells, struck, what)),
                Err(error) => broken.lost.push(format!("{what}: {error}")),
            }
        }
        self.kept = cells;
    }

    /// New cells that have failed by nothing that happened.
    fn failures(&self, cells: &[results::CellRecord], struck: &Struck, what: &str) -> Vec<String> {
        let is_new = |cell: &&results::CellRecord| {
            !self.kept.contains_key(&self.out().join("cells").join(cell.key.file_name()))
        };
        let told = cells.iter().filter(is_new).filter_map(|cell| {
            let Outcome::Failed { stage, machine, reason, .. } = &cell.outcome else { return None };
            let expected = match struck {
                Struck::Nothing => false,
                Struck::Machine(name) => machine.as_ref() == Some(name),
                // While a machine stood still, the network was none that anybody asked for.
                Struck::Pause => stage == "proof",
                Struck::Anything => true,
            };
            let (name, reason) = (cell.key.file_name(), reason.lines().next().unwrap_or_default());
            (!expected).then(|| {
                format!(
                    "{what}: {name} failed in {stage} on {machine:?}: {reason}; struck: {struck:?}"
                )
            })
        });
        told.collect()
    }

    /// A run that says that it has gone through has all of its cells.
    fn check_end(&self, code: Option<i32>, broken: &mut Broken, what: &str) {
        let through = [exit::OK, exit::CELLS_FAILED].map(|code| Some(i32::from(code)));
        let there = self.cells().len();
        if through.contains(&code) && there != CELLS {
            broken.lost.push(format!("{what}: exit code {code:?} with {there} of {CELLS} cells"));
        }
    }

    fn is_whole(&self) -> bool {
        self.kept.len() == CELLS
    }
}

/// By what cells may have failed.
#[derive(Debug)]
enum Struck {
    Nothing,
    Machine(String),
    /// A machine that stood still, for less than is a loss.
    Pause,
    Anything,
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
    let mut struck = Struck::Nothing;
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
                struck = match (fault, name(*machine)) {
                    (Fault::MachinePauses, _) => Struck::Pause,
                    (_, Some(name)) => Struck::Machine(name),
                    // It ends just now.
                    (_, None) => Struck::Nothing,
                };
                strike(&mut round, ground, (*machine, fault), before, (broken, &what));
            }
        }
        _ => unreachable!("{fault:?} is no fault of a measurement"),
    }
    if !matches!(fault, Fault::Harness(_)) {
        go_on(&mut round, ground, dice, broken, &what);
    }
    ground.check_end(round.code(), broken, &what);
    round.check(broken, &what);
    ground.check(&struck, broken, &what);
}

/// What a machine is called, by its QEMU's command line.
fn name(machine: Pid) -> Option<String> {
    let words = fs::read(format!("/proc/{machine}/cmdline")).ok()?;
    let mut words = words.split(|byte| *byte == 0).skip_while(|word| *word != b"-name");
    words.nth(1).map(|name| String::from_utf8_lossy(name).into_owned())
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
    let cluster = round.descendants("qemu-");
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
        let there = round.descendants("qemu-");
        // A job that fails tells its cells before its machines go: this one was over.
        if !cluster.iter().any(|pid| there.contains(pid)) && ground.cells().len() == before {
            break;
        }
        if start.elapsed() > within {
            broken.late.push(format!("{what}: nothing has become of it after {within:?}"));
            break;
        }
        sleep(LOOK);
    }
    report(&format!("{what}: {:.1} s", start.elapsed().as_secs_f64()));
}

/// A run that finds no room at some point; it goes on where there is some.
fn full(place: Place, dice: &mut Dice, mark: &str, broken: &mut Broken) {
    let what = format!("round {mark}, {:?}", Fault::DiskFull(place));
    let (ground, mut kept) = (Ground::new(), Ground::new());
    let inner = ground.command();
    // Results are of some KiB, what machines write to their disks of some MiB.
    let (small, size) = match place {
        Place::Results => {
            (ground.place.path().to_str().unwrap(), format!("{}k", 8 + dice.below(32)))
        }
        Place::Temporary => ("$TMPDIR", format!("{}m", 1 + dice.below(48))),
    };
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c"]);
    command.arg(format!(
        "mount -t tmpfs -o size={size} none \"{small}\" && \"$@\"; status=$?; cp -r \"$0\"/. {}; exit $status",
        kept.place.path().display()
    ));
    command.arg(ground.place.path()).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let mut round = Round::start(mark.to_owned(), command);
    round.wait(PATIENCE);
    let code = round.code();
    let own = |code: u8| Some(i32::from(code));
    let fitting = match place {
        Place::Results => [exit::OK, exit::SETUP],
        Place::Temporary => [exit::OK, exit::CELLS_FAILED],
    };
    if !fitting.map(own).contains(&code) {
        broken.lost.push(format!("{what}: exit code {code:?}"));
    }
    kept.check_end(code, broken, &what);
    round.check(broken, &what);
    let struck = match place {
        Place::Results => Struck::Nothing,
        Place::Temporary => Struck::Anything,
    };
    kept.check(&struck, broken, &what);
    if place == Place::Results && !kept.is_whole() {
        with_room(&mut kept, mark, broken, &what);
    }
}

/// What found no room goes on to its end.
fn with_room(ground: &mut Ground, mark: &str, broken: &mut Broken, what: &str) {
    let mut round = Round::start(format!("{mark}-again"), ground.command());
    round.wait(PATIENCE);
    let code = round.code();
    round.check(broken, what);
    ground.check(&Struck::Nothing, broken, what);
    if code != Some(exit::OK.into()) || !ground.is_whole() {
        let cells = ground.kept.len();
        broken.lost.push(format!("{what}: gone on with, exit code {code:?}, {cells} cells"));
    }
}

/// Where a guest is built again and again.
struct Works {
    cache: TempDir,
    /// How long a build takes that nothing happens to.
    takes: Duration,
}

impl Works {
    fn new(mark: &str, broken: &mut Broken) -> Self {
        let mut works = Self { cache: cache_without_a_guest(), takes: PATIENCE };
        let start = Instant::now();
        works.complete(mark, broken, "before all rounds");
        works.takes = start.elapsed();
        works
    }

    /// A build among such rests that nothing happens to, after which there is nothing left to build.
    fn complete(&mut self, mark: &str, broken: &mut Broken, what: &str) {
        let mut round = Round::start(format!("{mark}-again"), guest_in(&self.cache));
        round.wait(2 * self.takes);
        if !succeeded(&mut round) {
            broken.lost.push(format!("{what}: the next build fails"));
        }
        round.check(broken, what);
        self.cache = cache_without_a_guest();
    }
}

/// A guest that is built among the rests of earlier ones, and a fault in its middle.
fn building(works: &mut Works, fault: Fault, dice: &mut Dice, mark: &str, broken: &mut Broken) {
    let what = format!("round {mark}, {fault:?}");
    let mut round = Round::start(mark.to_owned(), guest_in(&works.cache));
    let builders = round.until_there_are("");
    // In the first half of what an undisturbed one takes, on whatever host.
    let moment = works.takes.mul_f64(dice.below(1000) as f64 / 2000.0);
    if round.wait(moment) && !succeeded(&mut round) {
        broken.lost.push(format!("{what}: the build fails before anything happens to it"));
    }
    match fault {
        Fault::Builder(signal) => {
            let builder = builders.get(dice.below(builders.len().max(1) as u64) as usize);
            if let Some(builder) = builder {
                let _ = kill(*builder, signal);
            }
            // It may have had no part in what counts.
            round.wait(2 * works.takes + STOPPED);
        }
        Fault::Building(signal) => {
            round.signal(signal);
            round.wait(OBEYS);
        }
        _ => unreachable!("{fault:?} is no fault of a build"),
    }
    if succeeded(&mut round) {
        works.cache = cache_without_a_guest();
    }
    round.check(broken, &what);
    if dice.below(TO_THE_END) == 0 {
        works.complete(mark, broken, &what);
    }
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
    let today = UNIX_EPOCH.elapsed().unwrap().as_secs() / (24 * 3600);
    let (rounds, seed) = match asked.split_once(',') {
        Some((rounds, seed)) => (rounds, seed.parse()),
        None => (asked.as_str(), Ok(today)),
    };
    let (Ok(rounds), Ok(seed)) = (rounds.parse::<u64>(), seed) else {
        return skip(&format!("faults at random: {VARIABLE} does not say how many"));
    };
    let _turn = turn();
    let warmed = lab(true).warm(&scenario("lan"), &module("internal")).await;
    warmed.unwrap_or_else(|error| panic!("{error}"));
    report(&format!("{rounds} rounds of seed {seed}"));
    let (mut dice, mut broken, mut ground) = (Dice(seed), Broken::default(), Ground::new());
    let (first, mut works) = (first_rounds(&mut dice), None);
    for number in 1..=rounds {
        let drawn = FAULTS[dice.below(FAULTS.len() as u64) as usize];
        let fault = first.get(number as usize - 1).copied().unwrap_or(drawn);
        let mark = format!("{}-{number}", std::process::id());
        let start = Instant::now();
        match fault {
            Fault::DiskFull(place) => full(place, &mut dice, &mark, &mut broken),
            Fault::Building(_) | Fault::Builder(_) => {
                let works = works.get_or_insert_with(|| Works::new(&mark, &mut broken));
                building(works, fault, &mut dice, &mark, &mut broken);
            }
            _ => measuring(&mut ground, fault, &mut dice, mark, &mut broken),
        }
        let seconds = start.elapsed().as_secs_f64();
        report(&format!("round {number} of {rounds}, {fault:?}: {seconds:.1} s"));
        if ground.is_whole() {
            ground = Ground::new();
        }
    }
    if let Some(works) = &mut works {
        let mark = format!("{}-last", std::process::id());
        works.complete(&mark, &mut broken, "after all rounds");
    }
    let Broken { orphans, lost, late } = &broken;
    report(&format!(
        "{rounds} rounds of seed {seed}: {} orphans, {} lost cells, {} waits past their deadline",
        orphans.len(),
        lost.len(),
        late.len()
    ));
    assert!(orphans.is_empty() && lost.is_empty() && late.is_empty(), "{broken:#?}");
}
