//! The initial process: puts the root together from its layers and hands over to the guest's own init.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};

const DISK_DEADLINE: Duration = Duration::from_secs(30);
/// `MODULE_INIT_COMPRESSED_FILE` of finit_module(2).
const COMPRESSED: libc::c_int = 4;

/// Never returns: becomes the guest's init, or stops the machine with the reason on its console.
pub(crate) fn run() -> ! {
    let error = match boot() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    println!("meshbench: cannot boot: {error}");
    // The kernel panics when its first process ends: the harness sees that on the console.
    std::process::exit(1);
}

fn boot() -> io::Result<std::convert::Infallible> {
    mount_kernel_file_systems()?;
    // Also what the accelerator's trial waits for.
    println!("meshbench: kernel is up");
    let command_line = fs::read_to_string("/proc/cmdline")?;
    if option(&command_line, "meshbench.trial").is_some() {
        sleep(Duration::MAX);
    }
    load_modules()?;
    mount_layers(&command_line)?;
    let init = option(&command_line, "init").unwrap_or("/sbin/init").to_owned();
    switch_root(&init)
}

fn mount_kernel_file_systems() -> io::Result<()> {
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        fs::create_dir_all(target)?;
        mount(Some(kind), target, Some(kind), MsFlags::empty(), None::<&str>)?;
    }
    Ok(())
}

/// The value of `name=value` or the empty string of a bare `name` on the kernel's command line.
fn option<'a>(command_line: &'a str, name: &str) -> Option<&'a str> {
    command_line.split_whitespace().rev().find_map(|word| match word.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (word == name).then_some(""),
    })
}

fn load_modules() -> io::Result<()> {
    let Ok(order) = fs::read_to_string("/modules/order") else { return Ok(()) };
    for path in order.lines().filter(|line| !line.is_empty()) {
        load_module(path).map_err(|e| io::Error::other(format!("kernel module {path}: {e}")))?;
    }
    Ok(())
}

fn load_module(path: &str) -> io::Result<()> {
    let file = File::open(path)?;
    let flags = if path.ends_with(".ko") { 0 } else { COMPRESSED };
    let parameters = CString::default();
    // SAFETY: an open descriptor, a terminated string and flags, as finit_module(2) wants.
    let result = unsafe {
        libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), flags)
    };
    let error = io::Error::last_os_error();
    if result == 0 || error.raw_os_error() == Some(libc::EEXIST) { Ok(()) } else { Err(error) }
}

fn mount_layers(command_line: &str) -> io::Result<()> {
    let count: usize = option(command_line, "meshbench.layers")
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| io::Error::other("the command line names no number of layers"))?;
    let mut lowers = Vec::new();
    for index in 0..count {
        let target = format!("/layers/{index}");
        fs::create_dir_all(&target)?;
        let disk = disk(&format!("layer{index}"))?;
        mount(
            Some(disk.as_str()),
            target.as_str(),
            Some("erofs"),
            MsFlags::MS_RDONLY,
            None::<&str>,
        )?;
        lowers.insert(0, target);
    }
    let lowers = lowers.join(":");
    fs::create_dir_all("/root")?;
    let state = disk("state")?;
    if is_blank(&state)? {
        format_state(&state, &lowers)?;
    }
    fs::create_dir_all("/state")?;
    mount(Some(state.as_str()), "/state", Some("ext4"), MsFlags::MS_NOATIME, None::<&str>)?;
    fs::create_dir_all("/state/upper")?;
    fs::create_dir_all("/state/work")?;
    let options = format!("lowerdir={lowers},upperdir=/state/upper,workdir=/state/work");
    Ok(mount(Some("overlay"), "/root", Some("overlay"), MsFlags::empty(), Some(options.as_str()))?)
}

/// The device of the disk with this serial.
fn disk(serial: &str) -> io::Result<String> {
    let start = Instant::now();
    while start.elapsed() < DISK_DEADLINE {
        for entry in fs::read_dir("/sys/block")?.flatten() {
            let found = fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
            if found.trim() == serial {
                return Ok(format!("/dev/{}", entry.file_name().to_string_lossy()));
            }
        }
        sleep(Duration::from_millis(10));
    }
    Err(io::Error::other(format!("no disk with the serial {serial}")))
}

/// Whether the disk lacks the magic of an ext4 superblock (offset 1080, Documentation/filesystems/ext4).
fn is_blank(device: &str) -> io::Result<bool> {
    let mut disk = File::open(device)?;
    disk.seek(SeekFrom::Start(1080))?;
    let mut magic = [0; 2];
    disk.read_exact(&mut magic)?;
    Ok(magic != [0x53, 0xef])
}

/// Formats the state disk with the guest's own tools, so that no host needs them.
fn format_state(device: &str, lowers: &str) -> io::Result<()> {
    let options = if lowers.contains(':') { format!("lowerdir={lowers}") } else { String::new() };
    if options.is_empty() {
        mount(Some(lowers), "/root", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    } else {
        mount(
            Some("overlay"),
            "/root",
            Some("overlay"),
            MsFlags::MS_RDONLY,
            Some(options.as_str()),
        )?;
    }
    mount(Some("/dev"), "/root/dev", None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    let mut command = Command::new("/usr/bin/env");
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin")
        .args(["mkfs.ext4", "-q", "-F", "-m", "0", "-E"])
        .args(["nodiscard,lazy_itable_init=1,lazy_journal_init=1", device]);
    let status = chrooted(&mut command)?;
    nix::mount::umount("/root/dev")?;
    nix::mount::umount("/root")?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("mkfs.ext4 of {device}: {status}")))
    }
}

fn chrooted(command: &mut Command) -> io::Result<std::process::ExitStatus> {
    use std::os::unix::process::CommandExt;
    // SAFETY: chroot and chdir are async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::chroot("/root")?;
            nix::unistd::chdir("/")?;
            Ok(())
        });
    }
    command.status()
}

fn switch_root(init: &str) -> io::Result<std::convert::Infallible> {
    for name in ["dev", "proc", "sys"] {
        let (from, to) = (format!("/{name}"), format!("/root/{name}"));
        mount(Some(from.as_str()), to.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    }
    // The initrd's files live in memory; nobody needs them any more.
    fs::remove_dir_all("/modules")?;
    fs::remove_file("/init")?;
    nix::unistd::chdir("/root")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    nix::unistd::chroot(".")?;
    nix::unistd::chdir("/")?;
    let console = OpenOptions::new().read(true).write(true).open("/dev/console")?;
    drop(console);
    let init = CString::new(init).map_err(io::Error::other)?;
    Ok(nix::unistd::execv(&init, &[init.as_c_str()])?)
}

#[cfg(test)]
mod tests {
    use super::option;

    #[test]
    fn the_last_of_repeated_options_counts() {
        assert_eq!(option("console=ttyS0 init=/a init=/b", "init"), Some("/b"));
        assert_eq!(option("quiet meshbench.trial", "meshbench.trial"), Some(""));
        assert_eq!(option("xinit=/a", "init"), None);
    }
}
