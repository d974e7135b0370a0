//! How sure the verdicts are: `cargo run --release --example coverage [TRIALS]` prints the README's table.

use meshbench::stats::simulation::{LINES, Noise, simulate};

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
            let percent = |share: f64| format!("{:.1} %", 100.0 * share);
            let shares =
                [found.median, found.groups, found.pairs, found.false_alone, found.false_pairs];
            let shares = shares.map(percent).join(" | ");
            println!("| {} | {blocks} | {shares} | {} |", noise.name(), percent(found.false_among));
        }
    }
}
