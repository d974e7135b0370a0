//! Which address is where. Unless a site names its LAN, everything follows from the number of the site, its epoch
//! (how often its provider has renumbered it) and the number of the machine.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The namespace of the core.
pub(crate) const CORE: &str = "internet";

/// The core's own IPv4 addresses, for servers that every site reaches: NAT probes need three.
pub(crate) const CORE_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(5, 255, 0, 1), Ipv4Addr::new(5, 255, 0, 2), Ipv4Addr::new(5, 255, 0, 3)];

/// The core's own IPv6 addresses.
pub(crate) const CORE_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0x2a0e, 0xffff, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2a0e, 0xffff, 0, 0, 0, 0, 0, 2),
    Ipv6Addr::new(0x2a0e, 0xffff, 0, 0, 0, 0, 0, 3),
];

/// Prefix length of every IPv4 network here.
pub(crate) const V4_PREFIX: u8 = 24;

/// Prefix length of every IPv6 network here.
pub(crate) const V6_PREFIX: u8 = 64;

/// The interface MTU of every card and link, bytes.
pub const MTU: u16 = 1500;

/// The addresses of one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SiteAddresses {
    /// From 1, in file order.
    pub(crate) number: u8,
    /// How often the provider has renumbered the uplink; up to 200.
    pub(crate) epoch: u8,
    /// The first three bytes of the machines' own addresses, where the Internet does not see these: a /24.
    pub(crate) private: Option<[u8; 3]>,
}

impl SiteAddresses {
    /// The core's end of the uplink.
    pub(crate) fn core_v4(self) -> Ipv4Addr {
        Ipv4Addr::new(5, self.number, 0, 1)
    }

    /// The site's end of the uplink: what the Internet sees of a translated site.
    pub(crate) fn wan_v4(self) -> Ipv4Addr {
        Ipv4Addr::new(5, self.number, 0, 2 + self.epoch)
    }

    /// Network, gateway or machine of the site, by host number.
    pub(crate) fn lan_v4(self, host: u8) -> Ipv4Addr {
        match self.private {
            Some([a, b, c]) => Ipv4Addr::new(a, b, c, host),
            None => Ipv4Addr::new(5, self.number, 1 + self.epoch, host),
        }
    }

    /// The carrier's (1) and the site's (2) end of the link between two gateways.
    pub(crate) fn carrier_v4(self, host: u8) -> Ipv4Addr {
        let usual = [100, 64, self.number];
        let free = if self.private == Some(usual) { 127 } else { 64 };
        Ipv4Addr::new(100, free, self.number, host)
    }

    /// The core's end of the uplink.
    pub(crate) fn core_v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2a0e, self.number.into(), 0, 0, 0, 0, 0, 1)
    }

    /// The site's end of the uplink. Renumbering changes the delegated prefix, not this.
    pub(crate) fn wan_v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2a0e, self.number.into(), 0, 0, 0, 0, 0, 2)
    }

    /// Network, gateway or machine of the site, by host number. Host 10 is `::10`, as people
    /// expect to read it, so the digits are taken as hexadecimal.
    pub(crate) fn lan_v6(self, host: u8) -> Ipv6Addr {
        let host = u16::from(host);
        let digits = host / 100 * 0x100 + host / 10 % 10 * 0x10 + host % 10;
        Ipv6Addr::new(0x2a0e, self.number.into(), 1 + u16::from(self.epoch), 0, 0, 0, 0, digits)
    }

    /// The carrier's (1) and the site's (2) end of the link between two gateways.
    pub(crate) fn carrier_v6(self, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2a0e, self.number.into(), 0xff00, 0, 0, 0, 0, host)
    }
}

/// `address/prefix` of an IPv4 address here.
pub(crate) fn cidr4(address: Ipv4Addr) -> String {
    format!("{address}/{V4_PREFIX}")
}

/// `address/prefix` of an IPv6 address here.
pub(crate) fn cidr6(address: Ipv6Addr) -> String {
    format!("{address}/{V6_PREFIX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_the_site_and_the_machine() {
        let home = SiteAddresses { number: 2, epoch: 0, private: Some([192, 168, 2]) };
        assert_eq!(home.lan_v4(10).to_string(), "192.168.2.10");
        assert_eq!(home.carrier_v4(1).to_string(), "100.64.2.1");
        assert_eq!(home.lan_v6(10).to_string(), "2a0e:2:1::10");
        assert_eq!(home.lan_v6(155).to_string(), "2a0e:2:1::155");
        assert_eq!(home.wan_v4().to_string(), "5.2.0.2");
        let phone = SiteAddresses { private: Some([100, 64, 2]), ..home };
        assert_eq!(phone.lan_v4(10).to_string(), "100.64.2.10");
        assert_eq!(
            phone.carrier_v4(1).to_string(),
            "100.127.2.1",
            "another network than the machines'"
        );
        let moved = SiteAddresses { epoch: 1, private: None, ..home };
        assert_eq!(moved.wan_v4().to_string(), "5.2.0.3");
        assert_eq!(moved.lan_v4(10).to_string(), "5.2.2.10");
        assert_eq!(moved.lan_v6(1).to_string(), "2a0e:2:2::1");
    }
}
