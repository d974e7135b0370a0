//! Events on a running cluster, each seen on the wire.

use std::net::IpAddr;
use std::time::Duration;

use meshbench::cluster::proof::{Effort, Probing};
use meshbench::cluster::{Bound, Cluster, EventError};
use meshbench::fabric::Action;
use meshbench::fabric::Facts;
use meshbench::fabric::MemberNet;
use meshbench::fabric::{Link, Point, profile};
use meshbench::machine::MachineError;
use meshbench::module::drive::Deployment;
use meshbench::protocol::{Condition, UdpSeen};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{LISTENING, lab, machine, module, network, sh, shared_turn};
use crate::shared::{Shared, Stage};

const SITES: &str = r#"
[[site]]
name = "alice"
nat = "home"
ipv6 = true
[[site]]
name = "bob"
[[site]]
name = "carol"
ipv6 = true
[[site]]
name = "cafe"
nat = "cgnat"
machines = []
"#;

const RELAYED: &str = r#"
[[site]]
name = "alice"
nat = "home"
[[site]]
name = "bob"
[[site]]
name = "hub"
"#;

/// Each test leaves its network healed, and everybody at home.
static WIREGUARD: Shared = Shared::new("wireguard", SITES);

/// All traffic of an OpenVPN passes its server: what the hub does is seen on its own uplink.
static OPENVPN: Shared = Shared::new("openvpn", RELAYED);

fn alice() -> String {
    "alice".into()
}

fn bob() -> String {
    "bob".into()
}

fn hub() -> String {
    "hub".into()
}

async fn happen(cluster: &Cluster, action: Action) {
    timed(&action, cluster.apply(&action)).await;
}

/// As [`happen`], to a machine with a daemon on it.
async fn befall(deployment: &Deployment, action: Action) {
    timed(&action, deployment.apply(&action)).await;
}

async fn timed(action: &Action, applied: impl Future<Output = Result<(), EventError>>) {
    let start = std::time::Instant::now();
    applied.await.unwrap_or_else(|error| panic!("{action:?}: {error}"));
    let seconds = start.elapsed().as_secs_f64();
    let text = serde_json::to_value(action).expect("it is plain data");
    println!("{} took {seconds:.2} s", text["do"].as_str().unwrap_or_default());
}

/// How a member is seen by the others now.
async fn net(cluster: &Cluster, name: &str) -> MemberNet {
    let nets = cluster.plan().members();
    nets.into_iter().find(|net| net.name == name).expect("it is in the scenario")
}

/// Answers to three pings, with these options.
async fn pings(cluster: &Cluster, from: &str, to: IpAddr, options: &str) -> String {
    sh(machine(cluster, from), &format!("ping -n -c 3 -i 0.3 -W 2 {options} {to} || true")).await
}

async fn reaches(cluster: &Cluster, from: &str, to: IpAddr) -> bool {
    let text = pings(cluster, from, to, "").await;
    assert!(text.contains("packets transmitted"), "{text}");
    !text.contains(" 100% packet loss")
}

/// Median of three round trips, in ms.
async fn rtt(cluster: &Cluster, from: &str, to: IpAddr) -> f64 {
    let text = pings(cluster, from, to, "").await;
    let mut times: Vec<f64> = text
        .split("time=")
        .skip(1)
        .filter_map(|rest| rest.split(' ').next()?.parse().ok())
        .collect();
    times.sort_by(f64::total_cmp);
    *times.get(times.len() / 2).unwrap_or_else(|| panic!("{text}"))
}

/// What alice's gateway does with IPv4 now, whatever the plan says.
async fn seen(cluster: &Cluster) -> Facts {
    let probed = cluster.probe_gateways(Probing::MEASURING).await;
    probed.unwrap_or_else(|error| panic!("{error}")).remove(0).seen
}

/// All gateways must be what the plan says now. The first is alice's: what servers see of her over IPv4.
async fn proved(cluster: &Cluster) -> UdpSeen {
    let proved = cluster.prove_gateways(Probing::MEASURING).await;
    proved.1.unwrap_or_else(|error| panic!("{error}"));
    proved.0[0].raw.udp.clone().expect("UDP passes")
}

/// The address that servers see alice under.
async fn mapped(cluster: &Cluster) -> IpAddr {
    proved(cluster).await.mapped[0].ip()
}

/// What the plan does not know of, the proof finds.
#[test]
fn a_slower_line_than_the_plans_is_refused() {
    WIREGUARD.with(async |Stage { cluster, .. }| {
        // An event of another test may have left stages that do nothing.
        let in_alice = "nsenter --net=/run/netns/alice tc qdisc";
        let links = || cluster.prove_links(Effort::QUICK);
        sh(cluster.fabric(), &format!("{in_alice} replace dev wan root netem delay 60ms")).await;
        let refused = links().await.1.expect_err("the line is slower").to_string();
        println!("{refused}");
        assert!(refused.contains("alice up: delay 6"), "{refused}");
        // So does the look at links that were proved before.
        let late = cluster.glance_at_links().await.expect_err("the line is slower").to_string();
        assert!(late.contains("alice up: delay 6"), "{late}");
        sh(cluster.fabric(), &format!("{in_alice} delete dev wan root")).await;
        links().await.1.unwrap_or_else(|error| panic!("{error}"));
        cluster.glance_at_links().await.unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn a_gateway_that_stops_udp_unlike_the_plans_is_refused() {
    WIREGUARD.with(async |Stage { cluster, .. }| {
        let in_alice = "nsenter --net=/run/netns/alice nft";
        let stop = "add table inet tampered; add chain inet tampered c \
                    { type filter hook forward priority -5; }; add rule inet tampered c meta l4proto udp drop";
        sh(cluster.fabric(), &format!("{in_alice} '{stop}'")).await;
        let probed = cluster.prove_gateways(Probing::MEASURING).await;
        let refused = probed.1.expect_err("UDP is stopped").to_string();
        println!("{refused}");
        let told = refused.contains("alice (home, IPv4)") && refused.contains("seen no UDP");
        assert!(told, "{refused}");
        sh(cluster.fabric(), &format!("{in_alice} delete table inet tampered")).await;
        proved(cluster).await;
    });
}

#[test]
fn a_link_that_is_down_carries_nothing_until_it_is_up() {
    WIREGUARD.with(async |Stage { cluster, .. }| {
        let to_bob = net(cluster, "bob").await.local[0];
        assert!(reaches(cluster, "alice", to_bob).await);
        happen(cluster, Action::LinkDown { site: alice(), direction: None }).await;
        assert!(!reaches(cluster, "alice", to_bob).await, "the link is down");
        happen(cluster, Action::LinkUp { site: alice() }).await;
        assert!(reaches(cluster, "alice", to_bob).await, "the link is up");
    });
}

#[test]
fn a_partition_parts_nobody_else() {
    WIREGUARD.with(async |Stage { cluster, .. }| {
        let (to_bob, to_carol) =
            (net(cluster, "bob").await.local[0], net(cluster, "carol").await.local[0]);
        happen(cluster, Action::Partition { between: vec![alice(), bob()], one_way: false }).await;
        assert!(!reaches(cluster, "alice", to_bob).await, "the two are apart");
        assert!(reaches(cluster, "alice", to_carol).await, "from nobody else");
        happen(cluster, Action::Heal).await;
        assert!(reaches(cluster, "alice", to_bob).await, "healed");
    });
}

#[test]
fn a_line_is_impaired_and_recovers() {
    WIREGUARD.with(async |Stage { cluster, .. }| {
        let to_bob = net(cluster, "bob").await.local[0];
        let before = rtt(cluster, "alice", to_bob).await;
        let geo = profile("geo").expect("there is such a profile");
        happen(cluster, Action::Impair { site: alice(), link: geo }).await;
        let far = rtt(cluster, "alice", to_bob).await;
        let mut cut = Link::default();
        cut.down.loss_percent = 100.0;
        happen(cluster, Action::Impair { site: alice(), link: cut }).await;
        assert!(!reaches(cluster, "alice", to_bob).await, "she speaks, and hears nothing");
        happen(cluster, Action::Impair { site: alice(), link: Link::default() }).await;
        let after = rtt(cluster, "alice", to_bob).await;
        println!("round trip: {before} ms, over geo {far} ms, then {after} ms");
        assert!((600.0..700.0).contains(&far) && before < 100.0 && after < 100.0);
    });
}

#[test]
fn a_black_hole_swallows_large_packets_in_silence() {
    WIREGUARD.with(async |Stage { cluster, .. }| {
        let to_bob = net(cluster, "bob").await.local[0];
        let whole = "-M do -s 1372";
        assert!(!pings(cluster, "alice", to_bob, whole).await.contains(" 100% packet loss"));
        happen(cluster, Action::MtuBlackHole { site: alice(), mtu: 1300 }).await;
        let text = pings(cluster, "alice", to_bob, whole).await;
        assert!(text.contains(" 100% packet loss") && !text.contains("needed"), "{text}");
        let narrow = pings(cluster, "alice", to_bob, "-M do -s 1200").await;
        assert!(!narrow.contains(" 100% packet loss"), "{narrow}");
        happen(cluster, Action::Heal).await;
        assert!(!pings(cluster, "alice", to_bob, whole).await.contains(" 100% packet loss"));
    });
}

/// UDP source ports of the frames, in the order of their first appearance.
fn source_ports(frames: &[meshbench::cluster::Packet], to: u16) -> Vec<u16> {
    let mut ports = Vec::new();
    for frame in frames {
        // Ethernet 14, IPv4 20, then ports; protocol 17 is UDP.
        let Some(head) = frame.bytes.get(..38).filter(|head| head[23] == 17) else { continue };
        let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        if port(36) == to && !ports.contains(&port(34)) {
            ports.push(port(34));
        }
    }
    ports
}

#[test]
fn a_rebinding_nat_gives_a_running_flow_another_port() {
    WIREGUARD.with(async |Stage { cluster, .. }| {
        let to_bob = net(cluster, "bob").await.local[0];
        sh(machine(cluster, "bob"), &format!("iperf3 -s -D; {LISTENING}")).await;
        let points = [cluster.plan().uplink("alice")];
        let capture = cluster.capture("rebind", &points, Bound::EVIDENCE).await;
        let capture = capture.unwrap_or_else(|error| panic!("{error}"));
        let flow = format!(
            "timeout 60 iperf3 -u -b 200k -l 200 -t 20 --cport 40000 -c {to_bob} >/dev/null || true"
        );
        let rebind = async {
            let Point { namespace, device } = &points[0];
            // More than the greeting, which needs an answer before it goes on.
            let flowing = format!(
                "nsenter --net=/run/netns/{namespace} tcpdump -i {device} -n --immediate-mode -Z root -c 20 \
                 udp src port 40000 >/dev/null 2>&1"
            );
            sh(cluster.fabric(), &flowing).await;
            happen(cluster, Action::NatRebind { site: alice() }).await;
        };
        tokio::join!(sh(machine(cluster, "alice"), &flow), rebind);
        let seen = capture.stop(cluster.fabric()).await.unwrap_or_else(|error| panic!("{error}"));
        let ports = source_ports(&seen.packets, 5201);
        println!("one flow's external ports: {ports:?}");
        assert!(ports.first() == Some(&40_000) && ports.len() == 2, "{ports:?}");
        let seen = proved(cluster).await;
        assert!(seen.mapped.iter().all(|at| at.port() != seen.own.port()), "{seen:?}");
    });
}

#[test]
fn a_site_whose_udp_is_blocked_has_everything_else() {
    WIREGUARD.with(async |Stage { cluster, .. }| {
        let to_bob = net(cluster, "bob").await.local[0];
        happen(cluster, Action::BlockUdp { site: alice(), direction: None }).await;
        let mut blocked = seen(cluster).await;
        // Once: a busy host may make an answer late.
        if !blocked.tcp_80 {
            blocked = seen(cluster).await;
        }
        assert!(blocked.udp.is_none() && blocked.tcp_80, "{blocked}");
        assert!(reaches(cluster, "alice", to_bob).await, "nothing but UDP is blocked");
        happen(cluster, Action::Heal).await;
        proved(cluster).await;
    });
}

#[test]
fn a_tunnel_follows_a_new_address_behind_nat() {
    WIREGUARD.with(async |Stage { cluster, overlay, .. }| {
        let before = mapped(cluster).await;
        happen(cluster, Action::Readdress { site: alice() }).await;
        let after = mapped(cluster).await;
        println!("alice was {before} and is {after}");
        assert!(before != after && net(cluster, "alice").await.public[0] == after);
        assert!(reaches(cluster, "alice", *overlay).await, "the tunnel follows her new address");
    });
}

#[test]
fn a_new_address_is_one_of_each_family() {
    WIREGUARD.with(async |Stage { cluster, .. }| {
        let old = net(cluster, "carol").await.local;
        happen(cluster, Action::Readdress { site: "carol".into() }).await;
        let new = net(cluster, "carol").await.local;
        println!("carol was {old:?} and is {new:?}");
        assert_eq!((old.len(), new.len()), (2, 2), "both families");
        for (old, new) in old.into_iter().zip(new) {
            assert!(old != new && reaches(cluster, "alice", new).await, "{old} {new}");
            assert!(!reaches(cluster, "alice", old).await, "nobody is there any more");
        }
    });
}

#[test]
fn a_roaming_machine_keeps_its_tunnel() {
    WIREGUARD.with(async |Stage { cluster, overlay, .. }| {
        let home = mapped(cluster).await;
        assert!(reaches(cluster, "alice", *overlay).await);
        happen(cluster, Action::Roam { machine: alice(), to: "cafe".into() }).await;
        let away = mapped(cluster).await;
        println!("alice was {home} and roamed to {away}");
        assert!(home != away && net(cluster, "alice").await.public[0] == away);
        assert!(reaches(cluster, "alice", *overlay).await, "WireGuard roams");
        happen(cluster, Action::Roam { machine: alice(), to: alice() }).await;
        assert_eq!(mapped(cluster).await, home);
        assert!(reaches(cluster, "alice", *overlay).await, "and comes back");
    });
}

#[test]
fn a_stopped_daemon_takes_the_tunnel_and_not_the_machine() {
    WIREGUARD.with(async |Stage { cluster, deployment, overlay, .. }| {
        let daemon = cluster.apply(&Action::DaemonStop { machine: bob() }).await;
        assert!(daemon.is_err(), "a cluster has no daemons");
        let to_bob = net(cluster, "bob").await.local[0];
        befall(deployment, Action::DaemonStop { machine: bob() }).await;
        assert!(!reaches(cluster, "alice", *overlay).await, "no tunnel without a daemon");
        assert!(reaches(cluster, "alice", to_bob).await, "the machine is there");
        befall(deployment, Action::DaemonStart { machine: bob() }).await;
        assert!(again(cluster, *overlay).await, "the daemon is back");
    });
}

#[test]
fn a_machine_that_lost_its_power_comes_back_as_itself() {
    WIREGUARD.with(async |Stage { cluster, deployment, overlay, .. }| {
        let to_bob = net(cluster, "bob").await.local[0];
        sh(machine(cluster, "bob"), "echo 5.9.9.9 added >>/etc/hosts; sync").await;
        let ids =
            "grep added /etc/hosts; cat /etc/hostname /etc/machine-id /proc/sys/kernel/random/boot_id";
        let before = sh(machine(cluster, "bob"), ids).await;
        befall(deployment, Action::PowerLoss { machine: bob() }).await;
        assert!(!reaches(cluster, "alice", to_bob).await, "no power");
        assert!(machine(cluster, "bob").loss().is_some());
        befall(deployment, Action::PowerOn { machine: bob(), clock: -3600 }).await;
        assert!(reaches(cluster, "alice", to_bob).await, "it has booted");
        let date = async |of| -> i64 {
            sh(machine(cluster, of), "date +%s").await.trim().parse().expect("it is a number")
        };
        let behind = date("alice").await - date("bob").await;
        assert!((3590..3660).contains(&behind), "its battery is empty: {behind} s behind");
        let after = sh(machine(cluster, "bob"), ids).await;
        let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
        assert_eq!(before[..3], after[..3], "it is the same machine");
        assert_ne!(before[3], after[3], "it has booted anew");
        assert!(again(cluster, *overlay).await, "its daemon runs again");
    });
}

/// Longer than a machine may be silent that nobody has told to be.
const ASLEEP: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_machine_that_sleeps_is_not_lost_and_one_that_hangs_is() {
    let _turn = shared_turn();
    let sites = "[[site]]\nname = \"alice\"\n[[site]]\nname = \"bob\"";
    let cluster = lab(true).cluster(&network(sites), &module("internal"), 1).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    let to_bob = net(&cluster, "bob").await.local[0];
    // As in a run, whose network is proved first: a card that is taken down before its driver has looked at its carrier
    // (virtio_net of Linux 6.12) has none when it is up again.
    assert!(reaches(&cluster, "alice", to_bob).await, "bob is there");
    happen(&cluster, Action::Suspend { machine: bob() }).await;
    assert!(!reaches(&cluster, "alice", to_bob).await, "bob sleeps");
    let seconds = ASLEEP.as_secs().to_string();
    machine(&cluster, "alice").run(&["sleep", &seconds]).await.unwrap();
    happen(&cluster, Action::Resume { machine: bob() }).await;
    machine(&cluster, "bob").echo().await.unwrap();
    assert!(reaches(&cluster, "alice", to_bob).await, "bob is awake");
    // What nobody has told the cluster of is a machine that hangs.
    let pid = machine(&cluster, "bob").pid().unwrap();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP).unwrap();
    let text = machine(&cluster, "alice").run(&["sleep", "60"]).await.unwrap_err().to_string();
    assert!(text.starts_with("bob: lost while alice was running `sleep 60`: it hangs"), "{text}");
    cluster.down().await;
}

#[test]
fn a_relay_whose_daemon_stops_carries_nothing_until_it_runs() {
    OPENVPN.with(async |Stage { cluster, deployment, overlay, .. }| {
        let to_hub = net(cluster, "hub").await.local[0];
        // Three requests and three answers, and the hub sends each of them on.
        let sent = sent_by_hub(cluster, *overlay, true).await;
        assert!(sent.udp >= 6, "the hub relays: {sent:?}");
        befall(deployment, Action::DaemonStop { machine: hub() }).await;
        let sent = sent_by_hub(cluster, *overlay, false).await;
        assert!(sent.udp == 0, "no daemon, no tunnel: {sent:?}");
        assert!(reaches(cluster, "alice", to_hub).await, "the machine is there");
        befall(deployment, Action::DaemonStart { machine: hub() }).await;
        returns(cluster, deployment, *overlay).await;
    });
}

#[test]
fn a_relay_without_power_is_silent_and_carries_again_when_it_returns() {
    OPENVPN.with(async |Stage { cluster, deployment, overlay, .. }| {
        let to_hub = net(cluster, "hub").await.local[0];
        // As before each run in which power is lost: what a daemon begins with may still be in memory only.
        sh(machine(cluster, "hub"), "sync").await;
        befall(deployment, Action::PowerLoss { machine: hub() }).await;
        let sent = sent_by_hub(cluster, *overlay, false).await;
        assert!(sent == Sent::default(), "no power, no packet: {sent:?}");
        assert!(!reaches(cluster, "alice", to_hub).await, "the machine is gone");
        befall(deployment, Action::PowerOn { machine: hub(), clock: 0 }).await;
        assert!(reaches(cluster, "alice", to_hub).await, "it has booted");
        returns(cluster, deployment, *overlay).await;
    });
}

/// IPv4 packets that a machine has sent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    udp: usize,
    other: usize,
}

/// What the hub sends while alice pings an overlay address, which answers or not.
async fn sent_by_hub(cluster: &Cluster, overlay: IpAddr, answers: bool) -> Sent {
    let IpAddr::V4(own) = net(cluster, "hub").await.local[0] else { panic!("it has IPv4") };
    let points = [cluster.plan().uplink("hub")];
    let capture = cluster.capture("hub", &points, Bound::EVIDENCE).await;
    let capture = capture.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(reaches(cluster, "alice", overlay).await, answers, "through the tunnel");
    let seen = capture.stop(cluster.fabric()).await.unwrap_or_else(|error| panic!("{error}"));
    let mut sent = Sent::default();
    for packet in &seen.packets {
        // Ethernet 14, its type at 12; IPv4's protocol at 9, its source at 12.
        let Some(head) = packet.bytes.get(..34).filter(|head| head[12..14] == [8, 0]) else {
            continue;
        };
        if head[26..30] == own.octets() {
            *(if head[23] == 17 { &mut sent.udp } else { &mut sent.other }) += 1;
        }
    }
    println!("the hub sent {sent:?} while alice pinged {overlay}");
    sent
}

/// OpenVPN's clients notice after five minutes that their server is gone: they are restarted, as
/// people do. Then the tunnel carries, by the hub that has returned.
async fn returns(cluster: &Cluster, deployment: &Deployment, overlay: IpAddr) {
    for name in ["alice", "bob"] {
        let member = cluster.member(name).expect("it is there");
        deployment.restart(member).await.unwrap_or_else(|error| panic!("{error}"));
    }
    assert!(again(cluster, overlay).await, "it carries again");
    assert!(sent_by_hub(cluster, overlay, true).await.udp >= 6, "the hub relays again");
}

/// Whether it is reached within a minute: a tunnel is made anew only when the old one has failed.
async fn again(cluster: &Cluster, overlay: IpAddr) -> bool {
    let reachable = Condition::Reachable(overlay);
    match machine(cluster, "alice").wait(reachable, Duration::from_secs(60)).await {
        Ok(_) => true,
        Err(MachineError::Silent { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}
