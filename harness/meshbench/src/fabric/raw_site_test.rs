use super::super::nat::{Behaviour, Ports};
use super::super::sample::{WORKLOADS, read, said};
use super::super::scenario::Scenario;

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
