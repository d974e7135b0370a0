//! Faults in the middle of a guest's build.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use tempfile::TempDir;

use super::fault::{Dice, Fault, TO_THE_END};
use super::round::{Broken, OBEYS, PATIENCE, Round};
use crate::common::{GUEST_OF_WIREGUARD, cache_without};
use crate::program::bench;

/// Where a guest is built again and again.
pub(super) struct Works {
    cache: TempDir,
    /// How long a build takes that nothing happens to.
    takes: Duration,
}

impl Works {
    pub(super) fn new(mark: &str, broken: &mut Broken) -> Self {
        let mut works = Self { cache: cache_without(&GUEST_OF_WIREGUARD), takes: Duration::ZERO };
        let start = Instant::now();
        works.complete(mark, broken, "before all rounds");
        works.takes = start.elapsed();
        works
    }

    /// A build among such rests that nothing happens to, after which there is nothing left to build.
    pub(super) fn complete(&mut self, mark: &str, broken: &mut Broken, what: &str) {
        let mut round = Round::start(format!("{mark}-again"), guest_in(&self.cache));
        // How long that takes is the host's: it is told from one that never ends.
        round.wait(PATIENCE);
        if !succeeded(&mut round) {
            broken.lost.push(format!("{what}: the next build fails"));
        }
        round.check(broken, what);
        self.cache = cache_without(&GUEST_OF_WIREGUARD);
    }
}

/// A guest that is built among the rests of earlier ones, and a fault in its middle.
pub(super) fn building(
    works: &mut Works,
    fault: Fault,
    dice: &mut Dice,
    mark: &str,
    broken: &mut Broken,
) {
    let what = format!("round {mark}, {fault:?}");
    let mut round = Round::start(mark.to_owned(), guest_in(&works.cache));
    round.until_there_are("");
    // In the first half of what an undisturbed one takes, on whatever host.
    let moment = works.takes.mul_f64(dice.below(1000) as f64 / 2000.0);
    if round.wait(moment) && !succeeded(&mut round) {
        broken.lost.push(format!("{what}: the build fails before anything happens to it"));
    }
    match fault {
        Fault::Builder(signal) => {
            let builders = round.descendants("");
            let builder = builders.get(dice.below(builders.len().max(1) as u64) as usize);
            if let Some(builder) = builder {
                let _ = kill(*builder, signal);
            }
            // It may have had no part in what counts.
            round.wait(PATIENCE);
        }
        Fault::Building(signal) => {
            round.signal(signal);
            round.wait(OBEYS);
        }
        _ => unreachable!("{fault:?} is no fault of a build"),
    }
    if succeeded(&mut round) {
        works.cache = cache_without(&GUEST_OF_WIREGUARD);
    }
    round.check(broken, &what);
    if dice.below(TO_THE_END) == 0 {
        works.complete(mark, broken, &what);
    }
}

fn succeeded(round: &mut Round) -> bool {
    round.code() == Some(0)
}

/// Builds the guest that is not in this cache.
fn guest_in(works: &TempDir) -> Command {
    let mut command = bench(&["guest", "wireguard"]);
    command.env("MESHBENCH_CACHE", works.path());
    command
}
