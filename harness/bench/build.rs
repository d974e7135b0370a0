//! Finds out of which revision the program is: `harness_revision` of its results.
//!
//! `MESHBENCH_REVISION` names another, for builds from a source without history.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What moves when another commit is checked out; a ref may be packed, and is then seen in HEAD's log.
const MOVING: [&str; 3] = ["HEAD", "packed-refs", "logs/HEAD"];

/// An edit here makes a checkout dirty, and the program is compiled anew anyway.
const SOURCES: [&str; 8] = [
    "src",
    "Cargo.toml",
    "../meshbench/src",
    "../agent/src",
    "../protocol/src",
    "../../modules",
    "../../checks",
    "../../Cargo.lock",
];

fn main() {
    println!("cargo::rerun-if-env-changed=MESHBENCH_REVISION");
    println!("cargo::rerun-if-changed=build.rs");
    let named = env::var("MESHBENCH_REVISION").ok().filter(|name| !name.is_empty());
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let revision = named.or_else(|| of_checkout(&package)).or_else(|| of_package(&package));
    if let Some(revision) = revision {
        println!("cargo::rustc-env=MESHBENCH_REVISION={revision}");
    }
}

/// The commit that is checked out, with a mark where tracked files differ from it.
fn of_checkout(package: &Path) -> Option<String> {
    // The package may lie unpacked in a repository of something else.
    git(package, &["ls-files", "--error-unmatch", "build.rs"])?;
    let commit = git(package, &["rev-parse", "HEAD"])?;
    let edited = git(package, &["status", "--porcelain", "--untracked-files=no", "--", "../.."])?;
    let reference = git(package, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in MOVING.into_iter().chain(reference.as_deref()) {
        let path = git(package, &["rev-parse", "--git-path", name]);
        path.into_iter().for_each(|path| watch(&package.join(path)));
    }
    SOURCES.iter().for_each(|source| watch(&package.join(source)));
    Some(if edited.is_empty() { commit } else { format!("{commit}-dirty") })
}

/// Cargo would take a path that is not there for one that has changed, with every build.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn git(package: &Path, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    // To look must not lock a repository that somebody works in.
    git.env("GIT_OPTIONAL_LOCKS", "0").arg("-C").arg(package).args(arguments);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// What cargo noted when it packaged the source.
fn of_package(package: &Path) -> Option<String> {
    let text = fs::read_to_string(package.join(".cargo_vcs_info.json")).ok()?;
    let commit = text.split_once("\"sha1\"")?.1.split('"').nth(1)?.to_owned();
    Some(if text.contains("\"dirty\": true") { format!("{commit}-dirty") } else { commit })
}
