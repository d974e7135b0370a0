//! Programs compiled from their source on the host.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{CargoCrate, GoProgram};
use crate::guest::{GuestError, command, tools};

/// Variables of the cargo that may be running this harness; they must not reach another build.
const CARGO_VARIABLES: &[&str] = &[
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];

/// Compiles a crate with the dependencies that its author locked; returns its programs.
pub(crate) fn cargo(
    software: &CargoCrate,
    scratch: &Path,
    to: &Path,
    progress: &dyn Fn(&str),
) -> Result<Vec<PathBuf>, GuestError> {
    tools::install_packages(&software.name, &software.build_packages, progress)?;
    let target = scratch.join(format!("cargo-{}-{}", software.name, software.version));
    let mut install = program("cargo")?;
    for variable in CARGO_VARIABLES {
        install.env_remove(variable);
    }
    install.env("CARGO_TARGET_DIR", &target).env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    install.args(["install", "--locked", "--no-track", "--root"]).arg(to);
    install.args(["--version", &format!("={}", software.version)]);
    for bin in &software.bins {
        install.args(["--bin", bin]);
    }
    command::run(install.args(["--", &software.name]), "")?;
    // What is built is kept; the gigabytes that it took are not.
    crate::guest::cache::remove(&target)?;
    Ok(software.bins.iter().map(|bin| to.join("bin").join(bin)).collect())
}

/// Compiles a Go program without C libraries; returns it under the name it has in the guest.
pub(crate) fn go(software: &GoProgram, scratch: &Path, to: &Path) -> Result<PathBuf, GuestError> {
    let bin = to.join("go");
    fs::create_dir_all(&bin).map_err(GuestError::file("create", &bin))?;
    let target = format!("{}@{}", software.package, software.version);
    let mut install = go_command(scratch)?;
    install.env("GOBIN", &bin).arg("install").args(build_flags(software)).arg(&target);
    let wanted = to.join(&software.bin);
    match command::run(&mut install, "") {
        // Go does not install modules with replacements; their own source tree builds all the same.
        Err(GuestError::Command { tail, .. }) if tail.contains("replace directives") => {
            build_in_source(software, scratch, to, &wanted)?;
        }
        Err(error) => return Err(error),
        Ok(()) => {
            fs::rename(only_file(&bin)?, &wanted).map_err(GuestError::file("move", &wanted))?
        }
    }
    fs::remove_dir_all(&bin).map_err(GuestError::file("remove", &bin))?;
    Ok(wanted)
}

fn build_in_source(
    software: &GoProgram,
    scratch: &Path,
    to: &Path,
    wanted: &Path,
) -> Result<(), GuestError> {
    let (module, source) = download(software, scratch)?;
    let copy = to.join("source");
    // The module cache is read-only, and a build may write go.sum.
    command::run(Command::new("cp").arg("-r").arg(&source).arg(&copy), "")?;
    command::run(Command::new("chmod").args(["-R", "u+w"]).arg(&copy), "")?;
    let package = software.package.strip_prefix(&module).unwrap_or_default();
    let mut build = go_command(scratch)?;
    build.current_dir(&copy).arg("build").args(build_flags(software)).arg("-o").arg(wanted);
    command::run(build.arg(format!(".{package}")), "")?;
    crate::guest::cache::remove(&copy)
}

/// The module that a package is in, and where its source is: the longest path that the proxy knows.
fn download(software: &GoProgram, scratch: &Path) -> Result<(String, PathBuf), GuestError> {
    #[derive(serde::Deserialize)]
    struct Downloaded {
        #[serde(rename = "Dir")]
        dir: PathBuf,
    }
    let mut path = software.package.as_str();
    loop {
        let mut download = go_command(scratch)?;
        download.args(["mod", "download", "-json", &format!("{path}@{}", software.version)]);
        match command::output(&mut download, "") {
            Ok(json) => {
                let found: Downloaded = serde_json::from_slice(&json).map_err(|error| {
                    GuestError::unexpected("go mod download -json", error.to_string())
                })?;
                return Ok((path.to_owned(), found.dir));
            }
            Err(error) => path = path.rsplit_once('/').ok_or(error)?.0,
        }
    }
}

fn go_command(scratch: &Path) -> Result<Command, GuestError> {
    let mut command = program("go")?;
    // Modules come from the proxy only, never from a version control system.
    command.env("CGO_ENABLED", "0").env("GOPATH", scratch.join("go")).env("GOVCS", "*:off");
    command.env("GOFLAGS", "-modcacherw").env("GOWORK", "off");
    command.env_remove("GOMODCACHE").current_dir(scratch);
    Ok(command)
}

fn build_flags(software: &GoProgram) -> [String; 3] {
    let flags = format!("-s -w {}", software.ldflags.as_deref().unwrap_or_default());
    ["-trimpath".to_owned(), "-ldflags".to_owned(), flags.trim_end().to_owned()]
}

fn only_file(directory: &Path) -> Result<PathBuf, GuestError> {
    let mut entries = fs::read_dir(directory).map_err(GuestError::file("read", directory))?;
    match (entries.next(), entries.next()) {
        (Some(Ok(entry)), None) => Ok(entry.path()),
        _ => Err(GuestError::unexpected("go install", "it did not make exactly one program")),
    }
}

/// A compiler: in PATH, or where its own installer puts it.
fn program(name: &str) -> Result<Command, GuestError> {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let usual = [home.join(".cargo/bin").join(name), Path::new("/usr/local/go/bin").join(name)];
    match tools::command(name) {
        Ok(command) => Ok(command),
        Err(error) => usual.into_iter().find(|path| path.is_file()).map(Command::new).ok_or(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linker_flags_of_a_module_come_after_our_own() {
        let mut software = GoProgram {
            package: "example.org/vpn/cmd/vpnd".to_owned(),
            version: "v1.2.3".to_owned(),
            bin: "vpnd".to_owned(),
            ldflags: None,
        };
        assert_eq!(build_flags(&software), ["-trimpath", "-ldflags", "-s -w"]);
        software.ldflags = Some("-X main.version=1.2.3".to_owned());
        assert_eq!(build_flags(&software)[2], "-s -w -X main.version=1.2.3");
    }

    #[test]
    fn one_file_is_found_and_two_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(only_file(dir.path()).is_err());
        fs::write(dir.path().join("a"), "").unwrap();
        assert_eq!(only_file(dir.path()).unwrap(), dir.path().join("a"));
        fs::write(dir.path().join("b"), "").unwrap();
        assert!(only_file(dir.path()).is_err());
    }
}
