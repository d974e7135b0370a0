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
    let clear = Direction::default().tc_change("wan", 7);
    assert_eq!(
        clear,
        [
            "qdisc replace dev wan root handle 1: netem limit 20000 rate 0bit loss random 0%",
            "qdisc replace dev wan parent 1:1 handle 2: netem limit 20000 rate 0bit loss random 0%",
        ]
    );
}
