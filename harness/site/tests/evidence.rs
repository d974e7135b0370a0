//! How a cell is measured again, as its page says it.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::fixture::Plan;
use common::page;
use meshbench_site::{Known, Site, load};

#[test]
fn evidence_names_the_revision_to_check_out_and_the_hash_to_expect_beside_the_command() {
    let repeat = |revision: &str| {
        let mut set = Plan { scenarios: vec!["lan".into()], ..Plan::default() }.set();
        set.run.environment.harness_revision = Some(revision.into());
        let page = page(&set, "cell/lan/nebula.html");
        let (_, rest) = page.split_once("<pre tabindex=\"0\">").unwrap();
        rest.split("</pre>").next().unwrap().to_owned()
    };
    let clean = repeat("0d92da46b0d9");
    let build = "cargo build --release && PATH=$PWD/target/release:$PATH";
    let begin = format!("git checkout 0d92da46b0d9\n{build}\nbench repeat ");
    assert!(clean.replace("&#38;", "&").starts_with(&begin), "{clean}");
    let hash = format!("# seed 43 says SHA-256 {:064x}\nbench run wireguard", 43);
    assert!(clean.contains(&hash), "{clean}");
    assert_eq!(clean.matches("SHA-256").count(), 7);
    assert!(repeat("0d92-dirty-77").contains("git checkout 0d92  # with edits"));
    assert!(!repeat("$(rm -rf /)").contains("git checkout"));
}

/// It is younger than the revision, which does not have it.
#[test]
fn a_published_set_is_copied_before_its_revision_is_checked_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = Plan { scenarios: vec!["lan".into()], ..Plan::default() }.set();
    set.run.environment.harness_revision = Some("0d92".into());
    let file = dir.path().join("set.jsonl");
    let published = meshbench::results::Published {
        set,
        by: "x".into(),
        texts: Default::default(),
        noise: None,
    };
    meshbench::results::save_packed(&file, &published).unwrap();
    let (loaded, known) = (load(std::slice::from_ref(&file)), Known::default());
    Site::new(&loaded, &known).unwrap().write(&dir.path().join("site")).unwrap();
    let page = fs::read_to_string(dir.path().join("site/cell/lan/nebula.html")).unwrap();
    let (before, rest) = page.split_once("git checkout 0d92").unwrap();
    assert!(before.ends_with(&format!("cp {} /tmp/\n\n", file.display())), "{before}");
    assert!(rest.contains("\nbench repeat /tmp/set.jsonl 1_lan_nebula"), "{rest}");
}

#[test]
fn evidence_names_the_compiler_and_the_archive_that_measured_and_nothing_that_a_shell_would_run() {
    let repeat = |compiler: &str, mirror: &str| {
        let mut set = Plan { scenarios: vec!["lan".into()], ..Plan::default() }.set();
        set.run.environment.harness_revision = Some("0d92".into());
        set.run.environment.runner_compiler = Some(compiler.into());
        set.run.environment.debian_mirror = Some(mirror.into());
        page(&set, "cell/lan/nebula.html")
    };
    let snapshot = "http://snapshot.debian.org/archive/debian/20261130T000000Z";
    let page = repeat("rustc 1.95.0 (59807616e 2026-04-14)", snapshot);
    assert!(page.contains("\nexport RUSTUP_TOOLCHAIN=1.95.0\n"), "{page}");
    assert!(page.contains(&format!("\nexport MESHBENCH_DEBIAN_MIRROR={snapshot}\n")), "{page}");
    let page = repeat("rustc 1.95.0;id (a)", &format!("{snapshot}/$(id)"));
    assert!(!page.contains("export "), "{page}");
    assert!(
        !repeat("rustc 1.97.0-nightly (a)", "http://deb.debian.org/debian").contains("export ")
    );
}
