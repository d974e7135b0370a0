//! Networks that people complain of, in virtual time: what they do to the wire and to a VPN.

use std::path::Path;

use meshbench::results::{self, CellRecord, Outcome, ResultSet};

use crate::common::{run, shared_turn};
use crate::exit;
use crate::program::bench;

fn measured(words: &str, out: &Path) -> ResultSet {
    let place = out.to_string_lossy().into_owned();
    let always = ["--quick", "--clock", "virtual", "--jobs", "2", "--seed", "5", "--out", &place];
    let arguments: Vec<&str> = words.split(' ').chain(always).collect();
    let ended = run(&mut bench(&arguments));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}{}", ended.stdout, ended.stderr);
    results::load(out).unwrap()
}

fn cell<'a>(set: &'a ResultSet, place: [&str; 3]) -> &'a CellRecord {
    let found = set.cells.iter().find(|cell| {
        let key = &cell.key;
        [key.scenario.as_str(), &key.module, &key.workload] == place
    });
    found.unwrap_or_else(|| panic!("no cell {place:?}"))
}

fn value(cell: &CellRecord, name: &str) -> f64 {
    let found = cell.metrics.iter().find(|metric| metric.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {:?}", cell.metrics)).value
}

#[test]
fn narrow_lines_second_lines_half_dead_ones_and_odd_lans_do_what_they_are_called_for() {
    let _turn = shared_turn();
    let out = tempfile::tempdir().unwrap();
    let words = "wireguard --scenario pppoe,ds-lite,mtu-blackhole,mtu-1280,second-uplink,half-dead-line,lan-in-100-64 --workload ping,gateway,recover";
    let set = measured(words, out.path());
    for (scenario, carries) in
        [("pppoe", 1492), ("ds-lite", 1460), ("mtu-blackhole", 1400), ("mtu-1280", 1280)]
    {
        let inner = |module| cell(&set, [scenario, module, "ping"]).inner_mtu;
        assert_eq!(inner("internal"), Some(carries), "{scenario}");
        // The kernel cuts up what it has put into UDP.
        assert_eq!(inner("wireguard"), Some(1420), "{scenario}");
    }
    for module in ["internal", "wireguard"] {
        let lan = cell(&set, ["lan-in-100-64", module, "gateway"]);
        assert_eq!(value(lan, "loss"), 0.0, "{module}");
    }
    // The line fails at 5 s, and the router goes over at 15 s.
    let over = cell(&set, ["second-uplink", "wireguard", "recover"]);
    let (begins, lasts) = (value(over, "silence-begins"), value(over, "silence"));
    assert!((4500.0..5100.0).contains(&begins), "silent after {begins} ms");
    assert!((9500.0..15e3).contains(&lasts), "silent for {lasts} ms");
    // In one direction, in the other one, of UDP, of every packet: ten seconds each.
    let halves = cell(&set, ["half-dead-line", "wireguard", "recover"]);
    let samples = |name: &str| {
        let metric = halves.metrics.iter().find(|metric| metric.name == name).unwrap();
        metric.samples.iter().map(|ms| (ms / 1e3).round()).collect::<Vec<_>>()
    };
    assert_eq!(samples("silence-begins"), [5.0, 25.0, 45.0, 65.0]);
    assert_eq!(samples("silence"), [10.0; 4]);
    let wire = &cell(&set, ["second-uplink", "internal", "recover"]).outcome;
    assert!(matches!(wire, Outcome::Unsupported { .. }), "{wire:?}");
}

/// Pings come through such a line, and nothing that is larger than it says.
#[test]
fn a_stream_on_a_line_that_swallows_it_is_a_figure_and_no_hang() {
    let _turn = shared_turn();
    let out = tempfile::tempdir().unwrap();
    let set = measured("internal --scenario mtu-1280 --workload ping,tcp", out.path());
    assert_eq!(value(cell(&set, ["mtu-1280", "internal", "ping"]), "loss"), 0.0);
    let stalled = value(cell(&set, ["mtu-1280", "internal", "tcp"]), "goodput-forward");
    assert!(stalled < 10e3, "{stalled} bit/s");
}
