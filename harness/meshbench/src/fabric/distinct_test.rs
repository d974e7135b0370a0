use super::super::sample::{read, said};

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
