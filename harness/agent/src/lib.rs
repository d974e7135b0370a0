//! The program `meshbench-agent` runs inside every meshbench machine; this library is for build scripts, which make
//! it, and other programs for guests, as static ones.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// The folder of this package.
pub const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

/// A program for guests.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// Its name, and that of its package.
    pub name: &'a str,
    /// The folder of its package.
    pub source: &'a str,
    /// Features to build it with; the default ones are left out.
    pub features: &'a [&'a str],
    /// Optimisation level: 3 for what is measured with, 1 for what only has to be built soon.
    pub optimisation: u8,
    /// Packages of this workspace that it depends on, and their folders.
    pub siblings: &'a [(&'a str, &'a str)],
}

impl Program<'_> {
    /// The one that this variable of the environment names; else it is built as a static program, from a build script.
    /// The same source gives the same program anywhere, as far as the compiler is the same.
    ///
    /// # Panics
    /// If it cannot be built: so does the script.
    pub fn build_unless_named(&self, variable: &str) -> PathBuf {
        println!("cargo::rerun-if-env-changed={variable}");
        let Some(named) = env::var_os(variable).map(PathBuf::from) else {
            // Cargo is not told of what is built: it is younger than the script's start, and would be built each time.
            return self.build();
        };
        println!("cargo::rerun-if-changed={}", named.display());
        named
    }

    fn build(&self) -> PathBuf {
        let source = Path::new(self.source);
        let siblings = self.siblings.iter().map(|(_, folder)| Path::new(*folder));
        for input in siblings.chain([source]) {
            println!("cargo::rerun-if-changed={}", input.join("src").display());
            println!("cargo::rerun-if-changed={}", input.join("Cargo.toml").display());
        }
        let (target, own) = (variable("TARGET"), PathBuf::from(variable("OUT_DIR")));
        // One place for all profiles and selections of features, which would each build it anew.
        let shared = own.ancestors().nth(4).filter(|folder| folder.join("CACHEDIR.TAG").exists());
        let output = shared.unwrap_or(&own).join("guest-programs");
        let mut cargo = Command::new(variable("CARGO"));
        cargo.args(["build", "--bin", self.name, "--release", "--target", &target]);
        cargo.args(["--no-default-features", "--features", &self.features.join(",")]);
        cargo.arg("--target-dir").arg(&output);
        let lock = source.parent().and_then(Path::parent).map(|root| root.join("Cargo.lock"));
        let mut outside = Vec::new();
        match lock {
            // In a checkout, what is locked; a package from a registry is built with what its own lock says.
            Some(lock) if lock.exists() && source.with_file_name("meshbench").exists() => {
                println!("cargo::rerun-if-changed={}", lock.display());
                // Cargo compiles members of a workspace by relative paths, which need not be mapped.
                cargo.arg("--locked").arg("--manifest-path").arg(source.join("Cargo.toml"));
            }
            _ => {
                for (name, folder) in self.siblings {
                    let patch = format!("patch.crates-io.{name}.path={folder:?}");
                    cargo.arg("--config").arg(patch);
                }
                // Cargo writes into the folder that it builds, and that one is not this script's.
                let copy = own.join("packages").join(self.name);
                copy_folder(source, &copy);
                cargo.arg("--manifest-path").arg(alone(&copy));
                outside = [source, &copy].map(|it| it.parent().unwrap_or(it).to_owned()).into();
            }
        }
        let status = cargo
            .env("RUSTFLAGS", flags(&outside))
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", self.optimisation.to_string())
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .status();
        assert!(
            status.as_ref().is_ok_and(ExitStatus::success),
            "building the static {} failed: {status:?}; it needs the C library's static archive (libc6-dev)",
            self.name
        );
        let (built, program) =
            (output.join(target).join("release"), own.join(format!("{}.static", self.name)));
        // Its own: another build may put another one in the shared place.
        let copied = std::fs::copy(built.join(self.name), &program);
        assert!(copied.is_ok(), "copying {}: {copied:?}", self.name);
        program
    }
}

/// Panic messages carry source paths: mapped, the same source gives the same program anywhere. A place that is named
/// here is part of what cargo knows a build by: a copy elsewhere builds everything anew.
fn flags(outside: &[PathBuf]) -> String {
    let home = env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|h| format!("{h}/.cargo")));
    let home = home.unwrap_or_default();
    let mut flags = format!("-Ctarget-feature=+crt-static --remap-path-prefix={home}=cargo");
    for packages in outside {
        flags.push_str(&format!(" --remap-path-prefix={}=meshbench", packages.display()));
    }
    flags
}

/// The manifest of a package that lies below somebody else's workspace and is no member of it.
fn alone(package: &Path) -> PathBuf {
    let manifest = package.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).unwrap_or_default();
    let written = std::fs::write(&manifest, format!("{text}\n[workspace]\n"));
    assert!(written.is_ok(), "writing {}: {written:?}", manifest.display());
    manifest
}

fn copy_folder(from: &Path, to: &Path) {
    let copied = std::fs::create_dir_all(to).and_then(|()| {
        for entry in std::fs::read_dir(from)? {
            let (from, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
            // What a build has put there is no source.
            if from.is_dir() && !from.join("CACHEDIR.TAG").exists() {
                copy_folder(&from, &to);
            } else if from.is_file() {
                std::fs::copy(&from, &to)?;
            }
        }
        Ok(())
    });
    assert!(copied.is_ok(), "copying {} to {}: {copied:?}", from.display(), to.display());
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
