//! How sure the verdicts are: `cargo run --release --example coverage [TRIALS]` prints the README's tables.

use meshbench::stats::simulation::{Gate, Gated, LINES, Noise, Source, simulate};

fn main() {
    let trials = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20_000);
    println!("{trials} trials each, seed 1; false among {LINES} lines: {} trials", trials / 3);
    println!(
        "| noise | blocks | median | two runs | two modules | false, two runs | two modules | any of {LINES} |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for noise in Noise::ALL {
        for blocks in [3, 5, 7, 10] {
            let found = simulate(noise, blocks, trials, 1);
            let shares =
                [found.median, found.groups, found.pairs, found.false_alone, found.false_pairs];
            let shares = shares.map(percent).join(" | ");
            println!("| {} | {blocks} | {shares} | {} |", noise.name(), percent(found.false_among));
        }
    }
    println!();
    gates(trials / 10);
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// What `bench gate --minutes` says in the end, of few lines in so many trials, of more in fewer.
fn gates(trials: usize) {
    println!("gates of 5 to {MOST} blocks: {trials} trials of 1 line, {} of 5", trials / 5);
    println!(
        "| noise | blocks are | metrics | false alarm | false \"no regression\" | any cleared | known | blocks |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for noise in Noise::ALL {
        for (lines, paired) in [(1, false), (1, true), (5, false)] {
            let ended = |worse: usize| -> Vec<Gated> {
                let mut source = Source::new(noise, 1);
                let gate = Gate { lines, worse, paired, most: MOST };
                (0..trials / lines).map(|_| gate.run(&mut source)).collect()
            };
            let share = |all: &[Gated], is: &dyn Fn(&Gated) -> bool| {
                percent(all.iter().filter(|it| is(it)).count() as f64 / all.len() as f64)
            };
            let (alike, one, all) = (ended(0), ended(1), ended(lines));
            let shares = [
                share(&alike, &|it| it.regression == Some(true)),
                share(&one, &|it| it.regression == Some(false)),
                share(&all, &|it| it.cleared),
                share(&alike, &|it| it.regression.is_some()),
            ];
            let known = alike.iter().filter(|it| it.regression.is_some());
            let mut blocks: Vec<u32> = known.map(|it| it.blocks).collect();
            blocks.sort_unstable();
            let blocks = blocks.get(blocks.len() / 2).map_or("-".into(), u32::to_string);
            let word = if paired { "paired" } else { "two runs" };
            println!("| {} | {word} | {lines} | {} | {blocks} |", noise.name(), shares.join(" | "));
        }
    }
}

/// As `bench gate` has it.
const MOST: u32 = 60;
