//! The first process of a container: makes its namespaces and its root, and becomes the guest's own init.

use std::convert::Infallible;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Error};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use meshbench_protocol::{CONTAINER_DIR, Container};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::unistd::{chdir, pivot_root, sethostname};

use crate::container::Start;
use crate::{control_group, ip};

/// The device files of a container (Documentation/admin-guide/devices.txt): name, major and minor number.
const DEVICES: [(&str, u64, u64); 7] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("net/tun", 10, 200),
];

/// What is the machine's in all of them: their logs.
const MACHINES_OWN: [&str; 2] = ["console", "kmsg"];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Returns only with an error.
pub(crate) fn run(start: &str) -> io::Result<()> {
    let start: Start = serde_json::from_str(start)?;
    match become_init(&start)? {}
}

fn become_init(start: &Start) -> io::Result<Infallible> {
    let container = &start.container;
    // It lives no longer than the thread that runs it, however that ends.
    set_pdeathsig(Signal::SIGKILL)?;
    // First: the group it is in becomes the root of its namespace.
    control_group::enter(&start.group)?;
    let (spaces, names) = (CloneFlags::CLONE_NEWNS, CloneFlags::CLONE_NEWUTS);
    let rest = CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWCGROUP;
    unshare(spaces | names | rest)?;
    sethostname(&container.name)?;
    card(&container.card, start.outside)?;
    umask(Mode::empty());
    let root = Path::new(&container.state).join("root");
    lay(container, &root).map_err(|why| Error::other(format!("its root: {why}")))?;
    devices(&root.join("dev")).map_err(|why| Error::other(format!("its devices: {why}")))?;
    enter(&root)?;
    umask(Mode::from_bits_truncate(0o022));
    init(&container.init)
}

/// Its end of a cable to the machine. As on every card of a fabric, no segment is larger than a packet.
fn card(outer: &str, outside: i32) -> io::Result<()> {
    let cable = format!(
        "link add eth0 gso_max_segs 1 type veth peer name {outer} gso_max_segs 1 netns {outside}"
    );
    ip::batch([cable.as_str(), "link set lo up"])
}

fn lay(container: &Container, root: &Path) -> io::Result<()> {
    // What is mounted from here on is this container's only.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let (lower, state) = (container.lower.join(":"), &container.state);
    let options = format!("lowerdir={lower},upperdir={state}/upper,workdir={state}/work");
    mount(Some("overlay"), root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    let closed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let open = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mounts = [
        ("proc", "proc", closed, ""),
        ("sysfs", "sys", closed, ""),
        ("cgroup2", "sys/fs/cgroup", closed, ""),
        ("tmpfs", "dev", MsFlags::MS_NOSUID, "mode=755"),
        ("tmpfs", "run", open, "mode=755"),
    ];
    for (kind, place, flags, options) in mounts {
        let place = root.join(place);
        if kind != "cgroup2" {
            fs::create_dir_all(&place)?;
        }
        mount(Some(kind), &place, Some(kind), flags, Some(options))?;
    }
    let shared = root.join(CONTAINER_DIR.trim_start_matches('/'));
    fs::create_dir_all(&shared)?;
    bind(Path::new(&container.shared()), &shared)
}

fn devices(dev: &Path) -> io::Result<()> {
    for folder in ["net", "pts", "shm"] {
        fs::create_dir(dev.join(folder))?;
    }
    for (name, major, minor) in DEVICES {
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&dev.join(name), SFlag::S_IFCHR, mode, makedev(major, minor))?;
    }
    for name in MACHINES_OWN {
        let outer = Path::new("/dev").join(name);
        if outer.exists() {
            fs::write(dev.join(name), "")?;
            bind(&outer, &dev.join(name))?;
        }
    }
    for (target, name) in LINKS {
        symlink(target, dev.join(name))?;
    }
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    // Group 5 is tty in every guest.
    let terminals = Some("newinstance,ptmxmode=0666,mode=620,gid=5");
    mount(Some("devpts"), &dev.join("pts"), Some("devpts"), quiet, terminals)?;
    let shared = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &dev.join("shm"), Some("tmpfs"), shared, Some("mode=1777"))?;
    fs::set_permissions(dev.join("shm"), Permissions::from_mode(0o1777))
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    Ok(mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

fn enter(root: &Path) -> io::Result<()> {
    chdir(root)?;
    // The old root lies over the new one for a moment (pivot_root(2), NOTES).
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(chdir("/")?)
}

fn init(words: &[String]) -> io::Result<Infallible> {
    let (program, arguments) = words.split_first().ok_or_else(|| Error::other("no init"))?;
    let output = || -> io::Result<Stdio> {
        let console = OpenOptions::new().write(true).open("/dev/console");
        Ok(console.or_else(|_| OpenOptions::new().write(true).open("/dev/null"))?.into())
    };
    let mut command = Command::new(program);
    // By `container` systemd knows where it is (systemd.io/CONTAINER_INTERFACE).
    command.args(arguments).env_clear().env("container", "meshbench").env("HOME", "/root");
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(output()?).stderr(output()?);
    let error = command.exec();
    Err(Error::new(error.kind(), format!("{program}: {error}")))
}
