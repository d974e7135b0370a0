//! The host's time-stamp counter, which emulated guests see as theirs.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Frequencies are rounded to this many kHz: two readings of one host agree, and the guest's kernel
/// refines what is less than 1 % off.
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
    let (start, before) = (Instant::now(), counter());
    std::thread::sleep(Duration::from_millis(10));
    let (span, ticks) = (start.elapsed(), counter().checked_sub(before)?);
    Some(u64::try_from(u128::from(ticks) * 1_000_000 / span.as_nanos().max(1)).unwrap_or(0))
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
        assert!(khz.abs_diff(reading().unwrap()) < khz / 50);
    }
}
