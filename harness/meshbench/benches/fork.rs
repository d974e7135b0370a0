//! Forked against booted clusters, in one run: `cargo bench --bench fork [-- --idle 64]`.
//!
//! Wall time until every machine of a cluster answers and its network is applied; what an idle machine
//! costs; how fast an agent answers and moves files.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshbench::cluster::{Blueprint, Cluster};
use meshbench::fabric::Plan;
use meshbench::fabric::Scenario;
use meshbench::lab::{Catalogue, Host, Lab};
use meshbench::machine::{Machine, Start, Templates};
use meshbench::module::lifecycle;
use meshbench::module::spec::INTERNAL;
use meshbench::stats;

/// Sizes that are both forked and booted.
const SIZES: [usize; 4] = [1, 3, 8, 16];

/// Round trips that are timed, after as many that are not.
const ROUNDS: usize = 200;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut lab = Rig::new().await?;
    let Host { verdict, qemu_version } = &lab.host;
    println!("{qemu_version} · accelerator {} ({})", verdict.accelerator.word(), verdict.reason);
    println!("\nmachines  fork: cluster ready   boot: cluster ready   boot/fork");
    for size in SIZES {
        let blueprint = lab.blueprint(size)?;
        blueprint.warm(&mut lab.templates).await?;
        // The first fork reads the template from disk.
        time(&blueprint, &lab.templates).await?.1.down().await;
        let (forked, cluster) = time(&blueprint, &lab.templates).await?;
        cluster.down().await;
        let (booted, cluster) = time(&blueprint, &lab.booting).await?;
        cluster.down().await;
        let ratio = booted.as_secs_f64() / forked.as_secs_f64();
        println!(
            "{size:>8}  {:>16.2} s   {:>16.2} s   {ratio:>8.1}×",
            forked.as_secs_f64(),
            booted.as_secs_f64()
        );
    }
    let cluster = time(&lab.blueprint(3)?, &lab.templates).await?.1;
    agent(&cluster).await?;
    cluster.down().await;
    idle(&mut lab, option("--idle").unwrap_or(16)).await
}

struct Rig {
    image: Arc<meshbench::guest::GuestImage>,
    templates: Templates,
    booting: Templates,
    host: Host,
}

impl Rig {
    async fn new() -> Result<Self> {
        let lab = Lab::from_env();
        let image = lab.images(&Catalogue::find()?.module(INTERNAL)?).await?.member;
        let host = lab.host().await?.clone();
        let boot = Start::Boot("to compare".into());
        let booting = Templates::new(boot, host.verdict.accelerator, host.qemu_version.clone());
        Ok(Self { image, templates: lab.templates().await?, booting, host })
    }

    /// A cluster of one public site with that many machines.
    fn blueprint(&self, size: usize) -> Result<Blueprint> {
        let names: Vec<String> = (0..size).map(|n| format!("\"m{n}\"")).collect();
        let text = format!(
            "title = \"bench\"\ndescription = \"a row of machines\"\nworkloads = []\n[[site]]\nname = \"row\"\nmachines = [{}]\n",
            names.join(", ")
        );
        let scenario = Scenario::parse("bench", "bench", &text, &[])?;
        Ok(Blueprint {
            plan: Plan::new(&scenario, 1),
            fabric_image: self.image.clone(),
            member_image: self.image.clone(),
            preparation: lifecycle::preparation(&[]),
        })
    }
}

async fn time(blueprint: &Blueprint, templates: &Templates) -> Result<(Duration, Arc<Cluster>)> {
    let start = Instant::now();
    let cluster = Cluster::up(blueprint, templates).await?;
    Ok((start.elapsed(), cluster))
}

/// Round trips to an agent, and files through it.
async fn agent(cluster: &Cluster) -> Result<()> {
    let machine = &cluster.members()[0].machine;
    println!("\nagent, after {ROUNDS} rounds to warm up");
    println!("                     median       p99");
    for (what, argv) in [("echo", None), ("exec `true`", Some(["true"]))] {
        let mut times = Vec::new();
        for _ in 0..2 * ROUNDS {
            let start = Instant::now();
            match argv {
                Some(argv) => drop(machine.run(&argv).await?),
                None => machine.echo().await?,
            }
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        // An emulator first has to translate all that it runs.
        times.drain(..ROUNDS);
        let quantile = |q| stats::quantile(&times, q).unwrap_or(f64::NAN);
        println!("{what:<16} {:>7.2} ms {:>7.2} ms", quantile(0.5), quantile(0.99));
    }
    let bytes = vec![0x5a; 32 << 20];
    let start = Instant::now();
    machine.write_file("/run/file", 0o600, &bytes).await?;
    let there = start.elapsed();
    let start = Instant::now();
    let back = machine.read_file("/run/file").await?;
    let rate = |time: Duration| 32.0 / time.as_secs_f64();
    assert_eq!(back.len(), bytes.len());
    println!(
        "files            {:.0} MiB/s to the machine, {:.0} MiB/s from it",
        rate(there),
        rate(start.elapsed())
    );
    Ok(())
}

/// What machines cost that do nothing.
async fn idle(lab: &mut Rig, count: usize) -> Result<()> {
    let blueprint = lab.blueprint(count)?;
    blueprint.warm(&mut lab.templates).await?;
    let (ready, cluster) = time(&blueprint, &lab.templates).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let machines: Vec<&Machine> = cluster.members().iter().map(|m| &m.machine).collect();
    let ticks = || machines.iter().filter_map(|m| cpu_seconds(m.pid()?)).sum::<f64>();
    let (before, span) = (ticks(), Duration::from_secs(10));
    tokio::time::sleep(span).await;
    let busy = (ticks() - before) / span.as_secs_f64() / count as f64;
    let own: Vec<f64> = machines.iter().filter_map(|m| own_mib(m.pid()?)).collect();
    let start = Instant::now();
    futures_util::future::try_join_all(machines.iter().map(|m| m.echo())).await?;
    println!(
        "\n{count} idle machines: ready after {:.2} s; own memory (PSS) median {:.0} MiB, largest {:.0} MiB; \
         {:.2} % of a core each; all answer within {:.0} ms",
        ready.as_secs_f64(),
        stats::median(&own).unwrap_or(f64::NAN),
        own.iter().copied().fold(0.0, f64::max),
        busy * 100.0,
        start.elapsed().as_secs_f64() * 1e3
    );
    cluster.down().await;
    Ok(())
}

/// Proportional set size without what is shared with the page cache, in MiB.
fn own_mib(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
    });
    kib.map(|kib| kib / 1024.0)
}

/// Processor time of a process so far.
fn cpu_seconds(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

fn option(name: &str) -> Option<usize> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}
