//! `module.toml` and the folder around it, read into types or refused with file, line and reason.

mod fields;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use crate::fabric::NatTraversal;
use crate::fabric::Role;
use crate::file;
use crate::guest::debian::{CargoCrate, GoProgram};
use crate::name::{Name, NameError, nearest};
use crate::position::position;
pub use crate::results::INTERNAL;

/// One module as found on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Folder name, the name used on the command line and in results.
    pub name: Name,
    /// The folder.
    pub dir: PathBuf,
    /// What `module.toml` says.
    pub spec: Spec,
}

impl Module {
    /// The script that drives the VPN in a guest.
    pub fn lifecycle(&self) -> PathBuf {
        self.dir.join("lifecycle")
    }
}

/// Content of `module.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Spec {
    /// Name shown to people.
    #[serde(deserialize_with = "fields::text")]
    pub title: String,
    /// What it is, in one line.
    #[serde(deserialize_with = "fields::text")]
    pub summary: String,
    /// Web page of the VPN.
    #[serde(deserialize_with = "fields::url")]
    pub homepage: String,
    /// Where its programs come from.
    pub software: Software,
    /// What its own documentation promises.
    pub claims: Claims,
    /// Roles in start order; `peer` is the last one.
    #[serde(rename = "role", deserialize_with = "fields::roles")]
    pub roles: Vec<Part>,
    /// Its network interface; none for a module that makes no interface.
    pub overlay: Option<Overlay>,
    /// How it is configured here, and why.
    pub config: Config,
    /// Why it cannot be measured in virtual time, such as that it needs a second processor; absent if it can.
    #[serde(default)]
    pub real_time: Option<String>,
}

impl Spec {
    /// Whether a machine of this module must run on the public machine `hub`.
    pub(crate) fn has_coordinator(&self) -> bool {
        self.coordinator().is_some()
    }

    /// What it says of its coordinators, if it has any.
    pub(super) fn coordinator(&self) -> Option<&Part> {
        self.roles.iter().find(|part| part.name == Role::Coordinator)
    }
}

/// A role that machines have in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Which.
    pub name: Role,
    /// Where the others must find it; none where that is not known.
    #[serde(default)]
    pub ports: Ports,
}

impl Part {
    /// A role of which no more is known.
    pub fn of(name: Role) -> Self {
        Self { name, ports: Ports::default() }
    }
}

/// Ports of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ports {
    /// Of UDP.
    pub udp: Vec<u16>,
    /// Of TCP.
    pub tcp: Vec<u16>,
}

/// Sources of the programs, per provider. The NixOS provider reads `nixos.nix` instead.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Software {
    /// What the Debian provider installs.
    #[serde(deserialize_with = "fields::debian")]
    pub debian: Debian,
}

/// Software for a Debian guest. At most one of `cargo` and `go` is filled.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Debian {
    /// Debian packages: the VPN itself, or what a compiled VPN needs at run time.
    #[serde(default, deserialize_with = "fields::package_names")]
    pub apt: Vec<String>,
    /// Crates compiled with `cargo install --locked`.
    #[serde(default)]
    pub cargo: Vec<CargoCrate>,
    /// Go programs compiled with `go build` and linked statically.
    #[serde(default)]
    pub go: Vec<GoProgram>,
    /// Programs in the guest's PATH that `--binary NAME=PATH` may replace.
    #[serde(default, deserialize_with = "fields::program_names")]
    pub binaries: Vec<String>,
    /// Whether programs come by `--binary` only, although others are compiled, or `apt` names libraries.
    #[serde(default)]
    pub local_binaries: bool,
    /// Kernel modules loaded before `run`.
    #[serde(default, deserialize_with = "fields::program_names")]
    pub kernel_modules: Vec<String>,
}

impl Debian {
    /// Programs that nothing here installs, so that a Debian guest needs `--binary` for each of them.
    pub fn missing_programs(&self) -> Vec<&String> {
        let compiled: Vec<&String> = self.compiled().collect();
        let unsourced = self.apt.is_empty() && compiled.is_empty();
        if !unsourced && !self.local_binaries {
            return Vec::new();
        }
        self.binaries.iter().filter(|program| !compiled.contains(program)).collect()
    }

    /// Programs that are compiled on the host.
    fn compiled(&self) -> impl Iterator<Item = &String> {
        let crates = self.cargo.iter().flat_map(|it| &it.bins);
        crates.chain(self.go.iter().map(|it| &it.bin))
    }
}

/// What the VPN's documentation promises; the checks test each promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Claims {
    /// Payload is encrypted and members are authenticated.
    pub encryption: bool,
    /// How two peers behind NATs find a direct path.
    pub nat_traversal: NatTraversal,
    /// Falls back to a relay when there is no direct path.
    pub relay: bool,
    /// Works over an IPv6 underlay.
    pub ipv6_underlay: bool,
    /// Can have more than one coordinator.
    #[serde(default)]
    pub several_coordinators: bool,
    /// Can be told names in place of addresses.
    #[serde(default = "yes")]
    pub names: bool,
}

fn yes() -> bool {
    true
}

/// The interface that carries the overlay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Interface name in the guest, or its beginning followed by `*`.
    #[serde(deserialize_with = "fields::interface")]
    pub interface: String,
    /// Documented MTU in bytes; for information, the harness probes the real one.
    pub mtu: u16,
}

impl Overlay {
    /// Whether `interface` (a name as `ip link` shows it) is the overlay's.
    pub fn matches(&self, interface: &str) -> bool {
        match self.interface.strip_suffix('*') {
            Some(prefix) => interface.starts_with(prefix),
            None => interface == self.interface,
        }
    }
}

/// What was chosen in the VPN's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One choice a line: cipher, MTU, transport, direct or relayed.
    pub choices: Vec<String>,
    /// Page that recommends this configuration.
    #[serde(deserialize_with = "fields::url")]
    pub documentation: String,
}

/// Why a module cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No folder of that name.
    #[error("there is no module `{name}` in {dir}{hint}", dir = dir.display())]
    Unknown {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
        /// The nearest name in words, or all names.
        hint: String,
    },
    /// The folder has a name that could be no part of a file name of results.
    #[error("{path}: {source}; rename the folder", path = path.display())]
    Name {
        /// The folder.
        path: PathBuf,
        /// What is wrong with its name.
        source: NameError,
    },
    /// `module.toml` is not what it should be.
    #[error("{file}:{line}:{column}: {reason}", file = file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong with the value there.
        reason: String,
    },
    /// A file of the folder cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The lifecycle script cannot be run.
    #[error("{path} is not an executable file; make it one with `chmod +x`", path = path.display())]
    NotExecutable {
        /// The script.
        path: PathBuf,
    },
}

/// Names of all modules under `dir`, sorted. Names that begin with `_` or `.` are not modules, nor are files.
pub fn list(dir: &Path) -> Result<Vec<String>, Error> {
    let fail = |source| Error::Read { path: dir.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(['_', '.']) && entry.path().join("module.toml").is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Reads the module `name` under `dir`. An unknown name is answered with the nearest one.
pub fn load(dir: &Path, name: &str) -> Result<Module, Error> {
    let names = list(dir)?;
    if !names.iter().any(|known| known == name) {
        let hint = hint(name, &names);
        return Err(Error::Unknown { name: name.to_owned(), dir: dir.to_owned(), hint });
    }
    let module_dir = dir.join(name);
    let name =
        Name::parse(name).map_err(|source| Error::Name { path: module_dir.clone(), source })?;
    let file = module_dir.join("module.toml");
    let text =
        file::read_text(&file).map_err(|source| Error::Read { path: file.clone(), source })?;
    let spec = parse(&file, &text)?;
    let module = Module { name, dir: module_dir, spec };
    check_executable(&module.lifecycle())?;
    Ok(module)
}

/// Reads every module under `dir`, sorted by name; the first bad one is the error.
pub fn load_all(dir: &Path) -> Result<Vec<Module>, Error> {
    list(dir)?.iter().map(|name| load(dir, name)).collect()
}

/// Parses the text of a `module.toml`; `file` appears in the error only.
pub fn parse(file: &Path, text: &str) -> Result<Spec, Error> {
    toml::from_str(text).map_err(|error| {
        let (line, column) = position(text, error.span().map_or(0, |span| span.start));
        Error::Invalid { file: file.to_owned(), line, column, reason: error.message().to_owned() }
    })
}

fn hint(name: &str, names: &[String]) -> String {
    match nearest(name, names) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if names.is_empty() => "; the directory has no modules".to_owned(),
        None => format!("; there are: {}", names.join(", ")),
    }
}

fn check_executable(path: &Path) -> Result<(), Error> {
    let metadata =
        fs::metadata(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    if metadata.is_file() && metadata.permissions().mode() & 0o100 != 0 {
        return Ok(());
    }
    Err(Error::NotExecutable { path: path.to_owned() })
}
