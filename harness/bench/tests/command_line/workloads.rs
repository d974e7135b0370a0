//! What people do over a VPN, measured on the wire and over a VPN, in virtual time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use meshbench::results::{Metric, Outcome};
use meshbench::workload::{Absent, Workload};

use crate::common::{run, shared_turn};
use crate::exit;
use crate::figures::{cell, measured, measured_at, value};
use crate::program::bench;

/// The wire shows that each probe can find what it looks for.
#[test]
fn what_travels_in_clear_or_again_is_found_on_the_wire_and_not_over_wireguard() {
    let _turn = shared_turn();
    let words = "wireguard --scenario strangers --workload leak,replay,stranger";
    let set = measured(words, exit::OK);
    let told = |module, workload, name| value(&cell(&set, module, workload).metrics, name);
    assert!(told("internal", "leak", "in-clear") >= 10.0);
    assert_eq!(told("wireguard", "leak", "in-clear"), 0.0);
    assert_eq!(told("internal", "replay", "arrived"), 20.0);
    assert_eq!(told("internal", "replay", "accepted"), 20.0);
    assert_eq!(told("wireguard", "replay", "accepted"), 0.0);
    assert!(told("wireguard", "replay", "replayed") >= 20.0);
    assert_eq!(told("wireguard", "stranger", "got-in"), 0.0);
    let wire = &cell(&set, "internal", "stranger").outcome;
    assert!(matches!(wire, Outcome::Unsupported { .. }), "{wire:?}");
}

/// Two homes at 10 Mbit/s up, 24.1 ms apart: what a link limits is known beforehand.
#[test]
fn workloads_between_two_homes_tell_what_such_lines_are() {
    let _turn = shared_turn();
    let names = "mtu,idle,tcp,tcp-streams,udp-max,rpc,call,loaded";
    let set = measured(&format!("internal --scenario home-dsl --workload {names}"), exit::OK);
    for name in names.split(',') {
        let cell = cell(&set, "internal", name);
        let metrics = Workload::named(name).unwrap().spec().metrics;
        for measure in metrics.iter().filter(|measure| measure.absent == Absent::Failure) {
            value(&cell.metrics, measure.name);
        }
        assert!(value(&cell.costs, "wire-bytes") > 0.0, "{name} cost nothing");
    }
    let told = |workload, name| value(&cell(&set, "internal", workload).metrics, name);
    let near = |workload, name, low: f64, high: f64| {
        let value = told(workload, name);
        assert!((low..=high).contains(&value), "{workload} {name} is {value}");
    };
    near("mtu", "whole", 1420.0, 1500.0);
    near("idle", "first-answer", 48.0, 50.0);
    near("idle", "first-answer-back", 48.0, 50.0);
    // 1,100 bytes of each frame of 1,142.
    near("udp-max", "rate", 9.2e6, 9.64e6);
    // What the router's queue held of the second left out comes in those that count.
    near("tcp-streams", "goodput-forward", 8.5e6, 10.8e6);
    near("tcp", "goodput-both-forward", 3e6, 10.8e6);
    near("rpc", "p50-1b-1", 48.0, 50.0);
    near("rpc", "scheduled-1b-1", 15.0, 17.0);
    near("rpc", "p99-1b-16", 48.0, 80.0);
    near("rpc", "rate-1b-16", 200.0, 380.0);
    near("call", "delay", 24.0, 25.0);
    near("call", "loss-forward", 0.0, 0.0);
    near("call", "late-forward", 0.0, 0.0);
    near("call", "score", 4.0, 4.42);
    // A home router's queue is filled by whoever sends.
    assert!(told("loaded", "rtt-upload") > 1.5 * 48.2);
    near("loaded", "goodput-upload", 7e6, 10.8e6);
    let written = |metrics: &[Metric]| metrics.iter().any(|it| it.name.ends_with("written"));
    assert!(!written(&cell(&set, "internal", "idle").metrics), "nothing tells of it in memory");
    assert!(!written(&cell(&set, "internal", "idle").costs));
    let costs = &cell(&set, "internal", "tcp").costs;
    assert!((1.03..1.3).contains(&value(costs, "wire-per-payload")), "{costs:?}");
}

/// bob's carrier forgets after 20 s, and he speaks every 25: who writes to him in the last of these seconds is not heard
/// until he speaks again.
#[test]
fn the_first_packet_after_a_pause_tells_whether_the_way_is_still_open() {
    let _turn = shared_turn();
    let set = measured("wireguard --scenario short-memory --workload idle", exit::OK);
    let told = |module, name| value(&cell(&set, module, "idle").metrics, name);
    for name in ["first-answer", "first-answer-back"] {
        assert!(told("internal", name) < 100.0, "the wire forgets nobody");
    }
    let first = told("wireguard", "first-answer");
    assert!((1000.0..5000.0).contains(&first), "{first}");
    assert!(told("wireguard", "first-answer-back") < 500.0, "his own packet opens the way");
}

/// The same two homes: no more comes than the line carries, and nothing sooner than its round trips let it.
#[test]
fn real_work_between_two_homes_takes_what_such_lines_let_it() {
    let _turn = shared_turn();
    let names = "web,files,nix-cache,video,quic";
    let set = measured(&format!("internal --scenario home-dsl --workload {names}"), exit::OK);
    for name in names.split(',') {
        let cell = cell(&set, "internal", name);
        let metrics = Workload::named(name).unwrap().spec().metrics;
        for measure in metrics.iter().filter(|measure| measure.absent == Absent::Failure) {
            value(&cell.metrics, measure.name);
        }
        let carried = value(&cell.costs, "wire-per-payload");
        assert!((1.02..1.4).contains(&carried), "{name}: {carried} bytes for one");
    }
    let near = |workload, name, low: f64, high: f64| {
        let value = value(&cell(&set, "internal", workload).metrics, name);
        assert!((low..=high).contains(&value), "{workload} {name} is {value}");
    };
    // A connection, TLS, the request: three round trips; in QUIC, two.
    near("web", "first-byte-http2", 3.0 * 48.2, 4.0 * 48.2);
    near("web", "first-byte-http3", 2.0 * 48.2, 4.0 * 48.2);
    near("web", "page-http2", 1300.0, 3000.0);
    near("web", "page-http3", 1300.0, 4000.0);
    near("quic", "handshake", 48.2, 60.0);
    near("quic", "first-byte", 2.0 * 48.2, 120.0);
    near("quic", "datagram", 1400.0, 1500.0);
    for (workload, name) in [("quic", "goodput"), ("files", "goodput-large")] {
        near(workload, name, 7.5e6, 9.8e6);
    }
    near("nix-cache", "goodput", 2e6, 9.8e6);
    near("files", "files-small", 100.0, 320.0);
    for name in ["lost", "late", "breaks"] {
        near("video", name, 0.0, 0.0);
    }
}

#[test]
fn a_mesh_talks_pair_by_pair() {
    let _turn = shared_turn();
    let set = measured("wireguard --scenario many-3 --workload mesh,many-peers", exit::OK);
    for module in ["internal", "wireguard"] {
        let mesh = &cell(&set, module, "mesh").metrics;
        let goodput = mesh.iter().find(|metric| metric.name == "goodput").unwrap();
        assert_eq!(goodput.samples.len(), 6, "three members have six pairs");
        assert!((0.1..=1.0).contains(&value(mesh, "fairness")));
        let peers = &cell(&set, module, "many-peers").metrics;
        assert_eq!((value(peers, "members"), value(peers, "pairs")), (3.0, 100.0));
        assert!(value(peers, "half-of-pairs") <= value(peers, "all-pairs"));
    }
}

/// A lighthouse tells members of each other: one that comes back is not found without it, and is with it.
#[test]
fn a_dead_coordinator_is_missed_by_who_comes_back_and_not_by_who_stayed() {
    let _turn = shared_turn();
    let words = "nebula --scenario coordinator-restart --workload recover,orphaned";
    let set = measured(words, exit::OK);
    let told = |name| value(&cell(&set, "nebula", "orphaned").metrics, name);
    assert_eq!(told("tunnel-loss"), 0.0);
    assert_eq!((told("restart-works"), told("recovered")), (0.0, 1.0));
    // Nebula tells its lighthouse once a minute where it is.
    assert!((0.0..75e3).contains(&told("recovery-time")), "{}", told("recovery-time"));
    // Its certificate is made without the daemon; who others are is asked of the lighthouse.
    assert_eq!(told("join-works"), 0.0);
    let recover = cell(&set, "nebula", "recover");
    let events: Vec<_> =
        recover.events.iter().map(|event| (event.at_seconds, event.action.as_str())).collect();
    assert_eq!(events, [(5.0, "daemon-stop"), (65.0, "daemon-start")]);
    assert!(recover.after.is_some() && value(&recover.metrics, "silence") < 1000.0);
    let wire = &cell(&set, "internal", "orphaned").outcome;
    assert!(matches!(wire, Outcome::Unsupported { .. }), "{wire:?}");
}

/// Who starts while nobody introduces them gets through once somebody does.
#[test]
fn a_coordinator_that_is_away_at_first_is_waited_for() {
    let _turn = shared_turn();
    let set = measured("nebula --scenario late-coordinator --workload connect", exit::OK);
    let connect = cell(&set, "nebula", "connect");
    let time = value(&connect.metrics, "time");
    // Nebula asks its lighthouse once a minute.
    assert!((20e3..75e3).contains(&time), "{time}");
    let events: Vec<_> = connect.events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(events, ["daemon-stop", "daemon-start"]);
    assert!(value(&cell(&set, "internal", "connect").metrics, "time") < 1e3);
}

/// Two lighthouses of one network, of which one stops: whoever starts anew is found by the other one.
#[test]
fn one_of_two_coordinators_is_enough() {
    let _turn = shared_turn();
    let set = measured("nebula --scenario two-hubs --workload connect,recover", exit::OK);
    let silence = value(&cell(&set, "nebula", "recover").metrics, "silence");
    // bob's daemon is away for two seconds of it.
    assert!((1e3..30e3).contains(&silence), "{silence}");
}

/// With this seed a look after the restart met the interface of the daemon before, which the new one had yet to remove.
#[test]
fn a_daemon_that_is_started_anew_is_ready_by_what_is_its_own() {
    let _turn = shared_turn();
    let set = measured("wireguard --scenario home-dsl --workload connect,direct", exit::OK);
    assert!(value(&cell(&set, "wireguard", "direct").metrics, "time") > 0.0);
}

/// Neighbours talk over their own switch: a line of 24 ms is between neither.
#[test]
fn who_is_next_door_is_reached_on_the_lan() {
    let _turn = shared_turn();
    let set = measured("wireguard --scenario same-house --workload connect,ping", exit::OK);
    let rtt = value(&cell(&set, "wireguard", "ping").metrics, "rtt");
    assert!(rtt < 5.0, "{rtt} ms");
}

/// Gateways that are proved from behind: a carrier's hairpin past the filters of two homes, and a router that gives all
/// that nobody has asked for to somebody else.
#[test]
fn what_many_are_behind_is_proved_and_met_over() {
    let _turn = shared_turn();
    let set = measured("nebula --scenario shared-carrier --workload connect", exit::OK);
    let connect = cell(&set, "nebula", "connect");
    assert!(connect.nats.iter().all(|nat| nat.behaviour.contains("hairpin")), "{:?}", connect.nats);
    let set = measured("nebula --scenario hub-at-home --workload connect", exit::OK);
    let connect = cell(&set, "nebula", "connect");
    let house = connect.nats.iter().find(|nat| nat.site == "house").unwrap();
    assert!(house.behaviour.contains("mappings clash"), "{house:?}");
}

#[test]
fn a_way_that_becomes_narrower_loses_what_is_large_and_a_sleeper_everything() {
    let _turn = shared_turn();
    let set = measured("internal --scenario mtu-shrinks --workload recover", exit::OK);
    let told = |name| value(&cell(&set, "internal", "recover").metrics, name);
    assert!(told("silence") < 1e3 && told("silence-large") > 15e3);
    let set = measured("internal --scenario suspend --workload recover", exit::OK);
    let asleep = value(&cell(&set, "internal", "recover").metrics, "silence");
    assert!((ASLEEP..ASLEEP + 5e3).contains(&asleep), "{asleep}");
}

/// For how long bob's machine sleeps there, in ms.
const ASLEEP: f64 = 60e3;

fn write_workload(root: &Path, name: &str, measure: &str) -> String {
    let folder = root.join(name);
    fs::create_dir(&folder).unwrap();
    let toml = "summary = \"a round trip\"\nquestion = \"overhead\"\nseconds = 3\n[metric.rtt]\nunit = \"ms\"\nbetter = \"lower\"\n";
    fs::write(folder.join("workload.toml"), toml).unwrap();
    let scripts = [("serve", "#!/bin/sh\necho ready\nsleep 1000\n"), ("measure", measure)];
    for (script, text) in scripts {
        fs::write(folder.join(script), text).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.join(script), mode).unwrap();
    }
    folder.to_string_lossy().into_owned()
}

#[test]
fn a_workload_of_ones_own_is_measured_and_its_nonsense_is_none() {
    let _turn = shared_turn();
    let root = tempfile::tempdir().unwrap();
    let good = write_workload(
        root.path(),
        "own-ping",
        "#!/bin/sh\nping -n -c 3 -i 0.2 \"$TARGET\" | sed -n 's|^rtt.* = [^/]*/\\([^/]*\\)/.*|{\"rtt\": \\1}|p'\n",
    );
    let nonsense = write_workload(root.path(), "nonsense", "#!/bin/sh\necho '{\"rtt\": NaN}'\n");
    let words = format!("internal --scenario home-dsl --workload {good},{nonsense}");
    let out = tempfile::tempdir().unwrap();
    let set = measured_at(out.path(), &words, exit::CELLS_FAILED);
    let rtt = value(&cell(&set, "internal", "own-ping").metrics, "rtt");
    assert!((48.0..49.0).contains(&rtt), "{rtt}");
    match &cell(&set, "internal", "nonsense").outcome {
        Outcome::Failed { stage, machine, reason, .. } => {
            assert_eq!((stage.as_str(), machine.as_deref()), ("measure", Some("alice")));
            assert!(reason.contains("no metrics as JSON"), "{reason}");
        }
        outcome => panic!("{outcome:?}"),
    }
    // The run holds what they were made of: nobody needs the folders to measure them again.
    drop(root);
    let ended = run(&mut bench(&["repeat", &out.path().to_string_lossy()]));
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("2 of 2 cells identical"), "{}", ended.stdout);
}

#[test]
fn a_loss_of_power_is_unsupported_where_members_have_no_kernel_of_their_own() {
    let _turn = shared_turn();
    let set = measured("internal --scenario power-loss --workload ping,recover", exit::OK);
    assert!(cell(&set, "internal", "ping").outcome.is_ok());
    match &cell(&set, "internal", "recover").outcome {
        Outcome::Unsupported { reason } => assert!(reason.contains("is a container"), "{reason}"),
        outcome => panic!("{outcome:?}"),
    }
}
