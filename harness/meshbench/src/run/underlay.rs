//! Which family of addresses carries a tunnel, counted where the packets of all sites meet.

use crate::fabric::CORE;
use crate::machine::Machine;
use crate::results::Family;

/// Bytes of IPv4 and of IPv6 that have come to the core so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    ipv4: u64,
    ipv6: u64,
}

/// Counts now; nothing when the fabric cannot tell.
pub(super) async fn carried(fabric: &Machine) -> Option<Carried> {
    let namespace = format!("--net=/run/netns/{CORE}");
    let counters = ["nsenter", &namespace, "cat", "/proc/net/netstat", "/proc/net/snmp6"];
    parse(&fabric.run(&counters).await.ok()?.text())
}

/// The family that carried more since then.
pub(super) async fn since(fabric: &Machine, before: Option<Carried>) -> Option<Family> {
    before?.until(carried(fabric).await?)
}

impl Carried {
    fn until(self, after: Self) -> Option<Family> {
        let [ipv4, ipv6] = [after.ipv4.checked_sub(self.ipv4)?, after.ipv6.checked_sub(self.ipv6)?];
        (ipv4 + ipv6 > 0).then_some(if ipv4 >= ipv6 { Family::Ipv4 } else { Family::Ipv6 })
    }
}

/// `/proc/net/netstat` has a line of names above each line of values, `/proc/net/snmp6` pairs.
fn parse(text: &str) -> Option<Carried> {
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, values) = (rows.next()?, rows.next()?);
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    let (_, ipv4) = columns.find(|(name, _)| *name == "InOctets")?;
    let ipv6 = text.lines().find_map(|line| line.strip_prefix("Ip6InOctets "))?;
    Some(Carried { ipv4: ipv4.parse().ok()?, ipv6: ipv6.trim().parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_with_more_bytes_carries_the_tunnel() {
        let text = "TcpExt: SyncookiesSent InOctets\nTcpExt: 0 1\n\
                    IpExt: InNoRoutes InOctets OutOctets\nIpExt: 3 40 50\n\
                    Ip6InReceives                   \t7\nIp6InOctets                     \t900\n";
        let before = parse(text).unwrap();
        assert_eq!(before, Carried { ipv4: 40, ipv6: 900 });
        assert_eq!(before.until(before), None);
        assert_eq!(before.until(Carried { ipv4: 60, ipv6: 905 }), Some(Family::Ipv4));
        assert_eq!(before.until(Carried { ipv4: 60, ipv6: 2000 }), Some(Family::Ipv6));
        assert_eq!(before.until(Carried { ipv4: 0, ipv6: 0 }), None, "it was another machine");
        assert_eq!(parse("IpExt: InOctets\n"), None);
    }
}
