//! The host's time-stamp counter, which emulated guests see as theirs.

use std::sync::OnceLock;
use std::time::Duration;

#[cfg(target_arch = "x86_64")]
use nix::time::{ClockId, clock_gettime};

/// Frequencies are rounded to this many kHz: two readings of one host agree, unless it is within a few
/// parts in a million of the middle between two, and the guest's kernel refines what is less than 1 % off.
const STEP_KHZ: u64 = 5_000;

/// Kernel options for an emulated guest. Left to calibrate its counter against an emulated timer, a
/// guest that is not scheduled at that moment takes a wrong frequency, and all of its clocks are wrong.
pub(crate) fn kernel_options() -> String {
    frequency_khz().map_or_else(String::new, |khz| format!(" tsc_early_khz={khz}"))
}

/// The frequency in kHz, rounded; `None` where there is no such counter.
fn frequency_khz() -> Option<u64> {
    static FREQUENCY: OnceLock<Option<u64>> = OnceLock::new();
    *FREQUENCY.get_or_init(|| {
        // The median passes over a reading that was interrupted.
        let mut readings: Vec<u64> = (0..5).filter_map(|_| reading()).collect();
        readings.sort_unstable();
        let median = readings.get(readings.len() / 2)?;
        Some((median + STEP_KHZ / 2) / STEP_KHZ * STEP_KHZ)
    })
}

#[cfg(target_arch = "x86_64")]
fn reading() -> Option<u64> {
    // SAFETY: rdtsc reads a register, and every processor with long mode has it.
    let counter = || unsafe { core::arch::x86_64::_rdtsc() };
    // Not the clock that is slewed, by which the frequency of one host is another every day.
    let clock = || clock_gettime(ClockId::CLOCK_MONOTONIC_RAW).ok().map(Duration::from);
    // Of several, the one that nothing came between.
    let stamp = || {
        let stamps = (0..8).filter_map(|_| Some((clock()?, counter(), clock()?)));
        stamps.min_by_key(|(before, _, after)| *after - *before)
    };
    let (start, before, _) = stamp()?;
    std::thread::sleep(Duration::from_millis(10));
    let (end, after, _) = stamp()?;
    let (span, ticks) = ((end - start).as_nanos(), after.checked_sub(before)?);
    u64::try_from(u128::from(ticks) * 1_000_000 / span.max(1)).ok()
}

#[cfg(not(target_arch = "x86_64"))]
fn reading() -> Option<u64> {
    None
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_counter_has_a_plausible_frequency_that_two_readings_agree_on() {
        let khz = frequency_khz().unwrap();
        assert!((500_000..10_000_000).contains(&khz), "{khz} kHz");
        let agrees = || khz.abs_diff(reading().unwrap()) < khz / 500;
        assert!((0..5).any(|_| agrees()), "{khz} kHz");
    }
}
