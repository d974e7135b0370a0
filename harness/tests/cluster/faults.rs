//! Machines and daemons that fail: each is told with its name, what was being done, and evidence.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::Request;
use harness::guest::GuestImage;
use harness::lab::Lab;
use harness::machine::{
    Loss, Machine, MachineError, MachineSpec, Preparation, Start, Templates, wire,
};
use harness::results::{self, Outcome, exit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::common::{bench, lab, root, run, turn};

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
async fn forked(lab: &mut Lab) -> Machine {
    let image = lab.images("internal").unwrap().member.clone();
    lab.templates.warm(&spec(image.clone()), &Preparation::default()).await.unwrap();
    machine(&lab.templates, image).await.unwrap()
}

/// Boots the guest with this added to its kernel command line; it must not come up.
async fn boot_with(lab: &Lab, more: &str, deadline: Duration) -> MachineError {
    let mut image = (*lab.images("internal").unwrap().member).clone();
    image.manifest.cmdline.push_str(more);
    let start = Start::Boot("the test wants a boot".into());
    let templates = Templates::new(start, lab.verdict.accelerator, lab.qemu_version.clone());
    machine(&templates.boot_deadline(deadline), Arc::new(image)).await.unwrap_err()
}

#[tokio::test]
async fn a_guest_that_panics_in_its_boot_is_told_with_its_last_words() {
    let _turn = turn();
    let lab = lab(&[], true).await;
    let error = boot_with(&lab, " init=/nonexistent", Duration::from_secs(200)).await;
    let text = error.to_string();
    assert!(matches!(error, MachineError::Lost { loss: Loss::Panicked(_), .. }), "{text}");
    assert!(text.starts_with("patient: lost while booting: the kernel panicked"), "{text}");
    assert!(text.contains("cannot boot") && text.contains("console ends with"), "{text}");
}

#[tokio::test]
async fn a_guest_that_hangs_in_its_boot_is_given_up_with_its_last_words() {
    let _turn = turn();
    let lab = lab(&[], true).await;
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
    let machine = forked(&mut lab(&[], true).await).await;
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
    let machine = forked(&mut lab(&[], true).await).await;
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
    let machine = forked(&mut lab(&[], true).await).await;
    kill(Pid::from_raw(machine.pid().unwrap() as i32), Signal::SIGKILL).unwrap();
    let text = machine.run(&["true"]).await.unwrap_err().to_string();
    assert!(text.contains("patient: lost while running `true`: QEMU ended (signal: 9"), "{text}");
}

/// A module like `internal` but for what it does first in some verbs.
fn write_module(root: &Path, name: &str, verbs: &[(&str, &str)]) {
    let dir = root.join("modules").join(name);
    fs::create_dir_all(&dir).unwrap();
    let internal = crate::common::root().join("modules/internal");
    for file in ["module.toml", "lifecycle"] {
        fs::copy(internal.join(file), dir.join(file)).unwrap();
    }
    let mut lifecycle = fs::read_to_string(internal.join("lifecycle")).unwrap();
    for (verb, script) in verbs {
        let head = format!("{verb})\n");
        assert!(lifecycle.contains(&head));
        lifecycle = lifecycle.replacen(&head, &format!("{head}{script}\n"), 1);
    }
    fs::write(dir.join("lifecycle"), lifecycle).unwrap();
}

#[test]
fn modules_that_fail_have_failed_cells_and_the_others_their_figures() {
    let _turn = turn();
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    write_module(dir, "internal", &[]);
    let quits = [("run", "echo 'no licence found' >&2; exit 3"), ("ready", "exit 1")];
    write_module(dir, "quits", &quits);
    // Only the initiator's, whose readiness nobody awaits: its first packet is waited for.
    let faints = "hostname | grep -q bob || { echo 'out of luck'; exit 0; }";
    write_module(dir, "faints", &[("run", faints), ("address", "echo 10.99.0.9; exit 0")]);
    write_module(dir, "crashes", &[("path", "echo c > /proc/sysrq-trigger; sleep 60")]);
    std::os::unix::fs::symlink(root().join("checks"), dir.join("checks")).unwrap();
    let out = dir.join("results");
    let mut command = bench(&["quits", "faints", "crashes", "--quick", "--scenario", "lan"]);
    command.args(["--workload", "ping", "--out"]).arg(&out).env("MESHBENCH_ROOT", dir);
    let start = Instant::now();
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(exit::CELLS_FAILED.into()), "{}{}", ended.stdout, ended.stderr);
    assert!(start.elapsed() < Duration::from_secs(240), "{:?}", start.elapsed());
    let set = results::load(&out).unwrap();
    for cell in &set.cells {
        let words = match (&cell.outcome, cell.key.module.as_str()) {
            (Outcome::Ok {}, "internal") => continue,
            (Outcome::Failed { stage, machine, reason, evidence }, _) => {
                // Only a VPN that has begun to look for its peer has sent anything.
                the_network_was_watched(&out, evidence, stage == "connect");
                format!("{stage} on {}: {reason}", machine.as_deref().unwrap_or("nothing"))
            }
            (outcome, module) => panic!("{module}: {outcome:?}"),
        };
        let expected: &[&str] = match cell.key.module.as_str() {
            "quits" => &["configure on bob", "ended while ready", "ExecMainStatus=3", "no licence"],
            "faints" => &["connect on alice", "ended while connect", "out of luck"],
            "crashes" => &["on alice", "path", "the kernel panicked", "console ends with"],
            module => panic!("{module}: {words}"),
        };
        for text in expected {
            assert!(words.contains(text), "{}: no {text:?} in {words}", cell.key.module);
        }
        assert!(ended.stdout.contains(&cell.key.module), "{}", ended.stdout);
    }
    assert_eq!(set.cells.len(), 4);
}

/// Packets of every uplink and the network's state are kept, and not without bound.
fn the_network_was_watched(results: &Path, evidence: &[String], busy: bool) {
    for name in ["uplinks.pcapng", "network.txt"] {
        let found = evidence.iter().find(|file| file.ends_with(name));
        let file = results.join(found.unwrap_or_else(|| panic!("no {name} in {evidence:?}")));
        let bytes = fs::read(&file).unwrap();
        assert!((2..8 << 20).contains(&bytes.len()), "{name} has {} bytes", bytes.len());
        if name == "uplinks.pcapng" {
            assert!(bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "it is pcapng");
            // More than a section header and the descriptions of the points.
            assert!(!busy || bytes.len() > 300, "{} bytes", bytes.len());
        }
    }
}
