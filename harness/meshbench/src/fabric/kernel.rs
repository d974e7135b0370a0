//! What several namespaces are told alike: lines for `ip`, settings, rules.

use std::net::{Ipv4Addr, Ipv6Addr};

use meshbench_protocol::Namespace;

use super::address::{SiteAddresses, cidr4, cidr6};
use super::ruleset::{chain, cut_table};

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

/// A gateway's way out: own and next address.
pub(super) struct Uplink {
    pub(super) v4: Option<[Ipv4Addr; 2]>,
    pub(super) v6: Option<[Ipv6Addr; 2]>,
    pub(super) mac: String,
    /// What is added to the routes of either family.
    pub(super) mtus: [String; 2],
}

pub(super) fn uplink(gateway: &mut Namespace, uplink: &Uplink) {
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
