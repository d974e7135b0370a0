use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guest::cache::{Cache, Key, Want};
use crate::guest::elf::{self, Libraries};
use crate::guest::{GuestError, Package, Preparing, command, kernel_modules, tools};

/// The Debian release of the guests.
pub(crate) const SUITE: &str = "trixie";

const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
const MIRROR_VARIABLE: &str = "MESHBENCH_DEBIAN_MIRROR";

/// What lifecycles, fabric and workloads may use, besides Debian's essential packages.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "conntrack",
    "curl",
    "e2fsprogs",
    "ethtool",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "jq",
    "kmod",
    "netbase",
    "nftables",
    "procps",
    "systemd-sysv",
    "tcpdump",
];

/// Trees without use in a machine.
const UNWANTED: &[&str] = &["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

const SCRIPT: &str = include_str!("base.sh");
const SPACE_MIB: u64 = 1000;

/// The part of a guest that all modules share.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) dir: PathBuf,
    /// Identity of what is in it, for the keys of what is built upon it.
    pub(crate) id: Key,
    pub(crate) packages: Vec<Package>,
    pub(crate) libraries: Libraries,
    /// The archive whose package lists are in `dir`.
    pub(crate) mirror: String,
}

impl Base {
    pub(crate) fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// Read-only root layers, lowest first, with their names.
    pub(crate) fn layers(&self) -> [(&'static str, PathBuf); 2] {
        let [base, modules, _] = super::OWN_LAYERS;
        [base, modules].map(|name| (name, self.dir.join(name)))
    }

    /// Kernel modules for the initrd, uncompressed, with their `order`.
    pub(crate) fn boot_modules(&self) -> PathBuf {
        self.dir.join("boot-modules")
    }
}

/// The base, built if this request was not built before.
///
/// It comes from the archive that [`MIRROR_VARIABLE`] names (a snapshot's pins all versions), else from the host's own
/// if that runs Debian, else from Debian's. An archive that was asked for is part of the request; which one the host
/// happens to use is not.
pub(crate) fn get(
    cache: &Cache,
    refresh: bool,
    tell: &dyn Fn(&Preparing),
) -> Result<Base, GuestError> {
    let asked = env::var(MIRROR_VARIABLE).ok().filter(|named| !named.is_empty());
    let request = [SUITE, asked.as_deref().unwrap_or_default(), SCRIPT, env::consts::ARCH];
    let lists = [PACKAGES, UNWANTED, kernel_modules::BOOT].into_iter().flatten().copied();
    let key = Key::of(request.into_iter().chain(lists));
    let words = "the base system from Debian packages (half a minute)";
    let want = Want { refresh, ..Want::once("base", words, &key, SPACE_MIB) };
    let dir = cache.get(&want, tell, |dir| {
        let mirror = asked.or_else(host_mirror).unwrap_or_else(|| DEFAULT_MIRROR.to_owned());
        build(dir, &mirror)
    })?;
    open(dir, &key)
}

/// The archive that the host itself uses, if it runs Debian.
fn host_mirror() -> Option<String> {
    let mut query = Command::new("apt-get");
    query.args(["indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"]);
    debian_mirror(&command::text(query.arg("Created-By: Packages"), "").ok()?)
}

/// The first archive in the words of apt's `indextargets` that is Debian's main one.
fn debian_mirror(targets: &str) -> Option<String> {
    let uri = targets.lines().find_map(|line| line.strip_prefix("Debian|Debian|"))?;
    let reachable = uri.starts_with("http://") || uri.starts_with("https://");
    reachable.then(|| uri.trim_end_matches('/').to_owned())
}

/// What a record may tell of an archive: where a public one is, of any other only that it is another. What somebody's own
/// is called, and how one comes in, is nobody else's business.
pub(super) fn public(mirror: &str) -> String {
    const PUBLIC: [&str; 2] = ["snapshot.debian.org", "deb.debian.org"];
    let address = mirror.split_once("://").map_or("", |(_, address)| address);
    let host = address.split('/').next().unwrap_or_default();
    let is_plain = !mirror.contains(['?', '#', ' ']);
    let known = PUBLIC.contains(&host) && is_plain;
    if known { mirror.trim_end_matches('/').to_owned() } else { "another mirror".to_owned() }
}

/// An apt source of the guests' packages, in the one-line style.
pub(crate) fn source(mirror: &str) -> String {
    format!("deb [signed-by={}] {mirror} {SUITE} main", tools::KEYRING)
}

fn build(dir: &Path, mirror: &str) -> Result<(), GuestError> {
    let missing = tools::missing(tools::DEBIAN);
    if !missing.is_empty() {
        return Err(GuestError::MissingTools {
            programs: missing.iter().map(|tool| tool.program.to_owned()).collect(),
            install: tools::install_command(&missing),
        });
    }
    let advice = format!(
        "see that {mirror} is reachable, or name another mirror in {MIRROR_VARIABLE}; \
         an ordinary user also needs user namespaces and a range in /etc/subuid"
    );
    command::run(&mut mmdebstrap(dir, mirror)?, &advice)?;
    let out = dir.join("meshbench-out");
    for entry in fs::read_dir(&out).map_err(GuestError::file("read", &out))? {
        let entry = entry.map_err(GuestError::file("read", &out))?;
        let to = dir.join(entry.file_name());
        fs::rename(entry.path(), &to).map_err(GuestError::file("rename to", &to))?;
    }
    fs::remove_dir(&out).map_err(GuestError::file("remove", &out))?;
    let file = dir.join("mirror");
    fs::write(&file, mirror).map_err(GuestError::file("write", &file))?;
    let modules = dir.join("modules");
    let tree = modules.join(read(dir, "release")?.trim());
    kernel_modules::unpack(&tree, kernel_modules::BOOT, &dir.join("boot-modules"))?;
    fs::remove_dir_all(&modules).map_err(GuestError::file("remove", &modules))
}

fn mmdebstrap(dir: &Path, mirror: &str) -> Result<Command, GuestError> {
    let mut command = tools::command("mmdebstrap")?;
    command.args(["--variant=essential", "--format=null", "--skip=cleanup"]);
    command.arg(format!("--include={}", PACKAGES.join(",")));
    command.arg("--aptopt=APT::Install-Recommends \"false\"");
    command.arg("--aptopt=Acquire::Languages \"none\"");
    command.arg("--aptopt=Acquire::Retries \"8\"");
    for option in proxy_options() {
        command.arg(format!("--aptopt={option}"));
    }
    for tree in UNWANTED {
        command.arg(format!("--dpkgopt=path-exclude={tree}"));
    }
    // By environment: an ordinary user's hook may not reach our files, and a failure would print all of it.
    command.env("MESHBENCH_HOOK", SCRIPT);
    command.arg("--customize-hook=sh -c \"$MESHBENCH_HOOK\" base.sh \"$1\"");
    command.arg(format!("--customize-hook=copy-out /meshbench-out {}", quoted(dir)));
    command.args([SUITE, "-", &source(mirror)]);
    let kernel = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    command.env("MESHBENCH_KERNEL", format!("linux-image-cloud-{kernel}"));
    // So that dates in files, such as that of root's password, are the same in every build.
    command.env("SOURCE_DATE_EPOCH", "1");
    if tools::is_root() {
        // An ordinary user's mmdebstrap must work where its user namespace may read: the default.
        command.env("TMPDIR", dir);
    }
    Ok(command)
}

/// The host's proxies for apt, as options of apt.
pub(super) fn proxy_options() -> Vec<String> {
    let mut query = Command::new("apt-config");
    query.args([
        "dump",
        "--format",
        "%F \"%v\"%n",
        "Acquire::http::Proxy",
        "Acquire::https::Proxy",
    ]);
    let dump = command::text(&mut query, "").unwrap_or_default();
    let lines = dump.lines().filter(|line| line.contains("Proxy") && !line.contains("\"\""));
    lines.map(str::to_owned).collect()
}

/// A path for mmdebstrap's shell-like splitting of special hooks.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

fn open(dir: PathBuf, key: &Key) -> Result<Base, GuestError> {
    let text = read(&dir, "packages")?;
    let packages = parse_packages(&text)?;
    let libraries = Libraries {
        glibc: glibc_version(&packages)?,
        names: read(&dir, "libraries")?.lines().map(str::to_owned).collect::<BTreeSet<_>>(),
    };
    let id = Key::of([key.as_ref(), text.as_bytes()]);
    let mirror = read(&dir, "mirror")?;
    Ok(Base { dir, id, packages, libraries, mirror })
}

/// Lines of name, tab, version.
pub(crate) fn parse_packages(text: &str) -> Result<Vec<Package>, GuestError> {
    let parse = |line: &str| {
        let (name, version) = line.split_once('\t').ok_or_else(|| {
            GuestError::unexpected("package list", format!("no name and version in {line:?}"))
        })?;
        Ok(Package::new(name, version))
    };
    text.lines().map(parse).collect()
}

/// `[2, 41]` for a libc6 of version `2.41-12+deb13u2`.
fn glibc_version(packages: &[Package]) -> Result<Vec<u32>, GuestError> {
    let libc = packages.iter().find(|package| package.name == "libc6");
    let version = libc.and_then(|package| package.version.split('-').next());
    version
        .and_then(elf::parse_version)
        .ok_or_else(|| GuestError::unexpected("package list", "no version of libc6"))
}

fn read(dir: &Path, name: &str) -> Result<String, GuestError> {
    let path = dir.join(name);
    fs::read_to_string(&path).map_err(GuestError::file("read", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_archive_is_the_mirror() {
        let targets = "Ubuntu|Ubuntu|http://u/ubuntu/\nDebian|Debian-Security|http://s/security/\n\
                       Debian|Debian|http://d/debian/\n";
        assert_eq!(debian_mirror(targets).as_deref(), Some("http://d/debian"));
        assert_eq!(debian_mirror("Ubuntu|Ubuntu|http://u/ubuntu/"), None);
        assert_eq!(debian_mirror("Debian|Debian|cdrom://disc/"), None);
    }

    #[test]
    fn a_record_names_public_archives_and_nobodys_own() {
        let snapshot = "http://snapshot.debian.org/archive/debian/20261130T000000Z";
        assert_eq!(public(&format!("{snapshot}/")), snapshot);
        assert_eq!(public(DEFAULT_MIRROR), DEFAULT_MIRROR);
        for own in [
            "http://apt.corp.example/debian",
            "http://user:word@snapshot.debian.org/archive",
            "http://deb.debian.org/debian?token=x",
            "file:///srv/deb.debian.org",
            "deb.debian.org",
        ] {
            assert_eq!(public(own), "another mirror", "{own}");
        }
    }

    #[test]
    fn package_lists_give_the_version_of_glibc() {
        let packages = parse_packages("jq\t1.7.1-6\nlibc6\t2.41-12+deb13u2\n").unwrap();
        assert_eq!(packages[0], Package::new("jq", "1.7.1-6"));
        assert_eq!(glibc_version(&packages).unwrap(), [2, 41]);
        assert!(glibc_version(&packages[..1]).is_err());
        assert!(parse_packages("jq 1.7.1-6").is_err());
    }

    #[test]
    fn directories_with_quotes_and_spaces_stay_one_word() {
        assert_eq!(quoted(Path::new("/a b/c'd")), r"'/a b/c'\''d'");
    }
}
