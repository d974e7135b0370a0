//! `bench new-module`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rstest::rstest;

use crate::common::{root, skip};
use crate::exit;
use crate::made_up::run;
use crate::program::bench;

fn root_with_template() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let template = dir.path().join("modules/_template");
    fs::create_dir_all(&template).unwrap();
    fs::create_dir_all(dir.path().join("checks")).unwrap();
    for entry in fs::read_dir(root().join("modules/_template")).unwrap().flatten() {
        fs::copy(entry.path(), template.join(entry.file_name())).unwrap();
    }
    let modules = dir.path().join("modules");
    (dir, modules)
}

#[test]
fn a_new_module_is_the_template_under_its_name_and_can_be_listed() {
    let (dir, modules) = root_with_template();
    let with_root = |arguments: &[&str]| run(bench(arguments).env("MESHBENCH_ROOT", dir.path()));
    let ended = with_root(&["new-module", "my-vpn"]);
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
    assert!(ended.stdout.contains("bench contract my-vpn"), "{}", ended.stdout);
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    for file in ["module.toml", "lifecycle", "nixos.nix"] {
        let template = read(&modules.join("_template").join(file));
        let written = read(&modules.join("my-vpn").join(file));
        assert_eq!(written, template.replace("NAME", "my-vpn"), "{file}");
    }
    assert!(with_root(&["list", "modules"]).stdout.contains("my-vpn"));

    fs::write(modules.join("my-vpn/lifecycle"), "mine").unwrap();
    let again = with_root(&["new-module", "my-vpn"]);
    assert_eq!(again.code, Some(exit::USAGE.into()));
    assert!(again.said().contains("is there already"), "{}", again.stderr);
    assert_eq!(read(&modules.join("my-vpn/lifecycle")), "mine");
}

#[rstest]
#[case("_x")]
#[case("My")]
#[case("../up")]
#[case("")]
fn a_name_that_is_no_module_name_is_refused_and_nothing_is_written(#[case] name: &str) {
    let (dir, modules) = root_with_template();
    let ended = run(bench(&["new-module", name]).env("MESHBENCH_ROOT", dir.path()));
    assert_eq!(ended.code, Some(exit::USAGE.into()));
    assert_eq!(fs::read_dir(&modules).unwrap().count(), 1);
}

#[test]
fn the_flake_template_is_the_same_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let mut nix = Command::new("nix-instantiate");
    let path = "toString (import ./nix/templates.nix).vpn.path";
    nix.args(["--eval", "--strict", "--json", "--readonly-mode", "-E", path]).current_dir(root());
    // Neither a daemon nor /nix is needed to read files.
    nix.env("NIX_REMOTE", scratch.path().join("store")).env("HOME", scratch.path());
    nix.env("NIX_STATE_DIR", scratch.path().join("state"));
    let Ok(output) = nix.output() else { return skip("nix/templates.nix needs nix-instantiate") };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder: PathBuf = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(folder, root().join("modules/_template").canonicalize().unwrap());
}
