use std::io::Write;
use std::process::Command;

use super::super::event::{Action, Way};
use super::super::gateway::KINDS;
use super::super::script::script;
use super::*;

pub(super) fn plan(sites: &str) -> Plan {
    let text = format!("title = \"t\"\ndescription = \"d\"\n{sites}");
    Plan::new(&Scenario::parse("s", "s.toml", &text, &[]).unwrap(), 1)
}

#[test]
fn a_home_as_the_fabric_is_told() {
    let plan = plan("[[site]]\nname = \"alice\"\nnat = \"home\"\nlink = \"dsl\"");
    insta::assert_snapshot!(script(&plan.namespaces()), @r#"
    set -eu
    ip -batch - <<'IP'
    netns add internet
    netns add alice
    link add alice netns internet address 02:00:00:00:01:01 gso_max_segs 1 type veth peer name wan netns alice address 02:00:00:00:01:02 gso_max_segs 1
    link set card0 netns alice
    IP
    nsenter --net=/run/netns/internet sh -eu <<'NETNS'
    ip -batch - <<'IP'
    link set lo up
    address add 5.255.0.1/32 dev lo
    address add 5.255.0.2/32 dev lo
    address add 5.255.0.3/32 dev lo
    address add 2a0e:ffff::1/128 dev lo
    address add 2a0e:ffff::2/128 dev lo
    address add 2a0e:ffff::3/128 dev lo
    route add blackhole 10.0.0.0/8
    route add blackhole 100.64.0.0/10
    route add blackhole 172.16.0.0/12
    route add blackhole 192.168.0.0/16
    route add blackhole fc00::/7
    link set alice addrgenmode none up
    address add 5.1.0.1/24 dev alice
    neigh add 5.1.0.2 lladdr 02:00:00:00:01:02 dev alice nud permanent
    IP
    echo 1 >/proc/sys/net/ipv4/ip_forward
    echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter
    echo 1 >/proc/sys/net/ipv4/conf/default/rp_filter
    echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
    echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects
    echo 1 >/proc/sys/net/ipv4/conf/all/promote_secondaries
    echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
    tc -batch - <<'TC'
    qdisc replace dev alice root handle 1: netem limit 20000 delay 12000us seed 1690170567535090425
    qdisc replace dev alice parent 1:1 handle 2: netem limit 414 rate 50000000bit
    TC
    NETNS
    nsenter --net=/run/netns/alice sh -eu <<'NETNS'
    ip -batch - <<'IP'
    link set lo up
    link add lan type bridge stp_state 0 mcast_snooping 0
    link set lan addrgenmode none up
    address add 192.168.1.1/24 dev lan
    link set wan addrgenmode none up
    address add 5.1.0.2/24 dev wan
    neigh add 5.1.0.1 lladdr 02:00:00:00:01:01 dev wan nud permanent
    route add default via 5.1.0.1
    link set card0 addrgenmode none gro_max_size 1 gso_max_segs 1 master lan up
    IP
    nft -f - <<'NFT'
    table inet gateway {
      chain input {
        type filter hook input priority filter; policy accept;
        iifname "wan" meta l4proto != ipv6-icmp ct state new drop
      }
      chain forward {
        type filter hook forward priority filter; policy accept;
        iifname != "wan" accept
        ct state established,related accept
        icmpv6 type echo-request accept
        drop
      }
      chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        oifname "wan" meta nfproto ipv4 masquerade
      }
    }
    NFT
    echo 1 >/proc/sys/net/ipv4/ip_forward
    echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter
    echo 1 >/proc/sys/net/ipv4/conf/default/rp_filter
    echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
    echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects
    echo 1 >/proc/sys/net/ipv4/conf/all/promote_secondaries
    echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
    echo 120 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout
    echo 120 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream
    [ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables
    [ ! -e /proc/sys/net/bridge/bridge-nf-call-ip6tables ] || echo 0 >/proc/sys/net/bridge/bridge-nf-call-ip6tables
    tc -batch - <<'TC'
    qdisc replace dev wan root handle 1: netem limit 20000 delay 12000us seed 6672806629906061395
    qdisc replace dev wan parent 1:1 handle 2: netem limit 84 rate 10000000bit
    TC
    NETNS
    "#);
}

#[test]
fn members_are_seen_as_the_internet_sees_them() {
    let plan = plan(
        "[[site]]\nname = \"alice\"\nnat = \"cgnat\"\nipv6 = true\n\
         [[site]]\nname = \"office\"\nnat = \"firewall\"\nmachines = [\"bob\", \"carol\"]\n\
         [[site]]\nname = \"hub\"",
    );
    let lines: Vec<String> = plan
        .members()
        .iter()
        .map(|m| {
            format!(
                "{} {:?} at {} {:?} {:?} nat {}",
                m.name, m.role, m.site, m.local, m.public, m.nat
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    alice Peer at alice [192.168.1.10, 2a0e:1:1::10] [5.1.0.2, 2a0e:1:1::10] nat true
    bob Peer at office [5.2.1.10] [5.2.1.10] nat true
    carol Peer at office [5.2.1.11] [5.2.1.11] nat true
    hub Coordinator at hub [5.3.1.10] [5.3.1.10] nat false
    ");
    let nets: Vec<String> = plan
        .machines()
        .iter()
        .map(|m| format!("card{} {:?} via {:?}", m.card, m.addresses, m.gateways))
        .collect();
    insta::assert_snapshot!(nets.join("\n"), @r#"
    card0 ["192.168.1.10/24", "2a0e:1:1::10/64"] via [192.168.1.1, 2a0e:1:1::1]
    card1 ["5.2.1.10/24"] via [5.2.1.1]
    card2 ["5.2.1.11/24"] via [5.2.1.1]
    card3 ["5.3.1.10/24"] via [5.3.1.1]
    "#);
}

#[test]
fn the_seed_alone_decides() {
    let text = "[[site]]\nname = \"a\"\nnat = \"port-restricted-cone\"\nlink = \"lossy\"";
    let with = |seed: u64| script(&Plan { seed, ..plan(text) }.namespaces());
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

#[test]
fn every_ruleset_is_one_that_nft_accepts() {
    if Command::new("nft").arg("--version").output().is_err() || !nix::unistd::geteuid().is_root() {
        // Past the capture of test output, so that skips are seen and counted.
        let _ = writeln!(std::io::stderr(), "skipped: `nft -c` needs nftables and root");
        return;
    }
    let mut text = String::new();
    for (n, kind) in KINDS.iter().enumerate() {
        text +=
            &format!("[[site]]\nname = \"n{n}\"\nnat = \"{}\"\nmtu-black-hole = 1400\n", kind.name);
    }
    for (n, firewall) in ["none", "stateful", "udp-blocked", "tcp-443-only"].iter().enumerate() {
        text += &format!(
            "[[site]]\nname = \"six{n}\"\nipv4 = false\nipv6 = true\nnat64 = true\nfirewall = \"{firewall}\"\nudp-rate-mbit = 1\n"
        );
    }
    let rules: Vec<(String, String)> = plan(&text)
        .namespaces()
        .into_iter()
        .map(|namespace| (namespace.name, namespace.nft))
        .collect();
    for (name, nft) in rules {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &nft).unwrap();
        let output = Command::new("unshare")
            .args(["-n", "nft", "-c", "-f"])
            .arg(file.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{name}: {}\n{nft}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_bottleneck_is_that_of_the_lines_in_use() {
    let mut plan = plan(
        "[[site]]\nname = \"alice\"\nnat = \"home\"\nlink = \"dsl\"\nbackup = \"mobile\"\nmachines = [\"alice\", \"carol\"]\n\
         [[site]]\nname = \"mobile\"\nnat = \"phone\"\nlink = \"lte\"\nmachines = []\n\
         [[site]]\nname = \"bob\"\nlink = \"fibre\"",
    );
    let between = |plan: &Plan| plan.bottleneck_mbit(["alice", "bob"]);
    assert_eq!(between(&plan), Some(10.0));
    assert_eq!(plan.forward_mbit(["alice", "bob"]), Some(10.0), "up her DSL");
    assert_eq!(plan.forward_mbit(["bob", "alice"]), Some(40.0), "up his fibre, and not up her DSL");
    assert_eq!(plan.round_trip_ms(["alice", "bob"]), 2.0 * (12.0 + 0.75));
    plan.change(&Action::FailOver { site: "alice".into() }).unwrap();
    assert_eq!(between(&plan), Some(12.0));
    plan.change(&Action::FailBack { site: "alice".into() }).unwrap();
    plan.change(&Action::Roam { machine: "alice".into(), to: "mobile".into() }).unwrap();
    assert_eq!(between(&plan), Some(12.0), "the rate is that of where she is now");
    plan.change(&Action::Roam { machine: "bob".into(), to: "mobile".into() }).unwrap();
    assert_eq!(between(&plan), None, "neighbours do not use the line");
    assert_eq!(plan.forward_mbit(["alice", "bob"]), None);
    assert_eq!(plan.round_trip_ms(["alice", "bob"]), 0.0);
    assert_eq!(plan.forward_loss_percent(["alice", "bob"]), 0.0);
    assert_eq!(plan.bottleneck_mbit(["carol", "carol"]), None);
}

#[test]
fn what_lines_lose_on_the_way_there_is_of_both() {
    let line = "link = { up = { loss-percent = 2 }, down = { corrupt-percent = 10 } }";
    let plan =
        plan(&format!("[[site]]\nname = \"alice\"\n{line}\n[[site]]\nname = \"bob\"\n{line}"));
    let lost = plan.forward_loss_percent(["alice", "bob"]);
    assert!((lost - 11.8).abs() < 1e-9, "{lost}");
}

#[test]
fn a_lan_and_host_numbers_are_as_the_scenario_says_and_visitors_fit_in() {
    let home = |name: &str| {
        format!("[[site]]\nname = \"{name}\"\nnat = \"home\"\nlan = \"192.168.178.0/24\"\n")
    };
    let machine = |name: &str| format!("[[machine]]\nname = \"{name}\"\nhost = 20\n");
    let text = home("alice") + &home("bob") + &machine("alice") + &machine("bob");
    let mut plan = plan(&text);
    let addresses = |plan: &Plan| -> Vec<String> {
        plan.machines().into_iter().flat_map(|net| net.addresses).collect()
    };
    assert_eq!(addresses(&plan), ["192.168.178.20/24", "192.168.178.20/24"]);
    plan.change(&Action::Roam { machine: "alice".into(), to: "bob".into() }).unwrap();
    assert_eq!(addresses(&plan), ["192.168.178.100/24", "192.168.178.20/24"]);
}

#[test]
fn a_phone_has_the_address_that_its_carrier_gives_it() {
    let plan = plan(
        "[[carrier]]\nname = \"isp\"\nnat = \"port-restricted-cone\"\n\
         [[site]]\nname = \"alice\"\nnat = \"phone\"\n\
         [[site]]\nname = \"bob\"\nnat = \"phone\"\ncarrier = \"isp\"\n\
         [[site]]\nname = \"carol\"\nnat = \"home\"\ncarrier = \"isp\"",
    );
    let lines: Vec<String> = plan
        .members()
        .iter()
        .map(|m| format!("{} {:?} {:?} nat {}", m.name, m.local, m.public, m.nat))
        .collect();
    assert_eq!(
        lines,
        [
            "alice [100.64.1.10] [5.1.0.2] nat true",
            "bob [100.64.2.10] [5.4.0.2] nat true",
            "carol [192.168.3.10] [5.4.0.2] nat true",
        ]
    );
}

#[test]
fn what_a_translator_makes_of_packets_is_filtered_once_and_by_the_line() {
    let site = |lines: &str| {
        plan(&format!(
            "[[site]]\nname = \"alice\"\nipv4 = false\nipv6 = true\nnat = \"firewall\"\nnat64 = true\n{lines}\n"
        ))
    };
    let rules = |plan: &Plan| {
        let spaces = plan.namespaces();
        spaces.into_iter().find(|space| space.name == "alice").unwrap().nft
    };
    for (firewall, what) in [
        ("udp-blocked", "meta l4proto udp drop"),
        ("tcp-443-only", "ct state new tcp dport != 443 drop"),
    ] {
        let rules = rules(&site(&format!("firewall = \"{firewall}\"")));
        for to in ["wan", "nat64"] {
            assert!(rules.contains(&format!("iifname \"lan\" oifname \"{to}\" {what}")), "{rules}");
        }
    }
    let rules = rules(&site(
        "udp-rate-mbit = 1\nlink = { up = { duplicate-percent = 20 }, down = { duplicate-percent = 20 } }",
    ));
    for way in ["oifname \"wan*\"", "iifname \"wan*\""] {
        assert_eq!(rules.matches(&format!("{way} meta l4proto udp limit")).count(), 1, "{rules}");
    }
    assert_eq!(rules.matches("meta l4proto udp limit").count(), 2, "{rules}");
    assert!(rules.contains("dup to 5.1.0.1") && rules.contains("dup to 2a0e:1::1"), "{rules}");
    let block = |direction| Action::BlockUdp { site: "alice".into(), direction: Some(direction) };
    let told = |direction| site("").change(&block(direction)).unwrap().namespaces.remove(0).nft;
    assert!(told(Way::Up).contains("iifname \"lan\" meta l4proto udp drop"));
    assert!(told(Way::Down).contains("iifname \"wan*\" meta l4proto udp drop"));
}

#[test]
fn only_gateways_with_room_for_few_flows_are_emptied_and_each_once() {
    let nat = "{ mapping = \"endpoint-independent\", filtering = \"address-and-port-dependent\", ports = \"hash\", flows = 64 }";
    let plan = plan(&format!(
        "[[carrier]]\nname = \"isp\"\nnat = {nat}\n\
         [[site]]\nname = \"alice\"\nnat = \"home\"\ncarrier = \"isp\"\n\
         [[site]]\nname = \"bob\"\nnat = \"phone\"\ncarrier = \"isp\"\n\
         [[site]]\nname = \"carol\"\nnat = {nat}\ncarrier = {nat}\n\
         [[site]]\nname = \"dave\"\nnat = \"home\""
    ));
    let names: Vec<String> = plan.emptied().into_iter().map(|space| space.name).collect();
    assert_eq!(names, ["carol", "carol-carrier", "isp"]);
}

/// Else whoever sends something large in between is told, and the hole is none.
#[test]
fn a_black_hole_is_silent_before_it_is_narrow() {
    let mut plan = plan("[[site]]\nname = \"alice\"\nnat = \"home\"\n[[site]]\nname = \"bob\"");
    let hole = Action::MtuBlackHole { site: "alice".into(), mtu: 1300 };
    let told = plan.change(&hole).unwrap().namespaces;
    let silent = told.iter().rposition(|namespace| !namespace.nft.is_empty()).unwrap();
    let narrow = told.iter().position(|namespace| !namespace.ip.is_empty()).unwrap();
    assert!(silent < narrow, "{told:?}");
}

#[test]
fn only_what_lets_in_udp_is_open_to_who_begins_by_it() {
    let is_closed = |ports: &str| {
        let house = format!("nat = \"home\"\nforward = [{{ machine = \"bob\"{ports} }}]\n");
        plan(&format!("[[site]]\nname = \"bob\"\n{house}")).members()[0].nat
    };
    assert!(!is_closed("") && !is_closed(", udp = 51820, tcp = 22"));
    assert!(is_closed(", tcp = 22"));
}

#[test]
fn a_carrier_alone_forgets_as_a_router_does() {
    let mut phone = plan("[[site]]\nname = \"alice\"\nnat = \"phone\"\nfirewall = \"none\"\n");
    let change = phone.change(&Action::NatRebind { site: "alice".into() }).unwrap();
    assert!(!change.namespaces.is_empty());
    let mut open = plan("[[site]]\nname = \"alice\"\n");
    assert!(open.change(&Action::NatRebind { site: "alice".into() }).is_err());
}

#[test]
fn a_partition_parts_who_has_gone_over_to_another_line() {
    let mut plan = plan(
        "[[site]]\nname = \"alice\"\nnat = \"home\"\nbackup = \"mobile\"\n\
         [[site]]\nname = \"bob\"\n[[site]]\nname = \"mobile\"\nnat = \"phone\"\nmachines = []\n",
    );
    let parted = Action::Partition { between: vec!["alice".into(), "bob".into()], one_way: false };
    let rules = |plan: &Plan| plan.clone().change(&parted).unwrap().namespaces[0].nft.clone();
    assert!(rules(&plan).contains("\"alice\", \"bob\""), "{}", rules(&plan));
    plan.change(&Action::FailOver { site: "alice".into() }).unwrap();
    assert!(rules(&plan).contains("\"bob\"") && rules(&plan).contains("\"mobile\""));
    assert!(!rules(&plan).contains("\"alice\""), "{}", rules(&plan));
}
