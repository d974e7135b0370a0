//! The host programs that harness and Debian provider need, and the Debian packages that have them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::GuestError;

/// A host program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// Its name in PATH, or the path of a file.
    pub program: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    /// Whether only ordinary users need it.
    pub unprivileged: bool,
}

/// Trusted keys of the Debian archive.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const fn tool(program: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool { program, package, purpose, unprivileged: false }
}

/// What booting machines takes.
pub const MACHINES: &[Tool] = &[if cfg!(target_arch = "aarch64") {
    tool("qemu-system-aarch64", "qemu-system-arm", "runs the machines")
} else {
    tool("qemu-system-x86_64", "qemu-system-x86", "runs the machines")
}];

/// What the Debian provider takes.
pub const DEBIAN: &[Tool] = &[
    tool("mmdebstrap", "mmdebstrap", "makes the guests' root"),
    tool("mkfs.erofs", "erofs-utils", "packs the guests' root layers"),
    tool("apt-get", "apt", "fetches the guests' packages"),
    tool("dpkg-deb", "dpkg", "unpacks the guests' packages"),
    tool("xz", "xz-utils", "unpacks kernel modules"),
    tool(KEYRING, "debian-archive-keyring", "proves the origin of the guests' packages"),
    Tool {
        program: "newuidmap",
        package: "uidmap",
        purpose: "makes the guests' root without privilege",
        unprivileged: true,
    },
];

/// Those of `tools` that this user needs and this host lacks.
pub fn missing(tools: &[Tool]) -> Vec<Tool> {
    let needed = |tool: &&Tool| !(tool.unprivileged && is_root());
    tools.iter().filter(needed).filter(|tool| find(tool.program).is_none()).copied().collect()
}

/// The command that installs `tools`, for people to run.
pub fn install_command(tools: &[Tool]) -> String {
    let packages: Vec<&str> = tools.iter().map(|tool| tool.package).collect();
    install_packages_command(&packages)
}

/// The error for programs that turned out to be missing.
pub(crate) fn missing_error(programs: &[&str]) -> GuestError {
    let known = |program: &&str| {
        let tool = MACHINES.iter().chain(DEBIAN).find(|tool| tool.program == *program);
        tool.map_or_else(|| (*program).to_owned(), |tool| tool.package.to_owned())
    };
    let packages: Vec<String> = programs.iter().map(known).collect();
    GuestError::MissingTools {
        programs: programs.iter().map(|&program| program.to_owned()).collect(),
        install: install_packages_command(&packages.iter().map(String::as_str).collect::<Vec<_>>()),
    }
}

pub(super) fn install_packages_command(packages: &[&str]) -> String {
    let sudo = if is_root() { "" } else { "sudo " };
    format!("{sudo}apt-get install {}", packages.join(" "))
}

/// The path of a program in PATH, or where Debian puts those that are only in root's.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Path::new(program).exists().then(|| program.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let admin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(admin).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A command whose program may be one of those that only root has in PATH.
pub(crate) fn command(program: &str) -> Result<Command, GuestError> {
    find(program).map(Command::new).ok_or_else(|| missing_error(&[program]))
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: Tool = tool("meshbench-no-such-program", "no-such-package", "nothing");

    #[test]
    fn only_what_is_absent_is_missing() {
        assert_eq!(missing(&[tool("sh", "dash", "scripts"), ABSENT]), [ABSENT]);
        assert_eq!(missing(&[tool("/no/such/keyring", "keys", "trust")]).len(), 1);
    }

    #[test]
    fn the_error_for_a_known_program_names_its_package() {
        let message = missing_error(&["mkfs.erofs"]).to_string();
        assert!(message.contains("apt-get install erofs-utils"), "{message}");
    }
}
