//! Turning a copy of a template into a machine of its own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;
use meshbench_protocol::{Card, Identity};
use nix::mount::{MsFlags, mount};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use crate::{container, ip};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What lies over it.
const SHOWN_BOOT_ID: &str = "/run/meshbench-boot-id";

/// Applies all of it.
pub(crate) fn apply(identity: &Identity) -> io::Result<()> {
    stir(&HEXLOWER_PERMISSIVE.decode(identity.entropy.as_bytes()).map_err(io::Error::other)?)?;
    // The clock of a container is its machine's.
    if !container::inside() {
        set_clock(identity.realtime_ns)?;
    }
    overwrite("/etc/machine-id", &format!("{}\n", identity.machine_id))?;
    name(&identity.name)?;
    show_boot_id(&identity.boot_id)?;
    configure(&identity.cards)
}

/// Names the machine, unless it has booted with this name on its disk: others may have been added since.
fn name(name: &str) -> io::Result<()> {
    let own = format!("127.0.1.1 {name}\n");
    if fs::read_to_string("/etc/hosts").is_ok_and(|hosts| hosts.contains(&own)) {
        return Ok(());
    }
    nix::unistd::sethostname(name)?;
    overwrite("/etc/hostname", &format!("{name}\n"))?;
    overwrite("/etc/hosts", &format!("127.0.0.1 localhost\n::1 localhost\n{own}"))
}

/// Gives a file new content. A file that is first emptied is written to its disk when it is closed (ext4's
/// auto_da_alloc), which takes an emulated machine twenty milliseconds.
fn overwrite(path: &str, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all(text.as_bytes())?;
    if file.metadata()?.len() > text.len() as u64 {
        file.set_len(text.len() as u64)?;
    }
    Ok(())
}

/// Mixes in fresh bytes and makes the kernel use them at once: two forks must never share output,
/// also where the hypervisor brings no generation id.
pub(crate) fn stir(entropy: &[u8]) -> io::Result<()> {
    let mut request = Vec::with_capacity(8 + entropy.len());
    request.extend_from_slice(&((entropy.len() * 8) as i32).to_ne_bytes());
    request.extend_from_slice(&(entropy.len() as i32).to_ne_bytes());
    request.extend_from_slice(entropy);
    let random = OpenOptions::new().write(true).open("/dev/urandom")?;
    // SAFETY: both requests are defined by random(4); the first reads a `rand_pool_info` of the
    // size that its second field states.
    unsafe {
        check(libc::ioctl(random.as_raw_fd(), RNDADDENTROPY, request.as_ptr()))?;
        check(libc::ioctl(random.as_raw_fd(), RNDRESEEDCRNG))
    }
}

const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_clock(realtime_ns: u64) -> io::Result<()> {
    let time =
        TimeSpec::new((realtime_ns / 1_000_000_000) as i64, (realtime_ns % 1_000_000_000) as i64);
    Ok(clock_settime(ClockId::CLOCK_REALTIME, time)?)
}

/// The kernel's boot id cannot be set; like a container, the machine gets another file over it, unless its
/// template has it there already.
fn show_boot_id(boot_id: &str) -> io::Result<()> {
    let covered = Path::new(SHOWN_BOOT_ID).exists();
    overwrite(SHOWN_BOOT_ID, &format!("{boot_id}\n"))?;
    if covered {
        return Ok(());
    }
    Ok(mount(Some(SHOWN_BOOT_ID), BOOT_ID, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

/// Addresses all cards.
fn configure(cards: &[Card]) -> io::Result<()> {
    let mut lines = Vec::new();
    for card in cards {
        lines.push(format!("link set {} address {}", card.name, card.mac));
        up(card, &mut lines);
    }
    ip::batch(lines.iter().map(String::as_str))?;
    let resolvers = cards.iter().flat_map(|card| &card.resolvers);
    let resolvers: String = resolvers.map(|own| format!("nameserver {own}\n")).collect();
    // Where there are no names, nobody shall wait for answers.
    if resolvers.is_empty() { Ok(()) } else { overwrite("/etc/resolv.conf", &resolvers) }
}

fn up(card: &Card, lines: &mut Vec<String>) {
    let name = &card.name;
    for address in &card.addresses {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        lines.push(format!("address add {address} dev {name}{nodad}"));
    }
    lines.push(format!("link set {name} up"));
    for gateway in &card.gateways {
        lines.push(format!("route add default via {gateway} dev {name}"));
    }
}
