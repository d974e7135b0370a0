use super::super::event::Action;
use super::super::sample::{HEAD, WORKLOADS, read, said};
use super::super::scenario::{NatTraversal, Reach, Role, Scenario};

#[test]
fn every_scenario_of_the_project_is_sound_and_has_both_peers_and_a_reachable_hub() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../checks");
    let workloads: Vec<_> =
        crate::workload::Workload::all().iter().map(|workload| workload.name()).collect();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let scenario = Scenario::load(&path, &workloads).unwrap();
        for (name, role) in [("alice", Role::Peer), ("bob", Role::Peer), ("hub", Role::Coordinator)]
        {
            let found = scenario.machines.iter().find(|machine| machine.name == name);
            assert_eq!(found.map(|it| it.role), Some(role), "{name} of {}", path.display());
        }
        for hub in scenario.machines.iter().filter(|m| m.role == Role::Coordinator) {
            assert!(scenario.reachable(hub), "{}: {}", path.display(), hub.name);
        }
        seen += 1;
    }
    assert!(seen >= 15, "only {seen} scenarios in {folder}");
}

#[test]
fn mistakes_are_told_with_their_place_and_the_nearest_name() {
    let cases = [
        (
            "[[site]]\nname = \"a\"\nlink = \"dls\"",
            "5:8: unknown link profile `dls`; did you mean `dsl`?",
        ),
        (
            "[[site]]\nname = \"a\"\nnat = \"hoem\"",
            "5:7: unknown NAT kind `hoem`; did you mean `home`?",
        ),
        (
            "[[site]]\nname = \"a\"\n[[machine]]\nname = \"b\"\nrole = \"peer\"",
            "6:8: unknown machine `b`",
        ),
        (
            "workloads = [\"pnig\"]\n[[site]]\nname = \"a\"",
            "3:14: unknown workload `pnig`; did you mean `ping`?",
        ),
        ("[[site]]\nname = \"a\"\nnatt = \"home\"", "5:1: unknown field `natt`"),
        ("[[site]]\nname = \"Alice\"", "4:8: site name `Alice` must be"),
        ("[[site]]\nname = \"internet\"", "4:8: site name `internet` is reserved"),
        ("[[site]]\nname = \"a\"\n[[site]]\nname = \"a\"", "6:8: there are two sites `a`"),
        ("[[site]]\nname = \"a\"\nmachines = [\"x\", \"x\"]", "5:18: there are two machines `x`"),
        ("[[site]]\nname = \"a\"\nipv4 = false", "4:8: site `a` has neither"),
        (
            "[[site]]\nname = \"a\"\nnat = \"home\"\nipv4 = false\nipv6 = true",
            "5:7: a site without IPv4",
        ),
        (
            "[[site]]\nname = \"a\"\nnat = \"one-to-one\"\nmachines = []",
            "5:7: a one-to-one NAT needs",
        ),
        ("[[site]]\nname = \"a\"\nmtu-black-hole = 9000", "5:18: the MTU of a black hole is 9000"),
        ("", "1:1: there is no [[site]]"),
        ("[[site]\nname = \"a\"", "3:8: unclosed"),
    ];
    for (body, start) in cases {
        let said = said(body);
        assert!(said.starts_with(start), "for {body:?}\nsaid   {said}\nwanted {start}");
    }
}

#[test]
fn mistakes_inside_tables_are_told_too() {
    let site = "[[site]]\nname = \"a\"\n";
    for (line, why) in [
        ("link = { up = { rate-mbit = 10 }, down = {} }", "up: queue-ms is 0"),
        ("link = { up = { delay-ms = 5, jitter-ms = 9 }, down = {} }", "up: jitter-ms is 9"),
        ("link = { up = { speed = 1 }, down = {} }", "unknown field `speed`"),
        ("link = { up = { netem = \"delay 1ms\" }, down = {} }", "netem is for the profiles"),
        (
            "nat = { mapping = \"address-dependent\", filtering = \"address-dependent\", ports = \"preserve\" }",
            "ports = \"preserve\" needs",
        ),
        ("nat = { mapping = \"adress-dependent\" }", "unknown variant `adress-dependent`"),
        ("nat = 5", "invalid type"),
    ] {
        let said = said(&format!("{site}{line}"));
        assert!(said.starts_with("5:") && said.contains(why), "for {line}\nsaid {said}");
    }
}

#[test]
fn events_are_checked_against_the_names_and_their_parameters() {
    let sites = "[[site]]\nname = \"alice\"\n[[site]]\nname = \"bob\"\n[[event]]\nduring = \"tcp\"\nat = 5\n";
    let event = |lines: &str| format!("{sites}{lines}");
    for (lines, why) in [
        ("do = \"raom\"", "10:6: unknown event `raom`; did you mean `roam`?"),
        ("do = \"link-down\"", "10:6: `link-down` needs `site`"),
        (
            "do = \"link-down\"\nsite = \"alise\"",
            "11:8: unknown site `alise`; did you mean `alice`?",
        ),
        ("do = \"heal\"\nsite = \"alice\"", "11:8: `heal` takes no `site`"),
        ("do = \"partition\"\nbetween = [\"bob\"]", "11:11: a partition needs at least two sites"),
        ("do = \"power-loss\"\nmachine = \"carol\"", "11:11: unknown machine `carol`"),
    ] {
        let said = said(&event(lines));
        assert!(said.starts_with(why), "for {lines:?}\nsaid   {said}");
    }
    let never = said(&format!("workloads = [\"ping\"]\n{}", event("do = \"heal\"")));
    assert!(never.starts_with("9:10: `tcp` is not among this file's `workloads`"), "{never}");
    let scenario = read(&event("do = \"impair\"\nsite = \"bob\"\nlink = \"lte\""));
    let Action::Impair { site, link } = &scenario.events[0].action else { panic!("not impair") };
    assert_eq!((site.as_str(), link.profile.as_str()), ("bob", "lte"));
}

#[test]
fn the_best_way_that_a_vpn_claims_is_expected_of_it() {
    let expect =
        "[expect]\nnone = \"unreachable\"\nhole-punching = \"direct\"\nrelay = \"relayed\"";
    let expect = read(&format!("[[site]]\nname = \"a\"\n{expect}")).expect;
    assert_eq!(expect.outcome(NatTraversal::None, false), Some(Reach::Unreachable));
    assert_eq!(expect.outcome(NatTraversal::None, true), Some(Reach::Relayed));
    assert_eq!(expect.outcome(NatTraversal::HolePunching, true), Some(Reach::Direct));
}

#[test]
fn a_file_whose_name_results_could_not_bear_is_refused_when_it_is_read() {
    let text = include_str!("../../../../checks/lan.toml");
    assert!(Scenario::parse("lan", "lan.toml", text, &[]).is_ok());
    let error = Scenario::parse("My lan", "My lan.toml", text, &[]).unwrap_err().to_string();
    assert!(error.starts_with("My lan.toml:1:1: the name"), "{error}");
}

#[test]
fn a_file_must_be_text_and_have_somebody_to_measure() {
    let dir = tempfile::tempdir().unwrap();
    let said = |bytes: &[u8]| {
        let path = dir.path().join("own.toml");
        std::fs::write(&path, bytes).unwrap();
        Scenario::load(&path, WORKLOADS).unwrap_err().to_string()
    };
    assert!(
        said(b"title = \"t\"\ndescription = \"\xff\"\n")
            .ends_with("own.toml:2:16: this is not UTF-8")
    );
    let nobody = said(format!("{HEAD}[[site]]\nname = \"alice\"").as_bytes());
    assert!(nobody.contains("no peer `bob`"), "{nobody}");
}
