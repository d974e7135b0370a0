//! Machines and daemons that fail: each is told with its name, what was being done, and evidence.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meshbench::fabric::Scenario;
use meshbench::guest::GuestImage;
use meshbench::lab::Lab;
use meshbench::machine::{
    Loss, Machine, MachineError, MachineSpec, Preparation, Start, Templates, wire,
};
use meshbench::protocol::{Exec, Request};
use meshbench::results::Outcome;
use meshbench::run::{Event, EventKind, Events, Listener, ListenerError, RunSpec, Runner, Stage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::common::{
    children, internal, lab, module, report, scenario, shared_turn, templates, turn,
};

/// How soon a fault must be told, however busy the host is.
const SOON: Duration = Duration::from_secs(30);

fn spec(image: Arc<GuestImage>) -> MachineSpec {
    MachineSpec { name: "patient".into(), image, memory_mib: 256, cpus: 1, cards: 1 }
}

/// How soon the loss of one machine must end a wait on another; one that hangs is told by its silence.
const LOST: Duration = Duration::from_secs(2);
const HUNG: Duration = Duration::from_secs(20);

fn signal(machine: &Machine, signal: Signal) {
    kill(Pid::from_raw(machine.pid().unwrap() as i32), signal).unwrap();
}

/// A lone machine whose card leads nowhere.
async fn machine(templates: &Templates, image: Arc<GuestImage>) -> Result<Machine, MachineError> {
    let (card, _) = wire().unwrap();
    templates.machine(spec(image), &Preparation::default(), vec![card]).await
}

/// A fork of a template of its own.
async fn forked(lab: &Lab) -> Machine {
    let image = internal(lab).await.member;
    let mut templates = lab.templates().await.unwrap();
    templates.warm(&spec(image.clone()), &Preparation::default()).await.unwrap();
    machine(&templates, image).await.unwrap()
}

/// Boots the guest with this added to its kernel command line; it must not come up.
async fn boot_with(lab: &Lab, more: &str, deadline: Duration) -> MachineError {
    let mut image = (*internal(lab).await.member).clone();
    image.manifest.cmdline.push_str(more);
    let start = Start::Boot("the test wants a boot".into());
    let templates = templates(lab, start).await;
    machine(&templates.boot_deadline(deadline), Arc::new(image)).await.unwrap_err()
}

#[tokio::test]
async fn a_guest_that_panics_in_its_boot_is_told_with_its_last_words() {
    let _turn = shared_turn();
    let lab = lab(true);
    let error = boot_with(&lab, " init=/nonexistent", Duration::from_secs(200)).await;
    let text = error.to_string();
    assert!(matches!(error, MachineError::Lost { loss: Loss::Panicked(_), .. }), "{text}");
    assert!(text.starts_with("patient: lost while booting: the kernel panicked"), "{text}");
    assert!(text.contains("cannot boot") && text.contains("console ends with"), "{text}");
}

#[tokio::test]
async fn a_guest_that_hangs_in_its_boot_is_given_up_with_its_last_words() {
    let _turn = shared_turn();
    let lab = lab(true);
    // As the first process, `cat` waits for input on the console for ever.
    let error = boot_with(&lab, " init=/usr/bin/cat", Duration::from_secs(45)).await;
    let text = error.to_string();
    assert!(text.starts_with("patient: still booting after 45.0 s"), "{text}");
    assert!(text.contains("console ends with") && text.contains("kernel is up"), "{text}");
}

#[rstest]
#[case::kernel_panic("echo c > /proc/sysrq-trigger", "the kernel panicked", "crash")]
#[case::agent_killed("pkill -9 -f ^/usr/lib/meshbench/agent", "its agent vanished", "")]
#[case::power_off("echo o > /proc/sysrq-trigger", "QEMU ended", "")]
#[tokio::test]
async fn a_machine_lost_in_the_middle_of_a_workload_is_told_at_once(
    #[case] fault: &str,
    #[case] how: &str,
    #[case] evidence: &str,
) {
    let _turn = shared_turn();
    let machine = forked(&lab(true)).await;
    let workload = ["sh", "-c", "echo begun; exec sleep 300"].map(str::to_owned).into();
    let workload = Request::Exec(Exec { argv: workload, ..Exec::default() });
    let mut workload = machine.start(&workload).await.unwrap();
    workload.until_line("begun", SOON).await.unwrap();
    let fault = ["setsid", "sh", "-c", fault];
    let start = Instant::now();
    let (workload, _) = tokio::join!(workload.wait(2 * SOON), machine.run(&fault));
    let text = workload.unwrap_err().to_string();
    assert!(start.elapsed() < SOON, "told after {:?}: {text}", start.elapsed());
    let running = "patient: lost while running `sh -c echo begun; exec sleep 300`: ";
    assert!(text.starts_with(running), "{text}");
    assert!(text.contains(how) && text.contains(evidence) && text.contains("console"), "{text}");
}

#[tokio::test]
async fn a_machine_that_stands_still_is_told_at_the_deadline() {
    let _turn = shared_turn();
    let machine = forked(&lab(true)).await;
    signal(&machine, Signal::SIGSTOP);
    let echo = machine.request("echoing", &Request::Echo, None, Duration::from_secs(2)).await;
    let text = echo.unwrap_err().to_string();
    assert!(text.starts_with("patient: still echoing after 2.0 s; its console"), "{text}");
    signal(&machine, Signal::SIGCONT);
    machine.echo().await.unwrap();
}

#[tokio::test]
async fn a_killed_qemu_is_told_with_its_exit_status() {
    let _turn = shared_turn();
    let machine = forked(&lab(true)).await;
    signal(&machine, Signal::SIGKILL);
    let text = machine.run(&["true"]).await.unwrap_err().to_string();
    assert!(text.contains("patient: lost while running `true`: QEMU ended (signal: 9"), "{text}");
}

#[rstest]
#[case::member_killed("bob", Signal::SIGKILL, LOST, "QEMU ended (signal: 9")]
#[case::fabric_killed("fabric", Signal::SIGKILL, LOST, "QEMU ended (signal: 9")]
#[case::member_stopped("bob", Signal::SIGSTOP, HUNG, "it hangs: QEMU has not answered")]
#[case::fabric_stopped("fabric", Signal::SIGSTOP, HUNG, "it hangs: QEMU has not answered")]
#[tokio::test]
async fn the_loss_of_any_machine_ends_the_waits_on_all_and_is_told_as_its_own(
    #[case] victim: &str,
    #[case] fault: Signal,
    #[case] within: Duration,
    #[case] how: &str,
) {
    let _turn = shared_turn();
    let lab = lab(true);
    let cluster = lab.cluster(&scenario("lan"), &module("internal"), 1).await.unwrap();
    let victim_machine = cluster.members().iter().find(|member| member.net.name == victim);
    let victim_machine = victim_machine.map_or(cluster.fabric(), |member| &member.machine);
    let alice = &cluster["alice"].machine;
    let waiting = ["sleep", "300"].map(str::to_owned).into();
    let waiting = Request::Exec(Exec { argv: waiting, ..Exec::default() });
    let mut other = alice.start(&waiting).await.unwrap();
    signal(victim_machine, fault);
    let start = Instant::now();
    let other = other.follow(|_, _| Ok::<_, Infallible>(()));
    let (one, two) = tokio::join!(alice.run(&["sleep", "300"]), other);
    let (text, after) = (one.unwrap_err().to_string(), start.elapsed());
    assert!(after < within && matches!(two, Ok(Err(_))), "told after {after:?}: {text}");
    let begin = format!("{victim}: lost while alice was running `sleep 300`: {how}");
    report(&format!("{victim} {fault}: told after {:.1} s", after.as_secs_f64()));
    assert!(text.starts_with(&begin), "{text}");
    // Whoever looks for the reason asks those that are left.
    assert!(cluster.release() && !cluster.release());
    alice.echo().await.unwrap();
    cluster.down().await;
}

/// Kills bob's QEMU two seconds into a workload.
#[derive(Clone, Default)]
struct Killer(Arc<Mutex<Option<Instant>>>, Arc<Mutex<Option<(Duration, Outcome)>>>);

impl Listener for Killer {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        match &event.kind {
            EventKind::StageReached { stage: Stage::Measure(_), .. } => {
                let killed = self.0.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_secs(2));
                    kill(bob(), Signal::SIGKILL).unwrap();
                    *killed.lock().unwrap() = Some(Instant::now());
                });
            }
            EventKind::CellFinished { cell, .. } if cell.key.workload != "connect" => {
                let after = self.0.lock().unwrap().map(|at| at.elapsed()).unwrap_or_default();
                *self.1.lock().unwrap() = Some((after, cell.outcome.clone()));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The QEMU of this process that runs as bob.
fn bob() -> Pid {
    let is_bob = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.windows(11).any(|words| words == b"\0-name\0bob\0")
    };
    let pids = children(std::process::id()).into_iter().map(|process| process.pid);
    Pid::from_raw(pids.into_iter().find(is_bob).expect("bob runs").cast_signed())
}

const LATER: &str = "
[[event]]
during = \"ping\"
at = 300
do = \"link-down\"
site = \"alice\"
[[event]]
during = \"ping\"
at = 301
do = \"link-up\"
site = \"alice\"
";

/// What is not waited for on a machine: a pause, and an event that is still to come.
#[rstest]
#[case::pause("idle", "")]
#[case::event_to_come("ping", LATER)]
#[tokio::test]
async fn a_lost_machine_ends_what_waits_for_none(#[case] workload: &str, #[case] events: &str) {
    // One bob is to be found.
    let _turn = turn();
    let sites = "[[site]]\nname = \"alice\"\n[[site]]\nname = \"bob\"";
    let text = format!("title = \"t\"\ndescription = \"t\"\n{sites}\n{events}");
    let scenario = Scenario::parse("test", "test.toml", &text, &["ping"]).unwrap();
    let (modules, scenarios) = (vec![Arc::new(module("internal"))], vec![Arc::new(scenario)]);
    let spec = RunSpec::new(modules, scenarios, &[workload.to_owned()], 1).unwrap();
    let (spec, lab, killer) = (spec.blocks(1).quick(true), lab(true), Killer::default());
    // Without a place for evidence, whose time is its own.
    Runner::new(&spec, &lab, Events::default().with(killer.clone())).run().await.unwrap();
    let (after, outcome) = killer.1.lock().unwrap().take().expect("a cell");
    report(&format!("bob killed during {workload}: its cell failed after {after:?}"));
    assert!(after < LOST, "{after:?}");
    let Outcome::Failed { machine, reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(machine.as_deref() == Some("bob") && reason.contains("QEMU ended"), "{reason}");
}

#[tokio::test]
async fn a_machine_that_is_switched_off_on_purpose_ends_no_wait_on_another() {
    let _turn = shared_turn();
    let lab = lab(true);
    let cluster = lab.cluster(&scenario("lan"), &module("internal"), 1).await.unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| &cluster[name].machine);
    bob.power_off().await;
    alice.run(&["sleep", "1"]).await.unwrap();
    let text = bob.echo().await.unwrap_err().to_string();
    assert!(text.starts_with("bob: lost while echoing: its power was cut"), "{text}");
    bob.power_cycle().await.unwrap();
    signal(bob, Signal::SIGKILL);
    let text = alice.run(&["sleep", "300"]).await.unwrap_err().to_string();
    assert!(text.starts_with("bob: lost while alice was running"), "{text}");
    cluster.down().await;
}
