use super::super::sample::{read, said};
use super::super::scenario::Scenario;

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
        (
            event("do = \"suspend\"\nmachine = \"bob\"") + "\n[[event]]\nduring = \"recover\"\nat = 6\ndo = \"readdress\"\nsite = \"bob\"",
            "17:8: machine `bob` is suspended by then, and would not hear of it",
        ),
        (
            event("do = \"block-udp\"\nsite = \"alice\"").replace("name = \"bob\"\n", "name = \"bob\"\ndynamic-dns = 60\n"),
            "13:8: site `bob` has `dynamic-dns`, whose resolver is asked by UDP",
        ),
        (
            "[[site]]\nname = \"alice\"\nnat = \"tcp-443-only\"\n[[site]]\nname = \"bob\"\ndynamic-dns = 60".to_owned(),
            "5:7: site `alice` lets no UDP out",
        ),
        (
            "[[site]]\nname = \"alice\"\nnat = \"one-to-one\"\nfirewall = \"stateful\"".to_owned(),
            "5:7: a one-to-one NAT lets everything in",
        ),
        (
            "[[site]]\nname = \"alice\"\nmtu-black-hole = 1300\n[[site]]\nname = \"bob\"\n[[event]]\nduring = \"recover\"\nat = 5\ndo = \"mtu-black-hole\"\nsite = \"alice\"\nmtu = 1400".to_owned(),
            "12:8: site `alice` has a black hole of 1300 bytes",
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
            let mut scenario = Scenario::load(&path, &[]).unwrap().on_the_wire();
            scenario.events.retain(|event| event.action.happens_on_the_wire());
            let possible = super::events(&scenario, &[]);
            possible.unwrap_or_else(|(at, why)| panic!("{}: {at}: {why}", path.display()));
        }
    }
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
    // Back, but only when another workload has found her there.
    let said =
        said(&(homes.to_owned() + cafe + &roam("recover", 1, "alice") + &roam("tcp", 5, "cafe")));
    assert!(
        said.starts_with("23:6: when all has happened during `tcp`, site `cafe` has"),
        "{said}"
    );
    read(&(peers(&format!("{six}nat64 = true\n"), "ipv6 = true\n") + &hub("")));
    read(&(peers(six, "ipv6 = true\n") + &hub("ipv6 = true")));
    // Of two, one that everybody reaches is enough.
    let second = "[[site]]\nname = \"hub2\"\nipv6 = true\n[[machine]]\nname = \"hub2\"\nrole = \"coordinator\"\n";
    read(&(peers(six, "") + &hub("") + second));
}

/// Who goes over in one workload and back in another one cannot go back where the first is not measured.
#[test]
fn events_that_belong_together_hold_only_together() {
    let one = |during: &str, what: &str| {
        format!("[[event]]\nduring = \"{during}\"\nat = 5\ndo = \"{what}\"\nsite = \"bob\"\n")
    };
    let two = "[[site]]\nname = \"alice\"\n[[site]]\nname = \"bob\"\n";
    let scenario = read(&format!("{two}{}{}", one("ping", "link-down"), one("recover", "link-up")));
    assert_eq!(scenario.events_hold(&["ping", "recover"]), Ok(()));
    assert_eq!(scenario.events_hold(&["tcp"]), Ok(()));
    let why = scenario.events_hold(&["recover"]).unwrap_err();
    assert!(why.contains("during `recover` at 5 s: the line of site `bob` is not down"), "{why}");
}
