//! Plans on the kernel's own NAT and routes, in network namespaces of this machine.

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use super::address::CORE_V4;
use super::event::Action;
use super::nat::Behaviour::{self, AddressAndPortDependent, AddressDependent, EndpointIndependent};
use super::wire_lab::{Lab, arrives, mapped, seen};

fn class(same_for_address: bool, same_for_all: bool) -> Behaviour {
    match (same_for_address, same_for_all) {
        (_, true) => EndpointIndependent,
        (true, false) => AddressDependent,
        (false, false) => AddressAndPortDependent,
    }
}

/// RFC 4787 mapping and filtering of the site of `machine`, with a fresh socket for each.
fn behaviour(lab: &Lab, servers: &[UdpSocket], machine: &str) -> (Behaviour, Behaviour, bool) {
    let own = lab.machine(machine, 40_000);
    let ports: Vec<u16> = servers.iter().map(|server| mapped(&own, server).port()).collect();
    let mapping = class(
        ports[0] == ports[1] && ports[2] == ports[3],
        ports.iter().all(|port| *port == ports[0]),
    );
    let own = lab.machine(machine, 40_001);
    let at = mapped(&own, &servers[0]);
    arrives(&servers[0], &own, at);
    let other_address = seen(&servers[4], &own, at).is_some();
    let other_port = seen(&servers[1], &own, at).is_some();
    (mapping, class(other_port, other_address), ports[0] == 40_000)
}

#[test]
fn every_pair_of_mapping_and_filtering_behaves_as_it_is_called() {
    let all = [
        (EndpointIndependent, "endpoint-independent"),
        (AddressDependent, "address-dependent"),
        (AddressAndPortDependent, "address-and-port-dependent"),
    ];
    let mut text = String::new();
    let mut asked = Vec::new();
    for (mapping, m) in all {
        for (filtering, f) in all {
            let ports: &[&str] = match mapping {
                EndpointIndependent => &["preserve", "hash"],
                AddressDependent => &["hash"],
                AddressAndPortDependent => &["hash", "random", "sequential"],
            };
            for port in ports {
                text += &format!(
                    "[[site]]\nname = \"n{}\"\nnat = {{ mapping = \"{m}\", filtering = \"{f}\", ports = \"{port}\" }}\n",
                    asked.len()
                );
                asked.push((mapping, filtering, *port == "preserve"));
            }
        }
    }
    let Some(lab) = Lab::new(&text) else { return };
    let servers = lab.servers();
    let probed: Vec<_> =
        (0..asked.len()).map(|n| behaviour(&lab, &servers, &format!("n{n}"))).collect();
    assert_eq!(probed, asked);
}

#[test]
fn an_early_packet_from_outside_does_not_spoil_the_mapping() {
    let sites =
        "[[site]]\nname = \"alice\"\nnat = \"home\"\n[[site]]\nname = \"bob\"\nnat = \"home\"";
    let Some(lab) = Lab::new(sites) else { return };
    let (alice, bob) = (lab.machine("alice", 51_820), lab.machine("bob", 51_820));
    let public: Vec<SocketAddr> =
        lab.plan.members().iter().map(|member| SocketAddr::new(member.public[0], 51_820)).collect();
    assert_eq!(seen(&alice, &bob, public[1]), None, "bob has not sent anything yet");
    assert_eq!(arrives(&bob, &alice, public[0]), public[1], "both have sent");
    assert_eq!(arrives(&alice, &bob, public[1]), public[0]);
}

#[test]
fn two_machines_behind_one_gateway_reach_each_other_by_its_address_only_with_hairpin() {
    let site = |name: &str, hairpin: bool| {
        format!(
            "[[site]]\nname = \"{name}\"\nmachines = [\"{name}1\", \"{name}2\"]\n\
             nat = {{ mapping = \"endpoint-independent\", filtering = \"address-and-port-dependent\", \
             ports = \"hash\", hairpin = {hairpin} }}\n"
        )
    };
    let Some(lab) = Lab::new(&(site("with", true) + &site("without", false))) else { return };
    let servers = lab.servers();
    for (name, works) in [("with", true), ("without", false)] {
        let one = lab.machine(&format!("{name}1"), 40_000);
        let two = lab.machine(&format!("{name}2"), 40_000);
        let (public1, public2) = (mapped(&one, &servers[0]), mapped(&two, &servers[0]));
        assert_ne!(public1, public2, "{name}: both have the same port inside");
        assert_eq!(seen(&one, &two, public2), works.then_some(public1), "{name}");
    }
}

#[test]
fn a_one_to_one_nat_a_public_site_and_a_firewall_let_in_what_they_say() {
    let sites = ["none", "one-to-one", "firewall", "home", "cgnat", "full-cone"];
    let text: String = sites
        .iter()
        .map(|nat| format!("[[site]]\nname = \"s-{nat}\"\nnat = \"{nat}\"\n"))
        .collect();
    let Some(lab) = Lab::new(&text) else { return };
    let servers = lab.servers();
    for member in lab.plan.members() {
        let own = lab.machine(&member.name, 40_000);
        let at = SocketAddr::new(member.public[0], 40_000);
        let unasked = seen(&servers[0], &own, at).is_some();
        assert_eq!(unasked, !member.nat, "{}", member.name);
        assert_eq!(mapped(&own, &servers[1]).ip(), member.public[0], "{}", member.name);
    }
}

#[test]
fn a_firewall_stops_udp_and_private_addresses_do_not_cross_the_core() {
    let Some(lab) = Lab::new(
        "[[site]]\nname = \"blocked\"\nnat = \"udp-blocked\"\n[[site]]\nname = \"web\"\nnat = \"tcp-443-only\"\n\
         [[site]]\nname = \"open\"",
    ) else {
        return;
    };
    let servers = lab.servers();
    for name in ["blocked", "web"] {
        let own = lab.machine(name, 40_000);
        assert_eq!(seen(&own, &servers[0], servers[0].local_addr().unwrap()), None, "{name}");
    }
    let connect = |name: &str, port: u16, patience: u32| {
        let script = format!(
            "nsenter --net=/run/netns/m-{name} sh -c 'timeout {patience} bash -c \"</dev/tcp/{}/{port}\" 2>&1 || true'",
            CORE_V4[0]
        );
        lab.sh(&script)
    };
    assert!(connect("web", 443, 10).contains("refused"), "TCP to 443 must arrive");
    assert!(!connect("web", 80, 1).contains("refused"), "TCP to 80 must not arrive");
    assert!(connect("blocked", 80, 10).contains("refused"), "TCP must arrive");
    let open = lab.machine("open", 40_000);
    assert_eq!(seen(&open, &servers[0], "192.168.1.10:40000".parse().unwrap()), None);
}

#[test]
fn every_change_shows_on_the_wire() {
    let Some(mut lab) = Lab::new(
        "[[site]]\nname = \"alice\"\nnat = \"home\"\n[[site]]\nname = \"bob\"\n[[site]]\nname = \"hub\"\n\
         [[site]]\nname = \"cafe\"\nnat = \"cgnat\"\nmachines = []",
    ) else {
        return;
    };
    let alice = || "alice".to_owned();
    let own = lab.machine("alice", 40_000);
    let (bob, hub) = (lab.machine("bob", 7000), lab.machine("hub", 7000));
    let home = mapped(&own, &bob);
    let reached =
        |own: &UdpSocket, peer: &UdpSocket| seen(own, peer, peer.local_addr().unwrap()).is_some();

    lab.change(&Action::LinkDown { site: alice(), direction: None });
    assert!(!reached(&own, &bob), "the link is down");
    assert_eq!(seen(&bob, &own, home), None, "in both directions");
    lab.change(&Action::LinkUp { site: alice() });
    assert_eq!(mapped(&own, &bob), home, "the link is up and the mapping the same");

    let between = vec![alice(), "bob".to_owned()];
    lab.change(&Action::Partition { between, one_way: false });
    assert!(!reached(&own, &bob) && reached(&own, &hub), "only the two are apart");
    lab.change(&Action::Heal);
    assert!(reached(&own, &bob), "healed");

    lab.change(&Action::BlockUdp { site: alice(), direction: None });
    assert!(!reached(&own, &bob), "no UDP, not even of known flows");
    lab.change(&Action::Heal);

    lab.change(&Action::NatRebind { site: alice() });
    assert_eq!(seen(&bob, &own, home), None, "the old mapping is gone");
    let rebound = mapped(&own, &bob);
    assert!(rebound.ip() == home.ip() && rebound.port() != home.port(), "{home} {rebound}");
    assert_eq!(mapped(&own, &hub), rebound, "still one mapping for all");

    lab.change(&Action::Readdress { site: alice() });
    let moved = mapped(&own, &bob);
    assert_ne!(moved.ip(), rebound.ip());
    assert_eq!(lab.plan.members()[0].public[0], moved.ip());
    arrives(&bob, &own, moved);

    drop(own);
    lab.change(&Action::Roam { machine: alice(), to: "cafe".to_owned() });
    let own = lab.machine("alice", 40_000);
    let roamed = mapped(&own, &bob);
    assert_eq!(lab.plan.members()[0].public[0], roamed.ip());
    arrives(&bob, &own, roamed);
    lab.change(&Action::Readdress { site: "cafe".to_owned() });
    assert_ne!(mapped(&own, &bob).ip(), roamed.ip(), "the carrier has another address");
    drop(own);
    lab.change(&Action::Roam { machine: alice(), to: alice() });
    let own = lab.machine("alice", 40_000);
    assert_eq!(mapped(&own, &bob).ip(), moved.ip(), "home again");
    assert_eq!(lab.plan.machines()[0].addresses, ["192.168.1.10/24"]);

    lab.change(&Action::Readdress { site: "bob".to_owned() });
    let bob = lab.machine("bob", 7000);
    assert!(reached(&own, &bob), "a public machine has another address itself");
}

#[test]
fn who_leaves_a_one_to_one_nat_is_reached_there_again_when_she_is_back() {
    let Some(mut lab) = Lab::new(
        "[[site]]\nname = \"alice\"\nnat = \"one-to-one\"\n[[machine]]\nname = \"alice\"\nhost = 20\n\
         [[site]]\nname = \"cafe\"\nnat = \"home\"\nmachines = []\n[[site]]\nname = \"bob\"",
    ) else {
        return;
    };
    let bob = lab.machine("bob", 7000);
    let roam = |to: &str| Action::Roam { machine: "alice".into(), to: to.into() };
    lab.change(&roam("cafe"));
    let own = lab.machine("alice", 40_000);
    assert_eq!(mapped(&own, &bob).ip(), lab.plan.members()[0].public[0], "as the cafe's");
    drop(own);
    lab.change(&Action::NatRebind { site: "alice".into() });
    lab.change(&roam("alice"));
    let own = lab.machine("alice", 40_000);
    let public = SocketAddr::new(lab.plan.members()[0].public[0], 40_000);
    assert_eq!(arrives(&bob, &own, public), bob.local_addr().unwrap(), "and unasked");
    let other =
        lab.plan.clone().change(&Action::Roam { machine: "bob".into(), to: "alice".into() });
    assert!(other.unwrap_err().reason.contains("one-to-one NAT"), "which is for alice");
}

#[test]
fn a_black_hole_swallows_large_packets_and_says_nothing() {
    let Some(mut lab) = Lab::new(
        "[[site]]\nname = \"alice\"\nnat = \"home\"\nipv6 = true\n[[site]]\nname = \"bob\"\nipv6 = true",
    ) else {
        return;
    };
    let bob = lab.plan.members()[1].local.clone();
    // Several: a bridge takes a moment until it forwards.
    let ping = |lab: &Lab, family: usize, size: usize| {
        lab.sh(&format!(
            "nsenter --net=/run/netns/m-alice ping -M do -c 5 -i 0.3 -W 1 -s {size} {} 2>&1 || true",
            bob[family]
        ))
    };
    let passes = |text: &str| text.contains("transmitted") && !text.contains("100% packet loss");
    // 28 and 48 bytes of headers make packets of 1400.
    for (family, size) in [(0, 1372), (1, 1352)] {
        let text = ping(&lab, family, size);
        assert!(passes(&text), "{text}");
    }
    let site = || "alice".to_owned();
    lab.change(&Action::MtuBlackHole { site: site(), mtu: 1300 });
    for (family, size) in [(0, 1372), (1, 1352)] {
        let out = ping(&lab, family, size);
        assert!(out.contains("100% packet loss") && !out.contains("rror"), "{out}");
        assert!(passes(&ping(&lab, family, 1200)), "small ones pass");
    }
    lab.change(&Action::Heal);
    for (family, size) in [(0, 1372), (1, 1352)] {
        assert!(passes(&ping(&lab, family, size)), "healed");
    }
}

#[test]
fn ipv6_is_routed_and_its_firewall_keeps_strangers_out() {
    let Some(mut lab) = Lab::new(
        "[[site]]\nname = \"alice\"\nnat = \"cgnat\"\nipv6 = true\n\
         [[site]]\nname = \"bob\"\nipv4 = false\nipv6 = true\nnat = \"firewall\"\n\
         [[site]]\nname = \"hub\"\nipv6 = true",
    ) else {
        return;
    };
    let members = lab.plan.members();
    let six = |name: &str| {
        let member = members.iter().find(|member| member.name == name).unwrap();
        *member.local.iter().find(|address| address.is_ipv6()).unwrap()
    };
    let alice = lab.socket("m-alice", six("alice"), 7000);
    let bob = lab.socket("m-bob", six("bob"), 7000);
    let hub = lab.socket("m-hub", six("hub"), 7000);
    assert_eq!(mapped(&alice, &hub), alice.local_addr().unwrap(), "not translated");
    assert_eq!(seen(&hub, &bob, bob.local_addr().unwrap()), None, "a stranger");
    assert_eq!(seen(&alice, &bob, bob.local_addr().unwrap()), None, "another");
    arrives(&bob, &alice, alice.local_addr().unwrap());
    lab.change(&Action::Readdress { site: "alice".to_owned() });
    let new = lab.plan.members()[0].local[1];
    assert_ne!(new, six("alice"));
    let alice = lab.socket("m-alice", new, 7000);
    assert_eq!(mapped(&alice, &hub), alice.local_addr().unwrap(), "the new prefix is routed");
}

#[test]
fn a_port_forward_is_granted_by_the_gateway_that_offers_it() {
    if ["miniupnpd", "upnpc"]
        .iter()
        .any(|tool| Command::new(tool).arg("--version").output().is_err())
    {
        // Past the capture of test output, so that skips are seen and counted.
        let _ = writeln!(std::io::stderr(), "skipped: needs miniupnpd-nftables and miniupnpc");
        return;
    }
    let Some(lab) = Lab::new("[[site]]\nname = \"alice\"\nnat = \"port-mapping\"") else { return };
    let servers = lab.servers();
    let own = lab.machine("alice", 40_000);
    let public = SocketAddr::new(lab.plan.members()[0].public[0], 40_000);
    assert_eq!(seen(&servers[0], &own, public), None, "not asked for yet");
    let ask = "nsenter --net=/run/netns/m-alice upnpc -u http://192.168.1.1:5000/rootDesc.xml \
               -a 192.168.1.10 40000 40000 UDP 2>&1 || true";
    // The gateway's server is a daemon before it listens.
    lab.until("granted", ask, |said| said.contains("is redirected to"));
    arrives(&servers[0], &own, public);
}

/// A script that prints what a gateway remembers of flows, without keeping it alive.
fn remembered(site: &str) -> String {
    let inside = format!("nsenter --net=/run/netns/{site}");
    format!(
        "{inside} conntrack -L -p udp 2>/dev/null\n{inside} nft list ruleset | grep expires || true"
    )
}

#[test]
fn a_mapping_is_forgotten_after_its_lifetime_and_not_before() {
    let nat = |filtering: &str| {
        format!(
            "nat = {{ mapping = \"endpoint-independent\", filtering = \"{filtering}\", ports = \"hash\", lifetime = 2 }}\n"
        )
    };
    let open = nat("endpoint-independent");
    let strict = nat("address-and-port-dependent");
    let sites = format!("[[site]]\nname = \"open\"\n{open}[[site]]\nname = \"strict\"\n{strict}");
    let Some(lab) = Lab::new(&sites) else { return };
    let servers = lab.servers();
    for name in ["open", "strict"] {
        let own = lab.machine(name, 40_000);
        let at = mapped(&own, &servers[0]);
        arrives(&servers[0], &own, at);
        lab.until("forgotten", &remembered(name), str::is_empty);
        assert_eq!(seen(&servers[0], &own, at), None, "{name}");
    }
}

#[test]
fn a_home_router_forwards_the_ports_that_it_was_told_and_no_others() {
    let Some(lab) = Lab::new(
        "[[site]]\nname = \"home\"\nnat = \"home\"\nmachines = [\"hub\", \"alice\"]\nforward = [{ machine = \"hub\", udp = 4242 }]\n\
         [[site]]\nname = \"every\"\nnat = \"home\"\nmachines = [\"box\", \"carol\"]\nforward = [{ machine = \"box\" }]\n\
         [[site]]\nname = \"six\"\nnat = \"firewall\"\nipv6 = true\nforward = [{ machine = \"six\", udp = [4242] }]",
    ) else {
        return;
    };
    let servers = lab.servers();
    let members = lab.plan.members();
    let public = |name: &str| {
        members.iter().find(|member| member.name == name).map(|member| member.public[0]).unwrap()
    };
    for (name, port, passes) in [
        ("hub", 4242, true),
        ("hub", 4243, false),
        ("alice", 4244, false),
        ("box", 9999, true),
        ("six", 4242, true),
        ("six", 4243, false),
    ] {
        let own = lab.machine(name, port);
        let at = SocketAddr::new(public(name), port);
        let seen = seen(&servers[0], &own, at);
        assert_eq!(seen, passes.then(|| servers[0].local_addr().unwrap()), "{name} {port}");
        if passes {
            assert_eq!(mapped(&own, &servers[1]), at, "{name} is seen where it is let in");
        }
    }
    let nat: Vec<(&str, bool)> = members.iter().map(|m| (m.name.as_str(), m.nat)).collect();
    assert_eq!(
        nat,
        [("hub", false), ("alice", true), ("box", false), ("carol", true), ("six", false)]
    );
    // Hole punching of a neighbour is not spoilt by the machine that gets all the rest.
    let carol = lab.machine("carol", 5000);
    let at = mapped(&carol, &servers[0]);
    arrives(&servers[0], &carol, at);
}

#[test]
fn a_forward_is_met_from_within_by_a_router_that_hairpins() {
    let nat = "nat = { mapping = \"endpoint-independent\", filtering = \"address-and-port-dependent\", ports = \"preserve\", hairpin = true }";
    let Some(lab) = Lab::new(&format!(
        "[[site]]\nname = \"home\"\n{nat}\nmachines = [\"hub\", \"alice\"]\nforward = [{{ machine = \"hub\", udp = 4242 }}]"
    )) else {
        return;
    };
    let (hub, alice) = (lab.machine("hub", 4242), lab.machine("alice", 4242));
    let public = SocketAddr::new(lab.plan.members()[0].public[0], 4242);
    assert_eq!(arrives(&alice, &hub, public).ip(), public.ip(), "as if it came from outside");
}

/// Two homes and a phone behind one carrier, and somebody outside.
fn carrier(hairpin: bool) -> Option<Lab> {
    let site = |name: &str, nat: &str| {
        format!("[[site]]\nname = \"{name}\"\nnat = \"{nat}\"\ncarrier = \"isp\"\nipv6 = true\n")
    };
    let nat = format!(
        "nat = {{ mapping = \"endpoint-independent\", filtering = \"address-and-port-dependent\", ports = \"hash\", hairpin = {hairpin}, lifetime = 60 }}"
    );
    let head = format!("[[carrier]]\nname = \"isp\"\n{nat}\n");
    let sites = site("alice", "home") + &site("bob", "home") + &site("phone", "phone");
    Lab::new(&(head + &sites + "[[site]]\nname = \"hub\"\nipv6 = true"))
}

#[test]
fn customers_of_one_carrier_meet_by_its_hairpin_only() {
    for hairpin in [true, false] {
        let Some(lab) = carrier(hairpin) else { return };
        let servers = lab.servers();
        let sockets = ["alice", "bob", "phone"].map(|name| lab.machine(name, 40_000));
        let [alice, bob, phone] = &sockets;
        let at = sockets.each_ref().map(|own| mapped(own, &servers[0]));
        assert!(
            at.iter().all(|at| at.ip() == lab.plan.members()[0].public[0]),
            "one address: {at:?}"
        );
        assert!(at[0] != at[1] && at[1] != at[2] && at[0] != at[2], "{at:?}");
        // Both open their homes' filters, and then meet.
        for (a, b, theirs, ours) in [(alice, bob, at[1], at[0]), (bob, phone, at[2], at[1])] {
            seen(a, b, theirs);
            assert_eq!(seen(b, a, ours), hairpin.then_some(theirs), "hairpin {hairpin}");
        }
        let six = lab.plan.members().into_iter().map(|m| m.local[1]).collect::<Vec<_>>();
        let (alice6, hub6) =
            (lab.socket("m-alice", six[0], 7000), lab.socket("m-hub", six[3], 7000));
        assert_eq!(mapped(&alice6, &hub6), alice6.local_addr().unwrap(), "IPv6 is routed");
        arrives(&hub6, &alice6, alice6.local_addr().unwrap());
    }
}

#[test]
fn the_line_of_a_customer_is_cut_and_narrowed_alone() {
    let Some(mut lab) = carrier(true) else { return };
    let hub = lab.machine("hub", 7000);
    let [alice, bob] = ["alice", "bob"].map(|name| lab.machine(name, 40_000));
    let reached = |own: &UdpSocket| seen(own, &hub, hub.local_addr().unwrap()).is_some();
    lab.change(&Action::LinkDown { site: "alice".into(), direction: None });
    assert!(!reached(&alice) && reached(&bob), "only alice's line is down");
    lab.change(&Action::Heal);
    assert!(reached(&alice));
    lab.change(&Action::MtuBlackHole { site: "alice".into(), mtu: 1300 });
    alice.send_to(&[0; 1400], hub.local_addr().unwrap()).unwrap();
    bob.send_to(&[0; 1400], hub.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 2000];
    let (_, from) = hub.recv_from(&mut buffer).unwrap();
    assert_eq!(from, mapped(&bob, &hub), "alice's was too large");
    for refused in [
        Action::Readdress { site: "alice".into() },
        Action::NatRebind { site: "phone".into() },
        Action::Partition { between: vec!["alice".into(), "bob".into()], one_way: false },
    ] {
        let error = lab.plan.clone().change(&refused).unwrap_err();
        assert!(error.reason.contains("carrier `isp`"), "{error}");
    }
    lab.change(&Action::NatRebind { site: "bob".into() });
    assert!(reached(&bob), "his own router forgets, the carrier goes on");
}
