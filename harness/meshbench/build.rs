//! Builds the agent as a static program for the guests, to be carried inside the library.
//!
//! `MESHBENCH_AGENT` names a finished one instead, for builds that package it separately.

fn main() {
    println!("cargo::rerun-if-env-changed=MESHBENCH_AGENT");
    // The compiler is not told of files that are new in a folder which the library carries.
    println!("cargo::rerun-if-changed=shipped");
    #[cfg(feature = "bundled-agent")]
    agent::bundle();
}

#[cfg(feature = "bundled-agent")]
mod agent {
    use std::env;
    use std::path::{Path, PathBuf};
    use std::process::{Command, ExitStatus};

    pub(super) fn bundle() {
        let agent = env::var_os("MESHBENCH_AGENT").map_or_else(build, PathBuf::from);
        println!("cargo::rerun-if-changed={}", agent.display());
        println!("cargo::rustc-env=MESHBENCH_AGENT_BINARY={}", agent.display());
    }

    fn build() -> PathBuf {
        let source = Path::new(meshbench_agent::SOURCE);
        let protocol = Path::new(meshbench_protocol::SOURCE);
        for input in [source, protocol] {
            println!("cargo::rerun-if-changed={}", input.join("src").display());
            println!("cargo::rerun-if-changed={}", input.join("Cargo.toml").display());
        }
        let (target, output) =
            (variable("TARGET"), PathBuf::from(variable("OUT_DIR")).join("agent"));
        let mut cargo = Command::new(variable("CARGO"));
        cargo.args(["build", "--bin", "meshbench-agent", "--release", "--target", &target]);
        cargo.arg("--manifest-path").arg(source.join("Cargo.toml"));
        cargo.arg("--target-dir").arg(&output);
        match source.parent().and_then(Path::parent).map(|root| root.join("Cargo.lock")) {
            // In a checkout, what is locked; a package from a registry is built with what its own lock says.
            Some(lock) if lock.exists() && source.with_file_name("meshbench").exists() => {
                println!("cargo::rerun-if-changed={}", lock.display());
                cargo.arg("--locked");
            }
            _ => {
                let patch = format!("patch.crates-io.meshbench-protocol.path={protocol:?}");
                cargo.arg("--config").arg(patch);
            }
        }
        let status = cargo
            .env("RUSTFLAGS", flags(source))
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .status();
        assert!(
            status.as_ref().is_ok_and(ExitStatus::success),
            "building the static agent failed: {status:?}; it needs the C library's static archive (libc6-dev)"
        );
        output.join(target).join("release/meshbench-agent")
    }

    /// Panic messages carry source paths: mapped, the same source gives the same agent anywhere.
    fn flags(source: &Path) -> String {
        let workspace = source.parent().unwrap_or(source);
        let home =
            env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|h| format!("{h}/.cargo")));
        format!(
            "-Ctarget-feature=+crt-static --remap-path-prefix={}=meshbench --remap-path-prefix={}=cargo",
            workspace.display(),
            home.unwrap_or_default()
        )
    }

    fn variable(name: &str) -> String {
        env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
    }
}
