//! What a site is built of: its gateway, the core's side of it, the wires between.

use meshbench_protocol::Namespace;

use super::address::{CORE, MTU, cidr4, cidr6};
use super::kernel::{Uplink, black_hole, conntrack, network4, network6, router, up, uplink};
use super::nat64;
use super::ruleset::{Rules, chain, cut_table};
use super::sites::{Indoors, Seeded, SiteState};

/// Where br_netfilter is loaded, bridged frames would pass the gateway's rules as well.
const BRIDGE_ALONE: [&str; 2] =
    ["-net/bridge/bridge-nf-call-iptables", "-net/bridge/bridge-nf-call-ip6tables"];

impl SiteState {
    /// What sends packets twice on one direction of the line. `always` also where none are, as after another link.
    pub(super) fn copies(&self, up: bool, always: bool) -> String {
        let direction = self.direction(up);
        if direction.duplicate_percent == 0.0 && !always {
            return String::new();
        }
        let device = if up { "wan".to_owned() } else { self.upstream().1 };
        direction.copies(&cut_table("twice", &self.site.name), &device, &self.hops(up))
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
        core.tc.extend(self.site.link.down.tc(name, self.seed(seed, Seeded::Down)));
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
        gateway.tc = self.site.link.up.tc("wan", self.seed(seed, Seeded::Up));
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
            seed: self.seed(seed, Seeded::Nat) as u32,
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
