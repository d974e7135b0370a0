use rstest::rstest;

use super::*;
use crate::report::table::Style;
use crate::results::sample::{self, cell, metric};
use crate::results::{
    Accelerator, Better, BinaryRecord, Clock, GuestRecord, Impairment, Metric, NoiseFloor, Outcome,
    OwnWorkload, RunRecord, Start, Unit,
};

const PLAIN: Style = Style { color: false, width: 100 };
const FIVE: Threshold = Threshold(0.05);

/// A run of `blocks` in which wireguard is `factor` times as fast as the wire, with a little noise.
fn run(blocks: u32, factor: f64) -> ResultSet {
    let mut cells = Vec::new();
    for block in 1..=blocks {
        let drift = 1.0 + f64::from(block * 7 % 5) / 1000.0;
        for (module, factor) in [("internal", 1.0), ("wireguard", factor)] {
            let rate = 50e6 * factor * drift;
            let metrics = vec![
                metric("goodput", Unit::BitsPerSecond, Better::Higher, rate),
                metric("retransmits", Unit::Count, Better::Neutral, 12.0),
            ];
            cells.push(cell(block, "lan", module, "tcp", metrics));
            let rtt = metric("rtt", Unit::Milliseconds, Better::Lower, 0.4 / factor * drift);
            cells.push(cell(block, "lan", module, "ping", vec![rtt]));
        }
    }
    ResultSet { run: RunRecord { blocks, ..sample::run() }, cells }
}

fn compared(a: &ResultSet, b: &ResultSet) -> Vec<Line> {
    runs(a, b, &Question::default()).unwrap()
}

fn change(lines: &[Line], module: &str, metric: &str) -> Change {
    lines.iter().find(|line| line.module == module && line.metric == metric).unwrap().change
}

fn spoil(set: &mut ResultSet, workload: &str, blocks: std::ops::RangeInclusive<u32>, to: Outcome) {
    for cell in &mut set.cells {
        let key = &cell.key;
        if key.module == "wireguard" && key.workload == workload && blocks.contains(&key.block) {
            cell.outcome = to.clone();
            cell.metrics.clear();
        }
    }
}

fn failure() -> Outcome {
    Outcome::Failed { stage: "measure".into(), machine: None, reason: "x".into(), evidence: vec![] }
}

#[rstest]
#[case::faster(0.8, 0.9, Change::Better, Change::Better, false)]
#[case::slower(0.9, 0.8, Change::Worse, Change::Worse, true)]
#[case::same(0.9, 0.9, Change::Alike, Change::Alike, false)]
#[case::within_the_noise_floor(0.9, 0.893, Change::Alike, Change::Alike, false)]
#[case::worse_but_within_the_threshold(0.9, 0.87, Change::Worse, Change::Worse, false)]
fn less_rtt_and_more_goodput_are_better(
    #[case] a: f64,
    #[case] b: f64,
    #[case] goodput: Change,
    #[case] rtt: Change,
    #[case] regression: bool,
) {
    let lines = compared(&run(7, a), &run(7, b));
    assert_eq!(change(&lines, "wireguard", "goodput"), goodput);
    assert_eq!(change(&lines, "wireguard", "rtt"), rtt);
    assert_eq!(change(&lines, "internal", "rtt"), Change::Alike);
    assert_eq!(lines.iter().any(|line| line.is_regression(FIVE)), regression);
}

/// 0.96× (0.93 – 0.98) of a threshold of 5 % is worse, is none by its median, and may well be one.
#[test]
fn what_is_worse_is_no_regression_only_if_its_interval_says_so() {
    let noisy = |factor: f64| {
        let mut set = run(7, factor);
        for cell in set.cells.iter_mut().filter(|cell| cell.key.module == "wireguard") {
            let noise = [1.0, 1.015, 0.985, 1.01, 0.99, 1.005, 0.995];
            cell.metrics[0].value *= noise[cell.key.block as usize - 1];
        }
        set
    };
    let goodput = |b: &ResultSet| {
        let question = Question {
            filter: Filter { metrics: vec!["goodput".into()], ..Filter::default() },
            ..Question::default()
        };
        let lines = runs(&noisy(0.9), b, &question).unwrap();
        lines.into_iter().find(|line| line.in_question).unwrap()
    };
    let line = goodput(&noisy(0.9 * 0.96));
    let [low, high] = line.ratio_interval.unwrap();
    assert!(line.change == Change::Worse && low < 0.95 && high < 1.0, "{line:?}");
    assert!(!line.is_regression(FIVE) && !line.no_worse && line.is_open(FIVE));
    assert!(line.blocks_needed.is_some_and(|needed| needed > 7), "{line:?}");
    let text = render(Names::Runs(&run(7, 1.0).run, &run(7, 1.0).run), &[], &[line], FIVE, PLAIN);
    assert!(text.contains("undecided: wireguard lan tcp goodput: 0.96× (0.9"), "{text}");
    let line = goodput(&run(7, 0.9 * 0.98));
    assert!(line.no_worse && !line.is_open(FIVE), "{line:?}");
}

#[test]
fn three_blocks_are_too_few_to_call_anything_and_a_fourth_would_tell() {
    let lines = compared(&run(3, 0.9), &run(3, 0.2));
    assert_eq!(change(&lines, "wireguard", "goodput"), Change::Undecided);
    assert!(!lines.iter().any(|line| line.is_regression(FIVE)));
    let asked: Vec<&Line> = lines.iter().filter(|line| line.is_undecided()).collect();
    assert_eq!(asked.iter().map(|line| line.blocks_needed).collect::<Vec<_>>(), [Some(4); 2]);
}

/// What was filed: goodput × 0.45 in 5 blocks was `?`, among lines of which half were the wire's.
#[test]
fn a_clear_loss_in_five_blocks_is_one_among_however_many_lines() {
    let (mut a, mut b) = (run(5, 0.9), run(5, 0.9));
    for set in [&mut a, &mut b] {
        for cell in &mut set.cells {
            let like = |n| Metric { name: format!("other-{n}"), ..cell.metrics[0].clone() };
            cell.metrics.extend((0..20).map(like).collect::<Vec<_>>());
        }
    }
    let goodput = b.cells.iter_mut().filter(|it| it.key.module == "wireguard");
    goodput.for_each(|cell| cell.metrics[0].value *= 0.45);
    let lines = compared(&a, &b);
    assert_eq!(change(&lines, "wireguard", "goodput"), Change::Worse);
    assert!(lines.iter().any(|line| line.is_regression(FIVE)));
}

#[test]
fn lines_that_are_not_in_question_make_no_verdict_harder() {
    let lines = compared(&run(5, 0.9), &run(5, 0.5));
    let asked: Vec<&Line> = lines.iter().filter(|line| line.in_question).collect();
    assert_eq!(asked.iter().map(|it| it.metric.as_str()).collect::<Vec<_>>(), ["rtt", "goodput"]);
    for line in asked {
        assert!((line.p_adjusted.unwrap() - 2.0 * line.p.unwrap()).abs() < 1e-9);
    }
}

#[test]
fn a_wide_interval_is_undecided_and_says_what_it_needs() {
    let (a, mut b) = (run(7, 0.9), run(7, 0.9));
    for cell in b.cells.iter_mut().filter(|cell| cell.key.module == "wireguard") {
        let factor = [1.0, 0.8, 1.02, 0.98, 0.83, 1.01, 1.03][cell.key.block as usize - 1];
        cell.metrics[0].value *= factor;
    }
    let lines = compared(&a, &b);
    assert_eq!(change(&lines, "wireguard", "goodput"), Change::Undecided);
    let line = lines.iter().find(|line| line.is_open(FIVE)).unwrap();
    assert!(line.blocks_needed.is_some_and(|needed| needed > 30), "{line:?}");
    let text = render(Names::Runs(&a.run, &b.run), &[], &lines, FIVE, PLAIN);
    assert!(text.contains("undecided: wireguard lan tcp goodput: "), "{text}");
    assert!(text.contains("bench run --resume DIR --blocks"), "{text}");
}

/// The lines of two runs, of which one thing measured twice has shown that its goodput differs by so much.
fn above(floor: f64, a: &ResultSet, b: &ResultSet) -> Vec<Line> {
    let floor = NoiseFloor {
        scenario: "lan".into(),
        workload: "tcp".into(),
        module: "wireguard".into(),
        metric: "goodput".into(),
        unit: Unit::BitsPerSecond,
        relative: Some(floor),
        absolute: None,
        blocks: 7,
    };
    let noise = NoiseRecord::new(["x".into(), "y".into()], vec![floor]);
    runs(a, b, &Question { noise: Some(&noise), ..Question::default() }).unwrap()
}

#[test]
fn what_an_a_a_run_shows_is_no_difference() {
    let (a, b) = (run(7, 0.9), run(7, 0.87));
    assert_eq!(change(&compared(&a, &b), "wireguard", "goodput"), Change::Worse);
    let lines = above(0.04, &a, &b);
    assert_eq!(change(&lines, "wireguard", "goodput"), Change::Alike);
    assert_eq!(change(&lines, "wireguard", "rtt"), Change::Worse);
}

/// Three noisy blocks of one thing would make any gate say that nothing is worse.
#[test]
fn a_noise_floor_above_the_threshold_clears_nothing() {
    let (a, b) = (run(7, 0.9), run(7, 0.8));
    for b in [&a, &b] {
        let lines = above(0.15, &a, b);
        let goodput = lines.iter().find(|it| it.in_question && it.metric == "goodput").unwrap();
        assert_eq!((goodput.change, goodput.no_worse), (Change::Undecided, false));
        assert!(goodput.is_open(FIVE) && goodput.blocks_needed.is_none());
        let text = render(Names::Runs(&a.run, &b.run), &[], &lines, FIVE, PLAIN);
        assert!(text.contains("its noise floor, 15.00 %, is above the threshold"), "{text}");
    }
    let lines = above(0.15, &a, &run(7, 0.7));
    assert!(lines.iter().any(|it| it.metric == "goodput" && it.is_regression(FIVE)));
}

#[test]
fn a_run_with_fewer_cells_than_it_was_asked_for_is_unfinished() {
    let mut set = run(7, 0.9);
    set.run.workloads = ["ping", "tcp"].map(String::from).to_vec();
    set.run.scenarios.truncate(1);
    assert_eq!(set.unfinished(), None);
    set.cells.pop();
    assert_eq!(set.unfinished().as_deref(), Some("27 of 28 cells"));
}

#[test]
fn clocks_are_never_compared_and_seeds_of_virtual_time_are_paired() {
    let virtually = |mut set: ResultSet| {
        set.cells.iter_mut().for_each(|cell| cell.clock = Clock::Virtual);
        set
    };
    let (a, b) = (run(7, 0.9), virtually(run(7, 0.9)));
    let error = runs(&a, &b, &Question::default()).unwrap_err().to_string();
    assert!(error.contains("`real`") && error.contains("`virtual`"), "{error}");
    let lines = compared(&b, &virtually(run(7, 0.9)));
    let run = RunRecord { clock: Clock::Virtual, ..b.run };
    let text = render(Names::Runs(&run, &run), &[], &lines, FIVE, PLAIN);
    assert!(text.contains("B  2026-11-23-a · virtual time of QEMU "), "{text}");
    let goodput = lines.iter().find(|it| it.in_question && it.metric == "goodput").unwrap();
    assert_eq!((goodput.change, goodput.ratio_interval), (Change::Alike, Some([1.0, 1.0])));
    assert!(lines.iter().any(Line::is_wire));
}

#[test]
fn contents_are_compared_by_hash() {
    let (mut a, mut b) = (sample::run(), sample::run());
    assert_eq!(contents(&a, &b), Vec::<String>::new());
    b.modules[1].binaries = vec![BinaryRecord { name: "wg".into(), sha256: "ab".into() }];
    b.guests[0].nar_hash = "sha256-other".into();
    for (run, hash) in [(&mut a, "one"), (&mut b, "two")] {
        run.scenarios[1].sha256 = Some(hash.into());
        run.modules.iter_mut().for_each(|module| module.sha256 = Some(hash.into()));
        run.environment.harness_revision = Some(hash.into());
    }
    let found = contents(&a, &b).join("\n");
    for what in ["own programs", "files of its module", "its guest", "harness"] {
        assert!(found.contains(what), "no {what} in {found}");
    }
    let found = differences(&a, &b).join("\n");
    for what in ["scenario home-dsl", "the wire: the files"] {
        assert!(found.contains(what), "no {what} in {found}");
    }
}

/// What they are called is one; what they measure is what their scripts do.
#[test]
fn own_workloads_of_one_name_and_of_other_scripts_are_told_apart() {
    let own = |measure: &str| OwnWorkload {
        name: "syncthing".into(),
        description: "seconds = 3".into(),
        serve: "echo ready".into(),
        measure: measure.into(),
    };
    let of = |measure: &str| RunRecord { own_workloads: vec![own(measure)], ..sample::run() };
    assert_eq!(differences(&of("one"), &of("one")), Vec::<String>::new());
    let found = differences(&of("one"), &of("two"));
    assert_eq!(found, ["your own workload syncthing: its files say something else"]);
}

#[test]
fn other_packages_in_the_wires_guest_are_told_and_refuse_nothing() {
    let a = sample::run();
    let wire = |hash: &str| {
        let guest =
            GuestRecord { module: "internal".into(), nar_hash: hash.into(), ..a.guests[0].clone() };
        let mut run = RunRecord { guests: vec![guest], ..a.clone() };
        run.modules[0].version = Some(format!("Linux of {hash}"));
        run
    };
    let (a, b) = (wire("sha256-one"), wire("sha256-two"));
    assert_eq!(differences(&a, &b), Vec::<String>::new());
    let told = contents(&a, &b);
    assert!(told.len() == 1 && told[0].starts_with("the wire: packages of its guest"), "{told:?}");
}

#[test]
fn in_virtual_time_a_commit_that_measures_alike_is_no_other_harness() {
    let (mut a, mut b) = (sample::run(), sample::run());
    for (run, revision) in [(&mut a, "one"), (&mut b, "two")] {
        run.environment.harness_revision = Some(revision.into());
        run.environment.runner_sha256 = Some("aa".into());
    }
    assert_eq!(contents(&a, &b), Vec::<String>::new());
    b.environment.runner_sha256 = Some("bb".into());
    assert_eq!(contents(&a, &b), ["the harness, which measured"]);
}

#[test]
fn a_cell_that_is_not_measured_any_more_is_a_regression_for_whatever_reason() {
    let skipped = Outcome::Skipped { reason: "x".into() };
    let unsupported = Outcome::Unsupported { reason: "x".into() };
    for outcome in [failure(), skipped, unsupported] {
        let (a, mut b) = (run(7, 0.9), run(7, 2.0));
        spoil(&mut b, "tcp", 1..=7, outcome);
        let lines = compared(&a, &b);
        assert_eq!(change(&lines, "wireguard", "goodput"), Change::Lost);
        assert!(lines.iter().any(|line| line.metric == "goodput" && line.is_regression(FIVE)));
        assert_eq!(change(&compared(&b, &a), "wireguard", "goodput"), Change::Gained);
    }
    let (a, mut b) = (run(7, 0.9), run(7, 2.0));
    b.cells.retain(|cell| cell.key.module != "wireguard" || cell.key.workload != "tcp");
    let lines = compared(&a, &b);
    let lost = lines.iter().find(|line| line.change == Change::Lost).unwrap();
    assert_eq!((lost.b.problem, lost.b.measured), (Some(Lack::Missing), 0));
}

#[test]
fn what_b_was_not_asked_to_measure_is_not_compared() {
    let (a, mut b) = (run(7, 0.9), run(7, 0.9));
    b.run.workloads.retain(|name| name != "tcp");
    b.cells.retain(|cell| cell.key.workload != "tcp");
    assert!(compared(&a, &b).iter().all(|line| line.workload == "ping"));
    let mut b = run(7, 0.9);
    b.run.scenarios.iter_mut().for_each(|scenario| scenario.workloads = vec!["ping".into()]);
    b.cells.retain(|cell| cell.key.workload != "tcp");
    let lines = compared(&a, &b);
    assert!(!lines.is_empty() && lines.iter().all(|line| line.workload == "ping"));
}

#[test]
fn fewer_blocks_make_nothing_better_and_may_make_it_worse() {
    let (a, mut b) = (run(7, 0.5), run(7, 0.9));
    spoil(&mut b, "tcp", 1..=1, failure());
    let lines = compared(&a, &b);
    assert_eq!(change(&lines, "wireguard", "goodput"), Change::Incomplete);
    assert_eq!(change(&lines, "wireguard", "rtt"), Change::Better);
    assert_eq!(change(&lines, "wireguard", "failed"), Change::Undecided);
    spoil(&mut b, "tcp", 1..=7, failure());
    let lines = compared(&a, &b);
    assert_eq!(change(&lines, "wireguard", "failed"), Change::Worse);
}

#[test]
fn loss_from_zero_is_a_regression_beyond_any_threshold() {
    let with_loss = |percent: f64| {
        let loss = metric("loss", Unit::Percent, Better::Lower, percent);
        let cells = (1..=7).map(|b| cell(b, "lan", "wireguard", "udp", vec![loss.clone()]));
        ResultSet { run: sample::run(), cells: cells.collect() }
    };
    let lines = compared(&with_loss(0.0), &with_loss(0.5));
    assert_eq!((lines[0].change, lines[0].ratio), (Change::Worse, None));
    assert!(lines[0].is_regression(Threshold(1.0)));
}

#[test]
fn two_modules_of_a_run_are_paired_by_block() {
    let mut set = run(12, 0.9);
    for cell in &mut set.cells {
        // Shared by all modules of a block: unpaired, it would hide the difference.
        let drift = f64::from(cell.key.block);
        cell.metrics.iter_mut().for_each(|metric| metric.value *= drift);
    }
    let lines = modules(&set, ("internal", "wireguard"), &Question::default()).unwrap();
    assert_eq!(change(&lines, "wireguard", "goodput"), Change::Worse);
    let goodput = lines.iter().find(|line| line.metric == "goodput").unwrap();
    assert!((goodput.ratio.unwrap() - 0.9).abs() < 1e-9);
    spoil(&mut set, "tcp", 1..=12, failure());
    let lines = modules(&set, ("internal", "wireguard"), &Question::default()).unwrap();
    assert_eq!(change(&lines, "wireguard", "goodput"), Change::Lost);
}

#[test]
fn testbeds_that_differ_are_told_apart() {
    let a = sample::run();
    assert_eq!(differences(&a, &a), Vec::<String>::new());
    let mut b = sample::run();
    b.id = "another".into();
    b.seed = 7;
    b.environment.load_average = [2.0, 2.0, 2.0];
    assert_eq!(differences(&a, &b), Vec::<String>::new());
    b.environment.accelerator = Accelerator::Kvm;
    b.environment.start = Some(Start::Booted);
    b.environment.host_cpu = "Another CPU".into();
    b.environment.host_cores = 64;
    b.environment.qemu_version = "11.0".into();
    b.quick = true;
    b.guests[0].provider = "nixos".into();
    b.scenarios[1].links[0].configured = Impairment::default();
    let found = differences(&a, &b).join("\n");
    for word in [
        "TCG in A, KVM in B",
        "forked in A, booted in B",
        "Another CPU",
        "64",
        "QEMU",
        "quick",
        "nixos",
        "home-dsl",
    ] {
        assert!(found.contains(word), "no {word} in {found}");
    }
    assert_eq!(differences(&a, &b).len(), 8);
}

#[test]
fn a_changed_wire_is_told_and_is_no_regression() {
    let (a, mut b) = (run(7, 0.9), run(7, 0.9));
    for cell in b.cells.iter_mut().filter(|cell| cell.key.module == "internal") {
        cell.metrics.iter_mut().for_each(|metric| metric.value *= 2.0);
    }
    let lines = compared(&a, &b);
    assert!(!lines.iter().any(|line| line.is_regression(FIVE)));
    let text = render(Names::Runs(&a.run, &b.run), &[], &lines, FIVE, PLAIN);
    assert!(text.contains("the wire itself changed"), "{text}");
}

#[test]
fn two_runs_side_by_side() {
    let (a, mut b) = (run(7, 0.9), run(7, 0.8));
    b.run.id = "2026-11-24-b".into();
    b.run.modules[1].binaries =
        vec![BinaryRecord { name: "wg".into(), sha256: "0123456789abcdef".repeat(4) }];
    spoil(&mut b, "ping", 1..=7, failure());
    let lines = compared(&a, &b);
    insta::assert_snapshot!(render(Names::Runs(&a.run, &b.run), &[], &lines, FIVE, PLAIN), @"
    A  2026-11-23-a · TCG · wireguard (1.0.20210914) · 7 blocks
    B  2026-11-24-b · TCG · wireguard (1.0.20210914, own wg 0123456789ab) · 7 blocks

    lan · Public sites, no impairment
     workload   metric        module, run        median   95 % interval        B to A   blocks
    ───────────────────────────────────────────────────────────────────────────────────────────
     ping       rtt           internal  A      0.401 ms   0.400 – 0.402       1.00× ≈        7
                                        B      0.401 ms   0.400 – 0.402   1.00 – 1.00        7
                              wireguard A      0.445 ms   0.445 – 0.446             ✗        7
                                        B        failed                                 0 of 7
                failed        wireguard A           0 %           0 – 0             ▼        7
                                        B         100 %       100 – 100                      7
     tcp        goodput       internal  A   50.1 Mbit/s     50.0 – 50.2       1.00× ≈        7
                                        B   50.1 Mbit/s     50.0 – 50.2   1.00 – 1.00        7
                              wireguard A   45.1 Mbit/s     45.0 – 45.2       0.89× ▼        7
                                        B   40.1 Mbit/s     40.0 – 40.2   0.89 – 0.89        7
                retransmits   internal  A            12         12 – 12       1.00× ≈        7
                                        B            12         12 – 12   1.00 – 1.00        7
                              wireguard A            12         12 – 12       1.00× ≈        7
                                        B            12         12 – 12   1.00 – 1.00        7

     ▼ B is worse
     ≈ alike: inside the threshold, as sure as one of all lines
     ✗ measured in A, not in B

    0 better, 2 worse, 0 alike, 0 undecided, 1 lost (2 comparisons, corrected by Holm)
    regression: wireguard lan ping rtt: not measured in B (failed)
    regression: wireguard lan ping failed: 0 % to 100 %
    regression: wireguard lan tcp goodput: 0.89×
    ");
}

#[test]
fn two_modules_side_by_side() {
    let set = run(7, 0.9);
    let lines = modules(&set, ("internal", "wireguard"), &Question::default()).unwrap();
    let names = Names::Modules(&set.run, "internal", "wireguard");
    insta::assert_snapshot!(render(names, &[], &lines, FIVE, PLAIN), @"
    2026-11-23-a · TCG · wireguard (1.0.20210914) · 7 blocks
    A  internal
    B  wireguard

    lan · Public sites, no impairment
     workload   metric        module           median   95 % interval        B to A   blocks
    ─────────────────────────────────────────────────────────────────────────────────────────
     ping       rtt           internal       0.401 ms   0.400 – 0.402       1.11× ▼        7
                              wireguard      0.445 ms   0.445 – 0.446   1.11 – 1.11        7
     tcp        goodput       internal    50.1 Mbit/s     50.0 – 50.2       0.90× ▼        7
                              wireguard   45.1 Mbit/s     45.0 – 45.2   0.90 – 0.90        7
                retransmits   internal             12         12 – 12       1.00× ≈        7
                              wireguard            12         12 – 12   1.00 – 1.00        7

     ▼ B is worse
     ≈ alike: inside the threshold, as sure as one of all lines

    0 better, 2 worse, 0 alike, 0 undecided, 0 lost (2 comparisons, corrected by Holm)
    behind: wireguard lan ping rtt: 1.11×
    behind: wireguard lan tcp goodput: 0.90×
    ");
}

#[test]
fn no_line_is_wider_than_asked() {
    let (a, mut b) = (run(7, 0.9), run(7, 0.8));
    spoil(&mut b, "tcp", 1..=7, failure());
    let lines = compared(&a, &b);
    for width in [60, 80, 120] {
        let style = Style { color: false, width };
        let text = render(Names::Runs(&a.run, &b.run), &[], &lines, FIVE, style);
        let tables = text.lines().filter(|line| line.starts_with(' '));
        let widest = tables.map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(width), "{widest} of {width}:\n{text}");
    }
}
