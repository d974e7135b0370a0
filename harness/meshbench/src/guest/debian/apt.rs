use std::fs;
use std::path::Path;
use std::process::Command;

use super::base::{self, Base};
use crate::guest::{GuestError, Package, command, tools};

/// Unpacks Debian packages, and what they need beyond the base, into `root`. No script of theirs runs.
pub(crate) fn install(
    base: &Base,
    packages: &[String],
    scratch: &Path,
    root: &Path,
) -> Result<Vec<Package>, GuestError> {
    unpack(base, &base.dir.join("status"), packages, scratch, root)
}

/// Unpacks Debian packages with all that they need into `root`, as if nothing was installed anywhere.
pub(crate) fn install_whole(
    base: &Base,
    packages: &[String],
    scratch: &Path,
    root: &Path,
) -> Result<Vec<Package>, GuestError> {
    let status = scratch.join("status");
    fs::create_dir_all(scratch).map_err(GuestError::file("create", scratch))?;
    fs::write(&status, "").map_err(GuestError::file("write", &status))?;
    unpack(base, &status, packages, scratch, root)
}

fn unpack(
    base: &Base,
    status: &Path,
    packages: &[String],
    scratch: &Path,
    root: &Path,
) -> Result<Vec<Package>, GuestError> {
    let config = configure(base, status, scratch)?;
    let advice = "see that the package is in Debian stable; if the archive has moved on since the base \
                  was built, build it anew with --refresh";
    let mut download = tools::command("apt-get")?;
    download.env("APT_CONFIG", &config).env("DEBIAN_FRONTEND", "noninteractive");
    download.args(["-q", "-y", "--download-only", "install", "--"]).args(packages);
    command::run(&mut download, advice)?;
    let mut installed = Vec::new();
    let archives = scratch.join("cache/archives");
    let entries = fs::read_dir(&archives).map_err(GuestError::file("read", &archives))?;
    for entry in entries {
        let path = entry.map_err(GuestError::file("read", &archives))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            command::run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(root), "")?;
            let mut query = Command::new("dpkg-deb");
            query.args(["-W", "--showformat", "${Package}\\t${Version}\\n"]).arg(&path);
            installed.extend(base::parse_packages(&command::text(&mut query, "")?)?);
        }
    }
    installed.sort();
    Ok(installed)
}

/// An apt of its own in `scratch`, which knows the base's archive and the packages that `status` lists as
/// installed, and nothing of the host's.
fn configure(base: &Base, status: &Path, scratch: &Path) -> Result<std::path::PathBuf, GuestError> {
    for name in ["cache/archives/partial", "etc/preferences.d", "state"] {
        let path = scratch.join(name);
        fs::create_dir_all(&path).map_err(GuestError::file("create", &path))?;
    }
    let write = |name: &str, text: String| {
        let path = scratch.join(name);
        fs::write(&path, text).map_err(GuestError::file("write", &path))?;
        Ok::<_, GuestError>(path)
    };
    write("etc/sources.list", format!("{}\n", base::source(&base.mirror)))?;
    let (dir, base, status) = (scratch.display(), base.dir.display(), status.display());
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mut text = format!(
        "Dir \"{dir}\";\nDir::State \"{dir}/state\";\nDir::State::lists \"{base}/lists\";\n\
         Dir::State::status \"{status}\";\nDir::Cache \"{dir}/cache\";\nDir::Etc \"{dir}/etc\";\n\
         Dir::Etc::parts \"{dir}/etc/none\";\nDir::Log \"{dir}\";\n\
         APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\nDebug::NoLocking \"true\";\n\
         Acquire::Languages \"none\";\nAcquire::Retries \"8\";\n"
    );
    for option in base::proxy_options() {
        text.push_str(&format!("{option};\n"));
    }
    write("apt.conf", text)
}
