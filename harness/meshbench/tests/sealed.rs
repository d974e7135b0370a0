//! Sealed machines repeat to the last byte, cost no time while they wait, and end.

#![allow(clippy::unwrap_used)]

#[path = "cluster/busy.rs"]
#[allow(unreachable_pub)]
mod busy;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use meshbench::guest::debian::Debian;
use meshbench::guest::{Prepares, Preparing};
use meshbench::lab::default_cache;
use meshbench::machine::sealed::{Bounds, Ended, SealedOutcome, SealedSpec, SealedTemplate, boot};
use meshbench::protocol::sealed::{End, Said, Task, Then};
use nix::sys::signal::Signal;

use busy::Busy;

/// Set for the process that a test kills.
const VICTIM: &str = "MESHBENCH_TEST_VICTIM";

const AGENT: &str = "/init";

/// The smallest machine: the guests' kernel and the agent.
fn bare() -> SealedSpec {
    let debian = Debian::new(&cache(), meshbench::AGENT);
    let image = debian.image(&[]).unwrap_or_else(|error| panic!("{error}"));
    let qemu = debian.qemu().unwrap_or_else(|error| panic!("{error}"));
    SealedSpec::new(qemu, Arc::new(image), 256).bare()
}

fn cache() -> PathBuf {
    default_cache().expect("HOME or MESHBENCH_CACHE is set")
}

async fn template(spec: &SealedSpec) -> SealedTemplate {
    let cache = cache().join("templates");
    let template = SealedTemplate::get(spec, &Task::default(), &cache).await;
    template.unwrap_or_else(|error| panic!("{error}"))
}

async fn bare_template() -> SealedTemplate {
    let spec = tokio::task::spawn_blocking(bare).await.unwrap();
    template(&spec).await
}

fn timers(rounds: u64) -> Task {
    Task::of(&[AGENT, "timers", &rounds.to_string()], 600)
}

async fn fork(template: &SealedTemplate, task: &Task, seed: u64) -> SealedOutcome {
    let outcome = template.fork(task, seed, Bounds::default()).await;
    let outcome = outcome.unwrap_or_else(|error| panic!("{error}"));
    let well = outcome.ended == Ended::Task(End::Exited(0));
    assert!(well, "{}: {:?} {:?}", outcome.ended, text(&outcome.stderr), outcome.console);
    outcome
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How many of these outcomes said each of the things that were said, the most frequent first.
fn alike(outcomes: &[SealedOutcome]) -> Vec<usize> {
    let mut counts = BTreeMap::<&[u8], usize>::new();
    outcomes.iter().for_each(|outcome| *counts.entry(&outcome.said).or_default() += 1);
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_by_key(|count| std::cmp::Reverse(*count));
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn forks_side_by_side_on_a_busy_host_say_the_same_bytes() {
    let template = bare_template().await;
    let task = timers(800);
    let forks = stream::iter(0..12).map(|_| fork(&template, &task, 7)).buffer_unordered(4);
    let busy = Busy::new(2);
    let outcomes: Vec<SealedOutcome> = forks.collect().await;
    drop(busy);
    assert_eq!(
        alike(&outcomes),
        [12],
        "{:#?}",
        outcomes.iter().map(|o| text(&o.stdout)).collect::<Vec<_>>()
    );
    assert_eq!(text(&outcomes[0].stdout).lines().count(), 12);
    assert!(outcomes[0].took.unwrap() > Duration::from_millis(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_decides_what_is_random() {
    let template = bare_template().await;
    let task = timers(10);
    let mut said = Vec::new();
    for seed in [1, 2, 1] {
        let outcome = fork(&template, &task, seed).await;
        let numbers = text(&outcome.stdout);
        said.push(numbers.lines().take(2).map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(said[0], said[2]);
    for (one, other) in said[0].iter().zip(&said[1]) {
        assert!(one != other && one.len() > 20, "{one}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_costs_nothing() {
    let template = bare_template().await;
    let outcome = fork(&template, &Task::of(&[AGENT, "idle", "300"], 600), 1).await;
    assert!(outcome.took.unwrap() >= Duration::from_secs(300));
    assert!(outcome.wall < Duration::from_secs(60), "{:?}", outcome.wall);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_ended_by_its_bound_in_words() {
    let template = bare_template().await;
    let mut endless = timers(u64::MAX);
    endless.limit_s = 1;
    let outcome = template.fork(&endless, 1, Bounds::default()).await.unwrap();
    assert_eq!(outcome.ended, Ended::Task(End::OutOfTime), "{:?}", outcome.console);
    assert!(outcome.ended.to_string().contains("machine's own time"));

    let bounds = Bounds { wall: Duration::from_secs(5) };
    endless.limit_s = 1_000_000;
    // One whose clock runs on, and one whose clock stands still.
    let stops = Task { then: Then::Stop, ..Task::default() };
    for task in [endless, stops] {
        let start = Instant::now();
        let outcome = template.fork(&task, 1, bounds).await.unwrap();
        assert_eq!(outcome.ended, Ended::OutOfWallTime(bounds.wall));
        assert!(outcome.ended.to_string().contains("within 5 s of the host's time"));
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_fails_is_told_from_one_that_cannot_be_run() {
    let template = bare_template().await;
    let ended = async |argv: &[&str]| {
        template.fork(&Task::of(argv, 60), 1, Bounds::default()).await.unwrap()
    };
    let outcome = ended(&[AGENT, "timers", "many"]).await;
    assert_eq!(outcome.ended, Ended::Task(End::Exited(1)));
    assert!(text(&outcome.stderr).contains("invalid digit"), "{}", text(&outcome.stderr));
    let outcome = ended(&["/no/such/program"]).await;
    assert!(outcome.ended.to_string().contains("cannot run /no/such/program"), "{}", outcome.ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn booted_ones_say_the_same_bytes_too() {
    let spec = tokio::task::spawn_blocking(bare).await.unwrap();
    let task = timers(200);
    let boots = stream::iter(0..2).map(|_| boot(&spec, &task, 3, Bounds::default()));
    let outcomes: Vec<SealedOutcome> =
        boots.buffer_unordered(2).map(Result::unwrap).collect().await;
    assert_eq!(outcomes[0].ended, Ended::Task(End::Exited(0)), "{:?}", outcomes[0].console);
    assert_eq!(alike(&outcomes), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_guest_has_its_layers_in_memory_and_its_system_is_up() {
    let spec = || {
        let debian = Debian::new(&cache(), meshbench::AGENT);
        let image = debian.image(&[]).unwrap_or_else(|error| panic!("{error}"));
        SealedSpec::new(debian.qemu().unwrap(), Arc::new(image), 1024)
    };
    let spec = tokio::task::spawn_blocking(spec).await.unwrap();
    let template = template(&spec).await;
    let script = "systemctl is-system-running; ls -d /layers/*/usr; findmnt -no FSTYPE,OPTIONS /layers/0; \
                  ip netns add a; ip -n a link set lo up; ip netns exec a ping -c 2 127.0.0.1; date; \
                  head -c 8 /dev/urandom | md5sum; ls /sys/block";
    let task = Task::of(&["bash", "-c", script], 60);
    let outcomes = [fork(&template, &task, 1).await, fork(&template, &task, 1).await];
    let said = text(&outcomes[0].stdout);
    assert_eq!(alike(&outcomes), [2], "{said}{}", text(&outcomes[1].stdout));
    assert!(said.starts_with("running\n/layers/0/usr\n"), "{said}");
    assert!(said.contains("erofs") && said.contains("pmem0"), "{said}");
    assert!(said.contains("2 received") && said.contains("2027") && !said.contains("vd"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_made_again_is_the_same_machine() {
    let spec = tokio::task::spawn_blocking(bare).await.unwrap();
    let caches = [cache().join("templates"), cache().join("templates-made-again")];
    let _ = std::fs::remove_dir_all(&caches[1]);
    let mut made = Vec::new();
    for cache in &caches {
        let template = SealedTemplate::get(&spec, &Task::default(), cache).await;
        made.push(template.unwrap_or_else(|error| panic!("{error}")));
    }
    let outcomes = [fork(&made[0], &timers(100), 1).await, fork(&made[1], &timers(100), 1).await];
    std::fs::remove_dir_all(&caches[1]).unwrap();
    assert_eq!(made[0].identity(), made[1].identity());
    assert_eq!(alike(&outcomes), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_broken_or_gone_is_made_anew_and_forked() {
    let spec = tokio::task::spawn_blocking(bare).await.unwrap();
    let cache = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = told.clone();
    let progress: Prepares =
        Arc::new(move |told: &Preparing| hears.lock().unwrap().push(told.to_string()));
    let task = Task::default();
    let get = async || {
        let template = SealedTemplate::get_telling(&spec, &task, cache.path(), progress.clone());
        template.await.unwrap_or_else(|error| panic!("{error}"))
    };
    let bounds = Bounds { wall: Duration::from_secs(60) };
    let made = get().await;
    let entries = std::fs::read_dir(cache.path()).unwrap().flatten().map(|entry| entry.path());
    let directory = entries.into_iter().find(|path| path.is_dir()).unwrap();
    let file =
        |name: &str| std::fs::OpenOptions::new().write(true).open(directory.join(name)).unwrap();

    std::fs::remove_file(directory.join("ram")).unwrap();
    let mut template = get().await;
    assert!(template.is_new() && template.identity() == made.identity());

    // Whole by its size, and nothing that QEMU loads.
    let state = file("state");
    state.set_len(state.metadata().unwrap().len() / 2).unwrap();
    assert!(!get().await.is_new());
    let outcome = template.fork_mending(&timers(10), 1, bounds, |_| ()).await.unwrap();
    assert_eq!(outcome.ended, Ended::Task(End::Exited(0)), "{:?}", outcome.console);
    assert!(template.is_new() && template.identity() == made.identity());
    assert_eq!(told.lock().unwrap().len(), 1, "{:?}", told.lock().unwrap());
    assert!(told.lock().unwrap()[0].contains("a fork failed"), "{:?}", told.lock().unwrap());

    // Loaded without complaint, and not the memory that was saved.
    let ram = file("ram");
    let length = ram.metadata().unwrap().len();
    ram.set_len(0).unwrap();
    ram.set_len(length).unwrap();
    let mut template = get().await;
    assert!(!template.is_new());
    match template.fork_mending(&timers(10), 1, bounds, |_| ()).await {
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("was not what it was made to be, and is removed"), "{text}");
            assert!(!directory.exists());
        }
        // It crashed before QEMU had said that all is loaded.
        Ok(outcome) => {
            assert_eq!(outcome.ended, Ended::Task(End::Exited(0)), "{:?}", outcome.console);
            assert!(template.is_new(), "nothing can come of such a template");
            std::fs::remove_file(directory.join("ram")).unwrap();
        }
    }
    let template = get().await;
    assert!(template.is_new() && template.identity() == made.identity());
    fork(&template, &timers(10), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_harness_that_is_killed() {
    let template = bare_template().await;
    if std::env::var_os(VICTIM).is_some() {
        fork(&template, &timers(u64::MAX), 1).await;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_outlives_a_harness_that_is_killed"])
        .env(VICTIM, "1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = victim.id();
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < Duration::from_secs(60), "still not {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("started", &|| !children(pid).is_empty());
    let started = children(pid);
    victim.kill().unwrap();
    victim.wait().unwrap();
    until("gone", &|| started.iter().all(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()));
}

/// A wait on a machine of virtual time ends with what the host sees of it: while it runs it is busy.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_still_is_told_within_20_seconds() {
    let (told, after) = struck(Signal::SIGSTOP, 424_242).await;
    assert!(told.contains("it hangs: QEMU has done nothing"), "{told}");
    assert!(after < Duration::from_secs(20), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_is_told_at_once() {
    let (told, after) = struck(Signal::SIGKILL, 424_243).await;
    assert!(told.contains("signal: 9"), "{told}");
    assert!(after < Duration::from_secs(2), "{after:?}");
}

/// What is told of a machine with this seed that gets such a signal while it is busy, and how long after that.
async fn struck(signal: Signal, seed: u64) -> (String, Duration) {
    let template = bare_template().await;
    let task = Task { limit_s: 1 << 40, ..timers(u64::MAX) };
    let stop = || {
        let line = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_own = |pid: &u32| text(&line(pid)).contains(&seed.to_string());
        let pid = children(std::process::id()).into_iter().find(is_own).unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        Instant::now()
    };
    // It says random numbers before it is busy with timers.
    let mut stopped = None;
    let hear = |_: &Said| {
        stopped.get_or_insert_with(stop);
    };
    let outcome = template.fork_telling(&task, seed, Bounds::default(), hear).await;
    let after = stopped.expect("it has said something").elapsed();
    (outcome.map_or_else(|error| error.to_string(), |it| it.ended.to_string()), after)
}

/// The sealed machines whose parent this is.
fn children(parent: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_sealed = text(&line).contains("rr=record");
        is_sealed && fields.split(' ').nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).collect()
}
