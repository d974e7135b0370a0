//! The nftables rules of a gateway.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use super::nat::{Behaviour, Firewall, Nat, Ports};

/// The interface of a provider's translator, by which packets of either family come to it and from it.
const TRANSLATOR: &str = "nat64";

/// The lowest external port of a NAT that does not preserve them.
const PORTS: u32 = 20_000;

/// External ports of a NAT that draws one for each internal endpoint. They end below those that
/// machines draw for themselves, which would be kept.
const DRAWN: u32 = 9_999;

/// External ports of a NAT that hashes. Of two flows with the same hash and peer the second one is
/// lost, so there are many; each is an element that nft must load.
const HASHED: u32 = 4096;

/// External ports of a NAT that counts up, before it starts again.
const SEQUENCE: u32 = 128;

/// What a gateway lets in for a machine behind it: some ports, or everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    /// The machine's own addresses.
    pub to: Vec<IpAddr>,
    /// UDP ports.
    pub udp: Vec<u16>,
    /// TCP ports; all of both protocols where neither names any.
    pub tcp: Vec<u16>,
}

impl Opening {
    /// The packets it is for, in nft's words.
    fn packets(&self) -> Vec<String> {
        let ports = |protocol: &str, ports: &[u16]| {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            (!ports.is_empty()).then(|| format!("{protocol} dport {{ {} }}", ports.join(", ")))
        };
        let named = [ports("udp", &self.udp), ports("tcp", &self.tcp)];
        let named: Vec<String> = named.into_iter().flatten().collect();
        if named.is_empty() { vec!["meta l4proto { tcp, udp }".to_owned()] } else { named }
    }

    /// Lets in what has been translated to the machine, or was sent to its own address.
    fn accept(&self, outside: &str) -> Vec<String> {
        let packets = self.packets();
        let to = self.to.iter().flat_map(|to| packets.iter().map(move |packets| (to, packets)));
        to.map(|(to, packets)| {
            let family = if to.is_ipv4() { "ip" } else { "ip6" };
            format!("iifname \"{outside}\" {family} daddr {to} {packets} accept")
        })
        .collect()
    }

    /// Translates to the machine.
    fn translate(&self, from: &str) -> Vec<String> {
        let Some(to) = self.to.iter().find(|to| to.is_ipv4()) else { return Vec::new() };
        let rule = |packets| format!("{from} {packets} dnat ip to {to}");
        self.packets().into_iter().map(rule).collect()
    }
}

/// One gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// How IPv4 is translated, if at all.
    pub nat: Option<&'a Nat>,
    /// What passes besides.
    pub firewall: Firewall,
    /// The external address.
    pub wan: Ipv4Addr,
    /// The machine that a one-to-one NAT gives its address to.
    pub inside: Ipv4Addr,
    /// Interfaces towards the machines, and towards the core: names, or their beginnings.
    pub interfaces: [&'static str; 2],
    /// What it lets in for whom.
    pub openings: &'a [Opening],
    /// Whether its provider's translator is on it.
    pub nat64: bool,
    /// Chooses the ports of `hash`.
    pub seed: u32,
    /// Whether it has been restarted: then it cannot hand out the same ports as before.
    pub restarted: bool,
}

impl Rules<'_> {
    /// The ruleset, or nothing when the gateway is a plain router.
    pub(super) fn nft(&self) -> String {
        if self.nat.is_none() && self.firewall == Firewall::None {
            return String::new();
        }
        let mut text = String::from("table inet gateway {\n");
        text += &self.learned();
        text += &self.input();
        text += &self.forward();
        if let Some(nat) = self.nat {
            text += &self.prerouting(nat);
            text += &self.postrouting(nat);
            text += &learn(nat, self.interfaces[1]);
            if nat.port_mapping {
                text += MINIUPNPD_CHAINS;
            }
        }
        text + "}\n"
    }

    /// What the gateway remembers beyond conntrack, refreshed only by outgoing packets.
    fn learned(&self) -> String {
        let Some(nat) = self.nat else { return String::new() };
        let mut text = String::new();
        let flags = format!("size 65535; flags dynamic,timeout; timeout {}s;", nat.lifetime);
        if keeps_map(nat) {
            let types = "type inet_service : ipv4_addr . inet_service;";
            let _ = writeln!(text, "  map mapped {{ {types} {flags} }}");
        }
        if keeps_peers(nat) {
            let types = "type ipv4_addr . inet_service . ipv4_addr;";
            let _ = writeln!(text, "  set peers {{ {types} {flags} }}");
        }
        text
    }

    /// Without the drop, a packet that comes before the mapping it is meant for makes a conntrack
    /// entry of the gateway's own, and the mapping then gets another port.
    fn input(&self) -> String {
        let [_, wan] = self.interfaces;
        chain(
            "input",
            "filter hook input priority filter",
            &[format!("iifname \"{wan}\" meta l4proto != ipv6-icmp ct state new drop")],
        )
    }

    fn forward(&self) -> String {
        let [_, wan] = self.interfaces;
        let mut rules = Vec::new();
        match self.firewall {
            Firewall::None | Firewall::Stateful => {}
            Firewall::UdpBlocked => {
                rules.extend(self.outward().map(|out| format!("{out} meta l4proto udp drop")));
            }
            Firewall::Tcp443Only => {
                for out in self.outward() {
                    rules.push(format!("{out} ct state new tcp dport != 443 drop"));
                    rules.push(format!("{out} ct state new meta l4proto != tcp drop"));
                }
            }
        }
        if self.nat.is_some_and(keeps_peers) {
            let peer = "ip saddr . udp sport . ip daddr";
            rules.push(format!("oifname \"{wan}\" meta l4proto udp update @peers {{ {peer} }}"));
        }
        if let Some(flows) = self.nat.and_then(|nat| nat.flows) {
            // One without an answer is `new` for ever; what is not confirmed yet has no place in the table.
            let first = "ct state new ct status & confirmed == 0";
            rules.push(format!("{first} ct count over {flows} drop"));
        }
        rules.push(format!("iifname != \"{wan}\" accept"));
        rules.push("ct state established,related accept".to_owned());
        rules.extend(self.nat.and_then(inbound));
        rules.extend(self.openings.iter().flat_map(|opening| opening.accept(wan)));
        if self.nat.is_some_and(|nat| nat.port_mapping) {
            rules.push("jump miniupnpd".to_owned());
        }
        if self.firewall == Firewall::None {
            rules.push("meta nfproto ipv4 drop".to_owned());
        } else {
            rules.push("icmpv6 type echo-request accept".to_owned());
            rules.push("drop".to_owned());
        }
        chain("forward", "filter hook forward priority filter", &rules)
    }

    /// What machines send to the outside, in nft's words: by the line, and to the translator in front of it.
    fn outward(&self) -> impl Iterator<Item = String> {
        let [lan, wan] = self.interfaces;
        let to = [Some(wan), self.nat64.then_some(TRANSLATOR)];
        to.into_iter().flatten().map(move |to| format!("iifname \"{lan}\" oifname \"{to}\""))
    }

    fn prerouting(&self, nat: &Nat) -> String {
        let [lan, wan] = self.interfaces;
        let mut rules = Vec::new();
        let mapped = "dnat ip to udp dport map @mapped";
        let outside = format!("iifname \"{wan}\" meta nfproto ipv4");
        let inside = format!("iifname \"{lan}\" ip daddr {}", self.wan);
        // Ports that are named come before what was learned, and that before the machine that gets all the rest.
        let (all, some): (Vec<_>, Vec<_>) = self
            .openings
            .iter()
            .partition(|opening| opening.udp.is_empty() && opening.tcp.is_empty());
        let opened = |openings: &[&Opening]| {
            let from = [Some(&outside), nat.hairpin.then_some(&inside)];
            let from: Vec<&String> = from.into_iter().flatten().collect();
            let rules = openings.iter().flat_map(|opening| {
                from.iter().flat_map(|from| opening.translate(from)).collect::<Vec<_>>()
            });
            rules.collect::<Vec<String>>()
        };
        rules.extend(opened(&some));
        if nat.one_to_one {
            rules.push(format!("{outside} dnat ip to {}", self.inside));
        } else if nat.filtering != Behaviour::AddressAndPortDependent {
            rules.push(format!("{outside} meta l4proto udp {mapped}"));
        }
        if nat.hairpin {
            rules.push(format!("{inside} meta l4proto udp {mapped}"));
        }
        rules.extend(opened(&all));
        if nat.port_mapping {
            rules.push("jump miniupnpd_prerouting".to_owned());
        }
        chain("prerouting", "nat hook prerouting priority dstnat", &rules)
    }

    fn postrouting(&self, nat: &Nat) -> String {
        let [lan, wan] = self.interfaces;
        let mut rules = Vec::new();
        if nat.hairpin {
            rules.push(format!(
                "iifname \"{lan}\" oifname \"{lan}\" ct status dnat snat ip to {}",
                self.wan
            ));
        }
        if nat.port_mapping {
            rules.push("jump miniupnpd_postrouting".to_owned());
        }
        let out = format!("oifname \"{wan}\" meta nfproto ipv4");
        if let Some(ports) = self.ports(nat) {
            rules.push(format!("{out} meta l4proto {{ tcp, udp }} masquerade {ports}"));
        }
        rules.push(format!("{out} masquerade"));
        chain("postrouting", "nat hook postrouting priority srcnat", &rules)
    }

    /// How `masquerade` chooses the external port; `None` keeps the internal one.
    fn ports(&self, nat: &Nat) -> Option<String> {
        let hash = |key: &str| {
            let ports = range(PORTS, HASHED);
            Some(format!("to :jhash {key} mod {HASHED} seed {:#x} map {{ {ports} }}", self.seed))
        };
        match (nat.ports, nat.mapping) {
            (Ports::Preserve, _) if !self.restarted || nat.one_to_one => None,
            (Ports::Random, _) => Some("random".to_owned()),
            (Ports::Sequential, _) => Some(sequence(self.seed)),
            // The kernel gives an internal endpoint the port that it has already.
            (_, Behaviour::EndpointIndependent) => Some(other_ports()),
            (_, Behaviour::AddressDependent) => hash("ip saddr . th sport . ip daddr"),
            (_, Behaviour::AddressAndPortDependent) => {
                hash("ip saddr . th sport . ip daddr . th dport")
            }
        }
    }
}

/// Whether new packets from outside find their way by the map of ports.
fn keeps_map(nat: &Nat) -> bool {
    !nat.one_to_one && (nat.hairpin || nat.filtering != Behaviour::AddressAndPortDependent)
}

/// Whether the gateway remembers to which addresses each internal port has sent.
fn keeps_peers(nat: &Nat) -> bool {
    nat.filtering == Behaviour::AddressDependent
}

/// What lets packets of a new flow in.
fn inbound(nat: &Nat) -> Option<String> {
    match nat.filtering {
        Behaviour::EndpointIndependent => Some("ct status dnat accept".to_owned()),
        Behaviour::AddressDependent => {
            Some("meta l4proto udp ip daddr . udp dport . ip saddr @peers accept".to_owned())
        }
        Behaviour::AddressAndPortDependent => None,
    }
}

/// Ports that are drawn once for each internal endpoint.
pub(super) fn other_ports() -> String {
    format!("to :{PORTS}-{}", PORTS + DRAWN)
}

/// Ports one after the other.
fn sequence(seed: u32) -> String {
    let ports = range(PORTS + seed % PORTS, SEQUENCE);
    format!("to :numgen inc mod {SEQUENCE} map {{ {ports} }}")
}

/// Ports as elements of a map from numbers below `count`. nft from 1.1 on takes no bare number for a
/// port, and earlier ones took its bytes in the wrong order. It wants the blanks.
fn range(first: u32, count: u32) -> String {
    let elements: Vec<String> = (0..count).map(|n| format!("{n} : {}", first + n)).collect();
    elements.join(", ")
}

/// Learns each external port after it has been chosen, so that any mapping can be combined with
/// any filtering.
fn learn(nat: &Nat, wan: &str) -> String {
    if !keeps_map(nat) {
        return String::new();
    }
    let flow = "ct reply proto-dst : ct original ip saddr . ct original proto-src";
    chain(
        "learn",
        "filter hook postrouting priority srcnat + 10",
        &[format!(
            "oifname \"{wan}\" meta nfproto ipv4 meta l4proto udp ct direction original \
         update @mapped {{ {flow} }}"
        )],
    )
}

/// A base chain that lets pass what its rules do not stop.
pub(super) fn chain(name: &str, hook: &str, rules: &[String]) -> String {
    if rules.is_empty() {
        return String::new();
    }
    let mut text = format!("  chain {name} {{\n    type {hook}; policy accept;\n");
    for rule in rules {
        let _ = writeln!(text, "    {rule}");
    }
    text + "  }\n"
}

/// The table that holds what an event has cut.
pub(super) fn cut_table(what: &str, site: &str) -> String {
    format!("cut_{what}_{}", site.replace('-', "_"))
}

/// The rules that police UDP, from the start.
pub(super) fn police(site: &str, rate_mbit: f64) -> String {
    format!("table inet {} {{\n{}}}\n", cut_table("police", site), policed(rate_mbit))
}

/// At once passes what comes in a second at this rate: the kernel's limit has no smaller bucket.
pub(super) fn policed(rate_mbit: f64) -> String {
    let rate = (rate_mbit * 1e6 / 8.0).round();
    let over = |passing: &str| {
        format!(
            "{passing} meta l4proto udp limit rate over {rate} bytes/second burst 3000 bytes drop"
        )
    };
    // By the line alone: what a translator makes of a packet is the same packet.
    let rules = ["oifname \"wan*\"", "iifname \"wan*\""].map(over);
    chain("policed", "filter hook forward priority -5", &rules)
}

/// Where miniupnpd puts the forwards it grants.
const MINIUPNPD_CHAINS: &str =
    "  chain miniupnpd { }\n  chain miniupnpd_prerouting { }\n  chain miniupnpd_postrouting { }\n";
