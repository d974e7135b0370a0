//! Machines and daemons that fail: each is told with its name, what was being done, and evidence.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshbench::guest::GuestImage;
use meshbench::lab::Lab;
use meshbench::machine::{
    Loss, Machine, MachineError, MachineSpec, Preparation, Start, Templates, wire,
};
use meshbench::protocol::Request;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::common::{internal, lab, templates, turn};

/// How soon a fault must be told, however busy the host is.
const SOON: Duration = Duration::from_secs(30);

fn spec(image: Arc<GuestImage>) -> MachineSpec {
    MachineSpec { name: "patient".into(), image, memory_mib: 256, cpus: 1, cards: 1 }
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
    let _turn = turn();
    let lab = lab(true);
    let error = boot_with(&lab, " init=/nonexistent", Duration::from_secs(200)).await;
    let text = error.to_string();
    assert!(matches!(error, MachineError::Lost { loss: Loss::Panicked(_), .. }), "{text}");
    assert!(text.starts_with("patient: lost while booting: the kernel panicked"), "{text}");
    assert!(text.contains("cannot boot") && text.contains("console ends with"), "{text}");
}

#[tokio::test]
async fn a_guest_that_hangs_in_its_boot_is_given_up_with_its_last_words() {
    let _turn = turn();
    let lab = lab(true);
    // As the first process, `cat` waits for input on the console for ever.
    let error = boot_with(&lab, " init=/usr/bin/cat", Duration::from_secs(45)).await;
    let text = error.to_string();
    assert!(text.starts_with("patient: still booting after 45.0 s"), "{text}");
    assert!(text.contains("console ends with") && text.contains("kernel is up"), "{text}");
}

#[rstest]
#[case::kernel_panic("sleep 1; echo c > /proc/sysrq-trigger", "the kernel panicked", "crash")]
#[case::agent_killed("sleep 1; pkill -9 -f ^/usr/lib/meshbench/agent", "its agent vanished", "")]
#[case::power_off("sleep 1; echo o > /proc/sysrq-trigger", "QEMU ended", "")]
#[tokio::test]
async fn a_machine_lost_in_the_middle_of_a_workload_is_told_at_once(
    #[case] fault: &str,
    #[case] how: &str,
    #[case] evidence: &str,
) {
    let _turn = turn();
    let machine = forked(&lab(true)).await;
    let fault = ["setsid", "sh", "-c", fault];
    let start = Instant::now();
    let (workload, _) = tokio::join!(machine.run(&["sleep", "300"]), machine.run(&fault),);
    let text = workload.unwrap_err().to_string();
    assert!(start.elapsed() < SOON, "told after {:?}: {text}", start.elapsed());
    assert!(text.starts_with("patient: lost while running `sleep 300`: "), "{text}");
    assert!(text.contains(how) && text.contains(evidence) && text.contains("console"), "{text}");
}

#[tokio::test]
async fn a_machine_that_stands_still_is_told_at_the_deadline() {
    let _turn = turn();
    let machine = forked(&lab(true)).await;
    let qemu = Pid::from_raw(machine.pid().unwrap() as i32);
    kill(qemu, Signal::SIGSTOP).unwrap();
    let echo = machine.request("echoing", &Request::Echo, None, Duration::from_secs(2)).await;
    let text = echo.unwrap_err().to_string();
    assert!(text.starts_with("patient: still echoing after 2.0 s; its console"), "{text}");
    kill(qemu, Signal::SIGCONT).unwrap();
    machine.echo().await.unwrap();
}

#[tokio::test]
async fn a_killed_qemu_is_told_with_its_exit_status() {
    let _turn = turn();
    let machine = forked(&lab(true)).await;
    kill(Pid::from_raw(machine.pid().unwrap() as i32), Signal::SIGKILL).unwrap();
    let text = machine.run(&["true"]).await.unwrap_err().to_string();
    assert!(text.contains("patient: lost while running `true`: QEMU ended (signal: 9"), "{text}");
}
