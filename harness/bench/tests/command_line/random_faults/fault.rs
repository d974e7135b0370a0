//! What happens, and when: drawn by a seed.

use std::collections::HashSet;
use std::mem::discriminant;

use nix::sys::signal::Signal;

/// Of so many runs that a fault did not end, one goes on to its end; the others are interrupted once it is told, and
/// a later round goes on with them.
pub(super) const TO_THE_END: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A signal to the harness.
    Harness(Signal),
    /// A harness that does not run for some seconds.
    HarnessPauses,
    /// A signal to one of its machines.
    Machine(Signal),
    /// A machine that does not run for some seconds.
    MachinePauses,
    /// No room at some point.
    DiskFull(Place),
    /// The end of a harness that builds a guest.
    Building(Signal),
    /// A signal to a builder.
    Builder(Signal),
}

/// For what there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Results,
    /// What machines write.
    Temporary,
}

pub(super) const FAULTS: [Fault; 14] = [
    Fault::Harness(Signal::SIGKILL),
    Fault::Harness(Signal::SIGINT),
    Fault::Harness(Signal::SIGTERM),
    Fault::HarnessPauses,
    Fault::Machine(Signal::SIGKILL),
    Fault::Machine(Signal::SIGKILL),
    Fault::Machine(Signal::SIGSTOP),
    Fault::MachinePauses,
    Fault::DiskFull(Place::Results),
    Fault::DiskFull(Place::Temporary),
    Fault::Building(Signal::SIGKILL),
    Fault::Building(Signal::SIGTERM),
    Fault::Builder(Signal::SIGKILL),
    Fault::Builder(Signal::SIGSTOP),
];

/// The faults of the first rounds: all of them, one of each kind before the others.
pub(super) fn first_rounds(dice: &mut Dice) -> Vec<Fault> {
    let mut faults = FAULTS.to_vec();
    for at in (1..faults.len()).rev() {
        faults.swap(at, dice.below(at as u64 + 1) as usize);
    }
    let mut kinds = HashSet::new();
    let (first, others): (Vec<_>, Vec<_>) =
        faults.into_iter().partition(|fault| kinds.insert(discriminant(fault)));
    [first, others].concat()
}

/// SplitMix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
