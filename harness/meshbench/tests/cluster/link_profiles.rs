//! Every link profile in one fabric: what was configured against what is measured.

use std::time::Instant;

use meshbench::cluster::proof::{Effort, Measured};
use meshbench::cluster::{Bound, Cluster};
use meshbench::fabric::profiles;

use crate::common::{LISTENING, lab, machine, module, network, sh, turn};

/// Half of the links at a time, a hundred packets a second each: 1600 a second are not too many for
/// an emulated fabric.
const EFFORT: Effort = Effort { count: 1600, interval_us: 10_000 };

/// What no profile does to frames: a line that flips bits, sends some twice, and has some come late.
const DAMAGED: &str = "[[site]]\nname = \"damaged\"\nmachines = []\n[site.link]\n\
    up = { delay-ms = 10, corrupt-percent = 5, duplicate-percent = 20, reorder-percent = 25, reorder-ms = 8 }\n\
    down = { delay-ms = 10, corrupt-percent = 2, reorder-percent = 10, reorder-ms = 15 }\n";

/// Links between a fast site and a public one carry what an iperf3 in each direction makes of them.
const BULK: &str = "iperf3 -J -c $(cat /tmp/target) -t 2 >/dev/null && \
                    iperf3 -J -c $(cat /tmp/target) -t 2 -R >/dev/null";

#[tokio::test]
async fn every_link_profile_does_what_it_says() {
    let _turn = turn();
    let sites: String = profiles()
        .keys()
        .map(|name| {
            let machines =
                if ["fibre", "none"].contains(&name.as_str()) { "" } else { "machines = []\n" };
            format!("[[site]]\nname = \"{}\"\nlink = \"{name}\"\n{machines}", short(name))
        })
        .chain([DAMAGED.to_owned()])
        .collect();
    let cluster = lab(true).cluster(&network(&sites), &module("internal"), 1).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    let start = Instant::now();
    let (measured, verdict) = cluster.prove_links(EFFORT).await;
    println!("measured {} directions in {:.1} s", measured.len(), start.elapsed().as_secs_f64());
    println!(
        "{:<16} {:<4} {:>22} {:>31} {:>16} {:>16} {:>8}",
        "profile", "way", "rate Mbit/s", "delay ms (5–95 %)", "loss %", "in a row", "order %"
    );
    measured.iter().for_each(|link| println!("{}", row(link)));
    verdict.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(measured.len(), profiles().len() * 2 + 2);
    no_frame_is_wider_than_the_wire(&cluster).await;
    what_is_under_way_does_not_fill_the_queue(&cluster).await;
    cluster.down().await;
}

/// For two seconds 90 % of what a satellite's uplink carries: 300 ms of it are always under way, more
/// than its queue holds. Nothing may be lost: a queue that counts it loses every time, a machine that
/// stands still for a moment, so that its socket overflows, does so once.
async fn what_is_under_way_does_not_fill_the_queue(cluster: &Cluster) {
    for _ in 0..2 {
        if flood_loses_nothing(cluster).await.is_ok() {
            return;
        }
    }
    flood_loses_nothing(cluster).await.unwrap_or_else(|evidence| panic!("{evidence}"));
}

async fn flood_loses_nothing(cluster: &Cluster) -> Result<(), String> {
    let stages = "nsenter --net=/run/netns/geo tc -s qdisc show dev wan | grep -A1 netem";
    let before = sh(cluster.fabric(), stages).await;
    let flood = "nsenter --net=/run/netns/geo iperf3 -u -b 8700k -l 1472 -t 2 -J -c 5.255.0.1";
    let serve = "nsenter --net=/run/netns/internet iperf3 -s -1 -D -B 5.255.0.1";
    sh(cluster.fabric(), serve).await;
    sh(cluster.fabric(), &format!("nsenter --net=/run/netns/internet {LISTENING}")).await;
    let report = sh(cluster.fabric(), flood).await;
    let report: serde_json::Value = serde_json::from_str(&report).expect("iperf3 prints JSON");
    let [sent, lost] = ["/end/sum_sent/packets", "/end/sum_received/lost_packets"]
        .map(|path| report.pointer(path).and_then(serde_json::Value::as_i64));
    println!("geo up at 90 %: {sent:?} datagrams, {lost:?} lost");
    let after = sh(cluster.fabric(), stages).await;
    assert!(sent > Some(1000), "{report}");
    if lost == Some(0) { Ok(()) } else { Err(format!("{report}\n{before}\n{after}")) }
}

/// Interface names have at most 15 bytes, sites are called like interfaces, and begin with a letter.
fn short(profile: &str) -> String {
    profile.replace("intercontinental", "ocean").replace("3g", "umts").replace("5g", "nr")
}

fn row(link: &Measured) -> String {
    let asked = &link.configured;
    let way = if link.up { "up" } else { "down" };
    if let Some(netem) = &asked.netem {
        return format!(
            "{:<16} {way:<4} {netem}: {:.1} ms, {:.2} % lost, {:.2} % out of order",
            link.site, link.delay_ms[0], link.loss_percent, link.reordered_percent
        );
    }
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
    format!(
        "{:<16} {way:<4} {:>10} → {:>9} {:>8.1} ± {:<3.0}→ {:.1} ({:.1}–{:.1}) {:>7.2} → {:<6.2} {:>7} → {:<6} {:>7.2}",
        link.site,
        number(asked.rate_mbit),
        number(link.rate_mbit),
        asked.delay_ms,
        asked.jitter_ms,
        link.delay_ms[0],
        link.delay_ms[1],
        link.delay_ms[2],
        asked.loss_percent,
        link.loss_percent,
        number((asked.burst > 0.0).then_some(asked.burst)),
        number(link.mean_burst),
        link.reordered_percent,
    )
}

/// Offloads would let one frame of 64 KB stand for forty: lost, delayed and counted as one.
async fn no_frame_is_wider_than_the_wire(cluster: &Cluster) {
    let (from, to) = (machine(cluster, "fibre"), machine(cluster, "none"));
    let target = cluster.member("none").expect("it is in the scenario").net.local[0];
    sh(from, &format!("echo {target} >/tmp/target")).await;
    sh(to, &format!("iperf3 -s -D; {LISTENING}")).await;
    let points = [cluster.plan().up("fibre"), cluster.plan().down("fibre")];
    let bound = Bound { frame_bytes: 64, megabytes: 2 };
    let capture = cluster.capture("bulk", &points, bound).await;
    let capture = capture.unwrap_or_else(|error| panic!("{error}"));
    sh(from, BULK).await;
    let seen = capture.stop(cluster.fabric()).await.unwrap_or_else(|error| panic!("{error}"));
    for (index, point) in points.iter().enumerate() {
        let frames = || seen.packets.iter().filter(|packet| packet.point == index);
        let widest = frames().map(|packet| packet.length).max();
        println!(
            "{}:{}: {} frames, the widest {widest:?}",
            point.namespace,
            point.device,
            frames().count()
        );
        assert_eq!(widest, Some(1514));
    }
}
