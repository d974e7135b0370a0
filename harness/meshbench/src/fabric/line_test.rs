//! Lines on the kernel's own queues and routes, in network namespaces of this machine.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use super::event::{Action, Way};
use super::wire_lab::{Lab, arrives, mapped, seen};

#[test]
fn a_line_is_cut_in_one_direction() {
    let Some(mut lab) =
        Lab::new("[[site]]\nname = \"alice\"\n[[site]]\nname = \"bob\"\n[[site]]\nname = \"hub\"")
    else {
        return;
    };
    let [alice, bob, hub] = ["alice", "bob", "hub"].map(|name| lab.machine(name, 7000));
    let hears =
        |to: &UdpSocket, from: &UdpSocket| seen(from, to, to.local_addr().unwrap()).is_some();
    let cut = |direction| Action::LinkDown { site: "alice".into(), direction: Some(direction) };
    lab.change(&cut(Way::Down));
    assert!(hears(&bob, &alice) && !hears(&alice, &bob), "she is heard and hears nothing");
    lab.change(&cut(Way::Up));
    assert!(!hears(&bob, &alice) && !hears(&alice, &bob), "the other direction stays cut");
    lab.change(&Action::LinkUp { site: "alice".into() });
    assert!(hears(&bob, &alice) && hears(&alice, &bob), "both are up again");
    lab.change(&Action::LinkDown { site: "alice".into(), direction: None });
    lab.change(&cut(Way::Up));
    assert!(!hears(&bob, &alice) && !hears(&alice, &bob), "what was cut whole stays so");
    lab.change(&Action::Heal);
    lab.change(&cut(Way::Up));
    assert!(!hears(&bob, &alice) && hears(&alice, &bob));
    lab.change(&Action::LinkUp { site: "alice".into() });
    let block = |way| Action::BlockUdp { site: "alice".into(), direction: Some(way) };
    lab.change(&block(Way::Up));
    assert!(!hears(&bob, &alice) && hears(&alice, &bob), "only hers is blocked");
    lab.change(&block(Way::Down));
    assert!(!hears(&bob, &alice) && !hears(&alice, &bob), "and then what comes to her, too");
    lab.change(&Action::Heal);
    let between = vec!["alice".to_owned(), "bob".to_owned()];
    lab.change(&Action::Partition { between, one_way: true });
    assert!(!hears(&bob, &alice) && hears(&alice, &bob), "bob does not hear her");
    assert!(hears(&hub, &alice), "others do");
    lab.change(&Action::Heal);
    assert!(hears(&bob, &alice));
}

#[test]
fn partitions_of_many_and_of_names_alike_are_all_made() {
    let (many, alike): (Vec<String>, _) =
        ((0..25).map(|n| format!("household-{n:05}")).collect(), ["va-vb", "vc", "va", "vb-vc"]);
    let site = |name: &str, machines: &str| format!("[[site]]\nname = \"{name}\"\n{machines}\n");
    let sites: String = many.iter().map(|name| site(name, "machines = []")).collect();
    let sites = sites + &alike.map(|name| site(name, "")).concat() + &site("alice", "");
    let Some(mut lab) = Lab::new(&sites) else { return };
    lab.change(&Action::Partition { between: many, one_way: false });
    for between in [["va-vb", "vc"], ["va", "vb-vc"]] {
        let between = between.map(str::to_owned).into();
        lab.change(&Action::Partition { between, one_way: false });
    }
    let [ab, c, a, bc] = alike.map(|name| lab.machine(name, 7000));
    let reached =
        |from: &UdpSocket, to: &UdpSocket| seen(from, to, to.local_addr().unwrap()).is_some();
    assert!(!reached(&ab, &c) && !reached(&a, &bc), "the one does not end the other");
    assert!(reached(&ab, &a) && reached(&c, &bc));
    lab.change(&Action::Heal);
    assert!(reached(&ab, &c) && reached(&a, &bc));
}

#[test]
fn a_narrow_line_says_so_for_each_family() {
    let line = |name: &str, mtu: &str| {
        format!(
            "[[site]]\nname = \"{name}\"\nnat = \"home\"\nipv6 = true\nmtu = {mtu}\nclamp-mss = true\n"
        )
    };
    let sites = line("alice", "1492")
        + &line("lite", "{ ipv4 = 1460 }")
        + "[[site]]\nname = \"bob\"\nipv6 = true";
    let Some(lab) = Lab::new(&sites) else { return };
    let bob = lab.plan.members()[2].local.clone();
    let ping = |from: &str, family: usize, whole: usize| {
        let size = whole - if family == 0 { 28 } else { 48 };
        lab.sh(&format!(
            "nsenter --net=/run/netns/m-{from} ping -M do -c 5 -i 0.3 -W 1 -s {size} {} 2>&1 || true",
            bob[family]
        ))
    };
    for (from, family, most) in
        [("alice", 0, 1492), ("alice", 1, 1492), ("lite", 0, 1460), ("lite", 1, 1500)]
    {
        let text = ping(from, family, most);
        assert!(!text.contains("100% packet loss"), "{from} {family}: {text}");
        if most < 1500 {
            let text = ping(from, family, most + 1);
            let told =
                text.contains(&format!("mtu = {most}")) || text.contains(&format!("mtu={most}"));
            assert!(told, "{from} {family}: {text}");
        }
    }
    // The other way the core says so.
    let public = lab.plan.members()[1].public[0];
    let text = lab.sh(&format!(
        "nsenter --net=/run/netns/m-bob ping -M do -c 2 -W 1 -s 1440 {public} 2>&1 || true"
    ));
    assert!(text.contains("mtu = 1460") || text.contains("mtu=1460"), "{text}");
}

#[test]
fn a_router_that_clamps_has_tcp_begin_with_segments_that_fit() {
    let line = |name: &str, lines: &str| {
        format!("[[site]]\nname = \"{name}\"\nnat = \"home\"\nmtu = {lines}\n")
    };
    let sites = line("alice", "1492\nclamp-mss = true")
        + &line("lite", "{ ipv4 = 1460 }\nclamp-mss = true")
        + &line("carol", "1492")
        + "[[site]]\nname = \"bob\"";
    let Some(lab) = Lab::new(&sites) else { return };
    let bob = SocketAddr::new(lab.plan.members()[3].local[0], 7000);
    let listener = lab.within("m-bob", move || TcpListener::bind(bob).unwrap());
    let largest = |name: &str| {
        let _open = lab.within(&format!("m-{name}"), move || TcpStream::connect(bob).unwrap());
        let (accepted, _) = listener.accept().unwrap();
        nix::sys::socket::getsockopt(&accepted, nix::sys::socket::sockopt::TcpMaxSeg).unwrap()
    };
    // 40 bytes of headers, and 12 of time stamps.
    assert_eq!(["alice", "lite", "carol"].map(largest), [1440, 1408, 1448]);
}

#[test]
fn packets_are_sent_twice_in_the_direction_that_says_so() {
    let twice = |up: u8, down: u8| {
        format!(
            "link = {{ up = {{ duplicate-percent = {up} }}, down = {{ duplicate-percent = {down} }} }}"
        )
    };
    let Some(lab) = Lab::new(&format!(
        "[[site]]\nname = \"alice\"\nnat = \"home\"\n{}\n[[site]]\nname = \"bob\"",
        twice(50, 0)
    )) else {
        return;
    };
    let (alice, bob) = (lab.machine("alice", 7000), lab.machine("bob", 7000));
    let at = mapped(&alice, &bob);
    let up = passed(&alice, &bob, bob.local_addr().unwrap(), 1);
    assert!((70..=110).contains(&up), "{up} of 60");
    assert_eq!(passed(&bob, &alice, at, 1), 60);
}

#[test]
fn packets_are_sent_twice_also_after_the_site_has_another_address() {
    let line = "link = { up = {}, down = { duplicate-percent = 50 } }";
    let Some(mut lab) = Lab::new(&format!(
        "[[site]]\nname = \"alice\"\nnat = \"home\"\n{line}\n[[site]]\nname = \"carol\"\n{line}\n[[site]]\nname = \"bob\""
    )) else {
        return;
    };
    let bob = lab.machine("bob", 7000);
    for name in ["alice", "carol"] {
        lab.change(&Action::Readdress { site: name.into() });
        let own = lab.machine(name, 7000);
        let came = passed(&bob, &own, mapped(&own, &bob), 1);
        assert!((70..=110).contains(&came), "{name}: {came} of 60");
    }
}

#[test]
fn udp_is_policed_and_tcp_is_not() {
    let Some(mut lab) = Lab::new(
        "[[site]]\nname = \"alice\"\nudp-rate-mbit = 0.05\n[[site]]\nname = \"bob\"\n[[site]]\nname = \"carol\"",
    ) else {
        return;
    };
    let (alice, bob) = (lab.machine("alice", 7000), lab.machine("bob", 7000));
    let passed =
        |from: &UdpSocket, to: &UdpSocket| passed(from, to, to.local_addr().unwrap(), 1000);
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        let few = passed(from, to);
        assert!((1..25).contains(&few), "{few} of 60 passed");
    }
    // As UDP it would take half a minute.
    let at = SocketAddr::new(lab.plan.members()[1].local[0], 7000);
    let listener = lab.within("m-bob", move || TcpListener::bind(at).unwrap());
    let begun = Instant::now();
    let receives = std::thread::spawn(move || {
        std::io::copy(&mut listener.accept().unwrap().0, &mut std::io::sink()).unwrap()
    });
    lab.within("m-alice", move || {
        TcpStream::connect(at).unwrap().write_all(&[0; 200_000]).unwrap()
    });
    assert_eq!(receives.join().unwrap(), 200_000);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // What an event has changed of it comes back as the file has it.
    lab.change(&Action::PoliceUdp { site: "alice".into(), rate_mbit: 100.0 });
    assert_eq!(passed(&alice, &bob), 60);
    lab.change(&Action::Heal);
    assert!(passed(&alice, &bob) < 25, "the file says so of the site");
    let between = vec!["alice".to_owned(), "bob".to_owned()];
    lab.change(&Action::Partition { between, one_way: false });
    lab.change(&Action::Heal);
    assert!((1..25).contains(&passed(&alice, &bob)), "and it outlives another event");
    lab.change(&Action::PoliceUdp { site: "bob".into(), rate_mbit: 0.05 });
    lab.change(&Action::Heal);
    let (own, other) = (lab.machine("bob", 7001), lab.machine("carol", 7001));
    assert_eq!(passed(&own, &other), 60, "what an event alone has done is over");
}

#[test]
fn a_site_keeps_its_own_black_hole_when_all_is_healed() {
    let Some(mut lab) = Lab::new(
        "[[site]]\nname = \"alice\"\nmtu-black-hole = 1400\n[[site]]\nname = \"carol\"\nmtu = 1450\n[[site]]\nname = \"bob\"",
    ) else {
        return;
    };
    let bob = lab.machine("bob", 7000);
    // 28 bytes of headers.
    let passes = |from: &UdpSocket, whole: usize| {
        let mut buffer = [0; 1500];
        while bob.recv_from(&mut buffer).is_ok() {}
        let _ = from.send_to(&vec![0; whole - 28], bob.local_addr().unwrap());
        bob.recv_from(&mut buffer).is_ok()
    };
    let [alice, carol] = ["alice", "carol"].map(|name| lab.machine(name, 7000));
    let widths = |lab: &Lab| {
        ["alice", "carol"].map(|site| {
            let wan = format!("nsenter --net=/run/netns/{site} ip link show dev wan");
            let shown = lab.sh(&wan);
            shown.split("mtu ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned()
        })
    };
    assert!(passes(&alice, 1400) && !passes(&alice, 1401));
    for site in ["alice", "carol"] {
        lab.change(&Action::MtuBlackHole { site: site.into(), mtu: 1300 });
    }
    assert!(passes(&alice, 1300) && !passes(&alice, 1301) && !passes(&carol, 1301));
    lab.change(&Action::Heal);
    assert!(passes(&alice, 1400) && !passes(&alice, 1401), "the file says so of the site");
    assert_eq!(widths(&lab), ["1400", "1450"]);
}

#[test]
fn a_gateway_has_room_for_as_many_flows_as_it_says_and_again_when_a_proof_is_over() {
    let nat = "nat = { mapping = \"endpoint-independent\", filtering = \"address-and-port-dependent\", ports = \"preserve\", flows = 32 }";
    let Some(lab) =
        Lab::new(&format!("[[site]]\nname = \"alice\"\n{nat}\n[[site]]\nname = \"bob\""))
    else {
        return;
    };
    let bob = lab.machine("bob", 7000);
    let passed = |first: u16, count: u16| {
        let flows: Vec<UdpSocket> = (0..count).map(|n| lab.machine("alice", first + n)).collect();
        let passed =
            flows.iter().filter(|own| seen(own, &bob, bob.local_addr().unwrap()).is_some()).count();
        assert!(
            seen(&flows[0], &bob, bob.local_addr().unwrap()).is_some() || passed == 0,
            "those that are there stay"
        );
        passed
    };
    let first = passed(40_000, 40);
    assert!((31..=33).contains(&first), "{first} of 40 flows");
    assert_eq!(passed(41_000, 5), 0, "there is no room left");
    lab.sh(&super::script::script(&lab.plan.emptied()));
    let again = passed(42_000, 40);
    assert!((31..=33).contains(&again), "{again} of 40 flows");
}

#[test]
fn a_router_goes_over_to_its_second_line_and_back() {
    let Some(mut lab) = Lab::new(
        "[[site]]\nname = \"alice\"\nnat = \"home\"\nbackup = \"mobile\"\n\
         [[site]]\nname = \"mobile\"\nnat = \"phone\"\nmachines = []\n[[site]]\nname = \"bob\"",
    ) else {
        return;
    };
    let (alice, bob) = (lab.machine("alice", 40_000), lab.machine("bob", 7000));
    let home = mapped(&alice, &bob);
    lab.change(&Action::LinkDown { site: "alice".into(), direction: None });
    assert_eq!(seen(&alice, &bob, bob.local_addr().unwrap()), None);
    lab.change(&Action::FailOver { site: "alice".into() });
    let mobile = mapped(&alice, &bob);
    assert_ne!(mobile.ip(), home.ip());
    assert_eq!(lab.plan.members()[0].public[0], mobile.ip());
    arrives(&bob, &alice, mobile);
    lab.change(&Action::Heal);
    lab.change(&Action::FailBack { site: "alice".into() });
    assert_eq!(mapped(&alice, &bob).ip(), home.ip());
}

#[test]
fn a_router_that_has_gone_over_stays_there_whoever_is_renumbered() {
    let Some(mut lab) = Lab::new(
        "[[site]]\nname = \"alice\"\nnat = \"home\"\nbackup = \"mobile\"\nmtu = { ipv4 = 1460 }\n\
         [[site]]\nname = \"mobile\"\nmachines = []\n[[site]]\nname = \"bob\"",
    ) else {
        return;
    };
    let (alice, bob) = (lab.machine("alice", 40_000), lab.machine("bob", 7000));
    let site = |name: &str| name.to_owned();
    // As the plan says, and others are let in there.
    let seen_at = |lab: &Lab| {
        let at = mapped(&alice, &bob);
        assert_eq!(lab.plan.members()[0].public[0], at.ip());
        arrives(&bob, &alice, at);
        at.ip().to_string()
    };
    let way_out = |lab: &Lab| {
        lab.sh("nsenter --net=/run/netns/alice ip route show default").trim().to_owned()
    };
    let at_first = way_out(&lab);
    assert!(at_first.contains("mtu 1460"), "{at_first}");
    lab.change(&Action::Readdress { site: site("mobile") });
    assert_eq!(seen_at(&lab), "5.1.0.2", "her first line, as before");
    lab.change(&Action::FailOver { site: site("alice") });
    assert_eq!(seen_at(&lab), "5.2.2.250", "she is seen as she is in the second one's network");
    lab.change(&Action::Readdress { site: site("alice") });
    assert_eq!(seen_at(&lab), "5.2.2.250", "her first line is not in use");
    lab.change(&Action::Readdress { site: site("mobile") });
    assert_eq!(seen_at(&lab), "5.2.3.250", "but the second one is");
    lab.change(&Action::FailBack { site: site("alice") });
    assert_eq!(seen_at(&lab), "5.1.0.3", "the first line's new address");
    assert_eq!(way_out(&lab), at_first);
    lab.change(&Action::Readdress { site: site("alice") });
    assert_eq!(seen_at(&lab), "5.1.0.4");
    assert_eq!(way_out(&lab), at_first, "the line is as narrow as before");
}

#[test]
fn a_suspended_machine_is_off_its_network_until_it_resumes() {
    let Some(mut lab) = Lab::new("[[site]]\nname = \"alice\"\n[[site]]\nname = \"bob\"") else {
        return;
    };
    let (alice, bob) = (lab.machine("alice", 7000), lab.machine("bob", 7000));
    lab.change(&Action::Suspend { machine: "bob".into() });
    assert_eq!(seen(&alice, &bob, bob.local_addr().unwrap()), None);
    lab.change(&Action::Resume { machine: "bob".into() });
    arrives(&alice, &bob, bob.local_addr().unwrap());
}

#[test]
fn homes_with_the_same_network_and_number_are_told_apart_outside() {
    let home = |name: &str| {
        format!("[[site]]\nname = \"{name}\"\nnat = \"home\"\nlan = \"192.168.178.0/24\"\n")
    };
    let phone = "[[site]]\nname = \"phone\"\nnat = \"home\"\nlan = \"100.64.7.0/24\"\n";
    let Some(lab) = Lab::new(&(home("alice") + &home("bob") + phone)) else { return };
    let servers = lab.servers();
    let sockets = ["alice", "bob", "phone"].map(|name| lab.machine(name, 40_000));
    assert_eq!(sockets[0].local_addr().unwrap(), sockets[1].local_addr().unwrap());
    let seen: Vec<_> = sockets.iter().map(|own| mapped(own, &servers[0]).ip()).collect();
    let public: Vec<_> = lab.plan.members().iter().map(|member| member.public[0]).collect();
    assert_eq!(seen, public);
}

/// alice has IPv6 alone and a translator, with these lines of hers besides; bob has IPv4 alone. With the address by
/// which she reaches him.
fn translated(lines: &str) -> Option<(Lab, SocketAddr)> {
    if Command::new("tayga").arg("--help").output().is_err() {
        // Past the capture of test output, so that skips are seen and counted.
        let _ = writeln!(std::io::stderr(), "skipped: needs tayga");
        return None;
    }
    let lab = Lab::new(&format!(
        "[[site]]\nname = \"alice\"\nipv4 = false\nipv6 = true\nnat = \"firewall\"\nnat64 = true\n{lines}\n[[site]]\nname = \"bob\""
    ))?;
    let IpAddr::V4(bob) = lab.plan.members()[1].local[0] else { panic!("bob has IPv4") };
    Some((lab, SocketAddr::new(super::beyond(bob), 7000)))
}

#[test]
fn who_has_only_ipv6_is_translated_to_those_who_have_only_ipv4() {
    let Some((mut lab, at)) = translated("") else { return };
    let (alice, bob) = (lab.machine("alice", 40_000), lab.machine("bob", 7000));
    let seen_as = arrives(&alice, &bob, at);
    assert_eq!(seen_as.ip().to_string(), "5.1.0.2", "the provider's address");
    assert_eq!(arrives(&bob, &alice, seen_as), at, "and the answer comes back");
    lab.change(&Action::NatRebind { site: "alice".into() });
    assert_eq!(seen(&bob, &alice, seen_as), None, "the old mapping is gone");
    let rebound = arrives(&alice, &bob, at);
    assert!(rebound.ip() == seen_as.ip() && rebound.port() != seen_as.port(), "{rebound}");
    lab.change(&Action::Readdress { site: "alice".into() });
    let alice = lab.machine("alice", 40_000);
    assert_eq!(arrives(&alice, &bob, at).ip().to_string(), "5.1.0.3");
}

#[test]
fn a_firewall_is_not_gone_round_by_the_translator() {
    let Some((lab, at)) = translated("firewall = \"udp-blocked\"") else { return };
    let (alice, bob) = (lab.machine("alice", 40_000), lab.machine("bob", 7000));
    assert_eq!(seen(&alice, &bob, at), None);
    drop(lab);
    let Some((lab, at)) = translated("firewall = \"tcp-443-only\"") else { return };
    let (alice, bob) = (lab.machine("alice", 40_000), lab.machine("bob", 7000));
    assert_eq!(seen(&alice, &bob, at), None);
    let connect = |port: u16, patience: u32| {
        lab.sh(&format!(
            "nsenter --net=/run/netns/m-alice timeout {patience} bash -c '</dev/tcp/{}/{port}' 2>&1 || true",
            at.ip()
        ))
    };
    assert!(connect(443, 10).contains("refused"), "TCP to 443 must arrive");
    assert!(!connect(80, 1).contains("refused"), "TCP to 80 must not arrive");
}

/// How many packets of 60 come through, or what comes of their copies. Of a thousand bytes a socket has room for about
/// ninety, of one for all that can come.
fn passed(from: &UdpSocket, to: &UdpSocket, at: SocketAddr, bytes: usize) -> usize {
    let mut buffer = [0; 1100];
    while to.recv_from(&mut buffer).is_ok() {}
    for _ in 0..60 {
        from.send_to(&vec![0; bytes], at).unwrap();
    }
    std::iter::from_fn(|| to.recv_from(&mut buffer).ok()).count()
}

#[test]
fn what_is_translated_is_sent_twice_as_what_is_not() {
    let line = "link = { up = { duplicate-percent = 50 }, down = { duplicate-percent = 50 } }";
    let Some((lab, at)) = translated(line) else { return };
    let (alice, bob) = (lab.machine("alice", 40_000), lab.machine("bob", 7000));
    let seen_as = arrives(&alice, &bob, at);
    for (from, to, at) in [(&alice, &bob, at), (&bob, &alice, seen_as)] {
        let twice = passed(from, to, at, 1);
        assert!((70..=110).contains(&twice), "{twice} of 60");
    }
}

#[test]
fn what_is_translated_is_blocked_and_policed_by_its_direction_and_once() {
    let Some((mut lab, at)) = translated("") else { return };
    let (alice, bob) = (lab.machine("alice", 40_000), lab.machine("bob", 7000));
    let seen_as = arrives(&alice, &bob, at);
    for way in [Way::Up, Way::Down] {
        lab.change(&Action::BlockUdp { site: "alice".into(), direction: Some(way) });
        let up = seen(&alice, &bob, at).is_some();
        let down = seen(&bob, &alice, seen_as).is_some();
        assert_eq!((up, down), (way == Way::Down, way == Way::Up), "{way:?}");
        lab.change(&Action::Heal);
    }
    // In a second as much as 15 of these, and three more at once.
    lab.change(&Action::PoliceUdp { site: "alice".into(), rate_mbit: 0.12 });
    for (from, to, at) in [(&alice, &bob, at), (&bob, &alice, seen_as)] {
        let few = passed(from, to, at, 1000);
        assert!((13..30).contains(&few), "{few} of 60 passed");
    }
}
