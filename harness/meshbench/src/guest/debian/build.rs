//! Programs compiled from their source on the host.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{CargoCrate, GoProgram};
use crate::guest::{GuestError, Preparing, command, install, tools};

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
    tell: &dyn Fn(&Preparing),
) -> Result<Vec<PathBuf>, GuestError> {
    install::install_packages(&software.name, &software.build_packages, tell)?;
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

/// Compiles a Go program, linked statically; returns it under the name it has in the guest.
///
/// `go install PACKAGE@VERSION` would ask the proxy for all versions, and refuses modules with replacements.
/// Here the module is a dependency of an empty one, which stamps its version into the program; one with
/// replacements is built where they count, in its own source.
pub(crate) fn go(software: &GoProgram, scratch: &Path, to: &Path) -> Result<PathBuf, GuestError> {
    let module = download(software, scratch)?;
    let source = to.join("source");
    let file = module.dir.join("go.mod");
    let manifest = fs::read_to_string(&file).map_err(GuestError::file("read", &file))?;
    let package = if has_replacements(&manifest) {
        // The module cache is shared, and a build may write go.sum.
        command::run(Command::new("cp").arg("-r").arg(&module.dir).arg(&source), "")?;
        command::run(Command::new("chmod").args(["-R", "u+w"]).arg(&source), "")?;
        format!(".{}", software.package.strip_prefix(&module.path).unwrap_or_default())
    } else {
        fs::create_dir(&source).map_err(GuestError::file("create", &source))?;
        let file = source.join("go.mod");
        fs::write(&file, dependent(&module.path, &software.version, &manifest))
            .map_err(GuestError::file("write", &file))?;
        software.package.clone()
    };
    let wanted = to.join(&software.bin);
    let mut build = go_command(scratch)?;
    build.env("CGO_ENABLED", if software.cgo { "1" } else { "0" });
    build.current_dir(&source).args(["build", "-mod=mod"]).args(build_flags(software));
    command::run(build.arg("-o").arg(&wanted).arg(package), "")?;
    crate::guest::cache::remove(&source)?;
    Ok(wanted)
}

/// A module in Go's cache, in the words of `go mod download -json`.
#[derive(serde::Deserialize)]
struct Downloaded {
    #[serde(rename = "Path")]
    path: String,
    #[serde(rename = "Dir")]
    dir: PathBuf,
}

/// The module that a package is in: the longest path that the proxy knows.
fn download(software: &GoProgram, scratch: &Path) -> Result<Downloaded, GuestError> {
    let mut path = software.package.as_str();
    loop {
        let mut download = go_command(scratch)?;
        download.args(["mod", "download", "-json", &format!("{path}@{}", software.version)]);
        let error = match command::output(&mut download, "") {
            Ok(json) => {
                return serde_json::from_slice(&json).map_err(|error| {
                    GuestError::unexpected("go mod download -json", error.to_string())
                });
            }
            Err(error @ GuestError::Command { .. }) => error,
            Err(error) => return Err(error),
        };
        path = match path.rsplit_once('/') {
            Some((parent, _)) => parent,
            None => {
                let wanted = format!("{}@{}", software.package, software.version);
                let reason = format!("the module proxy has no such module; at last: {error}");
                return Err(GuestError::unexpected(wanted, reason));
            }
        };
    }
}

/// Whether a go.mod puts other modules in place of some: <https://go.dev/ref/mod#go-mod-file-replace>.
fn has_replacements(manifest: &str) -> bool {
    manifest.lines().any(|line| line.split_whitespace().next() == Some("replace"))
}

/// The go.mod of a module that only depends on another, whose own go.mod is `manifest`.
fn dependent(module: &str, version: &str, manifest: &str) -> String {
    let language = manifest.lines().find(|line| line.starts_with("go ")).unwrap_or("go 1.21");
    format!("module meshbench.invalid/build\n\n{language}\n\nrequire {module} {version}\n")
}

fn go_command(scratch: &Path) -> Result<Command, GuestError> {
    let mut command = program("go")?;
    // Modules come from the proxy only, never from a version control system.
    command.env("GOPATH", scratch.join("go")).env("GOVCS", "*:off");
    command.env("GOFLAGS", "-modcacherw").env("GOWORK", "off");
    command.env_remove("GOMODCACHE").current_dir(scratch);
    Ok(command)
}

fn build_flags(software: &GoProgram) -> Vec<String> {
    let mut linker = "-s -w".to_owned();
    // C is linked by the host's linker, which has to be told that the guest's libraries are not the host's.
    let fixed = software.cgo.then_some("-linkmode=external -extldflags=-static");
    for more in fixed.into_iter().chain(software.ldflags.as_deref()) {
        linker.push(' ');
        linker.push_str(more);
    }
    let mut flags = vec!["-trimpath".to_owned(), "-ldflags".to_owned(), linker];
    if !software.tags.is_empty() {
        flags.extend(["-tags".to_owned(), software.tags.join(",")]);
    }
    flags
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
            cgo: false,
            tags: Vec::new(),
        };
        assert_eq!(build_flags(&software), ["-trimpath", "-ldflags", "-s -w"]);
        software.ldflags = Some("-X main.version=1.2.3".to_owned());
        assert_eq!(build_flags(&software)[2], "-s -w -X main.version=1.2.3");
    }

    #[test]
    fn a_program_with_c_is_linked_statically_and_gets_its_tags() {
        let software = GoProgram {
            package: "example.org/vpn/server".to_owned(),
            version: "v1.2.3".to_owned(),
            bin: "server".to_owned(),
            ldflags: None,
            cgo: true,
            tags: vec!["netgo".to_owned(), "osusergo".to_owned()],
        };
        let flags = build_flags(&software);
        assert_eq!(flags[2], "-s -w -linkmode=external -extldflags=-static");
        assert_eq!(flags[3..], ["-tags", "netgo,osusergo"]);
    }

    #[test]
    fn only_replace_directives_are_replacements() {
        assert!(has_replacements("module m\n\nreplace a => b v1.0.0\n"));
        assert!(has_replacements("replace (\n\ta => ../a\n)\n"));
        assert!(!has_replacements("module m\n// replace a => b\nrequire replace.org/x v1.0.0\n"));
    }

    #[test]
    fn a_dependent_module_speaks_the_language_of_the_other() {
        let text = dependent("example.org/vpn", "v1.2.3", "module example.org/vpn\n\ngo 1.25.1\n");
        assert!(text.contains("\ngo 1.25.1\n") && text.contains("require example.org/vpn v1.2.3"));
    }
}
