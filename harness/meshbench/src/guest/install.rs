//! Installing what the host lacks.

use std::process::Command;

use super::tools::{self, Tool, find, install_packages_command, is_root};
use super::{GuestError, Preparing, command};

/// Installs those of `tools` that are missing, as root; for others it is an error that names the command.
///
/// # Errors
/// Not root, no apt, or an apt that fails.
pub fn install_missing(tools: &[Tool], tell: &dyn Fn(&Preparing)) -> Result<(), GuestError> {
    let missing = tools::missing(tools);
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let programs: Vec<&str> = missing.iter().map(|tool| tool.program).collect();
    install(&programs, &packages, tell)
}

/// Installs those Debian packages that are missing on the host; `user` names who needs them.
pub(crate) fn install_packages(
    user: &str,
    packages: &[String],
    tell: &dyn Fn(&Preparing),
) -> Result<(), GuestError> {
    let absent: Vec<&str> =
        packages.iter().map(String::as_str).filter(|package| !is_installed(package)).collect();
    let wanted: Vec<String> =
        absent.iter().map(|package| format!("{package} (to build {user})")).collect();
    install(&wanted.iter().map(String::as_str).collect::<Vec<_>>(), &absent, tell)
}

fn install(
    programs: &[&str],
    packages: &[&str],
    tell: &dyn Fn(&Preparing),
) -> Result<(), GuestError> {
    if packages.is_empty() {
        return Ok(());
    }
    if !is_root() || find("apt-get").is_none() {
        return Err(GuestError::MissingTools {
            programs: programs.iter().map(|&program| program.to_owned()).collect(),
            install: install_packages_command(packages),
        });
    }
    tell(&Preparing::Installing {
        packages: packages.iter().map(|&name| name.to_owned()).collect(),
    });
    let advice = "see whether apt works on this host";
    command::run(apt_get().args(["-q", "update"]), advice)?;
    let mut command = apt_get();
    command.args(["-q", "-y", "--no-install-recommends", "install", "--"]).args(packages);
    command::run(&mut command, advice)
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status}", "--", package]);
    command::text(&mut query, "").is_ok_and(|status| status == "installed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_missing_installs_nothing() {
        let tell = |preparing: &Preparing| panic!("{preparing}");
        let there =
            Tool { program: "sh", package: "dash", purpose: "scripts", unprivileged: false };
        install_missing(&[there], &tell).unwrap();
    }
}
