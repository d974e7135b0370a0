//! What a workload costs the machines that carry it, beside what it measures.

use std::collections::BTreeMap;

use meshbench_protocol::Exec;

use crate::cluster::{MEMBER_CARD, Member};
use crate::host::Processors;
use crate::machine::{Machine, PROMPT};
use crate::module::lifecycle::UNIT;
use crate::results::{Better, HOST_BUSY, HOST_STOLEN, Metric, Unit};

/// What has been used on a machine so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Used {
    /// Microseconds of processors, of the VPN's unit.
    unit_us: Option<f64>,
    /// Microseconds of processors, of the whole machine.
    machine_us: Option<f64>,
    /// Bytes of memory that the unit holds now.
    unit_bytes: Option<f64>,
    /// Bytes and packets through its network card, both ways.
    card: Option<(f64, f64)>,
}

/// Counters of the two members between which something is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    from: Used,
    to: Used,
    /// Whether both are in one machine, whose processor is then counted once.
    together: bool,
    /// Of real time.
    host: Processors,
}

impl Counters {
    /// As they are now.
    pub(super) async fn read(from: &Member, to: &Member) -> Self {
        let (of_from, of_to) = tokio::join!(used(&from.machine), used(&to.machine));
        let (together, host) = (!from.machine.can_lose_power(), Processors::now());
        Self { from: of_from, to: of_to, together, host }
    }

    /// What was used since then.
    pub(super) fn since(&self, before: &Self, payload_bytes: Option<f64>) -> Vec<Metric> {
        let both = |of: fn(&Used) -> Option<f64>| {
            Some(of(&self.from)? - of(&before.from)? + of(&self.to)? - of(&before.to)?)
        };
        let machine_us = if self.together {
            self.from.machine_us.zip(before.from.machine_us).map(|(now, then)| now - then)
        } else {
            both(|used| used.machine_us)
        };
        let unit_us = both(|used| used.unit_us);
        let card = self.from.card.zip(before.from.card);
        let wire_bytes = card.map(|(now, then)| now.0 - then.0);
        let memory = self.from.unit_bytes.zip(self.to.unit_bytes).map(|(a, b)| a.max(b));
        let wire_packets = card.map(|(now, then)| now.1 - then.1);
        let per_packet = |all: Option<f64>| Some(all? / wire_packets.filter(|it| *it > 0.0)?);
        let each = |all: Option<f64>| Some(all? / payload_bytes.filter(|bytes| *bytes > 0.0)?);
        let thousandths = |us: Option<f64>| us.map(|us| us / 1e3);
        let nanoseconds = |us: Option<f64>| us.map(|us| us * 1e3);
        // In a machine whose clock counts instructions a nanosecond is one.
        let (a_byte, packets) = if self.together {
            (Unit::InstructionsPerByte, Some(Unit::InstructionsPerPacket))
        } else {
            (Unit::NanosecondsPerByte, None)
        };
        let told = [
            ("daemon-cpu", Unit::Milliseconds, thousandths(unit_us)),
            ("machine-cpu", Unit::Milliseconds, thousandths(machine_us)),
            ("daemon-memory", Unit::Bytes, memory),
            ("wire-bytes", Unit::Bytes, wire_bytes),
            ("wire-packets", Unit::Count, wire_packets),
            ("wire-per-payload", Unit::Ratio, each(wire_bytes)),
            ("daemon-cpu-per-byte", a_byte, each(nanoseconds(unit_us))),
            ("machine-cpu-per-byte", a_byte, each(nanoseconds(machine_us))),
        ];
        let packets = packets.into_iter().flat_map(|unit| {
            [("daemon-cpu-per-packet", unit_us), ("machine-cpu-per-packet", machine_us)]
                .map(|(name, us)| (name, unit, per_packet(nanoseconds(us))))
        });
        let host = if self.together { None } else { self.host.since(&before.host) };
        let host = host.into_iter().flat_map(|(busy, stolen)| {
            [(HOST_BUSY, Unit::Percent, Some(busy)), (HOST_STOLEN, Unit::Percent, Some(stolen))]
        });
        told.into_iter()
            .chain(packets)
            .chain(host)
            .filter_map(|(name, unit, value)| metric(name, unit, value?))
            .collect()
    }
}

/// A unit that was started anew has counted from nothing again: what is below zero is no cost.
fn metric(name: &str, unit: Unit, value: f64) -> Option<Metric> {
    let sound = value.is_finite() && value >= 0.0;
    let (name, samples) = (name.to_owned(), Vec::new());
    sound.then_some(Metric { name, unit, better: Better::Lower, value, samples })
}

/// Asked by one program, so that asking costs little. What a machine does not tell is not known.
async fn used(machine: &Machine) -> Used {
    let group = format!("/sys/fs/cgroup/system.slice/{UNIT}");
    let files = ["cpu.stat", "memory.current"].map(|file| format!("{group}/{file}"));
    let mut argv: Vec<String> = ["head", "-v", "-n", "400"].map(str::to_owned).into();
    argv.extend(files);
    argv.extend(["/proc/stat", "/proc/uptime", "/proc/net/dev"].map(str::to_owned));
    let exec = Exec { argv, ..Exec::default() };
    let output = machine.execute(exec, None, PROMPT).await;
    output.map_or_else(|_| Used::default(), |output| parse(&output.text()))
}

/// Reads what `head -v` prints of the files.
fn parse(text: &str) -> Used {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        match line.strip_prefix("==> ").and_then(|rest| rest.strip_suffix(" <==")) {
            Some(path) => current = path.rsplit('/').next().unwrap_or(path),
            None => files.entry(current).or_default().push(line),
        }
    }
    let lines = |file: &str| files.get(file).into_iter().flatten().copied();
    let cpus = lines("stat").filter(|line| is_cpu(line)).count();
    let usage = |line: &str| line.strip_prefix("usage_usec ")?.trim().parse().ok();
    Used {
        unit_us: lines("cpu.stat").find_map(usage),
        machine_us: lines("uptime").next().and_then(|line| busy_us(line, cpus)),
        unit_bytes: lines("memory.current").find_map(|line| line.trim().parse().ok()),
        card: lines("dev").find_map(carried),
    }
}

/// A line of one processor: `cpu0 …`, as in proc_stat(5).
fn is_cpu(line: &str) -> bool {
    line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Seconds since the start, and those that all processors together were idle (proc_uptime(5)): exact, where busy time
/// is sampled by a tick, which short work between two ticks escapes.
fn busy_us(line: &str, cpus: usize) -> Option<f64> {
    let (up, idle) = line.trim().split_once(' ')?;
    let (up, idle): (f64, f64) = (up.parse().ok()?, idle.parse().ok()?);
    Some((up * cpus as f64 - idle) * 1e6)
}

/// The line of the member's card: eight numbers received, then eight sent, bytes and packets first.
fn carried(line: &str) -> Option<(f64, f64)> {
    let numbers = line.trim().strip_prefix(MEMBER_CARD)?.strip_prefix(':')?.split_whitespace();
    let numbers: Vec<f64> = numbers.map(str::parse).collect::<Result<_, _>>().ok()?;
    Some((numbers.first()? + numbers.get(8)?, numbers.get(1)? + numbers.get(9)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "==> /sys/fs/cgroup/system.slice/vpn.service/cpu.stat <==
usage_usec 1000
user_usec 600

==> /sys/fs/cgroup/system.slice/vpn.service/memory.current <==
4096

==> /proc/stat <==
cpu  10 0 5 100 7 0 1 0 0 0
cpu0 10 0 5 100 7 0 1 0 0 0
intr 9

==> /proc/uptime <==
100.00 90.00

==> /proc/net/dev <==
Inter-|   Receive                                                |  Transmit
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    1000      10    0    0    0     0          0         0     2000      20    0    0    0     0       0          0
";

    fn counters(text: &str, together: bool) -> Counters {
        Counters { from: parse(text), to: parse(text), together, host: Processors::default() }
    }

    fn value(costs: &[Metric], name: &str) -> Option<f64> {
        costs.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    }

    #[test]
    fn what_was_used_is_what_the_counters_moved_on() {
        let after = BEFORE
            .replace("usage_usec 1000", "usage_usec 3000")
            .replace("100.00 90.00", "101.00 90.97")
            .replace("1000      10", "5000      30");
        let costs = counters(&after, false).since(&counters(BEFORE, false), Some(2000.0));
        assert_eq!(value(&costs, "daemon-cpu"), Some(4.0));
        assert_eq!(value(&costs, "machine-cpu").map(f64::round), Some(60.0));
        assert_eq!(value(&costs, "wire-bytes"), Some(4000.0));
        assert_eq!(value(&costs, "wire-packets"), Some(20.0));
        assert_eq!(value(&costs, "wire-per-payload"), Some(2.0));
        assert_eq!(value(&costs, "daemon-cpu-per-byte"), Some(2000.0));
        let costs = counters(&after, true).since(&counters(BEFORE, true), Some(2000.0));
        let units = |name| costs.iter().find(|it| it.name == name).map(|it| it.unit);
        assert_eq!(units("daemon-cpu-per-byte"), Some(Unit::InstructionsPerByte));
        assert_eq!(value(&costs, "daemon-cpu-per-packet"), Some(4e6 / 20.0));
        assert_eq!(units("daemon-cpu-per-packet"), Some(Unit::InstructionsPerPacket));
        let costs = counters(&after, true).since(&counters(BEFORE, true), None);
        let machine = value(&costs, "machine-cpu").map(f64::round);
        assert_eq!(machine, Some(30.0), "one machine is counted once");
        assert_eq!(value(&costs, "wire-per-payload"), None);
    }

    #[test]
    fn what_is_not_told_is_no_cost() {
        let none = counters("", false);
        assert_eq!(none.since(&none, Some(1.0)), []);
        let restarted = BEFORE.replace("usage_usec 1000", "usage_usec 10");
        let costs = counters(&restarted, false).since(&counters(BEFORE, false), None);
        assert_eq!(value(&costs, "daemon-cpu"), None);
    }
}
