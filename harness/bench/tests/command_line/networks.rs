//! Networks that people complain of, in virtual time: what they do to the wire and to a VPN.

use meshbench::results::Outcome;

use crate::common::shared_turn;
use crate::exit;
use crate::figures::{cell, cell_of, measured, value};

#[test]
fn narrow_lines_second_lines_half_dead_ones_and_odd_lans_do_what_they_are_called_for() {
    let _turn = shared_turn();
    let words = "wireguard --scenario pppoe,ds-lite,mtu-blackhole,mtu-1280,second-uplink,half-dead-line,lan-in-100-64 --workload ping,gateway,recover";
    let set = measured(words, exit::OK);
    for (scenario, carries) in
        [("pppoe", 1492), ("ds-lite", 1460), ("mtu-blackhole", 1400), ("mtu-1280", 1280)]
    {
        let inner = |module| cell_of(&set, [scenario, module, "ping"]).inner_mtu;
        assert_eq!(inner("internal"), Some(carries), "{scenario}");
        // The kernel cuts up what it has put into UDP.
        assert_eq!(inner("wireguard"), Some(1420), "{scenario}");
    }
    for module in ["internal", "wireguard"] {
        let lan = cell_of(&set, ["lan-in-100-64", module, "gateway"]);
        assert_eq!(value(&lan.metrics, "loss"), 0.0, "{module}");
    }
    // The line fails at 5 s, and the router goes over at 15 s.
    let over = cell_of(&set, ["second-uplink", "wireguard", "recover"]);
    let (begins, lasts) = (value(&over.metrics, "silence-begins"), value(&over.metrics, "silence"));
    assert!((4500.0..5100.0).contains(&begins), "silent after {begins} ms");
    assert!((9500.0..15e3).contains(&lasts), "silent for {lasts} ms");
    // In one direction, in the other one, of UDP, of every packet: ten seconds each.
    let halves = cell_of(&set, ["half-dead-line", "wireguard", "recover"]);
    let samples = |name: &str| {
        let metric = halves.metrics.iter().find(|metric| metric.name == name).unwrap();
        metric.samples.iter().map(|ms| (ms / 1e3).round()).collect::<Vec<_>>()
    };
    assert_eq!(samples("silence-begins"), [5.0, 25.0, 45.0, 65.0]);
    assert_eq!(samples("silence"), [10.0; 4]);
    let wire = &cell_of(&set, ["second-uplink", "internal", "recover"]).outcome;
    assert!(matches!(wire, Outcome::Unsupported { .. }), "{wire:?}");
}

/// Pings come through such a line, and nothing that is larger than it says.
#[test]
fn a_stream_on_a_line_that_swallows_it_is_a_figure_and_no_hang() {
    let _turn = shared_turn();
    let set = measured("internal --scenario mtu-1280 --workload ping,tcp", exit::OK);
    assert_eq!(value(&cell(&set, "internal", "ping").metrics, "loss"), 0.0);
    let stalled = value(&cell(&set, "internal", "tcp").metrics, "goodput-forward");
    assert!(stalled < 10e3, "{stalled} bit/s");
}
