//! Does a sealed machine repeat? `cargo bench --bench leak [-- --forks 200 --boots 50 --racing 30 --jobs 8 --rounds 3000]`.
//!
//! How many of many forks and cold boots, several at once beside busy loops, say the same bytes; and, as the
//! contrast that shows that they could differ, forks of a machine whose clock QEMU's threads race for.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use meshbench::guest::debian::Debian;
use meshbench::machine::MachineError;
use meshbench::machine::sealed::{Bounds, Ended, SealedOutcome, SealedSpec, SealedTemplate, boot};
use meshbench::protocol::sealed::{End, Task};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SEED: u64 = 7;
const BOUNDS: Bounds = Bounds { wall: Duration::from_secs(1800) };

#[tokio::main]
async fn main() -> Result<()> {
    let number = |name, default| option(name).unwrap_or(default);
    let (forks, boots) = (number("--forks", 200), number("--boots", 50));
    let (jobs, rounds) = (number("--jobs", 8), number("--rounds", 3000));
    let cache = meshbench::lab::default_cache().ok_or("there is no HOME for a cache")?;
    let debian = Debian::new(&cache, meshbench::AGENT);
    let (image, qemu) = tokio::task::block_in_place(|| (debian.image(&[]), debian.qemu()));
    let (image, qemu) = (Arc::new(image?), qemu?);
    let spec = SealedSpec::new(qemu.clone(), image, 256).bare();
    let places = cache.join("templates");
    let task = Task::of(&["/init", "timers", &rounds.to_string()], 3600);
    println!("{} · {rounds} rounds of timers · {jobs} at once", qemu.version());
    load();
    println!("\n                       alike   of  different  first/wall s  all/wall s");
    let template = SealedTemplate::get(&spec, &Task::default(), &places).await?;
    println!("template {}", template.identity());
    let forks = show("forks", forks, jobs, |_| template.fork(&task, SEED, BOUNDS)).await?;
    let boots = show("cold boots", boots, jobs, |_| boot(&spec, &task, SEED, BOUNDS)).await?;
    let racing = spec.racing();
    let template = SealedTemplate::get(&racing, &Task::default(), &places).await?;
    let contrast = number("--racing", 30);
    let _ =
        show("forks, racing clock", contrast, jobs, |_| template.fork(&task, SEED, BOUNDS)).await?;
    if forks > 1 || boots > 1 {
        return Err("a sealed machine did not repeat".into());
    }
    Ok(())
}

/// Runs that many, several at once, and says how many were alike: how many different ones there were.
async fn show<F: Future<Output = std::result::Result<SealedOutcome, MachineError>>>(
    what: &str,
    count: usize,
    jobs: usize,
    run: impl FnMut(usize) -> F,
) -> Result<usize> {
    if count == 0 {
        return Ok(0);
    }
    let start = Instant::now();
    let runs = stream::iter(0..count).map(run).buffer_unordered(jobs);
    let outcomes: Vec<SealedOutcome> = runs.try_collect().await?;
    let bad = outcomes.iter().find(|outcome| outcome.ended != Ended::Task(End::Exited(0)));
    if let Some(bad) = bad {
        return Err(format!("{what}: {}; {:?}", bad.ended, bad.console).into());
    }
    let mut said = BTreeMap::<&[u8], usize>::new();
    outcomes.iter().for_each(|outcome| *said.entry(&outcome.said).or_default() += 1);
    let most = said.values().max().copied().unwrap_or_default();
    let wall = outcomes[0].wall.as_secs_f64();
    let all = start.elapsed().as_secs_f64();
    println!("{what:<20} {most:>7} {count:>4} {:>10} {wall:>13.1} {all:>11.1}", said.len());
    Ok(said.len())
}

/// Keeps the host's processors busy to an ever changing degree.
fn load() {
    static BUSY: AtomicUsize = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    for number in 0..cores {
        std::thread::spawn(move || {
            loop {
                if number < BUSY.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                } else {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        });
    }
    std::thread::spawn(move || {
        for turn in 0.. {
            BUSY.store(turn % (cores + 1), Ordering::Relaxed);
            std::thread::sleep(Duration::from_secs(7));
        }
    });
}

fn option(name: &str) -> Option<usize> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}
