//! The initial process: puts the root together from its layers and hands over to the guest's own init.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::thread::{self, sleep};
use std::time::Duration;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::sealed;
use crate::uevent::Uevents;

const DISK_DEADLINE: Duration = Duration::from_secs(30);
/// `MODULE_INIT_COMPRESSED_FILE` of finit_module(2).
const COMPRESSED: ModuleInitFlags = ModuleInitFlags::from_bits_retain(4);

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
    let sealed = option(&command_line, sealed::OPTION).is_some();
    if sealed && option(&command_line, "meshbench.layers") == Some("0") {
        // Nothing but this program: the smallest machine that can do a job.
        return sealed::run(false);
    }
    load_modules()?;
    mount_layers(&command_line, sealed)?;
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
    let compressed = !path.ends_with(".ko");
    let flags = if compressed { COMPRESSED } else { ModuleInitFlags::empty() };
    match finit_module(File::open(path)?, c"", flags) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn mount_layers(command_line: &str, sealed: bool) -> io::Result<()> {
    let count: usize = option(command_line, "meshbench.layers")
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| io::Error::other("the command line names no number of layers"))?;
    let mut lowers = Vec::new();
    for index in 0..count {
        let target = format!("/layers/{index}");
        fs::create_dir_all(&target)?;
        mount_layer(index, &target, sealed)?;
        lowers.insert(0, target);
    }
    let (layers, lowers) = (lowers.clone(), lowers.join(":"));
    fs::create_dir_all("/root")?;
    fs::create_dir_all("/state")?;
    if sealed {
        let options = Some("mode=755,size=90%");
        mount(Some("state"), "/state", Some("tmpfs"), MsFlags::MS_NOATIME, options)?;
    } else {
        let state = disk("state")?;
        if is_blank(&state)? {
            format_state(&state, &lowers)?;
        }
        mount(Some(state.as_str()), "/state", Some("ext4"), MsFlags::MS_NOATIME, None::<&str>)?;
    }
    fs::create_dir_all("/state/upper")?;
    fs::create_dir_all("/state/work")?;
    let options = format!("lowerdir={lowers},upperdir=/state/upper,workdir=/state/work");
    let options = Some(options.as_str());
    mount(Some("overlay"), "/root", Some("overlay"), MsFlags::empty(), options)?;
    if sealed { show_layers(&layers) } else { Ok(()) }
}

fn mount_layer(index: usize, target: &str, sealed: bool) -> io::Result<()> {
    let device = if sealed { memory(index)? } else { disk(&format!("layer{index}"))? };
    let flags = MsFlags::MS_RDONLY;
    Ok(mount(Some(device.as_str()), target, Some("erofs"), flags, None::<&str>)?)
}

/// Keeps the layers in sight: the roots of containers are laid over them, too.
fn show_layers(layers: &[String]) -> io::Result<()> {
    for layer in layers {
        let target = format!("/root{layer}");
        fs::create_dir_all(&target)?;
        let (from, to) = (Some(layer.as_str()), target.as_str());
        mount(from, to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    }
    Ok(())
}

/// The device of the layer that lies in memory of this number, which its driver may not have found yet.
fn memory(index: usize) -> io::Result<String> {
    let found = Uevents::open()?.until(DISK_DEADLINE, || {
        let region = match region(Path::new("/sys/bus/nd/devices"), index) {
            // Its driver is about to tell of it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let Some(region) = region else { return Ok(None) };
        let device = format!("/dev/pmem{region}");
        Ok(is_live(&device)?.then_some(device))
    })?;
    found.ok_or_else(|| io::Error::other(format!("no memory number {index} with a layer")))
}

/// The number of the region that is the memory module of this number. Regions, and with them devices, are numbered as
/// QEMU's ACPI table happens to list them, which is by a hash of their names; a module's handle is its slot, plus one
/// (QEMU, hw/acpi/nvdimm.c), and slots are given in the order of the command line.
fn region(devices: &Path, index: usize) -> io::Result<Option<usize>> {
    let handle = format!("{:#x}", index + 1);
    for device in fs::read_dir(devices)? {
        let name = device?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("region")?.parse().ok());
        let Some(number) = number else { continue };
        // `nmem3,0,67108864,0`
        let mapping = fs::read_to_string(devices.join(&name).join("mapping0"))?;
        let module = mapping.split(',').next().unwrap_or_default();
        let told = fs::read_to_string(devices.join(module).join("nfit/handle"))?;
        if told.trim() == handle {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Whether a block device can be opened: its file is there a little before the device is.
fn is_live(device: &str) -> io::Result<bool> {
    match File::open(device) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The device of the disk with this serial, which its driver may not have found yet.
fn disk(serial: &str) -> io::Result<String> {
    let found = Uevents::open()?.until(DISK_DEADLINE, || {
        let disks = fs::read_dir("/sys/block")?.flatten();
        let mut disks = disks.filter(|disk| {
            fs::read_to_string(disk.path().join("serial")).is_ok_and(|text| text.trim() == serial)
        });
        Ok(disks.next().map(|disk| format!("/dev/{}", disk.file_name().to_string_lossy())))
    })?;
    found.ok_or_else(|| io::Error::other(format!("no disk with the serial {serial}")))
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
    let status = chrooted(command)?;
    // The thread that was inside has ended when it is joined, but the kernel may still hold its root for a moment.
    for place in ["/root/dev", "/root"] {
        umount2(place, MntFlags::MNT_DETACH)?;
    }
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("mkfs.ext4 of {device}: {status}")))
    }
}

/// Runs a program in the guest's root.
fn chrooted(mut command: Command) -> io::Result<ExitStatus> {
    let inside = thread::spawn(move || {
        // Only this thread's idea of where the root is.
        unshare(CloneFlags::CLONE_FS)?;
        nix::unistd::chroot("/root")?;
        nix::unistd::chdir("/")?;
        command.status()
    });
    inside.join().map_err(|_| io::Error::other("a thread panicked"))?
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
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::{is_live, option, region};

    #[test]
    fn a_layer_is_found_by_its_slot_wherever_its_region_stands() {
        let devices = tempfile::tempdir().unwrap();
        let write = |place: &str, text: &str| {
            let file = devices.path().join(place);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        for (module, handle) in [(0, 3), (1, 1), (2, 2)] {
            write(&format!("nmem{module}/nfit/handle"), &format!("{handle:#x}\n"));
            write(&format!("region{module}/mapping0"), &format!("nmem{module},0,67108864,0\n"));
        }
        write("ndbus0/provider", "ACPI.NFIT\n");
        let found = [0, 1, 2, 3].map(|index| region(devices.path(), index).unwrap());
        assert_eq!(found, [Some(1), Some(2), Some(0), None]);
    }

    #[test]
    fn a_device_is_live_when_it_can_be_opened_and_not_as_soon_as_its_file_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("device");
        let name = file.to_str().unwrap();
        assert!(!is_live(name).unwrap());
        // To open it is answered as by a device that is not live yet.
        let listener = UnixListener::bind(&file).unwrap();
        assert!(!is_live(name).unwrap());
        drop(listener);
        fs::remove_file(&file).unwrap();
        fs::write(&file, "").unwrap();
        assert!(is_live(name).unwrap());
    }

    #[test]
    fn the_last_of_repeated_options_counts() {
        assert_eq!(option("console=ttyS0 init=/a init=/b", "init"), Some("/b"));
        assert_eq!(option("quiet meshbench.trial", "meshbench.trial"), Some(""));
        assert_eq!(option("xinit=/a", "init"), None);
    }
}
