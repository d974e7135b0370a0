use super::super::event::Action;
use super::super::nat::{Behaviour, Ports};
use super::super::scenario::{NatTraversal, Outcome, Role, Scenario};

const HEAD: &str = "title = \"t\"\ndescription = \"d\"\n";
const WORKLOADS: &[&str] = &["ping", "tcp", "udp", "connect", "recover"];

/// What is said of a text, after the file name.
fn said(body: &str) -> String {
    let text = format!("{HEAD}{body}");
    let error = Scenario::parse("s", "s.toml", &text, WORKLOADS).expect_err("must be refused");
    error.to_string().strip_prefix("s.toml:").unwrap().to_owned()
}

fn read(body: &str) -> Scenario {
    Scenario::parse("s", "s.toml", &format!("{HEAD}{body}"), WORKLOADS).unwrap()
}

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
fn a_nat_can_be_spelt_out_and_a_carrier_put_in_front() {
    let scenario = read(
        "[[site]]\nname = \"a\"\ncarrier = \"symmetric\"\nnat = { mapping = \"endpoint-independent\", \
         filtering = \"address-dependent\", ports = \"hash\", lifetime = 30, hairpin = true }",
    );
    let gateway = &scenario.sites[0].gateway;
    let nat = gateway.nat.unwrap();
    assert_eq!((nat.mapping, nat.lifetime), (Behaviour::EndpointIndependent, 30));
    assert_eq!(gateway.carrier.unwrap().ports, Ports::Random);
    assert!(!gateway.reachable());
}

#[test]
fn the_best_way_that_a_vpn_claims_is_expected_of_it() {
    let expect =
        "[expect]\nnone = \"unreachable\"\nhole-punching = \"direct\"\nrelay = \"relayed\"";
    let expect = read(&format!("[[site]]\nname = \"a\"\n{expect}")).expect;
    assert_eq!(expect.outcome(NatTraversal::None, false), Some(Outcome::Unreachable));
    assert_eq!(expect.outcome(NatTraversal::None, true), Some(Outcome::Relayed));
    assert_eq!(expect.outcome(NatTraversal::HolePunching, true), Some(Outcome::Direct));
}

#[test]
fn a_file_whose_name_results_could_not_bear_is_refused_when_it_is_read() {
    let text = include_str!("../../../../checks/lan.toml");
    assert!(Scenario::parse("lan", "lan.toml", text, &[]).is_ok());
    let error = Scenario::parse("My lan", "My lan.toml", text, &[]).unwrap_err().to_string();
    assert!(error.starts_with("My lan.toml:1:1: the name"), "{error}");
}

#[test]
fn a_scenario_that_cannot_work_is_refused_with_the_place() {
    let two = "[[site]]\nname = \"alice\"\nnat = \"home\"\n[[site]]\nname = \"bob\"\n";
    let event = |lines: &str| format!("{two}[[event]]\nduring = \"recover\"\nat = 5\n{lines}");
    let power = |first: &str, then: &str| {
        let one = |what: &str, at: u32| {
            format!(
                "[[event]]\nduring = \"tcp\"\nat = {at}\ndo = \"power-{what}\"\nmachine = \"bob\"\n"
            )
        };
        format!("{two}{}{}", one(first, 9), one(then, 3))
    };
    let during = |events: &[(&str, &str)]| {
        let lines = events.iter().enumerate().map(|(at, (what, machine))| {
            format!(
                "[[event]]\nduring = \"recover\"\nat = {at}\ndo = \"{what}\"\nmachine = \"{machine}\"\n"
            )
        });
        format!("{two}{}", lines.collect::<String>())
    };
    for (body, why) in [
        ("workloads = [\"ping\"]\n[[site]]\nname = \"carol\"\n".to_owned(), "3:14: there is nobody to measure between"),
        (event("do = \"nat-rebind\"\nsite = \"bob\""), "12:8: site `bob` has no NAT"),
        (event("do = \"roam\"\nmachine = \"bob\"\nto = \"bob\""), "13:6: machine `bob` is at site `bob` already"),
        (
            format!("{two}[[site]]\nname = \"hub\"\n[[event]]\nduring = \"recover\"\nat = 5\ndo = \"roam\"\nmachine = \"hub\"\nto = \"alice\""),
            "15:6: the coordinator `hub` would be behind a gateway that lets nobody in",
        ),
        (event("do = \"power-on\"\nmachine = \"bob\""), "12:11: machine `bob` has not lost"),
        (event("do = \"resume\"\nmachine = \"bob\""), "12:11: machine `bob` is not suspended"),
        (event("do = \"suspend\"\nmachine = \"alice\""), "12:11: `alice` cannot be suspended"),
        (event("do = \"fail-over\"\nsite = \"alice\""), "12:8: site `alice` has no `backup`"),
        (event("do = \"police-udp\"\nsite = \"alice\"\nrate-mbit = 0"), "13:13: UDP is policed to 0 Mbit/s"),
        (event("do = \"link-down\"\nsite = \"alice\"\ndirection = \"left\""), "13:13: unknown variant `left`"),
        (event("do = \"link-up\"\nsite = \"alice\"\ndirection = \"up\""), "13:13: `link-up` takes no `direction`"),
        (power("loss", "on"), "17:11: machine `bob` has not lost its power"),
        (power("loss", "loss"), "12:11: machine `bob` has no power to lose"),
        (during(&[("daemon-start", "bob")]), "12:11: machine `bob` has its daemon running by then"),
        (during(&[("daemon-stop", "bob"), ("daemon-stop", "bob")]), "17:11: machine `bob` runs no daemon to stop"),
        (during(&[("power-loss", "bob"), ("daemon-start", "bob")]), "17:11: machine `bob` has no power by then"),
        (during(&[("power-loss", "bob"), ("daemon-stop", "bob")]), "17:11: machine `bob` has no power by then"),
        (during(&[("power-loss", "alice"), ("power-on", "alice")]), "12:11: `alice` cannot lose its power"),
        (during(&[("reboot", "alice")]), "12:11: `alice` cannot boot again"),
        (during(&[("power-loss", "bob")]), "12:11: `bob` has no power when all has happened"),
        (during(&[("suspend", "bob")]), "12:11: `bob` is suspended when all has happened"),
        (during(&[("daemon-stop", "alice")]), "12:11: `alice` runs no daemon when all has happened"),
        // Back, but only when another workload has missed him.
        (
            format!("{}{}", during(&[("power-loss", "bob")]).replace("recover", "tcp"), during(&[("power-on", "bob")]).replace(two, "")),
            "12:11: `bob` has no power when all has happened, and is needed for whatever is measured: let `power-on` follow during `tcp`",
        ),
        (event("do = \"link-up\"\nsite = \"bob\""), "12:8: the line of site `bob` is not down by then"),
        (
            event("do = \"power-on\"\nmachine = \"bob\"\nclock = 9223372036854775807"),
            "13:9: clock is 9223372036854775807",
        ),
        ("[[site]]\nname = \"fabric\"".to_owned(), "4:8: site name `fabric` is reserved"),
        (
            "[[site]]\nname = \"house\"\nnat = \"home\"\nmachines = [\"alice\", \"hub\"]\n[[site]]\nname = \"bob\"".to_owned(),
            "5:7: the coordinator `hub` is behind a gateway that lets nobody in",
        ),
        (
            "[[site]]\nname = \"alice\"\nipv4 = false\nipv6 = true\n[[site]]\nname = \"bob\"\n[[site]]\nname = \"hub\"".to_owned(),
            "4:8: site `alice` has only IPv6 and site `bob` only IPv4",
        ),
        (
            "[[site]]\nname = \"a\"\nlink = { up = { delay-ms = 5, loss-percent = 60, burst = 1.2 }, down = {} }".to_owned(),
            "5:8: up: burst is 1.2; with loss-percent 60 it must be at least 1.50",
        ),
    ] {
        let said = said(&body);
        assert!(said.starts_with(why), "for {body:?}\nsaid   {said}\nwanted {why}");
    }
    read(&power("on", "loss"));
    read(&during(&[
        ("daemon-stop", "bob"),
        ("power-loss", "bob"),
        ("power-on", "bob"),
        ("daemon-start", "bob"),
    ]));
    read(&during(&[
        ("suspend", "bob"),
        ("resume", "bob"),
        ("reboot", "bob"),
        ("daemon-stop", "alice"),
        ("daemon-start", "alice"),
    ]));
    read(
        &during(&[("power-loss", "bob"), ("power-on", "bob")])
            .replace("power-on\"\n", "power-on\"\nclock = -3600\n"),
    );
    let line = |what: &str, at: u32| {
        format!("[[event]]\nduring = \"tcp\"\nat = {at}\ndo = \"{what}\"\nsite = \"bob\"\n")
    };
    read(&format!("{two}{}{}", line("link-down", 1), line("link-up", 2)));
    assert!(
        said(&format!("{two}{}{}", line("link-down", 3), line("link-up", 2)))
            .contains("is not down by then")
    );
    let hub = "[[site]]\nname = \"house\"\nnat = \"home\"\nmachines = [\"alice\", \"hub\"]\nforward = [{ machine = \"hub\", udp = 4242 }]\n[[site]]\nname = \"bob\"";
    let behind = read(hub);
    assert!(
        behind.reachable(behind.machines.iter().find(|machine| machine.name == "hub").unwrap())
    );
    assert!(
        said(&hub.replace("nat = \"home\"", "nat = \"cgnat\""))
            .contains("behind a gateway that lets nobody in")
    );
    read(
        "[[site]]\nname = \"a\"\nlink = { up = { delay-ms = 5, loss-percent = 60, burst = 1.5 }, down = {} }",
    );
    read(
        "[[site]]\nname = \"alice\"\nipv4 = false\nipv6 = true\n[[site]]\nname = \"bob\"\n[[site]]\nname = \"hub\"\nipv6 = true",
    );
    read(
        "[[site]]\nname = \"alice\"\nipv4 = false\nipv6 = true\nnat64 = true\n[[site]]\nname = \"bob\"",
    );
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

#[test]
fn the_words_of_a_place_are_refused_where_they_cannot_work() {
    let site = |lines: &str| format!("[[site]]\nname = \"a\"\nmachines = [\"x\", \"y\"]\n{lines}");
    let carrier = "[[carrier]]\nname = \"isp\"\nnat = \"port-restricted-cone\"\n";
    for (body, why) in [
        (site("lan = \"192.168.178.0/24\""), "6:7: a site whose gateway does not translate"),
        (site("nat = \"home\"\nlan = \"8.8.8.0/24\""), "7:7: `8.8.8.0/24` is not private"),
        (
            site("forward = [{ machine = \"x\" }]"),
            "6:12: the gateway of site `a` lets everything in",
        ),
        (
            site("nat = \"home\"\nforward = [{ machine = \"z\", udp = 1 }]"),
            "7:24: unknown machine `z`",
        ),
        (
            site("nat = \"home\"\nforward = [{ machine = \"x\", udp = 0 }]"),
            "7:35: a port is 1 to 65535",
        ),
        (
            site(
                "nat = \"home\"\nforward = [{ machine = \"x\", udp = 9 }, { machine = \"y\", udp = [8, 9] }]",
            ),
            "7:40: `x` has what `y` is to get",
        ),
        (site("nat64 = true"), "6:9: nat64 is for a site with ipv4 = false"),
        (
            site("mtu = 400"),
            "6:7: the MTU of the line is 400 for IPv4; it must be between 576 and 1500",
        ),
        (
            site("ipv6 = true\nmtu = { ipv4 = 1460, ipv6 = 1000 }"),
            "7:7: the MTU of the line is 1000 for IPv6",
        ),
        (site("nat = \"home\"\ncarrier = \"ips\""), "7:11: unknown carrier or NAT kind `ips`"),
        (site("carrier = \"symmetric\""), "6:11: a carrier is a single NAT"),
        (format!("{carrier}{}", site("carrier = \"isp\"")), "9:11: a carrier is a single NAT"),
        (
            site("nat = \"home\"\ncarrier = \"full-cone\""),
            "7:11: nobody else is behind a site's own carrier",
        ),
        (
            site("nat = \"home\"\ncarrier = \"port-mapping\""),
            "7:11: a carrier grants no port forwards",
        ),
        (
            carrier.replace("port-restricted-cone", "port-mapping") + &site(""),
            "5:7: a carrier grants no port forwards",
        ),
        (
            site("nat = \"home\"\nbackup = { link = \"lte\", nat = \"cgnat\" }"),
            "7:10: invalid type: map, expected a site's name",
        ),
        (site("nat = \"home\"\nbackup = \"b\""), "7:10: unknown site `b`"),
        (carrier.replace("isp", "a") + &site(""), "4:8: there is another carrier or site `a`"),
        (
            carrier.replace("isp", "home") + &site(""),
            "4:8: carrier name `home` is that of a NAT kind",
        ),
        (site("nat = \"home\"\nbackup = \"a\""), "7:10: a site is not its own backup"),
        (
            site("nat = \"home\"\nbackup = \"b\"\n[[site]]\nname = \"b\""),
            "7:10: site `b` is no second line",
        ),
        (
            site("[[machine]]\nname = \"x\"\nhost = 20\n[[machine]]\nname = \"y\"\nhost = 20"),
            "11:8: two machines of site `a` have the number 20",
        ),
        (
            site("[[machine]]\nname = \"x\"\nhost = 5"),
            "8:8: host is 5; it must be between 10 and 99",
        ),
        (
            site("link = { up = {}, down = { rate-mbit = 0.01, queue-ms = 1 } }"),
            "6:8: rate-mbit is 0.01; of a site's own line it must be at least 0.05",
        ),
        (
            site("link = { up = { loss-percent = 100 }, down = {} }"),
            "6:8: loss-percent is 100; of a site's own line",
        ),
        (
            site(
                "nat = { mapping = \"endpoint-independent\", filtering = \"endpoint-independent\", ports = \"hash\", flows = 2 }",
            ),
            "6:7: flows is 2; it must be 32 to 1000000: the proof",
        ),
        (
            "[[carrier]]\nname = \"isp\"\nnat = { mapping = \"endpoint-independent\", filtering = \"endpoint-independent\", ports = \"hash\", flows = 63 }\n".to_owned()
                + &site("nat = \"home\"\ncarrier = \"isp\"")
                + "\n[[site]]\nname = \"b\"\nnat = \"phone\"\ncarrier = \"isp\"",
            "5:7: flows is 63; for 2 sites it must be at least 64",
        ),
    ] {
        let said = said(&body);
        assert!(said.starts_with(why), "for {body:?}\nsaid   {said}\nwanted {why}");
    }
}

#[test]
fn a_partition_of_who_cannot_be_told_apart_is_refused() {
    let said = said(
        "[[carrier]]\nname = \"isp\"\nnat = \"port-restricted-cone\"\n\
         [[site]]\nname = \"alice\"\nnat = \"home\"\ncarrier = \"isp\"\n[[site]]\nname = \"bob\"\n\
         [[event]]\nduring = \"recover\"\nat = 1\ndo = \"partition\"\nbetween = [\"alice\", \"bob\"]",
    );
    assert!(said.contains("shares the carrier `isp`"), "{said}");
}

#[test]
fn the_wire_takes_every_event_that_is_not_of_a_gateway_to_the_last() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../checks");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            let scenario = Scenario::load(&path, &[]).unwrap().on_the_wire();
            let possible = super::sound::events(&scenario, &[]);
            possible.unwrap_or_else(|(at, why)| panic!("{}: {at}: {why}", path.display()));
        }
    }
    let event = |at: u32, what: &str, site: &str| {
        format!("[[event]]\nduring = \"recover\"\nat = {at}\ndo = \"{what}\"\nsite = \"{site}\"\n")
    };
    let scenario = read(
        &("[[site]]\nname = \"alice\"\nnat = \"home\"\n[[site]]\nname = \"bob\"\nnat = \"home\"\n"
            .to_owned()
            + &event(5, "nat-rebind", "alice")
            + &event(10, "link-down", "bob")
            + &event(20, "link-up", "bob")),
    );
    let happens: Vec<&str> = scenario.events.iter().map(|event| event.action.name()).collect();
    assert_eq!(happens, ["nat-rebind", "link-down", "link-up"]);
    let wire = scenario.on_the_wire();
    let happens: Vec<&str> = wire.events.iter().map(|event| event.action.name()).collect();
    assert_eq!(happens, ["link-down", "link-up"]);
}

#[test]
fn a_one_to_one_site_takes_back_its_own_machine_and_no_other() {
    let roam = |at: u32, machine: &str, to: &str| {
        format!(
            "[[event]]\nduring = \"recover\"\nat = {at}\ndo = \"roam\"\nmachine = \"{machine}\"\nto = \"{to}\"\n"
        )
    };
    let sites = "[[site]]\nname = \"alice\"\nnat = \"one-to-one\"\n\
                 [[site]]\nname = \"cafe\"\nnat = \"home\"\nmachines = []\n[[site]]\nname = \"bob\"\n";
    let away = sites.to_owned() + &roam(5, "alice", "cafe");
    read(&(away.clone() + &roam(9, "alice", "alice")));
    let said = said(&(away + &roam(9, "bob", "alice")));
    assert!(said.contains("site `alice` has a one-to-one NAT, which is for its own"), "{said}");
}

#[test]
fn networks_that_a_carrier_could_not_tell_apart_are_refused_at_the_lan() {
    let carrier = "[[carrier]]\nname = \"isp\"\nnat = \"port-restricted-cone\"\n";
    let site = |name: &str, nat: &str, more: &str| {
        format!("[[site]]\nname = \"{name}\"\nnat = \"{nat}\"\ncarrier = \"isp\"\n{more}\n")
    };
    let lan = |net: &str| format!("lan = \"{net}\"");
    let house = lan("192.168.178.0/24");
    for (sites, why) in [
        (
            site("alice", "phone", &house) + &site("bob", "phone", &house),
            "10:7: the network `192.168.178.0/24` is that of site `bob`, too, and the carrier `isp`",
        ),
        (
            site("alice", "phone", &lan("100.64.2.0/24")) + &site("bob", "home", ""),
            "10:7: the network `100.64.2.0/24` is the line to site `bob`",
        ),
        (
            site("alice", "phone", "") + &site("bob", "phone", &lan("100.64.1.0/24")),
            "15:7: the network `100.64.1.0/24` is that of site `alice`, too",
        ),
        (
            site("alice", "phone", "") + &site("bob", "phone", &lan("100.127.1.0/24")),
            "15:7: the network `100.127.1.0/24` is the line to site `alice`",
        ),
    ] {
        let said = said(&(carrier.to_owned() + &sites));
        assert!(said.starts_with(why), "for {sites}\nsaid   {said}\nwanted {why}");
    }
    // Routers hide what is behind them, and other carriers know nothing of it.
    for sites in [
        site("alice", "home", &house) + &site("bob", "home", &house),
        site("alice", "home", &house) + &site("bob", "phone", &house),
        site("alice", "phone", &lan("100.64.1.0/24"))
            + &site("bob", "phone", &lan("100.127.2.0/24")),
        site("alice", "phone", &house)
            + &site("bob", "phone", &house).replace("carrier = \"isp\"\n", ""),
    ] {
        read(&(carrier.to_owned() + &sites));
    }
}

#[test]
fn a_black_hole_that_is_no_narrower_than_its_line_is_refused() {
    let site = |lines: &str| format!("[[site]]\nname = \"alice\"\nnat = \"home\"\n{lines}\n");
    let event = |mtu: u16| {
        format!(
            "[[event]]\nduring = \"recover\"\nat = 5\ndo = \"mtu-black-hole\"\nsite = \"alice\"\nmtu = {mtu}\n"
        )
    };
    for (body, why) in [
        (site("mtu = 1400\nmtu-black-hole = 1490"), "7:18: the line of site `alice` carries 1400"),
        (site("mtu = 600\nmtu-black-hole = 1490"), "7:18: the line of site `alice` carries 600"),
        (site("mtu = 1400") + &event(1490), "11:8: the line of site `alice` carries 1400"),
        (site("mtu = 1400") + &event(1400), "11:8: the line of site `alice` carries 1400"),
        (
            site("mtu = { ipv4 = 1460 }\nmtu-black-hole = 1470"),
            "7:18: the line of site `alice` carries 1460",
        ),
    ] {
        let said = said(&body);
        assert!(said.starts_with(why), "for {body:?}\nsaid   {said}\nwanted {why}");
    }
    read(&(site("mtu = 1400") + &event(1399)));
    read(&site("ipv6 = true\nmtu = { ipv4 = 1460 }\nmtu-black-hole = 1470"));
}

#[test]
fn a_router_whose_second_line_has_the_network_of_its_house_is_refused() {
    let house = |nat: &str, lan: &str, second: &str| {
        format!(
            "[[site]]\nname = \"alice\"\nbackup = \"mobile\"\nnat = \"{nat}\"\n{lan}\n\
             [[site]]\nname = \"mobile\"\nnat = \"phone\"\nmachines = []\n{second}\n"
        )
    };
    let lan = |net: &str| format!("lan = \"{net}\"");
    let same = lan("192.168.178.0/24");
    for (body, why) in [
        (house("home", &same, &same), "12:7: the network `192.168.178.0/24` of site `mobile`"),
        (house("home", &lan("100.64.2.0/24"), ""), "7:7: the network `100.64.2.0/24`"),
        (house("cgnat", "", &lan("100.64.1.0/24")), "12:7: the network `100.64.1.0/24`"),
    ] {
        let said = said(&body);
        assert!(said.starts_with(why), "for {body}\nsaid   {said}\nwanted {why}");
    }
    read(&house("home", "", &lan("100.64.1.0/24")));
    read(&house("home", &same, ""));
}

#[test]
fn nobody_ends_where_nothing_connects_and_all_reach_a_coordinator() {
    let cafe = "[[site]]\nname = \"cafe\"\nipv4 = false\nipv6 = true\nmachines = []\n";
    let homes = "[[site]]\nname = \"alice\"\n[[site]]\nname = \"bob\"\n";
    let roam = |during: &str, at: u32, to: &str| {
        format!(
            "[[event]]\nduring = \"{during}\"\nat = {at}\ndo = \"roam\"\nmachine = \"alice\"\nto = \"{to}\"\n"
        )
    };
    let hub = |lines: &str| format!("[[site]]\nname = \"hub\"\n{lines}\n");
    let six = "ipv4 = false\nipv6 = true\n";
    let peers = |alice: &str, bob: &str| {
        format!("[[site]]\nname = \"alice\"\n{alice}[[site]]\nname = \"bob\"\n{bob}")
    };
    let for_good = homes.to_owned() + cafe + &roam("recover", 5, "cafe");
    for (body, why) in [
        (
            for_good.clone(),
            "17:6: when all has happened, site `cafe` has only IPv6 and site `bob` only IPv4",
        ),
        // `recover` runs after `tcp`, whatever the file's order.
        (for_good.clone() + &roam("tcp", 9, "bob"), "17:6: when all has happened, site `cafe`"),
        (
            peers(six, "ipv6 = true\n") + &hub(""),
            "4:8: site `alice` has only IPv6 and the coordinator `hub` at site `hub` only IPv4",
        ),
        (
            peers("", "ipv6 = true\n") + &hub(six),
            "4:8: site `alice` has only IPv4 and the coordinator `hub` at site `hub` only IPv6",
        ),
        (
            peers("ipv6 = true\n", "ipv6 = true\n") + &hub("") + cafe + &roam("recover", 5, "cafe"),
            "22:6: when all has happened, site `cafe` has only IPv6 and the coordinator `hub`",
        ),
    ] {
        let said = said(&body);
        assert!(said.starts_with(why), "for {body:?}\nsaid   {said}\nwanted {why}");
    }
    read(&(for_good + &roam("recover", 9, "alice")));
    read(&(homes.to_owned() + cafe + &roam("recover", 1, "alice") + &roam("tcp", 5, "cafe")));
    read(&(peers(&format!("{six}nat64 = true\n"), "ipv6 = true\n") + &hub("")));
    read(&(peers(six, "ipv6 = true\n") + &hub("ipv6 = true")));
    // Of two, one that everybody reaches is enough.
    let second = "[[site]]\nname = \"hub2\"\nipv6 = true\n[[machine]]\nname = \"hub2\"\nrole = \"coordinator\"\n";
    read(&(peers(six, "") + &hub("") + second));
}

#[test]
fn carriers_are_counted_with_the_sites_that_they_are_numbered_after() {
    let carriers = |count: usize| -> String {
        let one = |n| format!("[[carrier]]\nname = \"c{n}\"\nnat = \"symmetric\"\n");
        (0..count).map(one).collect()
    };
    let sites: String =
        (0..173).map(|n| format!("[[site]]\nname = \"s{n}\"\nmachines = []\n")).collect();
    read(&(carriers(81) + &sites));
    let said = said(&(carriers(100) + &sites));
    assert_eq!(said, "247:8: there are more than 254 sites and carriers");
}

#[test]
fn the_two_uplinks_that_somebody_wished_for_are_told_what_to_write() {
    let text = "title = \"DSL and LTE in one house\"\ndescription = \"The router prefers DSL.\"\nworkloads = [\"recover\"]\n\
                [[site]]\nname = \"alice\"\nnat = \"home\"\nlink = \"dsl\"\nbackup = { link = \"lte\", nat = \"cgnat\" }\n";
    let said = Scenario::parse("s", "s.toml", text, WORKLOADS).unwrap_err().to_string();
    assert!(
        said.contains("expected a site's name: its second line is that of another [[site]]"),
        "{said}"
    );
}
