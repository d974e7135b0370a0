//! What a VPN's unit, and the machine around it, have used so far.

use meshbench_protocol::Exec;

use super::lifecycle::UNIT;
use crate::cluster::MEMBER_CARD;
use crate::machine::{Machine, MachineError, PROMPT};

/// Counters of a machine, all since some beginning of their own. What the kernel does not tell is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// Microseconds of processors, of the unit.
    pub(crate) unit_us: Option<f64>,
    /// Microseconds of processors, of the whole machine.
    pub(crate) machine_us: Option<f64>,
    /// Bytes of memory that the unit's control group holds now, with its files in the kernel's cache.
    pub(crate) memory: Option<f64>,
    /// The most that it held since the unit's start.
    pub(crate) memory_peak: Option<f64>,
    /// Proportional set size (PSS) of the unit's processes now, in bytes.
    pub(crate) pss: Option<f64>,
    /// Voluntary context switches of the unit's threads.
    pub(crate) wakeups: Option<f64>,
    /// Bytes that the unit's processes had written to storage. Not known of a member in virtual time: its files lie in memory
    /// (a tmpfs), whose pages are never written out, so that the kernel's `write_bytes` and `io.stat` stay at nothing, and
    /// `wchar` counts sockets and the tunnel's device, too.
    pub(crate) written: Option<f64>,
    /// Bytes through the machine's network card, both ways.
    pub(crate) bytes: Option<f64>,
    /// Packets through it.
    pub(crate) packets: Option<f64>,
}

impl Usage {
    /// As it is now.
    ///
    /// # Errors
    /// The machine is lost.
    pub(crate) async fn of(machine: &Machine) -> Result<Self, MachineError> {
        let argv = ["sh".into(), "-c".into(), script()].into();
        let output = machine.execute(Exec { argv, ..Exec::default() }, None, PROMPT).await?;
        let usage = parse(&output.text());
        let has_disk = machine.can_lose_power();
        Ok(Self { written: usage.written.filter(|_| has_disk), ..usage })
    }
}

/// Prints a name and a number a line, several of what is summed. It starts as few programs as it can, since in virtual
/// time each is part of what is counted. Busy time is what the processors were not idle, to the nanosecond (Linux,
/// kernel/time/timer_list.c): `/proc/uptime` tells it in hundredths of a second, and `/proc/stat` samples it by a tick, which
/// short work between two ticks escapes.
fn script() -> String {
    format!(
        r#"
exec 2>/dev/null
group=/sys/fs/cgroup/system.slice/{UNIT}
read -r _ number < $group/cpu.stat && echo "cpu $number"
read -r number < $group/memory.current && echo "memory $number"
read -r number < $group/memory.peak && echo "peak $number"
sed -n -e 's/^now at \([0-9]*\) .*/now \1/p' -e 's/^ *\.idle_sleeptime *: \([0-9]*\) .*/processors 1\nidle \1/p' \
    -e 's/^ *\.iowait_sleeptime *: \([0-9]*\) .*/idle \1/p' /proc/timer_list
while IFS=': ' read -r card received in _ _ _ _ _ _ sent out _; do
    [ "$card" != {MEMBER_CARD} ] || printf '%s\n' "bytes $received" "bytes $sent" "packets $in" "packets $out"
done < /proc/net/dev
while read -r process; do
    cd /proc/$process && sed -n -e 's/^voluntary_ctxt_switches:/wakeups/p' \
        -e 's/^write_bytes:/written/p' -e 's/^Pss: *\([0-9]*\) kB/pss \1/p' task/*/status io smaps_rollup
done < $group/cgroup.procs
true
"#
    )
}

fn parse(text: &str) -> Usage {
    let sum = |name: &str| -> Option<f64> {
        let words = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
        let numbers = words.filter(|(word, _)| *word == name).map(|(_, rest)| rest.trim().parse());
        let numbers: Vec<f64> = numbers.collect::<Result<_, _>>().ok()?;
        (!numbers.is_empty()).then(|| numbers.iter().sum())
    };
    let busy = || Some((sum("now")? * sum("processors")? - sum("idle")?) / 1e3);
    Usage {
        unit_us: sum("cpu"),
        machine_us: busy(),
        memory: sum("memory"),
        memory_peak: sum("peak"),
        pss: sum("pss").map(|kib| kib * 1024.0),
        wakeups: sum("wakeups"),
        written: sum("written"),
        bytes: sum("bytes"),
        packets: sum("packets"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const SAID: &str = "cpu 1000\nmemory 4096\npeak 8192\nnow 100000000000\nprocessors 1\nidle 95000000000\n\
                        idle 1000000000\nprocessors 1\nidle 94000000000\nidle 0\n\
                        bytes 1000\nbytes 2000\npackets 10\npackets 20\nwakeups\t5\nwakeups 7\nwritten 512\npss 100\npss 28\n";

    #[test]
    fn what_a_machine_says_is_summed_and_what_it_does_not_say_is_not_known() {
        let expected = Usage {
            unit_us: Some(1000.0),
            machine_us: Some(10e6),
            memory: Some(4096.0),
            memory_peak: Some(8192.0),
            pss: Some(128.0 * 1024.0),
            wakeups: Some(12.0),
            written: Some(512.0),
            bytes: Some(3000.0),
            packets: Some(30.0),
        };
        assert_eq!(parse(SAID), expected);
        assert_eq!(parse(""), Usage::default());
        assert_eq!(parse("bytes many\nbytes 1\n").bytes, None);
    }

    /// The script itself, in this process's place: a shell, `/proc` and no unit.
    #[test]
    fn the_script_tells_of_a_machine_without_a_unit_what_there_is() {
        let output = Command::new("sh").args(["-c", &script()]).output().unwrap();
        let usage = parse(&String::from_utf8_lossy(&output.stdout));
        // Which only root may read.
        let told = std::fs::read("/proc/timer_list").is_ok();
        assert_eq!(usage.machine_us.is_some_and(|us| us > 0.0), told, "{usage:?}");
        assert_eq!((usage.unit_us, usage.wakeups), (None, None));
    }
}
