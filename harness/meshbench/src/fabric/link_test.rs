use super::*;

fn direction(text: &str) -> Direction {
    toml::from_str(text).unwrap()
}

#[test]
fn every_profile_is_possible_and_says_where_its_numbers_are_from() {
    for (name, profile) in profiles() {
        for direction in [&profile.up, &profile.down] {
            direction.check().unwrap_or_else(|why| panic!("{name}: {why}"));
            let sourced =
                |key: &str| profile.source.contains_key(key) || profile.source.contains_key("all");
            for (key, used) in [
                ("rate", direction.rate_mbit.is_some()),
                ("delay", direction.delay_ms > 0.0),
                ("jitter", direction.jitter_ms > 0.0),
                ("loss", direction.loss_percent > 0.0),
                ("queue", direction.queue_ms > 0.0),
            ] {
                assert!(!used || sourced(key), "{name} does not say where its {key} is from");
            }
        }
        assert!(!profile.title.is_empty() && !profile.source.is_empty(), "{name}");
    }
}

#[test]
fn a_link_becomes_a_line_and_a_queue_that_the_line_does_not_fill() {
    let lossy = profile("lossy").unwrap();
    assert_eq!(
        lossy.up.tc("wan", 7),
        [
            "qdisc replace dev wan root handle 1: netem limit 20000 delay 20000us 3000us rate 10gbit \
         loss gemodel 0.680272% 33.333333% 100% 0% seed 7",
            "qdisc replace dev wan parent 1:1 handle 2: netem limit 167 rate 20000000bit",
        ]
    );
    assert_eq!(
        profile("server").unwrap().up.tc("wan", 7),
        ["qdisc replace dev wan root handle 1: netem limit 20000 delay 5000us seed 7",]
    );
    assert!(profile("none").unwrap().up.tc("wan", 7).is_empty());
}

#[test]
fn the_queue_holds_the_milliseconds_asked_for() {
    // 10 Mbit/s for 100 ms are 125000 bytes, 82.6 frames of 1514, and one more is being sent.
    let dsl = direction("rate-mbit = 10\nqueue-ms = 100");
    assert_eq!(dsl.queue_frames(), Some(84));
    assert_eq!(direction("delay-ms = 3").queue_frames(), None);
}

#[test]
fn the_loss_model_loses_what_it_says() {
    let lossy = direction("loss-percent = 2\nburst = 3");
    let numbers: Vec<f64> =
        lossy.loss().split(['%', ' ']).filter_map(|word| word.parse().ok()).collect();
    let (enter, leave) = (numbers[0], numbers[1]);
    let mean = enter / (enter + leave) * 100.0;
    assert!((mean - 2.0).abs() < 1e-4, "{mean}");
    assert!((100.0 / leave - 3.0).abs() < 1e-4);
    assert_eq!(direction("loss-percent = 1.5").loss(), " loss random 1.5%");
}

#[test]
fn a_change_says_everything_because_netem_keeps_what_it_is_not_told() {
    let none = Direction::default();
    let clear = [
        "qdisc replace dev wan root handle 1: netem limit 20000 rate 0bit loss random 0% corrupt 0%",
        "qdisc replace dev wan parent 1:1 handle 2: netem limit 20000 rate 0bit loss random 0% corrupt 0%",
    ];
    assert_eq!(none.tc_change("wan", 7, &none), clear);
    let uneven = direction("reorder-percent = 25\nreorder-ms = 8");
    let after = none.tc_change("wan", 7, &uneven);
    assert_eq!(after[0], "qdisc del dev wan root", "the stage within goes");
    assert_eq!(after[1..], clear);
}

#[test]
fn the_longer_way_is_the_innermost_stage_and_the_queue_has_room_for_it() {
    let uneven = direction(
        "rate-mbit = 10\ndelay-ms = 5\nqueue-ms = 100\nreorder-percent = 25\nreorder-ms = 8\ncorrupt-percent = 0.1",
    );
    assert_eq!(
        uneven.tc("wan", 7),
        [
            "qdisc replace dev wan root handle 1: netem limit 20000 delay 5000us corrupt 0.1% seed 7",
            "qdisc replace dev wan parent 1:1 handle 2: netem limit 91 rate 10000000bit",
            "qdisc replace dev wan parent 2:1 handle 3: netem limit 20000 delay 8000us reorder 75% seed 8",
        ]
    );
}

#[test]
fn what_is_sent_twice_is_sent_by_rules_of_each_family() {
    let hops = ["5.1.0.1".parse().unwrap(), "2a0e:1::1".parse().unwrap()];
    let twice = direction("duplicate-percent = 2").copies("copy_alice", "wan", &hops);
    assert!(twice.contains("table ip copy_alice") && twice.contains("table ip6 copy_alice"));
    assert!(twice.contains("numgen random mod 100000 < 2000 dup to 2a0e:1::1 device \"wan\""));
    let few = direction("duplicate-percent = 0.001").copies("copy_alice", "wan", &hops);
    assert!(few.contains("mod 100000 < 1 dup to"), "{few}");
    let none = Direction::default().copies("copy_alice", "wan", &hops);
    assert!(!none.contains("dup to") && none.contains("delete table ip6 copy_alice"), "{none}");
}

#[test]
fn impossible_damage_is_refused() {
    for (text, why) in [
        ("reorder-ms = 8", "reorder-ms needs reorder-percent"),
        ("reorder-percent = 5", "reorder-ms is 0"),
        ("duplicate-percent = 60", "duplicate-percent is 60"),
        ("loss-percent = 101", "loss-percent is 101"),
        (
            "duplicate-percent = 0.0001",
            "duplicate-percent is 0.0001; it must be 0, or at least 0.001",
        ),
        ("loss-percent = 0.0001", "loss-percent is 0.0001; it must be 0, or at least 0.001"),
    ] {
        let said = direction(text).check().unwrap_err();
        assert!(said.starts_with(why), "{text}: {said}");
    }
    assert_eq!(direction("loss-percent = 100\nburst = 5").loss(), " loss random 100%");
}

#[test]
fn a_burst_at_its_bound_is_possible_and_what_is_told_to_be_enough_is() {
    let check = |loss: f64, burst: f64| {
        direction(&format!("loss-percent = {loss}\nburst = {burst}")).check()
    };
    for (loss, burst) in [(80.0, 4.0), (90.0, 9.0), (68.0, 2.125), (50.0, 1.0), (55.0, 1.23)] {
        check(loss, burst).unwrap_or_else(|why| panic!("{loss} {burst}: {why}"));
    }
    let said = check(55.0, 1.22).unwrap_err();
    assert!(said.contains("at least 1.23 "), "{said}");
    let said = check(80.0, 3.99).unwrap_err();
    assert!(said.contains("at least 4.00 "), "{said}");
    for loss in [99.95, 100.0] {
        let said = check(loss, 5.0).unwrap_err();
        assert_eq!(
            said,
            format!(
                "with loss-percent {loss} there is no burst: hardly anything passes between two runs"
            )
        );
        assert_eq!(check(loss, 1.0), Ok(()));
    }
    // What is at its bound enters the next run at once.
    assert_eq!(
        direction("loss-percent = 80\nburst = 4").loss(),
        " loss gemodel 100.000000% 25.000000% 100% 0%"
    );
}

#[test]
fn every_burst_that_is_told_to_be_enough_is_enough() {
    for per_mille in 500..1000 {
        let loss = f64::from(per_mille) / 10.0;
        let Err(said) = direction(&format!("loss-percent = {loss}\nburst = 1.0001")).check() else {
            continue;
        };
        let least = said.split("at least ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        let enough = direction(&format!("loss-percent = {loss}\nburst = {least}")).check();
        assert_eq!(enough, Ok(()), "{said}");
    }
}
