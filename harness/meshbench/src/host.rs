//! Facts on this host.

use std::fs;
use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// The host's processor, as `/proc/cpuinfo` names it.
pub fn cpu() -> String {
    let text = read("/proc/cpuinfo");
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or("unknown".into(), |(_, v)| v.trim().into())
}

/// Processors that this program may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What of the host a guest sees that runs on its processor: the processor's kind, down to its microcode,
/// and the kernel that virtualises it.
pub(crate) fn platform() -> String {
    const KINDS: [&str; 14] = [
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "stepping",
        "microcode",
        "flags",
        "bugs",
        "CPU implementer",
        "CPU architecture",
        "CPU variant",
        "CPU part",
        "CPU revision",
        "Features",
    ];
    let text = read("/proc/cpuinfo");
    let first = text.lines().take_while(|line| !line.is_empty());
    let fields = first
        .filter(|line| line.split_once(':').is_some_and(|(name, _)| KINDS.contains(&name.trim())));
    let kernel = kernel();
    fields.chain([kernel.as_str()]).collect::<Vec<_>>().join("\n")
}

/// The kernel's release, such as `6.12.5`.
pub fn kernel() -> String {
    read("/proc/sys/kernel/osrelease").trim().to_owned()
}

/// The host's boot: another one after each.
pub(crate) fn boot_id() -> String {
    read("/proc/sys/kernel/random/boot_id").trim().to_owned()
}

/// All of the host's memory, in bytes; 0 if it is not known.
pub(crate) fn memory_bytes() -> u64 {
    field(&read("/proc/meminfo"), "MemTotal:") * 1024
}

/// Memory that programs can have without swapping, in MiB; 0 if it is not known.
pub fn free_memory_mib() -> u64 {
    field(&read("/proc/meminfo"), "MemAvailable:") / 1024
}

/// Programs that ran or wanted to, on average of the last 1, 5 and 15 minutes.
pub fn load() -> [f64; 3] {
    let text = read("/proc/loadavg");
    let mut words = text.split_whitespace().map(|word| word.parse().unwrap_or(0.0));
    std::array::from_fn(|_| words.next().unwrap_or(0.0))
}

/// What the host's processors have done since it booted, in ticks (proc_stat(5)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Processors {
    all: u64,
    idle: u64,
    /// Not given to this host, itself a guest, though it had work.
    stolen: u64,
}

impl Processors {
    pub(crate) fn now() -> Self {
        Self::parse(&read("/proc/stat")).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> =
            line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        // Guests' time, from the ninth on, is in the first two already.
        let all = ticks.iter().take(8).sum();
        Some(Self { all, idle: ticks.get(3)? + ticks.get(4)?, stolen: *ticks.get(7)? })
    }

    /// Percent of their time since `before` that they were busy, and that was stolen; absent where no tick passed.
    pub(crate) fn since(&self, before: &Self) -> Option<(f64, f64)> {
        let passed = self.all.checked_sub(before.all).filter(|ticks| *ticks > 0)? as f64;
        let share = |now: u64, then: u64| 100.0 * now.saturating_sub(then) as f64 / passed;
        Some((100.0 - share(self.idle, before.idle), share(self.stolen, before.stolen)))
    }
}

/// Space that is left where `path` lies, in MiB.
///
/// # Errors
/// What the system says of the path.
pub fn free_mib(path: &Path) -> io::Result<u64> {
    let room = statvfs(path)?;
    Ok((room.blocks_available() * room.fragment_size()) >> 20)
}

/// The kibibytes of a line of `/proc/meminfo`.
fn field(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// Empty where the kernel does not tell.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linux_host_tells_what_it_is() {
        assert!(memory_bytes() >> 20 >= free_memory_mib() && free_memory_mib() > 0);
        assert!(cores() > 0 && !boot_id().is_empty() && kernel().starts_with(char::is_numeric));
        assert!(platform().ends_with(&kernel()) && platform().lines().count() > 1);
        assert!(load().iter().all(|load| *load >= 0.0));
    }

    #[test]
    fn what_processors_did_is_told_in_percent_of_their_time() {
        let before = Processors::parse("cpu  10 0 10 70 10 0 0 0 3 0\ncpu0 1\n").unwrap();
        let now = Processors::parse("cpu  40 0 20 110 10 0 0 20 9 0\n").unwrap();
        assert_eq!(now.since(&before), Some((60.0, 20.0)));
        assert_eq!(before.since(&before), None);
        assert_eq!(Processors::parse("intr 4\n"), None);
    }

    #[test]
    fn memory_is_read_in_kibibytes() {
        let text = "MemTotal:       24689764 kB\nMemAvailable:   22000000 kB\nHugePages_Total: 0\n";
        assert_eq!(field(text, "MemTotal:"), 24_689_764);
        assert_eq!(field(text, "MemFree:"), 0);
    }
}
