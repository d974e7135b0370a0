//! Faults at random moments of random runs: nothing is left, nothing is lost, nothing waits for ever.
//!
//! `MESHBENCH_FAULTS=ROUNDS` or `ROUNDS,SEED` has them; the same seed draws the same faults, and it is 1 unless another
//! one is named. The first rounds have one fault of each kind, in an order that the seed draws.

mod building;
mod fault;
mod measuring;
mod round;

use std::time::Instant;

use crate::common::{lab, module, report, scenario, skip, turn};
use building::{Works, building};
use fault::{Dice, FAULTS, Fault, first_rounds};
use measuring::{Ground, full, measuring};
use round::Broken;

/// How many rounds, and the seed.
const VARIABLE: &str = "MESHBENCH_FAULTS";

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
    let _turn = turn();
    let warmed = lab(true).warm(&scenario("lan"), &module("internal")).await;
    warmed.unwrap_or_else(|error| panic!("{error}"));
    report(&format!("{rounds} rounds of seed {seed}"));
    let (mut dice, mut broken, mut ground) = (Dice(seed), Broken::default(), Ground::new());
    let (first, mut works) = (first_rounds(&mut dice), None);
    for number in 1..=rounds {
        let drawn = FAULTS[dice.below(FAULTS.len() as u64) as usize];
        let fault = first.get(number as usize - 1).copied().unwrap_or(drawn);
        let mark = format!("{}-{number}", std::process::id());
        let start = Instant::now();
        match fault {
            Fault::DiskFull(place) => full(place, &mut dice, &mark, &mut broken),
            Fault::Building(_) | Fault::Builder(_) => {
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
    if let Some(works) = &mut works {
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
