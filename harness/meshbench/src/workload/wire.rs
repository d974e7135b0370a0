//! What an observer of the wire sees of a VPN: nothing in clear, and nobody outside addressed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use data_encoding::HEXLOWER;

use crate::cluster::Captured;

/// What was sent to be looked for, in hexadecimal digits.
pub(crate) struct Marks {
    /// Through the VPN.
    pub(crate) canary: String,
    /// Past the VPN, in clear.
    pub(crate) control: String,
}

/// What the wire shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) packets: usize,
    pub(crate) canaries: usize,
    pub(crate) controls: usize,
    pub(crate) outside: BTreeSet<IpAddr>,
}

impl Seen {
    /// Looks for the marks, and for whom packets are addressed to.
    pub(crate) fn of(captured: &Captured, marks: &Marks, target: IpAddr) -> Self {
        let with = |mark: &str| {
            let bytes = HEXLOWER.decode(mark.as_bytes()).expect("marks are hexadecimal digits");
            captured.packets.iter().filter(|packet| contains(&packet.bytes, &bytes)).count()
        };
        let addressed = captured.packets.iter().filter_map(|packet| destination(&packet.bytes));
        // The harness's own probes: until the tunnel is there, they follow the default route.
        let outside = addressed.filter(|address| !inside(*address) && *address != target);
        Self {
            packets: captured.packets.len(),
            canaries: with(&marks.canary),
            controls: with(&marks.control),
            outside: outside.collect(),
        }
    }
}

fn contains(packet: &[u8], needle: &[u8]) -> bool {
    packet.windows(needle.len()).any(|window| window == needle)
}

/// Destination of an Ethernet frame that holds an IP packet.
fn destination(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [0x08, 0x00] => <[u8; 4]>::try_from(frame.get(30..34)?).ok().map(IpAddr::from),
        [0x86, 0xdd] => <[u8; 16]>::try_from(frame.get(38..54)?).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Whether the address belongs to the scenario's Internet, or to nobody beyond the next router.
fn inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.octets()[0] == 5 || v4.is_multicast() || v4.is_broadcast() || v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            v6.segments()[0] == 0x2a0e || v6.is_multicast() || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Packet;

    const MARKS: [&str; 2] =
        ["00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"];

    fn seen(carried: &[&str]) -> Seen {
        let packet = |mark: &&str| Packet {
            point: 0,
            time_ns: 0,
            length: 230,
            bytes: [b"head".to_vec(), HEXLOWER.decode(mark.as_bytes()).unwrap(), b"tail".to_vec()]
                .concat(),
        };
        let packets = carried.iter().map(packet).collect();
        let captured = Captured { points: Vec::new(), packets };
        let marks = Marks { canary: MARKS[0].into(), control: MARKS[1].into() };
        Seen::of(&captured, &marks, "10.77.0.2".parse().unwrap())
    }

    #[test]
    fn marks_are_found_in_the_middle_of_packets() {
        let seen = seen(&[MARKS[1], MARKS[0], MARKS[0]]);
        assert_eq!((seen.packets, seen.canaries, seen.controls), (3, 2, 1));
    }

    #[test]
    fn the_destination_of_a_frame_is_read_for_both_families() {
        let mut v4 = vec![0; 34];
        v4[12..14].copy_from_slice(&[0x08, 0x00]);
        v4[30..34].copy_from_slice(&[5, 1, 0, 2]);
        assert_eq!(destination(&v4), Some("5.1.0.2".parse().unwrap()));
        let mut v6 = vec![0; 54];
        v6[12..14].copy_from_slice(&[0x86, 0xdd]);
        v6[38] = 0x2a;
        assert_eq!(destination(&v6), Some("2a00::".parse().unwrap()));
        assert_eq!(destination(&[0; 20]), None);
    }

    #[test]
    fn an_address_of_the_real_internet_is_outside() {
        assert!(!inside("192.0.2.1".parse().unwrap()));
        assert!(inside("5.3.1.10".parse().unwrap()));
        assert!(!inside("2001:db8::1".parse().unwrap()));
    }
}
