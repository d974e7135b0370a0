//! Builds the agent as a static program for the guests, to be carried inside the library.
//!
//! `MESHBENCH_AGENT` names a finished one instead, for builds that package it separately.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=MESHBENCH_AGENT");
    for input in ["agent/src", "agent/Cargo.toml", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let agent = env::var_os("MESHBENCH_AGENT").map_or_else(build, PathBuf::from);
    println!("cargo::rustc-env=MESHBENCH_AGENT_BINARY={}", agent.display());
}

fn build() -> PathBuf {
    let variable = |name| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let target = variable("TARGET");
    let source = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let workspace = source.parent().unwrap_or(Path::new("/"));
    let output = PathBuf::from(variable("OUT_DIR")).join("agent");
    let home = env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|h| format!("{h}/.cargo")));
    // Panic messages carry source paths: mapped, the same source gives the same agent anywhere.
    let flags = format!(
        "-Ctarget-feature=+crt-static --remap-path-prefix={}=meshbench --remap-path-prefix={}=cargo",
        workspace.display(),
        home.unwrap_or_default()
    );
    let status = Command::new(variable("CARGO"))
        .args(["build", "--locked", "--package", "agent", "--bin", "agent", "--release"])
        .args(["--target", &target, "--target-dir"])
        .arg(&output)
        .current_dir(workspace)
        .env("RUSTFLAGS", flags)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "building the static agent failed: {status:?}; it needs the C library's static archive (libc6-dev)"
    );
    output.join(target).join("release/agent")
}
