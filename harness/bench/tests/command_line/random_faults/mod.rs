//! Faults at random moments of random runs: nothing is left, nothing is lost, nothing waits for ever.
//!
//! `MESHBENCH_FAULTS=ROUNDS` or `ROUNDS,SEED` has them; the same seed draws the same faults, and it is 1 unless another
//! one is named. The first rounds have one fault of each kind, in an order that the seed draws.

mod building;
mod fault;
mod measuring;
mod round;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::common::{lab, module, report, scenario, shared_turn, skip};
use building::{Works, building};
use fault::{Dice, FAULTS, Fault, first_rounds};
use measuring::{Ground, full, measuring};
use round::Broken;

/// How many rounds, and the seed.
const VARIABLE: &str = "MESHBENCH_FAULTS";

/// Rounds at once: most of a round is waiting.
const LANES: usize = 2;

#[tokio::test]
async fn faults_at_random_leave_nothing_lose_nothing_and_hold_nobody_up() {
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    let (rounds, seed) = match asked.split_once(',') {
        Some((rounds, seed)) => (rounds, seed.parse()),
        None => (asked.as_str(), Ok(1)),
    };
    let (Ok(rounds), Ok(seed)) = (rounds.parse::<u64>(), seed) else {
        return skip(&format!("faults at random: {VARIABLE} does not say how many"));
    };
    // No figure of it counts, and most of its time nothing works.
    let _turn = shared_turn();
    let warmed = lab(true).warm(&scenario("lan"), &module("internal")).await;
    warmed.unwrap_or_else(|error| panic!("{error}"));
    report(&format!("{rounds} rounds of seed {seed}"));
    let all =
        Rounds { faults: drawn(seed, rounds), next: AtomicU64::new(0), works: Mutex::new(None) };
    let lanes: Vec<Broken> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|_| scope.spawn(|| all.lane())).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    let mut broken = Broken::default();
    lanes.into_iter().for_each(|lane| broken.add(lane));
    if let Some(mut works) = all.works.into_inner().unwrap() {
        let mark = format!("{}-last", std::process::id());
        works.complete(&mark, &mut broken, "after all rounds");
    }
    let Broken { orphans, lost, late } = &broken;
    report(&format!(
        "{rounds} rounds of seed {seed}: {} orphans, {} lost cells, {} waits past their deadline",
        orphans.len(),
        lost.len(),
        late.len()
    ));
    assert!(orphans.is_empty() && lost.is_empty() && late.is_empty(), "{broken:#?}");
}

/// The fault of each round, and what its moments are drawn by.
fn drawn(seed: u64, rounds: u64) -> Vec<(Fault, u64)> {
    let mut dice = Dice(seed);
    let first = first_rounds(&mut dice);
    let fault = |number: u64, drawn| first.get(number as usize).copied().unwrap_or(drawn);
    let draw = |number| {
        let drawn = FAULTS[dice.below(FAULTS.len() as u64) as usize];
        (fault(number, drawn), dice.below(u64::MAX))
    };
    (0..rounds).map(draw).collect()
}

struct Rounds {
    faults: Vec<(Fault, u64)>,
    /// The next one that nobody has begun.
    next: AtomicU64,
    /// Builds are one at a time.
    works: Mutex<Option<Works>>,
}

impl Rounds {
    /// One round after the other, until all are begun.
    fn lane(&self) -> Broken {
        let (mut broken, mut ground) = (Broken::default(), Ground::new());
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed) as usize;
            let Some((fault, seed)) = self.faults.get(number).copied() else { return broken };
            let (number, rounds) = (number + 1, self.faults.len());
            let (mut dice, mark) = (Dice(seed), format!("{}-{number}", std::process::id()));
            let start = Instant::now();
            match fault {
                Fault::DiskFull(place) => full(place, &mut dice, &mark, &mut broken),
                Fault::Building(_) | Fault::Builder(_) => {
                    let mut works = self.works.lock().unwrap();
                    let works = works.get_or_insert_with(|| Works::new(&mark, &mut broken));
                    building(works, fault, &mut dice, &mark, &mut broken);
                }
                _ => measuring(&mut ground, fault, &mut dice, mark, &mut broken),
            }
            let seconds = start.elapsed().as_secs_f64();
            report(&format!("round {number} of {rounds}, {fault:?}: {seconds:.1} s"));
            if ground.is_whole() {
                ground = Ground::new();
            }
        }
    }
}
