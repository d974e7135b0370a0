//! Forks: as different from each other as booted machines are, and otherwise the same as these.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use meshbench::cluster::{Blueprint, Cluster, Member};
use meshbench::guest::Preparing;
use meshbench::lab;
use meshbench::lab::Lab;
use meshbench::machine::{Preparation, Start, wire};
use meshbench::module::drive::Deployment;
use meshbench::module::spec::Module;
use meshbench::protocol::{Card, Identity};

use crate::common::{internal, lab, module, scenario, shared_turn, templates, turn};

async fn said(member: &Member, script: &str) -> String {
    let output = member.machine.run(&["sh", "-ec", script]).await;
    output.unwrap_or_else(|error| panic!("{error}")).text().trim().to_owned()
}

/// What a script prints on every machine of the cluster, the fabric included.
async fn said_by_all(cluster: &Cluster, script: &str) -> Vec<String> {
    let mut all = vec![cluster.fabric().run(&["sh", "-ec", script]).await.unwrap().text()];
    for member in cluster.members() {
        all.push(said(member, script).await);
    }
    all.into_iter().map(|text| text.trim().to_owned()).collect()
}

/// `lan` with a coordinator: three members, forks of one template.
async fn three_members(lab: &Lab, module: &Module) -> Arc<Cluster> {
    let cluster = lab.cluster(&scenario("lan"), module, 1).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    let start = lab.start().await.unwrap();
    assert!(matches!(start, Start::Fork(_)), "{start:?}");
    cluster
}

/// The network of a scenario and its machines, without a VPN.
async fn blueprint(lab: &Lab, name: &str) -> Blueprint {
    lab::blueprint(&scenario(name), &module("internal"), internal(lab).await, 1)
}

/// `internal` as it would be with a coordinator, so that `hub` takes part.
fn coordinated() -> Module {
    let mut module = module("internal");
    let role = meshbench::fabric::Role::Coordinator;
    module.spec.roles.insert(0, meshbench::module::spec::Part::of(role));
    module
}

#[tokio::test]
async fn forks_of_one_template_share_nothing_that_machines_do_not_share() {
    let _turn = shared_turn();
    let module = coordinated();
    let cluster = three_members(&lab(true), &module).await;
    assert_eq!(cluster.members().len(), 3);

    for what in [
        "cat /proc/sys/kernel/random/boot_id",
        "cat /etc/machine-id",
        "cat /proc/sys/kernel/random/uuid",
        "hostname",
        "cat /etc/hostname",
        "cat /sys/class/net/*/address | grep -v 00:00:00:00:00:00 | sort",
    ] {
        let all = said_by_all(&cluster, what).await;
        let distinct: BTreeSet<_> = all.iter().collect();
        assert!(distinct.len() == 4 && !distinct.contains(&String::new()), "{what}: {all:?}");
    }
    no_two_share_random_output(&cluster).await;
    clocks_are_right(&cluster).await;
    for journal in
        said_by_all(&cluster, "find /var/log/journal /run/log/journal -type f || true").await
    {
        assert_eq!(journal, "", "a fork has its template's journal");
    }
    for member in cluster.members() {
        assert_eq!(said(member, "hostname").await, member.net.name);
    }
    cluster.down().await;
}

/// Which is drawn at first use: what a template had used, all of its forks would share.
#[tokio::test]
async fn forks_share_nothing_that_a_kernel_draws_once() {
    let _turn = shared_turn();
    let module = coordinated();
    let lab = lab(true);
    let mut seen = Vec::new();
    // The first machines of two clusters have more in common than those of one.
    for _ in 0..2 {
        let cluster = three_members(&lab, &module).await;
        for member in cluster.members() {
            let (script, within) = (include_bytes!("drawn_once.pl"), Duration::from_secs(60));
            let told = member.machine.run_within(&["perl", "-"], Some(script), within).await;
            seen.push(told.unwrap_or_else(|error| panic!("{error}")).text());
        }
        cluster.down().await;
    }
    println!("{}", seen.join("\n"));
    for (n, one) in seen.iter().enumerate() {
        for other in &seen[..n] {
            let lines = one.lines().zip(other.lines());
            assert_eq!(lines.clone().count(), 4, "{one}");
            lines.for_each(|(one, other)| assert!(!alike(one, other), "{one}\n{other}"));
        }
    }
}

/// Whether two machines have drawn the same: ports are equal then, and clocks as close as they are read.
fn alike(one: &str, other: &str) -> bool {
    let name = one.split(' ').next().unwrap();
    let close: u32 = match name {
        // Of 64 ns: a quarter of a second.
        "sequence-numbers" => 4_000_000,
        // Of 1 ms.
        "timestamps" => 1000,
        _ => 0,
    };
    let numbers = |line: &str| {
        line.split(' ').skip(1).map(|word| word.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    let (one, other) = (numbers(one), numbers(other));
    assert!(one.len() == other.len() && one.len() >= 4, "{name}: {one:?} {other:?}");
    one.iter().zip(other).all(|(one, other)| {
        let apart = one.wrapping_sub(other);
        apart.min(apart.wrapping_neg()) <= close
    })
}

/// As a machine that was moved to another host would: broadcasts of its template's cards, gratuitous ARP.
#[tokio::test]
async fn a_fork_says_on_the_wire_only_what_a_booted_machine_says() {
    let _turn = shared_turn();
    let lab = lab(true);
    let blueprint = blueprint(&lab, "lan").await;
    let (spec, preparation) = (blueprint.member_spec("alice"), Preparation::default());
    let mut templates = lab.templates().await.unwrap();
    templates.warm(&spec, &preparation).await.unwrap();
    let (near, far) = wire().unwrap();
    let machine = templates.machine(spec, &preparation, vec![far]).await.unwrap();
    let mac = "52:54:00:00:01:07";
    let card = Card {
        name: "eth0".into(),
        mac: mac.into(),
        addresses: vec!["192.168.1.7/24".into(), "fd00::7/64".into()],
        gateways: Vec::new(),
        resolvers: Vec::new(),
    };
    let identity = Identity {
        name: "alice".into(),
        machine_id: "0".repeat(32),
        boot_id: "0".repeat(32),
        realtime_ns: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
        entropy: "00".repeat(64),
        cards: vec![card],
    };
    machine.identify(identity).await.unwrap();
    let script = "sleep 3; ping -c 1 -W 1 192.168.1.8 || true";
    machine.run(&["sh", "-c", script]).await.unwrap();
    machine.end().await;
    let frames = frames(near);
    println!("{frames:#?}");
    assert!(frames.iter().any(|frame| frame.starts_with("arp")), "its own request is not seen");
    for frame in frames {
        assert!(!frame.starts_with("rarp"), "QEMU has announced it: {frame}");
        assert!(!frame.starts_with("arp gratuitous"), "the guest has announced itself: {frame}");
        assert!(frame.ends_with(mac), "somebody else's: {frame}");
    }
}

/// The frames that wait at a wire's end: what they are, and from whom.
fn frames(end: OwnedFd) -> Vec<String> {
    let socket = UnixDatagram::from(end);
    socket.set_nonblocking(true).unwrap();
    let mut frame = [0; 2048];
    let mut seen = Vec::new();
    while let Ok(length) = socket.recv(&mut frame) {
        let frame = &frame[..length];
        let kind = match u16::from_be_bytes([frame[12], frame[13]]) {
            0x0806 if frame[28..32] == frame[38..42] => "arp gratuitous".into(),
            0x0806 => "arp".into(),
            0x8035 => "rarp".into(),
            0x86dd => format!("ipv6 icmp {}", frame[if frame[20] == 0 { 62 } else { 54 }]),
            other => format!("{other:#06x}"),
        };
        let from: Vec<_> = frame[6..12].iter().map(|byte| format!("{byte:02x}")).collect();
        seen.push(format!("{kind} from {}", from.join(":")));
    }
    seen
}

#[tokio::test]
async fn a_template_that_is_broken_or_gone_is_made_anew_and_forked() {
    let _turn = shared_turn();
    let cache = tempfile::tempdir().unwrap();
    let lab = lab(true);
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = told.clone();
    let start = Start::Fork(cache.path().to_owned());
    let hear = Arc::new(move |told: &Preparing| hears.lock().unwrap().push(told.to_string()));
    let mut templates = templates(&lab, start).await.progress(hear);
    let blueprint = blueprint(&lab, "lan").await;
    assert_eq!(blueprint.warm(&mut templates).await.unwrap(), 2);
    assert_eq!(blueprint.warm(&mut templates).await.unwrap(), 0);
    let directories = || fs::read_dir(cache.path()).unwrap().flatten().map(|entry| entry.path());

    for directory in directories().filter(|path| path.is_dir()) {
        let state = OpenOptions::new().write(true).open(directory.join("state")).unwrap();
        state.set_len(state.metadata().unwrap().len() / 2).unwrap();
    }
    let cluster = Cluster::up(&blueprint, &templates).await.unwrap();
    assert_eq!(said_by_all(&cluster, "hostname").await, ["fabric", "alice", "bob"]);
    cluster.down().await;
    println!("{:#?}", told.lock().unwrap());
    let failed = told.lock().unwrap().iter().filter(|text| text.contains("a fork failed")).count();
    assert!((2..=3).contains(&failed), "{failed} forks failed");

    let begun = Instant::now();
    Cluster::up(&blueprint, &templates).await.unwrap().down().await;
    let forked = begun.elapsed();
    for directory in directories().filter(|path| path.is_dir()) {
        fs::remove_dir_all(directory).unwrap();
    }
    let begun = Instant::now();
    Cluster::up(&blueprint, &templates).await.unwrap().down().await;
    println!("with templates {forked:?}, without {:?}", begun.elapsed());
    assert_eq!(directories().filter(|path| path.is_dir()).count(), 2);
}

/// Of both generators, in pieces of 16 bytes: equal states would give equal pieces.
async fn no_two_share_random_output(cluster: &Cluster) {
    let script = "{ head -c 4096 /dev/urandom; head -c 4096 /dev/random; } | od -An -v -tx1 -w16";
    let all = said_by_all(cluster, script).await;
    let pieces: BTreeSet<&str> = all.iter().flat_map(|text| text.lines()).collect();
    assert_eq!(pieces.len(), all.len() * 8192 / 16);
}

async fn clocks_are_right(cluster: &Cluster) {
    for member in cluster.members() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let guest: f64 = said(member, "date +%s.%N").await.parse().unwrap();
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((before - 2.0..after + 2.0).contains(&guest), "{before} {guest} {after}");
    }
}

#[tokio::test]
async fn a_fork_that_loses_power_boots_again_with_what_it_had_synced() {
    let _turn = shared_turn();
    let cluster = three_members(&lab(true), &module("internal")).await;
    let member = cluster.member("alice").unwrap();
    let id = said(member, "cat /etc/machine-id").await;
    let state = "/var/lib/meshbench/state";
    said(member, &format!("echo kept > {state}/kept; echo lost > /run/lost; sync {state}/kept"))
        .await;
    // Not yet written back when the power goes.
    said(member, &format!("echo fleeting > {state}/fleeting")).await;
    member.machine.power_cycle().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(said(member, &format!("cat {state}/kept")).await, "kept");
    assert_eq!(said(member, "cat /etc/machine-id").await, id);
    assert!(said(member, "ls /run/lost 2>&1 || true").await.contains("No such file"));
    let service =
        "[Service]\nType=oneshot\nExecStart=/bin/echo %m\nStandardOutput=file:/run/known-as\n";
    let ask = format!(
        "printf '{}' >/run/systemd/system/ask.service; systemctl start ask; cat /run/known-as",
        service.replace('\n', "\\n").replace('%', "%%")
    );
    assert_eq!(said(member, &ask).await, id, "systemd knows it by another");
    let fleeting = said(member, &format!("cat {state}/fleeting 2>/dev/null || true")).await;
    assert_eq!(fleeting, "", "the power was not cut: what was not synced is there");
    let uptime: f64 = said(member, "cut -d ' ' -f 1 /proc/uptime").await.parse().unwrap();
    assert!(uptime < 240.0, "up for {uptime} s: it did not boot");
    let bob = cluster.member("bob").unwrap();
    assert_eq!(said(bob, "echo still here").await, "still here");
    cluster.down().await;
}

/// What figures depend on is the same in both; a fork with another clock, other queues or other offloads would measure
/// something else.
#[tokio::test]
async fn forked_and_booted_clusters_are_alike_and_forks_start_sooner() {
    let _turn = turn();
    let wireguard = module("wireguard");
    let (forks, boots) = (lab(true), lab(false));
    // Makes the templates, and reads them into memory.
    measure(&forks, &wireguard).await;
    let (forked, booted) = (measure(&forks, &wireguard).await, measure(&boots, &wireguard).await);
    println!("forked: {forked:?}\nbooted: {booted:?}");
    assert_eq!(forked.testbed, booted.testbed);
    assert!(forked.start * 2 < booted.start, "forking is hardly faster than booting");
}

/// A cluster over which a VPN carries packets.
#[derive(Debug)]
struct Seen {
    /// How long it took to be there.
    start: Duration,
    /// Clocks, queues, offloads and addresses.
    testbed: String,
}

/// What a guest knows of its clock and its cards, without what is counted and what is drawn.
const TESTBED: &str = "cat /sys/devices/system/clocksource/clocksource0/current_clocksource
cat /proc/sys/kernel/hostname; nproc; ulimit -n
for card in eth0 wg0; do
  ip -d -o link show dev $card | sed 's/^[0-9]*: //; s/ permaddr [^ ]*//'
  tc qdisc show dev $card | sed 's/qdisc \\([a-z_]*\\) [0-9a-f]*:/\\1/'
  ip -o address show dev $card scope global | sed 's/^[0-9]*: //'
done
sysctl net.ipv4.tcp_congestion_control net.ipv4.tcp_rmem net.core.rmem_max net.core.default_qdisc";

async fn measure(lab: &Lab, module: &Module) -> Seen {
    let begun = Instant::now();
    let cluster = lab.cluster(&scenario("lan"), module, 1).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    let start = begun.elapsed();
    let up = Deployment::up(&cluster, module, "alice", "bob").await;
    let (_, connected) = up.unwrap_or_else(|error| panic!("{error}"));
    assert!(connected.after < Duration::from_secs(60), "{connected:?}");
    let testbed = cluster["alice"].machine.run(&["sh", "-c", TESTBED]).await.unwrap().text();
    cluster.down().await;
    Seen { start, testbed }
}
