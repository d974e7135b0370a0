//! What holds of any scenario, whatever happens.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::event::{Action, Way};
use super::super::gateway::KINDS;
use super::super::link::profiles;
use super::tests::plan;
use super::*;

/// What a site is drawn with, where its kind lets it have that.
#[derive(Debug, Clone)]
struct Drawn {
    kind: &'static str,
    link: &'static str,
    machines: usize,
    ipv6: bool,
    mtu: Option<u16>,
    hole: Option<u16>,
    clamp: bool,
    lan: Option<u8>,
    shared: bool,
    forward: bool,
    nat64: bool,
    backup: bool,
    policed: bool,
    host: Option<u8>,
}

impl Drawn {
    /// The site of that number, with machines that are called like it and their number, and what belongs to it.
    fn written(self, n: usize) -> String {
        let kind = if self.nat64 { "firewall" } else { self.kind };
        let routed = matches!(kind, "none" | "firewall");
        let machines = if kind == "one-to-one" { 1 } else { self.machines };
        let names: Vec<String> = (0..machines).map(|m| format!("\"s{n}m{m}\"")).collect();
        let ipv6 = self.ipv6 || self.nat64;
        let mut text = format!(
            "[[site]]\nname = \"s{n}\"\nnat = \"{kind}\"\nlink = \"{}\"\nipv6 = {ipv6}\nclamp-mss = {}\nmachines = [{}]\n",
            self.link,
            self.clamp,
            names.join(", ")
        );
        let mut write = |wanted: bool, line: String| {
            if wanted {
                text += &(line + "\n");
            }
        };
        let room = self.mtu.unwrap_or(1500);
        let hole = self.hole.filter(|hole| *hole < room);
        let backup = self.backup && !ipv6 && !routed && kind != "phone";
        write(self.nat64, "ipv4 = false\nnat64 = true".to_owned());
        write(self.mtu.is_some(), format!("mtu = {room}"));
        write(hole.is_some(), format!("mtu-black-hole = {}", hole.unwrap_or_default()));
        write(self.policed, "udp-rate-mbit = 1".to_owned());
        write(
            !routed && self.lan.is_some(),
            format!("lan = \"10.{n}.{}.0/24\"", self.lan.unwrap_or_default()),
        );
        write(!routed && self.shared, "carrier = \"isp\"".to_owned());
        let closed = !matches!(kind, "none" | "one-to-one");
        let forward = format!("forward = [{{ machine = \"s{n}m0\", udp = 4242 }}]");
        write(self.forward && closed && machines > 0, forward);
        write(backup, format!("backup = \"b{n}\""));
        let second = "[[site]]\nname = \"bN\"\nnat = \"phone\"\nmachines = []";
        write(backup, second.replace('N', &n.to_string()));
        let host = self.host.filter(|_| machines > 0);
        let host = host.map(|host| format!("[[machine]]\nname = \"s{n}m0\"\nhost = {host}"));
        write(host.is_some(), host.unwrap_or_default());
        text
    }
}

/// Any scenario of up to three sites, their second lines and a carrier.
fn scenarios() -> impl Strategy<Value = String> {
    let kinds: Vec<&'static str> = KINDS.iter().map(|kind| kind.name).collect();
    let links: Vec<&'static str> = profiles().keys().map(String::as_str).collect();
    let line = (
        proptest::sample::select(links),
        proptest::option::of(1280..=1500_u16),
        proptest::option::of(1280..1500_u16),
        any::<(bool, bool)>(),
    );
    let place = (
        proptest::sample::select(kinds),
        0..4_usize,
        proptest::option::of(0..=255_u8),
        proptest::option::of(10..100_u8),
        any::<[bool; 4]>(),
        proptest::bool::weighted(0.2),
    );
    let site = (line, place).prop_map(|((link, mtu, hole, (clamp, policed)), place)| {
        let (kind, machines, lan, host, [ipv6, shared, forward, backup], nat64) = place;
        Drawn {
            kind,
            link,
            machines,
            ipv6,
            mtu,
            hole,
            clamp,
            lan,
            shared,
            forward,
            nat64,
            backup,
            policed,
            host,
        }
    });
    proptest::collection::vec(site, 1..4).prop_map(|sites| {
        let carrier = "[[carrier]]\nname = \"isp\"\nnat = \"port-restricted-cone\"\n";
        let sites = sites.into_iter().zip(1..).map(|(site, n)| site.written(n));
        carrier.to_owned() + &sites.collect::<String>()
    })
}

/// Anything that happens to sites and machines that may be there.
fn actions() -> impl Strategy<Value = Action> {
    let site = || (1..4_usize).prop_map(|n| format!("s{n}"));
    let to = || {
        (any::<bool>(), site())
            .prop_map(|(second, site)| if second { site.replace('s', "b") } else { site })
    };
    let machine = || (1..4_usize, 0..4_usize).prop_map(|(n, m)| format!("s{n}m{m}"));
    let direction = || proptest::option::of(proptest::sample::select(vec![Way::Up, Way::Down]));
    prop_oneof![
        (machine(), to()).prop_map(|(machine, to)| Action::Roam { machine, to }),
        to().prop_map(|site| Action::Readdress { site }),
        site().prop_map(|site| Action::FailOver { site }),
        site().prop_map(|site| Action::FailBack { site }),
        site().prop_map(|site| Action::NatRebind { site }),
        (site(), direction()).prop_map(|(site, direction)| Action::LinkDown { site, direction }),
        (site(), direction()).prop_map(|(site, direction)| Action::BlockUdp { site, direction }),
        site().prop_map(|site| Action::PoliceUdp { site, rate_mbit: 2.0 }),
        (site(), 1280..1500_u16).prop_map(|(site, mtu)| Action::MtuBlackHole { site, mtu }),
        Just(Action::Heal),
    ]
}

/// Addresses that two machines have.
fn in_common(machines: &[MachineNet]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let addresses = machines.iter().flat_map(|net| &net.addresses);
    addresses.filter(|address| !seen.insert(*address)).cloned().collect()
}

proptest! {
    #[test]
    fn no_two_machines_have_an_address_or_a_card_in_common(text in scenarios()) {
        let machines = plan(&text).machines();
        prop_assert_eq!(in_common(&machines), Vec::<String>::new());
        let cards: Vec<usize> = machines.iter().map(|net| net.card).collect();
        prop_assert_eq!(cards, (0..machines.len()).collect::<Vec<_>>());
    }

    #[test]
    fn no_namespace_is_told_the_same_twice(text in scenarios()) {
        let mut names = BTreeSet::new();
        for space in plan(&text).namespaces() {
            prop_assert!(names.insert(space.name.clone()), "two namespaces {}", space.name);
            let lines: BTreeSet<&String> = space.ip.iter().collect();
            prop_assert_eq!(lines.len(), space.ip.len(), "{}: {:#?}", space.name, space.ip);
        }
    }

    #[test]
    fn whatever_happens_machines_stay_apart_and_all_is_healed(
        text in scenarios(),
        actions in proptest::collection::vec(actions(), 0..12),
    ) {
        let mut plan = plan(&text);
        for action in actions {
            // Not all of it can happen to each of them.
            let _ = plan.change(&action);
            prop_assert_eq!(in_common(&plan.machines()), Vec::<String>::new());
        }
        plan.change(&Action::Heal).unwrap();
        prop_assert!(plan.cuts.values().all(Vec::is_empty), "{:?}", plan.cuts);
        prop_assert!(plan.sites.iter().all(|state| state.hole.is_none()));
    }
}
