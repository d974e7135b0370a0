//! Modules that fail: their cells say so with evidence, the others have their figures.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use meshbench::results::{self, Outcome};

use crate::common::{root, run, turn};
use crate::exit;
use crate::program::bench;

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
    let crash = "if [ $(hostname) = alice ]; then echo c > /proc/sysrq-trigger; sleep 60; fi";
    write_module(dir, "crashes", &[("configure", crash)]);
    std::os::unix::fs::symlink(root().join("checks"), dir.join("checks")).unwrap();
    let out = dir.join("results");
    let mut command = bench(&["quits", "crashes", "--quick", "--scenario", "lan"]);
    command
        .args(["--clock", "real", "--workload", "ping", "--out"])
        .arg(&out)
        .env("MESHBENCH_ROOT", dir);
    let start = Instant::now();
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(exit::CELLS_FAILED.into()), "{}{}", ended.stdout, ended.stderr);
    assert!(start.elapsed() < Duration::from_secs(240), "{:?}", start.elapsed());
    let set = results::load(&out).unwrap();
    for cell in &set.cells {
        let words = match (&cell.outcome, cell.key.module.as_str()) {
            (Outcome::Ok {}, "internal") => continue,
            (Outcome::Failed { stage, machine, reason, evidence }, _) => {
                let on = machine.as_deref().unwrap_or("nothing");
                let words = format!("{stage} on {on}: {reason}");
                the_network_was_watched(&out, evidence, &words);
                words
            }
            (outcome, module) => panic!("{module}: {outcome:?}"),
        };
        let expected: &[&str] = match cell.key.module.as_str() {
            "quits" => &["configure on bob", "ended while ready", "no licence"],
            "crashes" => &["configure on alice", "the kernel panicked", "console ends with"],
            module => panic!("{module}: {words}"),
        };
        // As the unit tells it when it ends, or systemd afterwards.
        let told = ["exited 3", "ExecMainStatus=3"].iter().any(|status| words.contains(status));
        assert!(told || cell.key.module != "quits", "{words}");
        for text in expected {
            assert!(words.contains(text), "{}: no {text:?} in {words}", cell.key.module);
        }
        assert!(ended.stdout.contains(&cell.key.module), "{}", ended.stdout);
    }
    assert_eq!(set.cells.len(), 3);
}

/// An address that is nobody's on the underlay, and that no overlay carries.
#[test]
fn what_an_address_beside_the_overlay_answers_is_no_figure_of_the_vpns() {
    let _turn = turn();
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    write_module(dir, "internal", &[]);
    let extra = "cat >/dev/null
        case $(hostname) in alice) n=1;; bob) n=2;; *) n=3;; esac
        ip address replace 10.99.0.$n/24 dev eth0; echo 10.99.0.$n >addresses; exit 0";
    write_module(dir, "beside", &[("configure", extra)]);
    // Nobody gets past it by not saying which interface is the overlay's.
    write_module(dir, "untold", &[("configure", extra)]);
    let description = dir.join("modules/beside/module.toml");
    let text = fs::read_to_string(&description).unwrap();
    fs::write(&description, format!("{text}\n[overlay]\ninterface = \"wg0\"\nmtu = 1420\n"))
        .unwrap();
    std::os::unix::fs::symlink(root().join("checks"), dir.join("checks")).unwrap();
    let out = dir.join("results");
    // Where the two have a wire in common.
    let mut command = bench(&["beside", "untold", "--quick", "--scenario", "same-house"]);
    command
        .args(["--clock", "real", "--workload", "connect,ping", "--out"])
        .arg(&out)
        .env("MESHBENCH_ROOT", dir);
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(exit::CELLS_FAILED.into()), "{}{}", ended.stdout, ended.stderr);
    let set = results::load(&out).unwrap();
    let (own, beside): (Vec<_>, Vec<_>) =
        set.cells.iter().partition(|cell| cell.key.module == "internal");
    assert!(own.len() == 2 && own.iter().all(|cell| cell.outcome.is_ok()), "{own:?}");
    assert_eq!(beside.len(), 4);
    for cell in beside {
        let Outcome::Failed { reason, .. } = &cell.outcome else { panic!("{cell:?}") };
        let said = match cell.key.module.as_str() {
            "untold" => "eth0, the machine's own card, leads to the overlay's address",
            _ => "eth0 leads to the overlay's address, and not wg0",
        };
        assert!(reason.starts_with(said), "{reason}");
    }
    an_address_of_the_loopback_keeps_no_contract(dir);
}

/// What answers there is the machine that asks.
fn an_address_of_the_loopback_keeps_no_contract(dir: &Path) {
    write_module(dir, "loopback", &[("address", "echo 127.0.0.1; exit 0")]);
    let out = dir.join("contract");
    let mut command = bench(&["contract", "loopback", "--clock", "real", "--out"]);
    let ended = run(command.arg(&out).env("MESHBENCH_ROOT", dir));
    assert_eq!(ended.code, Some(exit::CELLS_FAILED.into()), "{}{}", ended.stdout, ended.stderr);
    let findings = results::load_contract(&out).unwrap().remove(0).findings;
    assert!(findings.iter().all(|finding| finding.kept != Some(true)), "{findings:?}");
    let said = "this is an address of the machine that asks";
    assert!(findings.iter().any(|finding| finding.seen.contains(said)), "{findings:?}");
    assert!(ended.stdout.starts_with("real time · "), "{}", ended.stdout);
}

/// Packets of every uplink and the network's state are kept, and not without bound.
fn the_network_was_watched(results: &Path, evidence: &[String], words: &str) {
    for name in ["uplinks.pcapng", "network.txt"] {
        let found = evidence.iter().find(|file| file.ends_with(name));
        let file =
            results.join(found.unwrap_or_else(|| panic!("no {name} in {evidence:?} of {words}")));
        let bytes = fs::read(&file).unwrap();
        assert!((2..8 << 20).contains(&bytes.len()), "{name} has {} bytes", bytes.len());
        if name == "uplinks.pcapng" {
            assert!(bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "it is pcapng");
        }
    }
}
