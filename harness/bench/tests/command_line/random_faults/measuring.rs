//! Faults in the middle of a measurement.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use meshbench::results::{self, Outcome};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::fault::{Dice, Fault, Place, TO_THE_END};
use super::round::{Broken, LINGER, LOOK, OBEYS, PATIENCE, Round};
use crate::common::report;
use crate::exit;
use crate::program::bench;

/// How long until something becomes of a cell whose machine was killed, and of one whose machine hangs: what the
/// harness allows itself, and its thirty seconds for evidence.
const KILLED: Duration = Duration::from_secs(2 + 30);
const HUNG: Duration = Duration::from_secs(20 + 30);

/// How long a harness is paused: longer than a machine may be silent, which is nobody's silence here.
const PAUSE: Duration = Duration::from_secs(20);

/// What a run here has: two cells of each of three blocks.
const CELLS: usize = 6;

/// A result directory that rounds add to until its run is whole.
pub(super) struct Ground {
    place: TempDir,
    /// Finished cells, by their files.
    kept: BTreeMap<PathBuf, Vec<u8>>,
}

impl Ground {
    pub(super) fn new() -> Self {
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

    pub(super) fn is_whole(&self) -> bool {
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
pub(super) fn measuring(
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
pub(super) fn full(place: Place, dice: &mut Dice, mark: &str, broken: &mut Broken) {
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
