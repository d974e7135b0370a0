//! ICMP echo without a program, for probes that must start in an instant.

use std::io::{self, Error};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use meshbench_protocol::Silence;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, sendto,
    socket,
};

use crate::channel::{Cancel, timeout};

/// A raw socket that sends echo requests to one address, and what became of them.
pub(crate) struct Echo {
    socket: OwnedFd,
    target: IpAddr,
    identifier: u16,
    tried: u32,
    /// Why none could be sent, for as long as that is so.
    unsent: Option<Errno>,
    sent: bool,
}

/// No route, no address of that family, or a VPN's interface that is down or knows nobody there.
const NO_WAY: [Errno; 7] = [
    Errno::ENETUNREACH,
    Errno::EHOSTUNREACH,
    Errno::ENETDOWN,
    Errno::EHOSTDOWN,
    Errno::EADDRNOTAVAIL,
    // WireGuard: no peer has the address; its endpoint is not known.
    Errno::ENOKEY,
    Errno::EDESTADDRREQ,
];

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

impl Echo {
    /// Opens the socket; needs CAP_NET_RAW.
    pub(crate) fn open(target: IpAddr) -> io::Result<Self> {
        let (family, protocol) = match target {
            IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
            IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, SockType::Raw, flags, protocol)?;
        let identifier = socket.as_raw_fd() as u16 ^ std::process::id() as u16 ^ 0x5a00;
        Ok(Self { socket, target, identifier, tried: 0, unsent: None, sent: false })
    }

    /// Sends the next request, or tries to: a VPN that is still starting has no route yet, or no interface.
    pub(crate) fn send(&mut self) {
        let packet = self.request(self.tried as u16);
        let address = SockaddrStorage::from(SocketAddr::new(self.target, 0));
        let sent = sendto(self.socket.as_raw_fd(), &packet, &address, MsgFlags::empty());
        self.tried += 1;
        self.sent |= sent.is_ok();
        self.unsent = sent.err().filter(|_| !self.sent);
    }

    /// How many requests there were, also those that could not be sent.
    pub(crate) fn tried(&self) -> u32 {
        self.tried
    }

    /// That nobody has answered within `patience`.
    ///
    /// # Errors
    /// None could be sent, and not for want of a way: who is to answer was not asked.
    pub(crate) fn silence(&self, patience: Duration) -> io::Result<Silence> {
        if let Some(why) = self.unsent.filter(|why| !NO_WAY.contains(why)) {
            return Err(Error::other(format!("cannot send a probe to {}: {why}", self.target)));
        }
        Ok(Silence {
            probes: self.tried,
            patience_ms: patience.as_millis() as u64,
            no_way: self.unsent.map(|why| why.to_string()),
        })
    }

    /// Whether an answer from the target arrives within `patience`; not when the channel is cancelled before.
    pub(crate) fn answered(&self, patience: Duration, cancel: &Cancel) -> io::Result<bool> {
        let end = Instant::now() + patience;
        loop {
            let left = timeout(end.saturating_duration_since(Instant::now()));
            let fds = [self.socket.as_fd(), cancel.as_fd()];
            let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            if poll(&mut fds, left)? == 0 || fds[1].any().unwrap_or(false) {
                return Ok(false);
            }
            if self.take()? {
                return Ok(true);
            }
        }
    }

    fn take(&self) -> io::Result<bool> {
        let mut packet = [0_u8; 2048];
        match recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), &mut packet) {
            Ok((length, _)) => Ok(self.is_answer(&packet[..length])),
            // ICMP errors for earlier probes surface here; they say "not yet".
            Err(Errno::EAGAIN | Errno::EHOSTUNREACH | Errno::ENETUNREACH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn is_answer(&self, packet: &[u8]) -> bool {
        // Raw IPv4 sockets deliver the IP header, raw IPv6 ones do not.
        let (message, reply) = match self.target {
            IpAddr::V4(target) => {
                let Some(first) = packet.first() else { return false };
                if packet.get(12..16) != Some(&target.octets()) {
                    return false;
                }
                (packet.get(usize::from(first & 0x0f) * 4..), ECHO_REPLY_V4)
            }
            IpAddr::V6(_) => (Some(packet), ECHO_REPLY_V6),
        };
        message.is_some_and(|m| {
            m.first() == Some(&reply) && m.get(4..6) == Some(&self.identifier.to_be_bytes()[..])
        })
    }

    fn request(&self, sequence: u16) -> [u8; 64] {
        let mut packet = [0_u8; 64];
        packet[0] = if self.target.is_ipv4() { ECHO_REQUEST_V4 } else { ECHO_REQUEST_V6 };
        packet[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        packet[6..8].copy_from_slice(&sequence.to_be_bytes());
        if self.target.is_ipv4() {
            // The kernel fills in ICMPv6 checksums only.
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }
}

/// The Internet checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_packet_with_its_checksum_is_zero() {
        let mut packet = [8, 0, 0, 0, 0x12, 0x34, 0, 1, b'h', b'i'];
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&packet), 0);
    }
}
