//! Forks: as different from each other as booted machines are, and otherwise the same as these.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::cluster::{Cluster, Member};
use harness::lab::Lab;
use harness::machine::Start;
use harness::module::drive::Deployment;
use harness::module::spec::Module;
use harness::stats::quantile;
use harness::workload::{Route, run_ping};

use crate::common::{lab, module, scenario, turn};

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

/// `home-dsl` with a coordinator: three members, forks of one template.
async fn three_members(lab: &mut Lab, module: &Module) -> Cluster {
    let cluster = lab.cluster(&scenario("lan"), module, 1).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(lab.templates.start(), Start::Fork(_)), "{:?}", lab.templates.start());
    cluster
}

/// `internal` as it would be with a coordinator, so that `hub` takes part.
fn coordinated() -> Module {
    let mut module = module("internal");
    let mut role = module.spec.roles[0];
    role.name = harness::module::spec::RoleName::Coordinator;
    module.spec.roles.insert(0, role);
    module
}

#[tokio::test]
async fn forks_of_one_template_share_nothing_that_machines_do_not_share() {
    let _turn = turn();
    let module = coordinated();
    let cluster = three_members(&mut lab(&[], true).await, &module).await;
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
        assert!((before - 0.5..after + 0.5).contains(&guest), "{before} {guest} {after}");
    }
}

#[tokio::test]
async fn a_fork_that_loses_power_boots_again_with_what_it_had_synced() {
    let _turn = turn();
    let cluster = three_members(&mut lab(&[], true).await, &module("internal")).await;
    let member = cluster.member("alice").unwrap();
    let id = said(member, "cat /etc/machine-id").await;
    let state = "/var/lib/meshbench/state";
    said(member, &format!("echo kept > {state}/kept; echo lost > /run/lost; sync")).await;
    // Not yet written back when the power goes.
    said(member, &format!("echo fleeting > {state}/fleeting")).await;
    member.machine.power_cycle().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(said(member, &format!("cat {state}/kept")).await, "kept");
    assert_eq!(said(member, "cat /etc/machine-id").await, id);
    assert!(said(member, "ls /run/lost 2>&1 || true").await.contains("No such file"));
    let fleeting = said(member, &format!("cat {state}/fleeting 2>/dev/null || true")).await;
    assert_eq!(fleeting, "", "the power was not cut: what was not synced is there");
    let uptime: f64 = said(member, "cut -d ' ' -f 1 /proc/uptime").await.parse().unwrap();
    assert!(uptime < 240.0, "up for {uptime} s: it did not boot");
    let bob = cluster.member("bob").unwrap();
    assert_eq!(said(bob, "echo still here").await, "still here");
    cluster.down().await;
}

/// Clusters of each kind.
const CLUSTERS: usize = 2;

#[tokio::test]
async fn forked_and_booted_clusters_measure_alike_and_forks_start_sooner() {
    let _turn = turn();
    let modules = [module("wireguard")];
    let (mut forks, mut boots) = (lab(&modules, true).await, lab(&modules, false).await);
    // Makes the templates, and reads them into memory.
    measure(&mut forks, &modules[0]).await;
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..CLUSTERS {
        seen[0].push(measure(&mut forks, &modules[0]).await);
        seen[1].push(measure(&mut boots, &modules[0]).await);
    }
    println!("forked and booted: start, round trip: {seen:?}");
    // The best of each kind: whatever else the host does makes figures worse, never better.
    let best = |kind: usize, of: fn(&(Duration, f64)) -> f64| {
        seen[kind].iter().map(of).min_by(f64::total_cmp).unwrap()
    };
    let ratio = best(0, |m| m.1) / best(1, |m| m.1);
    // Round trips of a millisecond vary by half without KVM; a fork that differs from a booted
    // machine (a wrong clock, lost interrupts, other offloads) is off by far more.
    assert!(
        (0.5..2.0).contains(&ratio),
        "round trips of forks to those of boots: {ratio}, {seen:?}"
    );
    let (fork, boot) = (best(0, |m| m.0.as_secs_f64()), best(1, |m| m.0.as_secs_f64()));
    assert!(fork * 2.0 < boot, "forking is hardly faster than booting: {seen:?}");
}

/// How long a cluster took to be there, and the lower quartile of round trips through WireGuard in
/// milliseconds: a busy host only makes them longer.
async fn measure(lab: &mut Lab, module: &Module) -> (Duration, f64) {
    let start = Instant::now();
    let cluster = lab.cluster(&scenario("lan"), module, 1).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    let ready = start.elapsed();
    let deployment = Deployment::new(&cluster, module).await.unwrap();
    let (from, to) = (cluster.member("alice").unwrap(), cluster.member("bob").unwrap());
    deployment.start_others(from).await.unwrap_or_else(|error| panic!("{error}"));
    let connected = deployment.connect(from, to).await.unwrap_or_else(|error| panic!("{error}"));
    let target = connected.target;
    let route = Route { from, to, target, bottleneck_mbit: None, quick: true };
    let metrics = run_ping(&route).await.unwrap();
    cluster.down().await;
    let rtts = &metrics.iter().find(|metric| metric.name == "rtt").unwrap().samples;
    (ready, quantile(rtts, 0.25).unwrap())
}
