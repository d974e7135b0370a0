//! `bench compare`, `gate` and `noise` on files alone. No machine is started.

use std::path::Path;

use rstest::rstest;
use serde_json::{Value, json};

use crate::common::Ended;
use crate::exit;
use crate::made_up::{Results, run};
use crate::program::bench;

fn compared(a: &Results, b: &Results, more: &[&str]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (a.write(dir.path()), b.write(dir.path()));
    run(&mut bench(&[&["compare", &a, &b], more].concat()))
}

#[rstest]
#[case::slower(0.9, 0.7, exit::REGRESSION, "regression: wireguard lan tcp goodput-forward: 0.78×")]
#[case::faster(0.7, 0.9, exit::OK, "1 better")]
#[case::same(0.9, 0.9, exit::OK, "0 better, 0 worse")]
#[case::a_little_slower(0.9, 0.87, exit::OK, "1 worse")]
fn a_regression_has_an_exit_code_of_its_own(
    #[case] a: f64,
    #[case] b: f64,
    #[case] code: u8,
    #[case] says: &str,
) {
    let ended = compared(&Results::new("run-a", 7, a), &Results::new("run-b", 7, b), &[]);
    assert_eq!(ended.code, Some(code.into()), "{}", ended.said());
    assert!(ended.stdout.contains(says), "{}", ended.stdout);
    assert!(ended.stdout.contains("A  run-a") && ended.stdout.contains("B  run-b"));
}

#[test]
fn the_threshold_is_in_percent() {
    let (a, b) = (Results::new("a", 7, 0.9), Results::new("b", 7, 0.7));
    assert_eq!(compared(&a, &b, &["--threshold", "30"]).code, Some(exit::OK.into()));
    assert_eq!(compared(&a, &b, &["--threshold", "20%"]).code, Some(exit::REGRESSION.into()));
    assert_eq!(compared(&a, &b, &["--threshold", "much"]).code, Some(exit::USAGE.into()));
}

#[test]
fn a_module_that_fails_now_is_a_regression_even_with_one_block() {
    let (a, b) = (Results::new("a", 1, 0.9), Results::new("b", 1, 0.9).fail_wireguard());
    let ended = compared(&a, &b, &[]);
    assert_eq!(ended.code, Some(exit::REGRESSION.into()), "{}", ended.said());
    assert!(ended.stdout.contains("not measured in B (failed)"), "{}", ended.stdout);
    let back = compared(&b, &a, &[]);
    assert_eq!(back.code, Some(exit::OK.into()));
    assert!(back.stdout.contains("0 better"), "{}", back.stdout);
}

#[test]
fn testbeds_that_differ_are_refused_with_the_reason_unless_forced() {
    let (a, mut b) = (Results::new("a", 7, 0.9), Results::new("b", 7, 0.9));
    b.run["environment"]["host_cpu"] = json!("Another CPU");
    b.run["environment"]["accelerator"] = json!("kvm");
    let ended = compared(&a, &b, &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(exit::USAGE.into()), ""));
    let text = ended.said();
    assert!(text.contains("Another CPU") && text.contains("TCG in A, KVM in B"), "{text}");
    assert!(text.contains("--force"), "{text}");
    let forced = compared(&a, &b, &["--force"]);
    assert_eq!(forced.code, Some(exit::OK.into()));
    assert!(forced.stderr.contains("Another CPU"), "{}", forced.stderr);
}

#[test]
fn json_says_what_the_table_says() {
    let (a, b) = (Results::new("a", 7, 0.9), Results::new("b", 7, 0.7));
    let ended = compared(&a, &b, &["--json"]);
    assert_eq!(ended.code, Some(exit::REGRESSION.into()));
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&json["a"]["run"], &json["b"]["run"]), (&json!("a"), &json!("b")));
    assert_eq!(json["lines"].as_array().unwrap().len(), 2);
    let regression = &json["regressions"][0];
    assert_eq!(regression["change"], "worse");
    assert_eq!(regression["a"]["measured"], 7);
    assert!(regression["p_adjusted"].as_f64().unwrap() < 0.05);
    assert!((regression["ratio"].as_f64().unwrap() - 7.0 / 9.0).abs() < 1e-9);
}

#[test]
fn two_modules_of_a_run_are_compared_with_the_same_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let path = Results::new("a", 7, 0.5).write(dir.path());
    let ended = run(&mut bench(&["compare", &path, "--modules", "internal,wireguard"]));
    assert_eq!(ended.code, Some(exit::REGRESSION.into()), "{}", ended.said());
    assert!(ended.stdout.contains("0.50× ▼"), "{}", ended.stdout);
    let ended = run(&mut bench(&["compare", &path, "--modules", "wireguard,internal"]));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
    for (modules, says) in [("wireguard", "two modules"), ("internal,wireguad", "`wireguard`?")] {
        let ended = run(&mut bench(&["compare", &path, "--modules", modules]));
        assert_eq!(ended.code, Some(exit::USAGE.into()));
        assert!(ended.said().contains(says), "{}", ended.stderr);
    }
    let ended = run(&mut bench(&["compare", &path]));
    assert_eq!(ended.code, Some(exit::USAGE.into()));
    assert!(ended.said().contains("--modules A,B"), "{}", ended.stderr);
}

/// As an author would try it: the same build again, and one that carries 0.45 of it, in 5 blocks.
#[test]
fn a_gate_says_no_yes_or_not_known_by_its_exit_code() {
    let gate = |a: &Results, b: &Results| {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (a.write(dir.path()), b.write(dir.path()));
        run(&mut bench(&["gate", &a, &b]))
    };
    let before = Results::new("a", 5, 0.9);
    for (b, code, says) in [
        (Results::new("b", 5, 0.9), exit::OK, "gate: no regression"),
        (Results::new("b", 5, 0.9 * 0.45), exit::REGRESSION, "gate: a regression"),
        (Results::new("b", 2, 0.9 * 0.45), exit::UNDECIDED, "gate: not known"),
    ] {
        let ended = gate(&before, &b);
        assert_eq!(ended.code, Some(code.into()), "{}", ended.said());
        assert!(ended.stdout.contains(says), "{}", ended.stdout);
        assert!(ended.stdout.contains(" blocks, after 1 look and "), "{}", ended.stdout);
    }
    let ended = gate(&Results::new("a", 3, 0.9), &Results::new("b", 3, 0.9 * 0.45));
    assert!(ended.stdout.contains("needs about 4 blocks, has 3"), "{}", ended.stdout);
}

#[test]
fn undecided_has_an_exit_code_on_request_and_so_has_an_unfinished_run() {
    let (a, b) = (Results::new("a", 2, 0.9), Results::new("b", 2, 0.8));
    assert_eq!(compared(&a, &b, &[]).code, Some(exit::OK.into()));
    assert_eq!(compared(&a, &b, &["--decide"]).code, Some(exit::UNDECIDED.into()));
    let (a, mut b) = (Results::new("a", 7, 0.9), Results::new("b", 7, 0.9));
    assert_eq!(compared(&a, &b, &["--decide"]).code, Some(exit::OK.into()));
    for (left, part) in [(13, "13 of 14 cells"), (12, "6 of 7 blocks")] {
        b.cells.truncate(left);
        let ended = compared(&a, &b, &["--decide"]);
        assert_eq!(ended.code, Some(exit::UNDECIDED.into()));
        let told = format!("b is unfinished: {part}");
        assert!(ended.stdout.contains(&told), "{}", ended.stdout);
    }
}

#[test]
fn other_contents_are_told_and_another_wire_is_refused() {
    let (mut a, mut b) = (Results::new("a", 7, 0.9), Results::new("b", 7, 0.9));
    assert!(compared(&a, &b, &[]).stdout.contains("of the same contents"));
    a.run["modules"][1]["sha256"] = json!("one");
    b.run["modules"][1]["sha256"] = json!("two");
    let ended = compared(&a, &b, &[]);
    assert_eq!(ended.code, Some(exit::OK.into()));
    assert!(ended.stdout.contains("wireguard: the files of its module"), "{}", ended.stdout);
    a.run["scenarios"][0]["sha256"] = json!("one");
    b.run["scenarios"][0]["sha256"] = json!("two");
    let ended = compared(&a, &b, &[]);
    assert_eq!(ended.code, Some(exit::USAGE.into()));
    assert!(ended.said().contains("scenario lan: its file"), "{}", ended.stderr);
}

#[test]
fn the_noise_floor_of_one_thing_measured_twice_is_stored_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let write = |results: &Results| results.write(dir.path());
    let (a, again) = (write(&Results::new("a", 7, 0.9)), write(&Results::new("again", 7, 0.83)));
    let slower = write(&Results::new("slower", 7, 0.85));
    assert_eq!(run(&mut bench(&["compare", &a, &slower])).code, Some(exit::REGRESSION.into()));
    let ended = run(&mut bench(&["noise", &a, &again]));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
    assert!(ended.stdout.contains("8.54 %"), "{}", ended.stdout);
    assert!(ended.stdout.contains("more than noise is at work"), "{}", ended.stdout);
    assert!(Path::new(&a).join("noise.json").exists());
    let ended = run(&mut bench(&["compare", &a, &slower]));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.stdout);
    assert!(ended.stdout.contains("noise floors of a and again"), "{}", ended.stdout);
    let ended = run(&mut bench(&["compare", &a, &slower, "--decide"]));
    assert_eq!(ended.code, Some(exit::UNDECIDED.into()), "{}", ended.stdout);
    assert!(ended.stdout.contains("8.54 %, is above the threshold"), "{}", ended.stdout);
    let ended = run(&mut bench(&["compare", &again, &slower, "--noise", &again]));
    assert_eq!(ended.code, Some(exit::USAGE.into()));
    assert!(ended.said().contains("bench noise A B"), "{}", ended.stderr);
}

#[test]
fn two_modules_of_one_run_have_a_noise_floor_if_they_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let of = |id: &str, hash: Option<&str>, clock: &str| {
        let mut results = Results::new(id, 7, 0.9);
        results.run["clock"] = json!(clock);
        results.cells.iter_mut().for_each(|cell| cell["clock"] = json!(clock));
        for (module, other) in results.run["modules"].as_array_mut().unwrap().iter_mut().zip(1..) {
            module["sha256"] = hash.map_or_else(|| json!(other.to_string()), |hash| json!(hash));
        }
        let place = results.write(dir.path());
        run(&mut bench(&["noise", &place, "--modules", "internal,wireguard"]))
    };
    let two = of("two", None, "real");
    assert_eq!(two.code, Some(exit::USAGE.into()), "{}", two.said());
    assert!(two.said().contains("the files of the modules"), "{}", two.said());
    let one = of("one", Some("same"), "real");
    assert_eq!(one.code, Some(exit::OK.into()), "{}", one.said());
    let virtual_time = of("virtual", Some("same"), "virtual");
    assert!(virtual_time.said().contains("do not differ"), "{}", virtual_time.said());
}

/// Blocks of one seed are the same to the last digit in virtual time: a floor of nothing, of nothing.
#[test]
fn runs_of_virtual_time_that_share_seeds_have_no_noise_floor() {
    let dir = tempfile::tempdir().unwrap();
    let of = |id: &str, seed: u32| {
        let mut results = Results::new(id, 7, 0.9);
        (results.run["seed"], results.run["clock"]) = (json!(seed), json!("virtual"));
        results.cells.iter_mut().for_each(|cell| cell["clock"] = json!("virtual"));
        results.write(dir.path())
    };
    let (a, overlaps, apart) = (of("a", 1), of("b", 7), of("c", 8));
    let ended = run(&mut bench(&["noise", &a, &overlaps]));
    assert_eq!(ended.code, Some(exit::USAGE.into()), "{}", ended.said());
    assert!(ended.said().contains("A and B share 1 of theirs"), "{}", ended.said());
    assert!(ended.said().contains("--seed 1001"), "{}", ended.said());
    let ended = run(&mut bench(&["noise", &a, &apart]));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
}
