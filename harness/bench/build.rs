//! Finds out of which revision the program is: `harness_revision` of its results.
//!
//! `MESHBENCH_REVISION` names another, for builds from a source without history.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What moves when another commit is checked out; a ref may be packed, and is then seen in HEAD's log.
const MOVING: [&str; 3] = ["HEAD", "packed-refs", "logs/HEAD"];

/// What measures: an edit here makes another program of it, which is compiled anew anyway. Modules and scenarios are not
/// among them, since every run records those by their content.
const SOURCES: [&str; 15] = [
    "src",
    "build.rs",
    "Cargo.toml",
    "../meshbench/src",
    "../meshbench/build.rs",
    "../meshbench/Cargo.toml",
    "../runner/src",
    "../runner/build.rs",
    "../runner/Cargo.toml",
    "../agent/src",
    "../agent/Cargo.toml",
    "../protocol/src",
    "../protocol/Cargo.toml",
    "../../Cargo.toml",
    "../../Cargo.lock",
];

fn main() {
    println!("cargo::rerun-if-env-changed=MESHBENCH_REVISION");
    // Of a package outside of a checkout nothing else is watched.
    println!("cargo::rerun-if-changed=build.rs");
    let named = env::var("MESHBENCH_REVISION").ok().filter(|name| !name.is_empty());
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let revision = named.or_else(|| of_checkout(&package)).or_else(|| of_package(&package));
    if let Some(revision) = revision {
        println!("cargo::rustc-env=MESHBENCH_REVISION={revision}");
    }
}

/// The commit that is checked out, with a mark that tells one edit from another where the sources differ from it.
fn of_checkout(package: &Path) -> Option<String> {
    // The package may lie unpacked in a repository of something else.
    git(package, &["ls-files", "--error-unmatch", "build.rs"])?;
    let commit = git(package, &["rev-parse", "HEAD"])?;
    let reference = git(package, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in MOVING.into_iter().chain(reference.as_deref()) {
        let path = git(package, &["rev-parse", "--git-path", name]);
        path.into_iter().for_each(|path| watch(&package.join(path)));
    }
    SOURCES.iter().for_each(|source| watch(&package.join(source)));
    let edits = edits(package)?;
    Some(if edits.is_empty() { commit } else { format!("{commit}-dirty-{edits}") })
}

/// A hash of the sources that are not as in the commit, and of those that it does not know; empty if all are as there.
fn edits(package: &Path) -> Option<String> {
    let top = PathBuf::from(git(package, &["rev-parse", "--show-toplevel"])?);
    let edited = ["diff", "--name-only", "--no-relative", "--no-renames", "-z", "HEAD", "--"];
    let strange = ["ls-files", "--others", "--exclude-standard", "--full-name", "-z", "--"];
    let mut names = BTreeSet::new();
    for list in [&edited[..], &strange[..]] {
        let listed = git(package, &[list, &SOURCES].concat())?;
        names.extend(listed.split('\0').filter(|name| !name.is_empty()).map(str::to_owned));
    }
    // It need not be the same for every compiler: what another one makes of a source is another program.
    let mut hash = DefaultHasher::new();
    for name in &names {
        (name, fs::read(top.join(name)).ok()).hash(&mut hash);
    }
    Some(if names.is_empty() { String::new() } else { format!("{:016x}", hash.finish()) })
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
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What cargo noted when it packaged the source.
fn of_package(package: &Path) -> Option<String> {
    let text = fs::read_to_string(package.join(".cargo_vcs_info.json")).ok()?;
    let commit = text.split_once("\"sha1\"")?.1.split('"').nth(1)?.to_owned();
    Some(if text.contains("\"dirty\": true") { format!("{commit}-dirty") } else { commit })
}
