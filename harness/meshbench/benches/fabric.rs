//! What the fabric costs: `cargo bench --bench fabric [-- --rounds 3]`.
//!
//! Two machines joined by one wire, and two whose packets pass two gateways and the core, in turn and
//! in one run. Ratios stand; absolute numbers are this host's.

use std::error::Error;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meshbench::cluster::{Blueprint, Cluster, member_preparation};
use meshbench::fabric::Plan;
use meshbench::fabric::Scenario;
use meshbench::guest::GuestImage;
use meshbench::lab::{Catalogue, Lab};
use meshbench::machine::{Machine, MachineError, MachineSpec, PROMPT, Templates, wire};
use meshbench::module::spec::INTERNAL;
use meshbench::protocol::{Card, Exec, Identity, Request};
use meshbench::stats;

/// Seconds of each stream.
const SECONDS: &str = "4";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is measured between two machines.
#[derive(Debug, Clone, Copy)]
struct Sample {
    tcp_mbit: f64,
    /// Datagrams of 64 bytes that arrive in a second, sent as fast as the sender can.
    small_per_second: f64,
    rtt_ms: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let lab = Lab::from_env();
    let internal = Catalogue::find()?.module(INTERNAL)?;
    let image = lab.images(&internal).await?.member;
    let host = lab.host().await?;
    println!("{} · accelerator {}", host.qemu_version, host.verdict.accelerator.word());
    let mut templates = lab.templates().await?;
    let networks = [
        ("fabric, clear", "", ""),
        ("fabric, two 1:1 NATs", "nat = \"one-to-one\"\n", "nat = \"one-to-one\"\n"),
        (
            "fabric, 1 ms each way",
            "link = { up = { delay-ms = 1 }, down = { delay-ms = 1 } }\n",
            "",
        ),
    ];
    let mut direct = Vec::new();
    let mut through: Vec<Vec<Sample>> = vec![Vec::new(); networks.len()];
    for _ in 0..rounds() {
        direct.push(joined(&image, &templates).await?);
        for ((_, alice, bob), samples) in networks.iter().zip(&mut through) {
            samples.push(fabric(&image, &mut templates, alice, bob).await?);
        }
    }
    println!("\n{:<28} {:>14} {:>20} {:>12}", "", "TCP Mbit/s", "datagrams a second", "RTT ms");
    let base = row("one wire", &direct, None);
    for ((name, ..), samples) in networks.iter().zip(&through) {
        row(name, samples, Some(base));
    }
    Ok(())
}

fn rounds() -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds");
    arguments.nth(1).and_then(|count| count.parse().ok()).unwrap_or(3)
}

/// Medians, with ratios to the base.
fn row(name: &str, samples: &[Sample], base: Option<Sample>) -> Sample {
    let median = |value: fn(&Sample) -> f64| {
        stats::median(&samples.iter().map(value).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    };
    let own = Sample {
        tcp_mbit: median(|s| s.tcp_mbit),
        small_per_second: median(|s| s.small_per_second),
        rtt_ms: median(|s| s.rtt_ms),
    };
    let ratio = |value: f64, base: Option<f64>| {
        base.map_or(String::new(), |base| format!(" ({:.2}×)", value / base))
    };
    println!(
        "{name:<28} {:>14} {:>20} {:>12}",
        format!("{:.0}{}", own.tcp_mbit, ratio(own.tcp_mbit, base.map(|b| b.tcp_mbit))),
        format!(
            "{:.0}{}",
            own.small_per_second,
            ratio(own.small_per_second, base.map(|b| b.small_per_second))
        ),
        format!("{:.2}{}", own.rtt_ms, ratio(own.rtt_ms, base.map(|b| b.rtt_ms))),
    );
    own
}

async fn fabric(
    image: &Arc<GuestImage>,
    templates: &mut Templates,
    alice: &str,
    bob: &str,
) -> Result<Sample> {
    let text = format!(
        "title = \"bench\"\ndescription = \"two sites\"\n[[site]]\nname = \"alice\"\n{alice}\
         [[site]]\nname = \"bob\"\n{bob}"
    );
    let scenario = Scenario::parse("bench", "bench", &text, &[])?;
    let blueprint = Blueprint {
        plan: Plan::new(&scenario, 1),
        fabric_image: image.clone(),
        member_image: image.clone(),
        preparation: member_preparation(&[]),
    };
    blueprint.warm(templates).await?;
    let cluster = Cluster::up(&blueprint, templates).await?;
    let [alice, bob] = cluster.members() else { return Err("two machines".into()) };
    let sample = measure(&alice.machine, &bob.machine, bob.net.public[0]).await?;
    cluster.down().await;
    Ok(sample)
}

async fn joined(image: &Arc<GuestImage>, templates: &Templates) -> Result<Sample> {
    let (one, other) = wire()?;
    let (alice, bob) = tokio::try_join!(
        machine(image, templates, "alice", 1, one),
        machine(image, templates, "bob", 2, other)
    )?;
    let sample = measure(&alice, &bob, "10.0.0.2".parse()?).await?;
    tokio::join!(alice.end(), bob.end());
    Ok(sample)
}

async fn machine(
    image: &Arc<GuestImage>,
    templates: &Templates,
    name: &str,
    number: u8,
    card: OwnedFd,
) -> std::result::Result<Machine, MachineError> {
    let spec =
        MachineSpec { name: name.into(), image: image.clone(), memory_mib: 512, cpus: 1, cards: 1 };
    let machine = templates.machine(spec, &member_preparation(&[]), vec![card]).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let identity = Identity {
        name: name.into(),
        machine_id: format!("{number:032x}"),
        boot_id: format!("00000000-0000-4000-8000-{number:012x}"),
        realtime_ns: now.as_nanos() as u64,
        entropy: format!("{:032x}", now.as_nanos() + u128::from(number)),
        cards: vec![Card {
            name: "eth0".into(),
            mac: format!("52:54:00:00:03:{number:02x}"),
            addresses: vec![format!("10.0.0.{number}/24")],
            gateways: Vec::new(),
            resolvers: Vec::new(),
        }],
    };
    machine.identify(identity).await?;
    Ok(machine)
}

async fn measure(from: &Machine, to: &Machine, target: IpAddr) -> Result<Sample> {
    let server = ["iperf3", "-s", "--forceflush"].map(str::to_owned).into();
    let server = Request::Exec(Exec { argv: server, ..Exec::default() });
    let mut server = to.start(&server).await?;
    server.until_line("Server listening", PROMPT).await?;
    let ping = format!("ping -n -q -c 20 -i 0.05 {target} | awk -F/ '/^rtt/ {{ print $5 }}'");
    let rtt_ms: f64 = from.run(&["sh", "-c", &ping]).await?.text().trim().parse()?;
    let tcp = iperf3(from, target, &[]).await?;
    let udp = iperf3(from, target, &["-u", "-b", "0", "-l", "64"]).await?;
    let number = |report: &serde_json::Value, path: &str| {
        report.pointer(path).and_then(serde_json::Value::as_f64).ok_or_else(|| format!("{report}"))
    };
    let packets = number(&udp, "/end/sum/packets")? - number(&udp, "/end/sum/lost_packets")?;
    server.cancel().await?;
    Ok(Sample {
        tcp_mbit: number(&tcp, "/end/sum_received/bits_per_second")? / 1e6,
        small_per_second: packets / number(&udp, "/end/sum/seconds")?,
        rtt_ms,
    })
}

async fn iperf3(from: &Machine, target: IpAddr, more: &[&str]) -> Result<serde_json::Value> {
    let target = target.to_string();
    let mut argv = vec!["iperf3", "-J", "-t", SECONDS, "-c", &target];
    argv.extend(more);
    let argv = argv.iter().map(ToString::to_string).collect();
    let exec = Exec { argv, ..Exec::default() };
    let output = from.exec(exec, None, Duration::from_secs(60)).await?;
    Ok(serde_json::from_slice(&output.stdout)?)
}
