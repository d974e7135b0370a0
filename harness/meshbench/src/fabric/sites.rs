//! The namespaces of one site: its gateway, its carrier's gateway, and the core's side of it.

use std::net::{IpAddr, Ipv4Addr};

use meshbench_protocol::Namespace;
use serde::Serialize;

use super::address::{CORE, MTU, SiteAddresses, cidr4, cidr6};
use super::link::Direction;
use super::nat64;
use super::ruleset::{Opening, Rules, chain, cut_table};
use super::scenario::Site;
use crate::stats::rng;

/// A site as it is now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SiteState {
    pub(crate) number: u8,
    pub(crate) site: Site,
    /// How often the uplink has been renumbered.
    pub(crate) epoch: u8,
    /// How often the gateways have been restarted.
    pub(crate) restarts: u32,
    /// The carrier that it shares with others, if it does.
    pub(super) shared: Option<Shared>,
    /// The site whose line its router may fall back to, and whether it has.
    pub(super) backup: Option<Backup>,
    /// The largest packets that its line carries since an event, without a word of it; its own until then.
    pub(super) hole: Option<u16>,
}

/// A carrier that several sites are behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Shared {
    /// Also the name of its namespace, and of the core's interface towards it.
    pub(super) name: String,
    /// As of a site; its uplink is numbered so.
    pub(super) number: u8,
}

/// A second line of a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Backup {
    /// Index of the site that it is the line of.
    pub(super) at: usize,
    /// Whether it is in use.
    pub(super) active: bool,
}

/// Who is behind a gateway.
#[derive(Debug, Clone)]
pub(super) struct Indoors {
    /// Host number of the machine that a one-to-one NAT points to.
    pub(super) first: u8,
    /// What is let in for whom.
    pub(super) openings: Vec<Opening>,
}

/// The machine number of a router at the site whose line it may fall back to.
pub(super) const ROUTER: u8 = 250;

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

/// What makes a gateway forget all of its flows.
pub(super) const FORGET: &str = "conntrack -F 2>/dev/null";

/// Waits until the bridge passes what comes from a device: the kernel looks at a port that came up
/// when it has the time, up to a second later, and the first question for a neighbour would be lost.
pub(super) fn plugged(device: &str) -> String {
    format!(
        "n=0; until ip -d link show dev {device} | grep -q 'state forwarding'; do \
         n=$((n + 1)); [ $n -lt 100 ]; sleep 0.05; done"
    )
}

/// `link set` that starts a device without an address of its own making.
pub(super) fn up(device: &str) -> String {
    format!("link set {device} addrgenmode none up")
}

/// A number that follows from the seed and a key (splitmix64).
pub(super) fn draw(seed: u64, key: u64) -> u64 {
    rng::mixed(seed.wrapping_add(key.wrapping_mul(rng::STEP)))
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

impl Site {
    /// The addresses of a site of that number, as its provider has numbered it first.
    pub(super) fn addresses(&self, number: u8) -> SiteAddresses {
        let private = match (self.lan, self.gateway.nat.is_some()) {
            _ if !self.gateway.translates() => None,
            (Some(lan), _) => Some(lan.bytes()),
            (None, true) => Some([192, 168, number]),
            (None, false) => Some([100, 64, number]),
        };
        SiteAddresses { number, epoch: 0, private }
    }
}

impl SiteState {
    pub(crate) fn addresses(&self) -> SiteAddresses {
        SiteAddresses { epoch: self.epoch, ..self.site.addresses(self.number) }
    }

    /// The namespace whose `wan` is joined to the core.
    pub(crate) fn outer(&self) -> String {
        match &self.shared {
            Some(shared) => shared.name.clone(),
            None if self.site.gateway.carrier.is_some() => format!("{}-carrier", self.site.name),
            None => self.site.name.clone(),
        }
    }

    /// Whether its uplink has IPv4: its machines' own, or its translator's.
    fn ipv4_outside(&self) -> bool {
        self.site.ipv4 || self.site.nat64
    }

    /// Whether a carrier of its own stands between its gateway and the core.
    pub(super) fn has_own_carrier(&self) -> bool {
        self.shared.is_none() && self.site.gateway.carrier.is_some()
    }

    /// The IPv4 address that the Internet sees, where addresses are translated.
    pub(super) fn public_v4(&self) -> Ipv4Addr {
        match &self.shared {
            Some(shared) => shared.addresses().wan_v4(),
            None => self.addresses().wan_v4(),
        }
    }

    /// Where its line ends towards the core: namespace and interface, which sends what comes down.
    pub(crate) fn upstream(&self) -> (String, String) {
        match &self.shared {
            Some(shared) => (shared.name.clone(), self.shared_device()),
            None => (CORE.to_owned(), self.site.name.clone()),
        }
    }

    /// Both ends of the line as packets of both directions see it: where a larger one than it carries is stopped.
    pub(super) fn line(&self) -> [(String, String); 2] {
        let own = if self.shared.is_some() { self.site.name.clone() } else { self.outer() };
        [self.upstream(), (own, "wan".to_owned())]
    }

    /// The shared carrier's interface towards the site.
    pub(super) fn shared_device(&self) -> String {
        format!("lan{}", self.number)
    }

    /// Where a packet goes next that leaves the site, and one that comes to it over the line.
    fn hops(&self, up: bool) -> Vec<IpAddr> {
        let own = self.addresses();
        let behind = self.site.gateway.carrier.is_some() && (up || self.shared.is_some());
        let (v4, v6): (IpAddr, IpAddr) = match (behind, up) {
            (true, true) => (own.carrier_v4(1).into(), own.carrier_v6(1).into()),
            (true, false) => (own.carrier_v4(2).into(), own.carrier_v6(2).into()),
            (false, true) => (own.core_v4().into(), own.core_v6().into()),
            (false, false) => (own.wan_v4().into(), own.wan_v6().into()),
        };
        [(self.ipv4_outside(), v4), (self.site.ipv6, v6)]
            .into_iter()
            .filter_map(|(there, hop)| there.then_some(hop))
            .collect()
    }

    /// What sends packets twice on one direction of the line. `always` also where none are, as after another link.
    pub(super) fn copies(&self, up: bool, always: bool) -> String {
        let direction = self.direction(up);
        if direction.duplicate_percent == 0.0 && !always {
            return String::new();
        }
        let device = if up { "wan".to_owned() } else { self.upstream().1 };
        direction.copies(&cut_table("twice", &self.site.name), &device, &self.hops(up))
    }

    pub(crate) fn direction(&self, up: bool) -> &Direction {
        if up { &self.site.link.up } else { &self.site.link.down }
    }

    pub(super) fn mac(&self, end: u8) -> String {
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
        if let Some(shared) = &self.shared {
            return vec![wire(&self.shared_device(), &shared.name, 3, name, 4)];
        }
        let mut lines = vec![wire(name, CORE, 1, &self.outer(), 2)];
        if self.site.gateway.carrier.is_some() {
            lines.push(wire("lan", &self.outer(), 3, name, 4));
        }
        lines
    }

    /// A number for one of the site's random sequences.
    pub(super) fn draw(&self, seed: u64, what: Draw) -> u64 {
        let restarts = match what {
            Draw::Up | Draw::Down => 0,
            Draw::Nat | Draw::Carrier => u64::from(self.restarts),
        };
        draw(seed, (restarts << 32) | (u64::from(self.number) << 8) | what as u64)
    }

    /// The core's end of the uplink.
    pub(super) fn in_core(&self, core: &mut Namespace, seed: u64) {
        if self.shared.is_some() {
            return;
        }
        let (name, own) = (&self.site.name, self.addresses());
        self.narrow(core, name);
        core.ip.push(up(name));
        if self.ipv4_outside() {
            core.ip.push(format!("address add {} dev {name}", cidr4(own.core_v4())));
        }
        if self.site.ipv6 {
            core.ip.push(format!("address add {} dev {name} nodad", cidr6(own.core_v6())));
        }
        core.ip.extend(self.core_routes("add"));
        core.nft += &self.copies(false, false);
        core.tc.extend(self.site.link.down.tc(name, self.draw(seed, Draw::Down)));
    }

    /// Whether its router uses its second line.
    pub(super) fn is_over(&self) -> bool {
        self.backup.as_ref().is_some_and(|backup| backup.active)
    }

    /// Makes one end of the line as narrow as the scenario says.
    pub(super) fn narrow(&self, end: &mut Namespace, device: &str) {
        if self.width() < MTU {
            end.ip.push(format!("link set {device} mtu {}", self.width()));
        }
        if self.site.mtu_black_hole.is_some() {
            end.nft += &black_hole(&self.site.name);
        }
    }

    /// The largest packets that pass the ends of its line as the scenario has it.
    pub(super) fn width(&self) -> u16 {
        let loud = self.site.mtu.filter(|mtu| mtu.ipv4 == mtu.ipv6).map(|mtu| mtu.ipv4);
        self.site.mtu_black_hole.or(loud).unwrap_or(MTU)
    }

    /// What is added to routes over the line when it carries larger packets of one family than of the other.
    pub(super) fn route_mtus(&self) -> [String; 2] {
        let differ = self.site.mtu.filter(|mtu| mtu.ipv4 != mtu.ipv6);
        let words = |mtu: u16| if mtu < MTU { format!(" mtu {mtu}") } else { String::new() };
        differ.map_or_else(Default::default, |mtu| [words(mtu.ipv4), words(mtu.ipv6)])
    }

    /// What its router has the TCP of both sides believe of the largest segment.
    fn clamp(&self) -> String {
        let rule = "tcp flags syn tcp option maxseg size set rt mtu".to_owned();
        let clamp = chain("clamp", "filter hook forward priority mangle", &[rule]);
        if self.site.clamp_mss { format!("table inet mss {{\n{clamp}}}\n") } else { String::new() }
    }

    /// How the core reaches the site: `verb` is `add` or `del`.
    pub(super) fn core_routes(&self, verb: &str) -> Vec<String> {
        let (name, own, mac) = (&self.site.name, self.addresses(), self.mac(2));
        let mut lines = Vec::new();
        let neighbour = |verb: &str, address: String| {
            format!("neigh {verb} {address} lladdr {mac} dev {name} nud permanent")
        };
        let [mtu4, mtu6] = self.route_mtus();
        if self.ipv4_outside() {
            lines.push(neighbour(verb, own.wan_v4().to_string()));
            if own.private.is_none() {
                lines.push(format!("route {verb} {} via {}{mtu4}", network4(own), own.wan_v4()));
            } else if !mtu4.is_empty() {
                lines.push(format!("route {verb} {}/32 dev {name}{mtu4}", own.wan_v4()));
            }
        }
        if self.site.ipv6 {
            // The link's own address stays when the prefix changes.
            if verb == "add" {
                lines.push(neighbour("replace", own.wan_v6().to_string()));
            }
            lines.push(format!("route {verb} {} via {}{mtu6}", network6(own), own.wan_v6()));
        }
        lines
    }

    /// The site's gateway without the cards of its machines.
    pub(super) fn gateway(&self, seed: u64, indoors: &Indoors) -> Namespace {
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
                    mtus: if self.shared.is_some() {
                        self.route_mtus()
                    } else {
                        Default::default()
                    },
                },
            );
        } else {
            self.join_core(&mut gateway);
        }
        if self.shared.is_some() {
            self.narrow(&mut gateway, "wan");
        }
        gateway.nft += &self.rules(seed, indoors);
        gateway.nft += &self.clamp();
        gateway.nft += &self.copies(true, false);
        router(&mut gateway);
        conntrack(&mut gateway, self.site.gateway.lifetime());
        gateway.tc = self.site.link.up.tc("wan", self.draw(seed, Draw::Up));
        BRIDGE_ALONE.into_iter().for_each(|path| gateway.sysctl(path, 0));
        self.port_mapping(&mut gateway);
        if self.site.nat64 {
            nat64::translator(&mut gateway, &self.site.name, own.lan_v6(nat64::HOST));
        }
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
    pub(super) fn join_core(&self, outer: &mut Namespace) {
        let own = self.addresses();
        self.narrow(outer, "wan");
        uplink(
            outer,
            &Uplink {
                v4: self.ipv4_outside().then(|| [own.wan_v4(), own.core_v4()]),
                v6: self.site.ipv6.then(|| [own.wan_v6(), own.core_v6()]),
                mac: self.mac(1),
                mtus: self.route_mtus(),
            },
        );
    }

    /// The rules of the site's own gateway.
    pub(super) fn rules(&self, seed: u64, indoors: &Indoors) -> String {
        let own = self.addresses();
        let behind = self.site.gateway.carrier.is_some();
        Rules {
            nat: self.site.gateway.nat.as_ref(),
            firewall: self.site.gateway.firewall,
            wan: if behind { own.carrier_v4(2) } else { own.wan_v4() },
            inside: own.lan_v4(indoors.first),
            interfaces: ["lan", if self.backup.is_some() { "wan*" } else { "wan" }],
            openings: &indoors.openings,
            nat64: self.site.nat64,
            seed: self.draw(seed, Draw::Nat) as u32,
            restarted: self.restarts > 0,
        }
        .nft()
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
        if self.ipv4_outside() {
            outer.ip.push(format!("address add {} dev wan", cidr4(own.wan_v4())));
            outer.ip.push(format!("address del {} dev wan", cidr4(old.wan_v4())));
            // A router that has gone over to its second line stays there.
            if self.has_own_carrier() || !self.is_over() {
                let [mtu4, _] = self.route_mtus();
                outer.ip.push(format!("route replace default via {}{mtu4}", own.core_v4()));
            }
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

impl Shared {
    pub(super) fn addresses(&self) -> SiteAddresses {
        SiteAddresses { number: self.number, epoch: 0, private: None }
    }
}

/// A gateway's way out: own and next address.
struct Uplink {
    v4: Option<[std::net::Ipv4Addr; 2]>,
    v6: Option<[std::net::Ipv6Addr; 2]>,
    mac: String,
    /// What is added to the routes of either family.
    mtus: [String; 2],
}

fn uplink(gateway: &mut Namespace, uplink: &Uplink) {
    gateway.ip.push(up("wan"));
    let mac = &uplink.mac;
    let [mtu4, mtu6] = &uplink.mtus;
    if let Some([own, next]) = uplink.v4 {
        gateway.ip.push(format!("address add {} dev wan", cidr4(own)));
        gateway.ip.push(format!("neigh add {next} lladdr {mac} dev wan nud permanent"));
        gateway.ip.push(format!("route add default via {next}{mtu4}"));
    }
    if let Some([own, next]) = uplink.v6 {
        gateway.ip.push(format!("address add {} dev wan nodad", cidr6(own)));
        gateway.ip.push(format!("neigh add {next} lladdr {mac} dev wan nud permanent"));
        gateway.ip.push(format!("route add default via {next}{mtu6}"));
    }
}

/// conntrack has two timers for UDP, for flows with and without an answer; here they are one.
pub(super) fn conntrack(gateway: &mut Namespace, lifetime: Option<u32>) {
    if let Some(seconds) = lifetime {
        gateway.sysctl("net/netfilter/nf_conntrack_udp_timeout", seconds);
        gateway.sysctl("net/netfilter/nf_conntrack_udp_timeout_stream", seconds);
    }
}

pub(super) fn network4(own: SiteAddresses) -> String {
    cidr4(own.lan_v4(0))
}

pub(super) fn network6(own: SiteAddresses) -> String {
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
