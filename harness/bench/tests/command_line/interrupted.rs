//! A harness that ends before its run does: nothing outlives it, nothing measured is lost.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use meshbench::results;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::common::{
    GUEST_OF_WIREGUARD, Process, Running, assert_gone, cache, cache_without, children, files, lab,
    module, run, scenario, skip, turn,
};
use crate::exit;
use crate::program::bench;

/// How long what a dead harness had started may live on.
const LINGER: Duration = Duration::from_secs(5);

/// The first of this run's two clusters gives two cells, in an order that the seed sets.
const RUN: [&str; 11] = [
    "wireguard",
    "--quick",
    "--clock",
    "real",
    "--scenario",
    "lan",
    "--workload",
    "connect,ping",
    "--seed",
    "1",
    "--out",
];

/// A run of `bench` whose temporary files and results have places of their own.
struct Trial {
    temporary: TempDir,
    results: TempDir,
    bench: Running,
}

impl Trial {
    fn start(cache: &Path) -> Self {
        let (temporary, results) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut command = bench(&RUN);
        command.arg(results.path()).env("TMPDIR", temporary.path()).env("MESHBENCH_CACHE", cache);
        let bench = Running::start(&mut command);
        Self { temporary, results, bench }
    }

    fn out(&self) -> &Path {
        self.results.path()
    }

    /// Waits until the first cluster is measured and the second one runs; returns the latter's machines.
    fn half_way(&mut self) -> Vec<Process> {
        let cells = self.out().join("cells");
        self.bench.until("the first cluster", |bench| qemus(bench).len() == 3);
        let first = qemus(&self.bench);
        self.bench.until("half of the cells", |_| records(&cells).len() == 2);
        let is_new = |machine: &Process| !first.contains(machine);
        self.bench.until("the second cluster", |bench| {
            qemus(bench).iter().filter(|machine| is_new(machine)).count() == 3
        });
        qemus(&self.bench)
    }
}

fn qemus(bench: &Running) -> Vec<Process> {
    bench.children().into_iter().filter(|child| child.name.starts_with("qemu-")).collect()
}

/// The records of finished cells.
fn records(cells: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(cells) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let paths = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// What stands in its JUnit report is what was measured when it ended.
fn every_cell_is_reported(out: &Path, cells: usize) {
    let junit = fs::read_to_string(out.join("junit.xml")).unwrap();
    assert_eq!(junit.matches("<testcase ").count(), cells, "{junit}");
}

#[tokio::test]
async fn a_harness_killed_half_way_leaves_nothing_behind_and_its_run_goes_on() {
    let _turn = turn();
    // What the run builds stays in the cache, so it must be there before.
    warm().await;
    let cached = files(&cache());
    let mut trial = Trial::start(&cache());
    let machines = trial.half_way();
    trial.bench.kill();
    assert_gone(&machines, LINGER);
    assert_eq!(files(trial.temporary.path()), [].into());
    assert_eq!(files(&cache()), cached);

    let cells = trial.out().join("cells");
    let before = records(&cells);
    every_cell_is_reported(trial.out(), before.len());
    let dir = trial.out().to_string_lossy().into_owned();
    let resumed = run(bench(&["run", "--resume", &dir]).env("TMPDIR", trial.temporary.path()));
    assert_eq!(resumed.code, Some(exit::OK.into()), "{}{}", resumed.stdout, resumed.stderr);
    let set = results::load(trial.out()).unwrap();
    let keys: Vec<_> = set.cells.iter().map(|c| (&*c.key.module, &*c.key.workload)).collect();
    let both = |module| [(module, "connect"), (module, "ping")];
    assert_eq!(keys, [both("internal"), both("wireguard")].concat());
    assert_eq!(files(&cells).len(), 4, "half-written files are left");
    let after = records(&cells);
    assert!(before.iter().all(|cell| after.contains(cell)), "a measured cell was measured again");
    assert_eq!(files(trial.temporary.path()), [].into());
}

/// In virtual time the cells of a cluster come when it is done.
#[test]
fn a_killed_run_of_virtual_time_goes_on_and_all_of_it_repeats_to_the_last_digit() {
    let _turn = turn();
    let out = tempfile::tempdir().unwrap();
    let place = out.path().to_string_lossy().into_owned();
    let words = "wireguard --quick --clock virtual --jobs 1 --scenario lan --workload connect,ping --seed 1 --out";
    let words: Vec<&str> = words.split(' ').chain([&*place]).collect();
    let mut killed = Running::start(&mut bench(&words));
    let cells = out.path().join("cells");
    killed.until("the first cluster's cells", |_| records(&cells).len() == 2);
    let before = records(&cells);
    let machines = killed.children();
    killed.kill();
    assert_gone(&machines, LINGER);
    let resumed = run(&mut bench(&["run", "--resume", &place]));
    assert_eq!(resumed.code, Some(exit::OK.into()), "{}{}", resumed.stdout, resumed.stderr);
    let after = records(&cells);
    assert!(before.iter().all(|cell| after.contains(cell)), "a measured cell was measured again");
    // Both clusters at once now, and twice.
    let ended = run(&mut bench(&["repeat", &place, "--jobs", "2", "--times", "2"]));
    assert!(ended.stdout.contains("8 of 8 cells identical"), "{}{}", ended.stdout, ended.stderr);
    one_who_repeats_without_end_tells_what_was_identical_until_then(&place);
}

fn one_who_repeats_without_end_tells_what_was_identical_until_then(place: &str) {
    let mut endless = Running::start(&mut bench(&["repeat", place, "--jobs", "1", "--times", "9"]));
    let mut machines: Vec<Process> = Vec::new();
    endless.until("a third cluster", |bench| {
        // Not who only asks QEMU for its version.
        let working = |child: &Process| child.worked() > Duration::from_millis(500);
        let new = bench.children().into_iter().filter(working);
        let new = new.filter(|machine| !machines.contains(machine));
        machines.extend(new.collect::<Vec<_>>());
        machines.len() >= 3
    });
    endless.signal(Signal::SIGINT);
    let ended = endless.end();
    assert_gone(&machines, LINGER);
    assert_eq!(ended.code, Some(exit::INTERRUPTED.into()), "{}", ended.stderr);
    assert!(ended.stdout.contains("4 of 4 cells identical"), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("interrupted: 32 cells"), "{}", ended.stderr);
}

#[tokio::test]
async fn an_interrupt_ends_with_its_exit_code_and_readable_results() {
    let _turn = turn();
    warm().await;
    let mut trial = Trial::start(&cache());
    let machines = trial.half_way();
    trial.bench.signal(Signal::SIGINT);
    let Trial { temporary, results, bench } = trial;
    let ended = bench.end();
    assert_gone(&machines, LINGER);
    assert_eq!(ended.code, Some(exit::INTERRUPTED.into()), "{}", ended.stderr);
    assert!(ended.stderr.contains("--resume"), "{}", ended.stderr);
    assert_eq!(files(temporary.path()), [].into());
    let set = results::load(results.path()).unwrap();
    assert!(set.cells.len() >= 2 && set.cells.iter().all(|cell| cell.outcome.is_ok()));
    every_cell_is_reported(results.path(), set.cells.len());
    let shown = run(&mut crate::program::bench(&["show", &results.path().to_string_lossy()]));
    assert_eq!((shown.code, shown.stdout), (Some(0), ended.stdout));
}

#[tokio::test]
async fn a_harness_killed_while_it_makes_a_template_leaves_no_part_of_it() {
    let _turn = turn();
    warm().await;
    let cache = cache_without(&["templates"]);
    let mut trial = Trial::start(cache.path());
    // A guest takes many times as long to boot, on any host.
    let booting = |machine: &Process| machine.worked() > Duration::from_secs(1);
    // What works before there is a place for templates is the trial of KVM, which hangs on some hosts.
    let places = cache.path().join("templates");
    trial
        .bench
        .until("booting a machine", |bench| places.exists() && qemus(bench).iter().any(booting));
    let machines = qemus(&trial.bench);
    assert!(!machines.is_empty(), "the template is already made");
    trial.bench.kill();
    assert_gone(&machines, LINGER);
    assert_eq!(files(&cache.path().join("templates")), [].into());
    assert_eq!(files(trial.temporary.path()), [].into());
}

/// Makes all that such a run keeps in the cache.
async fn warm() {
    let lab = lab(true);
    for module in ["internal", "wireguard"].map(module) {
        let warmed = lab.warm(&scenario("lan"), &module).await;
        warmed.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Such as the entrypoint of a container: for it the kernel ignores signals that nobody handles.
#[tokio::test]
async fn one_that_makes_a_guest_as_process_1_ends_when_it_is_asked_to() {
    let namespaces = ["--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let allowed = Command::new("unshare").args(namespaces).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return skip("no process namespaces on this host");
    }
    let _turn = turn();
    warm().await;
    let cache_of_own = cache_without(&GUEST_OF_WIREGUARD);
    // Somebody else makes it, without end.
    let locks = fs::read_dir(cache()).unwrap().flatten().map(|entry| entry.file_name());
    let locks = locks.filter(|name| {
        let name = name.to_string_lossy();
        name.ends_with(".lock") && GUEST_OF_WIREGUARD.iter().any(|start| name.starts_with(start))
    });
    let held: Vec<File> =
        locks.map(|name| File::create(cache_of_own.path().join(name)).unwrap()).collect();
    held.iter().for_each(|file| file.lock().unwrap());

    let said = tempfile::NamedTempFile::new().unwrap();
    let inner = bench(&["guest", "wireguard"]);
    let mut outer = Command::new("unshare");
    outer.args(namespaces).arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer.env("MESHBENCH_CACHE", cache_of_own.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut outer = outer.stderr(said.reopen().unwrap()).spawn().unwrap();
    let text = || fs::read_to_string(said.path()).unwrap();
    let start = Instant::now();
    while !text().contains("waiting for another harness") {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", text());
        assert!(outer.try_wait().unwrap().is_none(), "{}", text());
        sleep(Duration::from_millis(20));
    }
    let first = children(outer.id()).into_iter().next().unwrap();
    kill(Pid::from_raw(first.pid.cast_signed()), Signal::SIGTERM).unwrap();
    assert_gone(&[first], Duration::from_secs(10));
    assert_eq!(outer.wait().unwrap().code(), Some(exit::INTERRUPTED.into()), "{}", text());
}
