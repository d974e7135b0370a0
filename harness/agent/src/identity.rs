//! Turning a copy of a template into a machine of its own.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use agent::{Card, Identity, Reply};
use nix::mount::{MsFlags, mount};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use crate::{exec, ip};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Applies everything before any other program of the machine runs again.
pub(crate) fn apply(identity: &Identity) -> io::Result<Reply> {
    exec::before_all_others();
    stir(&from_hex(&identity.entropy)?)?;
    set_clock(identity.realtime_ns)?;
    nix::unistd::sethostname(&identity.name)?;
    fs::write("/etc/hostname", format!("{}\n", identity.name))?;
    fs::write("/etc/machine-id", format!("{}\n", identity.machine_id))?;
    show_boot_id(&identity.boot_id)?;
    fs::write("/etc/hosts", hosts(identity))?;
    configure(&identity.cards)?;
    Ok(Reply::Done)
}

/// Mixes in fresh bytes and makes the kernel use them at once: two forks must never share output,
/// also where the hypervisor brings no generation id.
fn stir(entropy: &[u8]) -> io::Result<()> {
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

/// The kernel's boot id cannot be set; like a container, the machine gets another file over it.
fn show_boot_id(boot_id: &str) -> io::Result<()> {
    let path = "/run/meshbench-boot-id";
    fs::write(path, format!("{boot_id}\n"))?;
    Ok(mount(Some(path), BOOT_ID, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

fn hosts(identity: &Identity) -> String {
    let mut text = format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {}\n", identity.name);
    for (address, name) in &identity.hosts {
        text.push_str(&format!("{address} {name}\n"));
    }
    text
}

/// Names and addresses all cards.
fn configure(cards: &[Card]) -> io::Result<()> {
    let names = bus_order()?;
    let mut lines = Vec::new();
    for card in cards {
        let present = names.get(card.index).ok_or_else(|| {
            io::Error::other(format!("card {} is absent, {} are there", card.index, names.len()))
        })?;
        lines.push(format!("link set {present} down"));
        if present != &card.name {
            lines.push(format!("link set {present} name {}", card.name));
        }
        lines.push(format!("link set {} address {}", card.name, card.mac));
        up(card, &mut lines);
    }
    ip::batch(lines.iter().map(String::as_str))
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

/// Kernel names of the virtio network cards, in the order of their place on the bus.
fn bus_order() -> io::Result<Vec<String>> {
    let mut cards = Vec::new();
    for entry in fs::read_dir("/sys/class/net")? {
        let entry = entry?;
        if let Ok(device) = fs::canonicalize(entry.path().join("device")) {
            cards.push((bus_place(&device), entry.file_name().to_string_lossy().into_owned()));
        }
    }
    cards.sort();
    Ok(cards.into_iter().map(|(_, name)| name).collect())
}

/// The PCI address in the device's path, such as `0000:00:04.0`.
fn bus_place(device: &Path) -> String {
    device
        .components()
        .map(|c| c.as_os_str().to_string_lossy().into_owned())
        .rfind(|c| c.split(':').count() == 3)
        .unwrap_or_default()
}

fn from_hex(text: &str) -> io::Result<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|d| d.len() % 2 == 0);
    let digits = digits.ok_or_else(|| io::Error::other("entropy is not hexadecimal"))?;
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_and_odd_digits_are_refused() {
        assert_eq!(from_hex("00ff10").unwrap(), [0, 255, 16]);
        assert!(from_hex("0f1").is_err());
        assert!(from_hex("zz").is_err());
    }

    #[test]
    fn the_place_on_the_bus_is_the_last_pci_address_of_the_path() {
        let path = Path::new("/sys/devices/pci0000:00/0000:00:04.0/virtio1");
        assert_eq!(bus_place(path), "0000:00:04.0");
    }
}
