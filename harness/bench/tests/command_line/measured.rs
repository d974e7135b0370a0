//! The main job: a real VPN on a bad network, beside the wire, from the command line to the files.

use std::fs;
use std::path::Path;

use meshbench::results::{
    self, CellKey, CellRecord, Clock, Direction, Outcome, OverlayPath, ResultSet,
};
use quick_junit::Report;

use crate::busy::Busy;
use crate::common::{Ended, run, shared_turn, skip, turn};
use crate::exit;
use crate::figures::{cell, cell_of};
use crate::program::bench;

#[test]
fn wireguard_is_measured_through_two_nats_on_a_lossy_link() {
    let _turn = shared_turn();
    let out = tempfile::tempdir().unwrap();
    let out = out.path();
    let ended = measured("wireguard --quick --clock virtual --scenario lossy --seed 7", out);
    assert_eq!(ended.code, Some(exit::OK.into()), "{}{}", ended.stdout, ended.stderr);
    let set = results::load(out).unwrap();
    the_network_is_what_the_scenario_says(&set);
    for module in ["internal", "wireguard"] {
        the_figures_are_those_of_such_a_network(&set, module);
    }
    let tunnel = cell(&set, "wireguard", "tcp");
    assert_eq!((tunnel.inner_mtu, tunnel.path), (Some(1420), OverlayPath::Direct));
    assert!(ended.stdout.contains("wireguard") && ended.stdout.contains("goodput"));

    assert!(set.cells.iter().all(|cell| cell.clock == Clock::Virtual && cell.sealed.is_some()));

    let of_wireguard = set.cells.iter().filter(|cell| cell.key.module == "wireguard").count();
    a_busy_host_repeats_it_to_the_last_digit(out, of_wireguard);
    a_digit_that_is_another_is_found(out);
    the_command_that_a_cell_holds_says_the_same_bytes(cell(&set, "internal", "ping"));
    a_table_can_be_shown_again(out, &ended.stdout);
    colours_are_for_terminals_that_want_them(out);
    every_sample_is_in_a_table_of_its_own(out, &set);
    a_result_that_was_tampered_with_is_refused(out);
}

/// Its layer lies over that of the packages, in a machine whose layers are memory.
#[test]
fn a_program_in_place_of_a_packaged_one_is_what_runs_in_virtual_time() {
    let _turn = shared_turn();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("wg");
    fs::write(&program, "#!/bin/sh\necho 'this is no wg' >&2\nexit 1\n").unwrap();
    let words = format!(
        "wireguard --quick --clock virtual --scenario lan --workload connect --seed 1 --binary {}",
        program.display()
    );
    let out = folder.path().join("out");
    let ended = measured(&words, &out);
    assert_eq!(ended.code, Some(exit::CELLS_FAILED.into()), "{}{}", ended.stdout, ended.stderr);
    let set = results::load(&out).unwrap();
    let outcome = &cell(&set, "wireguard", "connect").outcome;
    let told =
        matches!(outcome, Outcome::Failed { reason, .. } if reason.contains("this is no wg"));
    assert!(told, "{outcome:?}");
}

#[test]
fn who_roams_has_a_name_or_reboots_is_found_again_as_far_as_the_vpn_looks() {
    let _turn = shared_turn();
    let out = tempfile::tempdir().unwrap();
    let words = "wireguard --quick --clock virtual --scenario lte-roaming,moving-server,phone-to-home,reboot --workload connect,recover --seed 1";
    let ended = measured(words, out.path());
    // WireGuard asks for a name when it is set up, and never again.
    assert_eq!(ended.code, Some(exit::CELLS_FAILED.into()), "{}{}", ended.stdout, ended.stderr);
    let set = results::load(out.path()).unwrap();
    let cell = |scenario, module, workload| cell_of(&set, [scenario, module, workload]);
    let roamed = cell("lte-roaming", "wireguard", "recover");
    assert!(roamed.outcome.is_ok(), "{:?}", roamed.outcome);
    let proved: Vec<&str> = roamed.nats.iter().map(|nat| nat.site.as_str()).collect();
    assert!(proved.contains(&"alice") && proved.contains(&"phone"), "{proved:?}");
    // By IPv6 alone the name stands for what the resolver makes of an address of IPv4.
    for named in ["moving-server", "phone-to-home"] {
        let connect = &cell(named, "wireguard", "connect").outcome;
        assert!(connect.is_ok(), "{named}: {connect:?}");
        let lost = &cell(named, "wireguard", "recover").outcome;
        assert!(matches!(lost, Outcome::Failed { .. }), "{named}: {lost:?}");
        let wire = &cell(named, "internal", "recover").outcome;
        assert!(matches!(wire, Outcome::Unsupported { .. }), "{named}: {wire:?}");
    }
    for module in ["internal", "wireguard"] {
        let rebooted = cell("reboot", module, "recover");
        assert!(rebooted.outcome.is_ok(), "{module}: {:?}", rebooted.outcome);
        let silence = rebooted.metrics.iter().find(|metric| metric.name == "silence").unwrap();
        assert!(
            (300.0..60e3).contains(&silence.value),
            "{module}: silent for {} ms",
            silence.value
        );
    }
}

/// What a VPN needs beyond the time that the machine itself takes to boot.
#[test]
fn an_overlay_comes_back_after_a_loss_of_power() {
    let _turn = turn();
    let out = tempfile::tempdir().unwrap();
    // A container of virtual time has no power to lose.
    let words = "wireguard --quick --clock real --scenario power-loss --workload recover --seed 7";
    let ended = measured(words, out.path());
    assert_eq!(ended.code, Some(exit::OK.into()), "{}{}", ended.stdout, ended.stderr);
    let set = results::load(out.path()).unwrap();
    for module in ["internal", "wireguard"] {
        let silence = metric(&set, module, "recover", "silence");
        println!("{module} was silent for {silence:.0} ms");
        // The power is off for three seconds.
        assert!((3e3..120e3).contains(&silence), "{module}: silent for {silence} ms");
    }
}

/// A run of these words, with its results there.
fn measured(words: &str, out: &Path) -> Ended {
    run(bench(&words.split(' ').collect::<Vec<_>>()).arg("--out").arg(out))
}

fn metric(set: &ResultSet, module: &str, workload: &str, name: &str) -> f64 {
    let cell = cell(set, module, workload);
    let metric = cell.metrics.iter().find(|metric| metric.name == name);
    metric.unwrap_or_else(|| panic!("{module} {workload} has no {name}: {cell:?}")).value
}

fn the_network_is_what_the_scenario_says(set: &ResultSet) {
    let nats = &set.run.scenarios[0].nats;
    let sites: Vec<&str> = nats.iter().map(|nat| nat.site.as_str()).collect();
    assert_eq!(sites, ["alice", "bob"]);
    assert!(nats.iter().all(|nat| nat.mapping == "endpoint-independent"));
    let links = &cell(set, "wireguard", "ping").links;
    for (site, direction) in
        [("alice", Direction::Up), ("alice", Direction::Down), ("bob", Direction::Up)]
    {
        let link = links.iter().find(|l| l.site == site && l.direction == direction).unwrap();
        let delay = (link.configured.delay_ms.unwrap(), link.measured.delay_ms.unwrap());
        assert!((delay.0 - delay.1).abs() < 10.0, "{link:?}");
        let rate = (link.configured.rate_bits_per_second, link.measured.rate_bits_per_second);
        let ratio = rate.1.unwrap() / rate.0.unwrap();
        assert!((0.8..1.2).contains(&ratio), "{link:?}");
    }
}

/// Four times 20 ms of delay, 20 Mbit/s, 2 % of loss in each direction of each link.
fn the_figures_are_those_of_such_a_network(set: &ResultSet, module: &str) {
    let rtt = metric(set, module, "ping", "rtt");
    // Each of the four delays was proved to within 10 ms; the machines themselves take a share.
    assert!((78.0..140.0).contains(&rtt), "{module}: round trip of {rtt} ms");
    for direction in ["goodput-forward", "goodput-reverse"] {
        let goodput = metric(set, module, "tcp", direction);
        // By Mathis' formula 1 to 2 Mbit/s; without the loss, the line's 20 would be filled.
        assert!((100e3..8e6).contains(&goodput), "{module}: {direction} {goodput} bit/s");
    }
    let loss = metric(set, module, "udp", "loss");
    // 4 % of some thousand datagrams, which are lost three in a row.
    assert!((0.5..12.0).contains(&loss), "{module}: {loss} % lost");
    let connect = metric(set, module, "connect", "time");
    // A handshake that gets lost is repeated after five seconds: three in a row are next to impossible.
    assert!((78.0..20e3).contains(&connect), "{module}: connected after {connect} ms");
}

fn a_busy_host_repeats_it_to_the_last_digit(out: &Path, cells: usize) {
    let busy = Busy::new(2);
    let dir = out.to_string_lossy();
    let ended = run(&mut bench(&["repeat", &dir, "1_lossy_wireguard"]));
    drop(busy);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let all = format!("{cells} of {cells} cells identical");
    assert!(cells > 3 && ended.stdout.contains(&all), "{}", ended.stdout);
}

fn a_digit_that_is_another_is_found(out: &Path) {
    let path = out.join("cells/1_lossy_internal_ping.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut cell: serde_json::Value = serde_json::from_str(&text).unwrap();
    let value = cell["metrics"][0]["value"].as_f64().unwrap();
    cell["metrics"][0]["value"] = (value * (1.0 + 1e-12)).into();
    fs::write(&path, cell.to_string()).unwrap();
    let ended = run(&mut bench(&["repeat", &out.to_string_lossy(), "1_lossy_internal_ping"]));
    fs::write(&path, text).unwrap();
    assert_eq!(ended.code, Some(exit::REGRESSION.into()), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("/metrics/0/value was"), "{}", ended.stdout);
}

fn the_command_that_a_cell_holds_says_the_same_bytes(cell: &CellRecord) {
    let sealed = cell.sealed.as_ref().unwrap();
    let words = sealed.command.strip_prefix("bench ").unwrap();
    let out = tempfile::tempdir().unwrap();
    let ended = measured(words, out.path());
    assert_eq!(ended.code, Some(0), "{words}: {}{}", ended.stdout, ended.stderr);
    let set = results::load(out.path()).unwrap();
    assert!(set.cells.iter().all(|cell| cell.sealed.as_ref().unwrap().said == sealed.said));
}

#[test]
fn a_field_of_the_grid_is_repeated_to_the_last_digit() {
    let _turn = shared_turn();
    let out = tempfile::tempdir().unwrap();
    let words = "nat-grid wireguard --kinds restricted-cone --clock virtual --seed 3";
    let ended = measured(words, out.path());
    assert_eq!(ended.code, Some(exit::OK.into()), "{}{}", ended.stdout, ended.stderr);
    let run_of = results::load(out.path()).unwrap().run;
    assert!(run_of.environment.clock_source.is_some(), "{:?}", run_of.environment);
    assert!(run_of.modules.iter().all(|module| module.version.is_some()), "{:?}", run_of.modules);
    let ended = run(bench(&["repeat"]).arg(out.path()));
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("1 of 1 cells identical"), "{}", ended.stdout);
}

fn a_table_can_be_shown_again(out: &Path, table: &str) {
    let shown = run(&mut bench(&["show", &out.to_string_lossy()]));
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), table));
}

fn colours_are_for_terminals_that_want_them(out: &Path) {
    let dir = out.to_string_lossy();
    let colored = |text: &str| text.contains("\x1b[");
    assert!(colored(&run(&mut bench(&["show", &dir, "--color", "always"])).stdout));
    assert!(!colored(&run(&mut bench(&["show", &dir])).stdout));
    // `script` runs its command on a terminal; without it there is none to try.
    let on_terminal = |no_color: &str| {
        let command = format!("'{}' show '{dir}'", env!("CARGO_BIN_EXE_bench"));
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", no_color);
        script.stdin(std::process::Stdio::null()).output()
    };
    let Ok(output) = on_terminal("") else { return skip("colours on a terminal need script(1)") };
    assert!(colored(&String::from_utf8_lossy(&output.stdout)));
    let output = on_terminal("1").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("wireguard") && !colored(&text), "{text}");
}

fn every_sample_is_in_a_table_of_its_own(out: &Path, set: &ResultSet) {
    let csv = fs::read_to_string(out.join("samples.csv")).unwrap();
    let samples = set.cells.iter().flat_map(|cell| &cell.metrics).map(|m| m.samples.len());
    assert_eq!(csv.lines().count(), samples.sum::<usize>() + 1);
    let junit = fs::read_to_string(out.join("junit.xml")).unwrap();
    let junit = Report::deserialize_from_str(&junit).unwrap();
    let cases = junit.test_suites.iter().flat_map(|suite| &suite.test_cases);
    let cases: Vec<_> = cases.map(|case| (case.classname.as_deref(), case.name.as_str())).collect();
    let wanted = set.cells.iter().map(|cell| {
        let CellKey { block, scenario, module, workload } = &cell.key;
        (format!("{scenario}.{module}"), format!("{workload} block {block}"))
    });
    let wanted: Vec<_> = wanted.collect();
    assert!(
        cases
            .iter()
            .copied()
            .eq(wanted.iter().map(|(class, name)| (Some(class.as_str()), name.as_str())))
    );
}

fn a_result_that_was_tampered_with_is_refused(out: &Path) {
    let path = out.join("cells/1_lossy_wireguard_ping.json");
    let text = fs::read_to_string(&path).unwrap();
    for (from, to, reason) in [
        ("\"value\": ", "\"value\": NaN, \"x\": ", "expected value"),
        ("\"block\": 1", "\"block\": 2", "its key is that of"),
        ("\"better\": \"lower\"", "\"bitter\": \"lower\"", "unknown field `bitter`"),
    ] {
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let shown = run(&mut bench(&["show", &out.to_string_lossy()]));
        assert_eq!(shown.code, Some(exit::USAGE.into()));
        let said = shown.said();
        assert!(said.contains("lossy_wireguard_ping.json") && said.contains(reason), "{said}");
    }
    fs::write(&path, text).unwrap();
}
