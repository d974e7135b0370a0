//! A provider's translator from IPv6 to IPv4 (RFC 6146), which tayga and the kernel's own NAT are together: tayga
//! gives each machine an IPv4 address of a network that nobody else sees, the kernel makes one address of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use meshbench_protocol::Namespace;

use super::ruleset::{chain, other_ports};

/// Number of the translator in a site's IPv6 network: whom it speaks of errors as.
pub(super) const HOST: u8 = 8;

/// The network between the two.
const BETWEEN: &str = "192.168.255";

/// The well-known prefix (RFC 6052).
const PREFIX: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// The address by which IPv6 alone reaches one of IPv4, as the resolver of such a provider answers (RFC 6147).
pub(crate) fn beyond(address: Ipv4Addr) -> IpAddr {
    let [a, b, c, d] = address.octets();
    let [p, q, r, s, t, u] = PREFIX;
    Ipv6Addr::new(p, q, r, s, t, u, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])).into()
}

/// Starts the translator on a site's gateway.
pub(super) fn translator(gateway: &mut Namespace, site: &str, own: Ipv6Addr) {
    let file = format!("/run/tayga-{site}.conf");
    let config = format!(
        "tun-device nat64\nipv4-addr {BETWEEN}.1\nipv6-addr {own}\nprefix {}/96\ndynamic-pool {BETWEEN}.0/24\ndata-dir /run/tayga-{site}\n",
        prefix()
    );
    gateway.files.push((file.clone(), config));
    gateway.nft += &rules(false);
    gateway.commands.push(format!(
        "mkdir -p /run/tayga-{site}; tayga --config {file} --mktun >/dev/null; ip link set nat64 up; \
         ip route add {BETWEEN}.0/24 dev nat64; ip -6 route add {own}/128 dev nat64; \
         ip -6 route add {}/96 dev nat64; tayga --config {file} --pidfile /run/tayga-{site}.pid",
        prefix()
    ));
}

/// What makes one address of those that tayga gives. One that has been restarted does not hand out the ports that it
/// was asked for, which it handed out before.
pub(super) fn rules(restarted: bool) -> String {
    let out = format!("oifname \"wan\" ip saddr {BETWEEN}.0/24");
    let mut rules = vec![format!("{out} masquerade")];
    if restarted {
        rules.insert(0, format!("{out} meta l4proto {{ tcp, udp }} masquerade {}", other_ports()));
    }
    let hook = "nat hook postrouting priority srcnat";
    format!("table ip nat64 {{\n{}}}\n", chain("out", hook, &rules))
}

fn prefix() -> Ipv6Addr {
    let [p, q, r, s, t, u] = PREFIX;
    Ipv6Addr::new(p, q, r, s, t, u, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv4_is_the_end_of_one_of_ipv6() {
        assert_eq!(beyond(Ipv4Addr::new(5, 3, 1, 10)).to_string(), "64:ff9b::503:10a");
        assert_eq!(prefix().to_string(), "64:ff9b::");
    }
}
