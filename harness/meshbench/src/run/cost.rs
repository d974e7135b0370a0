//! What a workload costs the machines that carry it, beside what it measures.

use std::time::Instant;

use crate::cluster::Member;
use crate::host::Processors;
use crate::machine::Machine;
use crate::module::usage::Usage;
use crate::results::{Better, FABRIC_BUSY, HOST_BUSY, HOST_STOLEN, Metric, Unit};

/// Counters of the two members between which something is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counters {
    from: Usage,
    to: Usage,
    /// Whether both are in one machine, whose processor is then counted once.
    together: bool,
    /// Of real time.
    host: Processors,
    /// What the fabric's one processor has worked by then, in microseconds; of one that is a machine of its own.
    fabric: Option<(f64, Instant)>,
}

impl Counters {
    /// As they are now.
    pub(super) async fn read(from: &Member, to: &Member, fabric: &Machine) -> Self {
        let together = !from.machine.can_lose_power();
        let fabric = async { if together { None } else { Usage::of(fabric).await.ok() } };
        let (from, to, fabric) =
            tokio::join!(Usage::of(&from.machine), Usage::of(&to.machine), fabric);
        let fabric = fabric.and_then(|usage| Some((usage.machine_us?, Instant::now())));
        let (from, to, host) =
            (from.unwrap_or_default(), to.unwrap_or_default(), Processors::now());
        Self { from, to, together, host, fabric }
    }

    /// As they are before the first of the two has a daemon, which has used nothing then.
    pub(super) fn unstarted(mut self) -> Self {
        let Usage { unit_us, wakeups, written, .. } = &mut self.from;
        for counter in [unit_us, wakeups, written] {
            counter.get_or_insert(0.0);
        }
        self
    }

    /// The share of time in which the fabric was busy, in percent.
    fn fabric_busy(&self, before: &Self) -> Option<f64> {
        let ((now_us, now), (then_us, then)) = (self.fabric?, before.fabric?);
        let passed_us = now.duration_since(then).as_secs_f64() * 1e6;
        (passed_us > 0.0).then(|| (100.0 * (now_us - then_us) / passed_us).min(100.0))
    }

    /// What was used since then.
    pub(super) fn since(&self, before: &Self, payload_bytes: Option<f64>) -> Vec<Metric> {
        let moved = |of: fn(&Usage) -> Option<f64>| {
            let at = |now: &Usage, then: &Usage| Some(of(now)? - of(then)?);
            (at(&self.from, &before.from), at(&self.to, &before.to))
        };
        let both = |of: fn(&Usage) -> Option<f64>| {
            let (from, to) = moved(of);
            Some(from? + to?)
        };
        // A group without a process, such as that of a VPN in the kernel, holds nothing that is the VPN's.
        let most = |of: fn(&Usage) -> Option<f64>| {
            Some(of(&self.from)?.max(of(&self.to)?)).filter(|most| *most > 0.0)
        };
        let machine_us = |usage: &Usage| usage.machine_us;
        let machine_us = if self.together { moved(machine_us).0 } else { both(machine_us) };
        let unit_us = both(|usage| usage.unit_us);
        let wire_bytes = moved(|usage| usage.bytes).0;
        let wire_packets = moved(|usage| usage.packets).0;
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
            ("daemon-memory", Unit::Bytes, most(|usage| usage.memory)),
            ("daemon-memory-peak", Unit::Bytes, most(|usage| usage.memory_peak)),
            ("daemon-pss", Unit::Bytes, most(|usage| usage.pss)),
            ("daemon-wakeups", Unit::Count, both(|usage| usage.wakeups)),
            ("daemon-written", Unit::Bytes, both(|usage| usage.written)),
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
        let fabric = self.fabric_busy(before);
        let fabric = fabric.map(|busy| (FABRIC_BUSY, Unit::Percent, Some(busy)));
        told.into_iter()
            .chain(packets)
            .chain(host)
            .chain(fabric)
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

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Usage = Usage {
        unit_us: Some(1000.0),
        machine_us: Some(10e6),
        memory: Some(4096.0),
        memory_peak: Some(8192.0),
        pss: Some(2048.0),
        wakeups: Some(7.0),
        written: Some(0.0),
        bytes: Some(3000.0),
        packets: Some(30.0),
    };

    fn counters(usage: Usage, together: bool) -> Counters {
        let host = Processors::default();
        Counters { from: usage, to: usage, together, host, fabric: None }
    }

    fn value(costs: &[Metric], name: &str) -> Option<f64> {
        costs.iter().find(|metric| metric.name == name).map(|metric| metric.value)
    }

    #[test]
    fn a_fabric_is_as_busy_as_its_one_processor() {
        let then = Instant::now();
        let at = |us, seconds| {
            let moment = then + std::time::Duration::from_secs(seconds);
            Counters { fabric: Some((us, moment)), ..counters(BEFORE, false) }
        };
        let costs = at(3e6, 4).since(&at(1e6, 0), None);
        assert_eq!(value(&costs, FABRIC_BUSY), Some(50.0));
        assert_eq!(value(&at(9e9, 4).since(&at(0.0, 0), None), FABRIC_BUSY), Some(100.0));
    }

    #[test]
    fn what_was_used_is_what_the_counters_moved_on() {
        let after = Usage {
            unit_us: Some(3000.0),
            machine_us: Some(10.03e6),
            memory_peak: Some(9000.0),
            wakeups: Some(10.0),
            bytes: Some(7000.0),
            packets: Some(50.0),
            ..BEFORE
        };
        let costs = counters(after, false).since(&counters(BEFORE, false), Some(2000.0));
        assert_eq!(value(&costs, "daemon-cpu"), Some(4.0));
        assert_eq!(value(&costs, "machine-cpu").map(f64::round), Some(60.0));
        assert_eq!(value(&costs, "daemon-memory"), Some(4096.0));
        assert_eq!(value(&costs, "daemon-memory-peak"), Some(9000.0));
        assert_eq!(value(&costs, "daemon-pss"), Some(2048.0));
        assert_eq!(value(&costs, "daemon-wakeups"), Some(6.0));
        assert_eq!(value(&costs, "daemon-written"), Some(0.0));
        assert_eq!(value(&costs, "wire-bytes"), Some(4000.0));
        assert_eq!(value(&costs, "wire-packets"), Some(20.0));
        assert_eq!(value(&costs, "wire-per-payload"), Some(2.0));
        assert_eq!(value(&costs, "daemon-cpu-per-byte"), Some(2000.0));
        let costs = counters(after, true).since(&counters(BEFORE, true), Some(2000.0));
        let units = |name| costs.iter().find(|it| it.name == name).map(|it| it.unit);
        assert_eq!(units("daemon-cpu-per-byte"), Some(Unit::InstructionsPerByte));
        assert_eq!(value(&costs, "daemon-cpu-per-packet"), Some(4e6 / 20.0));
        assert_eq!(units("daemon-cpu-per-packet"), Some(Unit::InstructionsPerPacket));
        let costs = counters(after, true).since(&counters(BEFORE, true), None);
        let machine = value(&costs, "machine-cpu").map(f64::round);
        assert_eq!(machine, Some(30.0), "one machine is counted once");
        assert_eq!(value(&costs, "wire-per-payload"), None);
    }

    #[test]
    fn a_daemon_that_is_not_started_has_used_nothing() {
        let before = Counters {
            from: Usage { unit_us: None, wakeups: None, ..BEFORE },
            ..counters(BEFORE, true)
        };
        let costs = counters(BEFORE, true).since(&before.unstarted(), None);
        assert_eq!(value(&costs, "daemon-cpu"), Some(1.0));
        assert_eq!(value(&costs, "daemon-wakeups"), Some(7.0));
    }

    #[test]
    fn what_is_not_told_is_no_cost() {
        let none = counters(Usage::default(), false);
        assert_eq!(none.since(&none, Some(1.0)), []);
        let restarted = Usage { unit_us: Some(10.0), ..BEFORE };
        let costs = counters(restarted, false).since(&counters(BEFORE, false), None);
        assert_eq!(value(&costs, "daemon-cpu"), None);
    }
}
