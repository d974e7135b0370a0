//! The namespaces of one site: its gateway, its carrier's gateway, and the core's side of it.

use super::address::{CORE, SiteAddresses, cidr4, cidr6};
use super::nat::{Firewall, Nat};
use super::ruleset::{Rules, chain};
use super::scenario::Site;
use meshbench_protocol::Namespace;
use serde::Serialize;

/// A site as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SiteState {
    pub(crate) number: u8,
    pub(crate) site: Site,
    /// How often the uplink has been renumbered.
    pub(crate) epoch: u8,
    /// How often the gateways have been restarted.
    pub(crate) restarts: u32,
}

/// Which of a site's random sequences.
#[derive(Clone, Copy)]
pub(super) enum Draw {
    Up = 1,
    Down = 2,
    Nat = 3,
    Carrier = 4,
}

/// `link set` of a card into the site's bridge. Receive offload would merge frames before they
/// are impaired.
pub(super) fn plug(card: usize) -> String {
    format!("link set card{card} addrgenmode none gro_max_size 1 gso_max_segs 1 master lan up")
}

/// Waits until the bridge passes what comes from a card: the kernel looks at a port that came up
/// when it has the time, up to a second later, and the first question for a neighbour would be lost.
pub(super) fn plugged(card: usize) -> String {
    format!(
        "n=0; until ip -d link show dev card{card} | grep -q 'state forwarding'; do \
         n=$((n + 1)); [ $n -lt 100 ]; sleep 0.05; done"
    )
}

/// `link set` that starts a device without an address of its own making.
fn up(device: &str) -> String {
    format!("link set {device} addrgenmode none up")
}

/// Makes a namespace forward packets and believe no redirect.
pub(super) fn router(namespace: &mut Namespace) {
    for (path, value) in [
        ("net/ipv4/ip_forward", 1),
        ("net/ipv4/conf/all/rp_filter", 1),
        ("net/ipv4/conf/default/rp_filter", 1),
        ("net/ipv4/conf/all/send_redirects", 0),
        ("net/ipv4/conf/default/send_redirects", 0),
        ("net/ipv4/conf/all/promote_secondaries", 1),
        ("net/ipv6/conf/all/forwarding", 1),
    ] {
        namespace.sysctl(path, value);
    }
}

/// Where br_netfilter is loaded, bridged frames would pass the gateway's rules as well.
const BRIDGE_ALONE: [&str; 2] =
    ["-net/bridge/bridge-nf-call-iptables", "-net/bridge/bridge-nf-call-ip6tables"];

impl SiteState {
    pub(crate) fn addresses(&self) -> SiteAddresses {
        SiteAddresses {
            number: self.number,
            epoch: self.epoch,
            translated: self.site.gateway.nat.is_some(),
        }
    }

    /// The namespace whose `wan` is joined to the core.
    pub(crate) fn outer(&self) -> String {
        if self.site.gateway.carrier.is_some() {
            format!("{}-carrier", self.site.name)
        } else {
            self.site.name.clone()
        }
    }

    fn mac(&self, end: u8) -> String {
        format!("02:00:00:00:{:02x}:{end:02x}", self.number)
    }

    /// The veth pairs of the uplink. Their addresses are fixed so that neighbours can be entered:
    /// resolution would otherwise be delayed and lost like everything else on the link.
    pub(super) fn wires(&self) -> Vec<String> {
        let name = &self.site.name;
        let wire = |device: &str, at: &str, mac: u8, peer_at: &str, peer_mac: u8| {
            format!(
                "link add {device} netns {at} address {} gso_max_segs 1 type veth \
                 peer name wan netns {peer_at} address {} gso_max_segs 1",
                self.mac(mac),
                self.mac(peer_mac)
            )
        };
        let mut lines = vec![wire(name, CORE, 1, &self.outer(), 2)];
        if self.site.gateway.carrier.is_some() {
            lines.push(wire("lan", &self.outer(), 3, name, 4));
        }
        lines
    }

    /// A number for one of the site's random sequences (splitmix64 of all that it depends on).
    pub(super) fn draw(&self, seed: u64, what: Draw) -> u64 {
        let restarts = match what {
            Draw::Up | Draw::Down => 0,
            Draw::Nat | Draw::Carrier => u64::from(self.restarts),
        };
        let key = (restarts << 32) | (u64::from(self.number) << 8) | what as u64;
        let mut z = seed.wrapping_add(key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The core's end of the uplink.
    pub(super) fn in_core(&self, core: &mut Namespace, seed: u64) {
        let (name, own) = (&self.site.name, self.addresses());
        if let Some(mtu) = self.site.mtu_black_hole {
            core.ip.push(format!("link set {name} mtu {mtu}"));
            core.nft += &black_hole(name);
        }
        core.ip.push(up(name));
        if self.site.ipv4 {
            core.ip.push(format!("address add {} dev {name}", cidr4(own.core_v4())));
        }
        if self.site.ipv6 {
            core.ip.push(format!("address add {} dev {name} nodad", cidr6(own.core_v6())));
        }
        core.ip.extend(self.core_routes("add"));
        core.tc.extend(self.site.link.down.tc(name, self.draw(seed, Draw::Down)));
    }

    /// How the core reaches the site: `verb` is `add` or `del`.
    pub(super) fn core_routes(&self, verb: &str) -> Vec<String> {
        let (name, own, mac) = (&self.site.name, self.addresses(), self.mac(2));
        let mut lines = Vec::new();
        let neighbour = |verb: &str, address: String| {
            format!("neigh {verb} {address} lladdr {mac} dev {name} nud permanent")
        };
        if self.site.ipv4 {
            lines.push(neighbour(verb, own.wan_v4().to_string()));
            if !own.translated {
                lines.push(format!("route {verb} {} via {}", network4(own), own.wan_v4()));
            }
        }
        if self.site.ipv6 {
            // The link's own address stays when the prefix changes.
            if verb == "add" {
                lines.push(neighbour("replace", own.wan_v6().to_string()));
            }
            lines.push(format!("route {verb} {} via {}", network6(own), own.wan_v6()));
        }
        lines
    }

    /// The site's gateway without the cards of its machines.
    pub(super) fn gateway(&self, seed: u64, inside: u8) -> Namespace {
        let mut gateway = Namespace::new(&self.site.name);
        let own = self.addresses();
        gateway.ip.push("link set lo up".to_owned());
        gateway.ip.push("link add lan type bridge stp_state 0 mcast_snooping 0".to_owned());
        gateway.ip.push(up("lan"));
        gateway.ip.extend(self.lan_addresses("add"));
        if self.site.ipv6 {
            // It asks for its neighbours from this address, and may not while it checks it.
            gateway.ip.push("address add fe80::1/64 dev lan nodad".to_owned());
        }
        if self.site.gateway.carrier.is_some() {
            uplink(
                &mut gateway,
                &Uplink {
                    v4: self.site.ipv4.then(|| [own.carrier_v4(2), own.carrier_v4(1)]),
                    v6: self.site.ipv6.then(|| [own.carrier_v6(2), own.carrier_v6(1)]),
                    mac: self.mac(3),
                },
            );
        } else {
            self.join_core(&mut gateway);
        }
        gateway.nft += &self.rules(seed, inside);
        router(&mut gateway);
        conntrack(&mut gateway, self.site.gateway.lifetime());
        gateway.tc = self.site.link.up.tc("wan", self.draw(seed, Draw::Up));
        BRIDGE_ALONE.into_iter().for_each(|path| gateway.sysctl(path, 0));
        self.port_mapping(&mut gateway);
        gateway
    }

    /// Addresses of the gateway on the site's own network.
    pub(super) fn lan_addresses(&self, verb: &str) -> Vec<String> {
        let own = self.addresses();
        let mut lines = Vec::new();
        if self.site.ipv4 {
            lines.push(format!("address {verb} {} dev lan", cidr4(own.lan_v4(1))));
        }
        if self.site.ipv6 {
            lines.push(format!("address {verb} {} dev lan nodad", cidr6(own.lan_v6(1))));
        }
        lines
    }

    /// Joins the outermost gateway to the core.
    fn join_core(&self, outer: &mut Namespace) {
        let own = self.addresses();
        if let Some(mtu) = self.site.mtu_black_hole {
            outer.ip.push(format!("link set wan mtu {mtu}"));
            outer.nft += &black_hole(&self.site.name);
        }
        uplink(
            outer,
            &Uplink {
                v4: self.site.ipv4.then(|| [own.wan_v4(), own.core_v4()]),
                v6: self.site.ipv6.then(|| [own.wan_v6(), own.core_v6()]),
                mac: self.mac(1),
            },
        );
    }

    /// The rules of the site's own gateway.
    pub(super) fn rules(&self, seed: u64, inside: u8) -> String {
        let own = self.addresses();
        let behind = self.site.gateway.carrier.is_some();
        Rules {
            nat: self.site.gateway.nat.as_ref(),
            firewall: self.site.gateway.firewall,
            wan: if behind { own.carrier_v4(2) } else { own.wan_v4() },
            inside: own.lan_v4(inside),
            seed: self.draw(seed, Draw::Nat) as u32,
            restarted: self.restarts > 0,
        }
        .nft()
    }

    /// The rules of the carrier's gateway, which leaves IPv6 alone.
    pub(super) fn carrier_rules(&self, carrier: &Nat, seed: u64) -> String {
        let own = self.addresses();
        Rules {
            nat: Some(carrier),
            firewall: Firewall::None,
            wan: own.wan_v4(),
            inside: own.carrier_v4(2),
            seed: self.draw(seed, Draw::Carrier) as u32,
            restarted: self.restarts > 0,
        }
        .nft()
    }

    /// The carrier's gateway, if the site is behind one.
    pub(super) fn carrier(&self, seed: u64) -> Option<Namespace> {
        let carrier = self.site.gateway.carrier.as_ref()?;
        let own = self.addresses();
        let mut gateway = Namespace::new(self.outer());
        let mac = self.mac(4);
        gateway.ip.push("link set lo up".to_owned());
        gateway.ip.push(up("lan"));
        if self.site.ipv4 {
            let [carrier, site] = [own.carrier_v4(1), own.carrier_v4(2)];
            gateway.ip.push(format!("address add {} dev lan", cidr4(carrier)));
            gateway.ip.push(format!("neigh add {site} lladdr {mac} dev lan nud permanent"));
        }
        if self.site.ipv6 {
            let [carrier, site] = [own.carrier_v6(1), own.carrier_v6(2)];
            gateway.ip.push(format!("address add {} dev lan nodad", cidr6(carrier)));
            gateway.ip.push(format!("neigh add {site} lladdr {mac} dev lan nud permanent"));
            gateway.ip.push(format!("route add {} via {site}", network6(own)));
        }
        self.join_core(&mut gateway);
        gateway.nft += &self.carrier_rules(carrier, seed);
        router(&mut gateway);
        conntrack(&mut gateway, Some(carrier.lifetime));
        Some(gateway)
    }

    /// What the gateways are told when the provider has renumbered the uplink.
    pub(super) fn renumbered(&self, before: &Self) -> Vec<Namespace> {
        let (own, old) = (self.addresses(), before.addresses());
        let mut inner = Namespace::new(&self.site.name);
        for (new, old) in self.lan_addresses("add").into_iter().zip(before.lan_addresses("del")) {
            if new.replace("add", "del") != old {
                inner.ip.extend([old, new]);
            }
        }
        let mut outer = Namespace::new(self.outer());
        if self.site.ipv4 {
            outer.ip.push(format!("address add {} dev wan", cidr4(own.wan_v4())));
            outer.ip.push(format!("address del {} dev wan", cidr4(old.wan_v4())));
            outer.ip.push(format!("route replace default via {}", own.core_v4()));
        }
        if self.site.ipv6 && self.site.gateway.carrier.is_some() {
            let site = own.carrier_v6(2);
            outer.ip.push(format!("route del {} via {site}", network6(old)));
            outer.ip.push(format!("route add {} via {site}", network6(own)));
        }
        vec![inner, outer]
    }

    /// miniupnpd on the site's gateway (Debian: miniupnpd-nftables).
    fn port_mapping(&self, gateway: &mut Namespace) {
        if !self.site.gateway.nat.is_some_and(|nat| nat.port_mapping) {
            return;
        }
        let name = &self.site.name;
        let file = format!("/run/miniupnpd-{name}.conf");
        let config = format!(
            "ext_ifname=wan\nlistening_ip=lan\nhttp_port=5000\nenable_upnp=yes\nenable_natpmp=yes\n\
             secure_mode=yes\nuuid=00000000-0000-4000-8000-0000000000{:02x}\n\
             upnp_table_name=gateway\nupnp_nat_table_name=gateway\nupnp_forward_chain=miniupnpd\n\
             upnp_nat_chain=miniupnpd_prerouting\nupnp_nat_postrouting_chain=miniupnpd_postrouting\n\
             allow 1024-65535 0.0.0.0/0 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n",
            self.number
        );
        gateway.files.push((file.clone(), config));
        gateway.commands.push(format!("miniupnpd -f {file} -P /run/miniupnpd-{name}.pid"));
    }
}

/// A gateway's way out: own and next address.
struct Uplink {
    v4: Option<[std::net::Ipv4Addr; 2]>,
    v6: Option<[std::net::Ipv6Addr; 2]>,
    mac: String,
}

fn uplink(gateway: &mut Namespace, uplink: &Uplink) {
    gateway.ip.push(up("wan"));
    let mac = &uplink.mac;
    if let Some([own, next]) = uplink.v4 {
        gateway.ip.push(format!("address add {} dev wan", cidr4(own)));
        gateway.ip.push(format!("neigh add {next} lladdr {mac} dev wan nud permanent"));
        gateway.ip.push(format!("route add default via {next}"));
    }
    if let Some([own, next]) = uplink.v6 {
        gateway.ip.push(format!("address add {} dev wan nodad", cidr6(own)));
        gateway.ip.push(format!("neigh add {next} lladdr {mac} dev wan nud permanent"));
        gateway.ip.push(format!("route add default via {next}"));
    }
}

/// conntrack has two timers for UDP, for flows with and without an answer; here they are one.
fn conntrack(gateway: &mut Namespace, lifetime: Option<u32>) {
    if let Some(seconds) = lifetime {
        gateway.sysctl("net/netfilter/nf_conntrack_udp_timeout", seconds);
        gateway.sysctl("net/netfilter/nf_conntrack_udp_timeout_stream", seconds);
    }
}

fn network4(own: SiteAddresses) -> String {
    cidr4(own.lan_v4(0))
}

fn network6(own: SiteAddresses) -> String {
    cidr6(own.lan_v6(0))
}

/// Rules that keep a router from telling that a packet is too big.
pub(super) fn black_hole(site: &str) -> String {
    let silent = chain(
        "silent",
        "filter hook output priority filter",
        &[
            "icmp type destination-unreachable icmp code frag-needed drop".to_owned(),
            "icmpv6 type packet-too-big drop".to_owned(),
        ],
    );
    format!("table inet {} {{\n{silent}}}\n", cut_table("mtu", site))
}

/// The table that holds what an event has cut.
pub(super) fn cut_table(what: &str, site: &str) -> String {
    format!("cut_{what}_{}", site.replace('-', "_"))
}
