//! What every module promises, found out on the wire: kept by a VPN, twice with the same bytes, and broken by one that
//! only says so.

use std::fs;
use std::path::Path;

use meshbench::results::{self, Clock, ContractRecord, Promise};

use crate::common::{Ended, root, run, shared_turn};
use crate::exit;
use crate::program::bench;

fn checked(module: &str, root: &Path, out: &Path) -> (Ended, ContractRecord) {
    let place = out.to_string_lossy().into_owned();
    let arguments = ["contract", module, "--clock", "virtual", "--out", &place];
    let ended = run(bench(&arguments).env("MESHBENCH_ROOT", root));
    let record = results::load_contract(out).unwrap().remove(0);
    (ended, record)
}

fn broken(record: &ContractRecord) -> Vec<Promise> {
    let broken = record.findings.iter().filter(|finding| finding.kept == Some(false));
    broken.map(|finding| finding.promise).collect()
}

#[test]
fn wireguard_keeps_its_promises_and_does_so_again_to_the_last_byte() {
    let _turn = shared_turn();
    let dir = tempfile::tempdir().unwrap();
    let (ended, record) = checked("wireguard", root(), &dir.path().join("once"));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}{}", ended.stdout, ended.stderr);
    let kept = |finding: &&results::Finding| finding.kept == Some(true);
    assert!(record.findings.iter().filter(kept).count() >= 8, "{:?}", record.findings);
    assert_eq!(record.clock, Some(Clock::Virtual));
    assert!(record.sealed.is_some());
    let contents = record.contents.as_ref().unwrap();
    assert!(contents.module_sha256.is_some() && contents.guest_nar_hash.is_some(), "{contents:?}");
    let (_, again) = checked("wireguard", root(), &dir.path().join("again"));
    assert_eq!(again, record);
    assert!(dir.path().join("again/junit.xml").exists());
}

#[test]
fn a_vpn_that_only_says_that_it_encrypts_and_where_it_is_is_found_out() {
    let _turn = shared_turn();
    let dir = tempfile::tempdir().unwrap();
    let naked = dir.path().join("modules/naked");
    fs::create_dir_all(&naked).unwrap();
    std::os::unix::fs::symlink(root().join("checks"), dir.path().join("checks")).unwrap();
    fs::copy(root().join("modules/fastd/module.toml"), naked.join("module.toml")).unwrap();
    let lifecycle = fs::read_to_string(root().join("modules/fastd/lifecycle")).unwrap();
    let mut text = lifecycle;
    for (from, to) in [
        ("method \\\"salsa2012+umac\\\";", "method \\\"null\\\";"),
        ("configure)\n", "configure)\nip link add stray0 type dummy\n"),
        // Bob would reach himself there.
        ("address)\n", "address)\nif [ $(hostname) = alice ]; then echo 127.0.0.1; exit; fi\n"),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    fs::write(naked.join("lifecycle"), text).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(naked.join("lifecycle"), executable).unwrap();
    let (ended, record) = checked("naked", dir.path(), &dir.path().join("out"));
    assert_eq!(ended.code, Some(exit::CELLS_FAILED.into()), "{}{}", ended.stdout, ended.stderr);
    let expected = [Promise::HasAddresses, Promise::IsEncrypted, Promise::LeavesNothingBehind];
    assert_eq!(broken(&record), expected, "{:?}", record.findings);
}
