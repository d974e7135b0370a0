//! Frames sent as they are, from a place in the network.

use std::io::{self, BufRead, Error};
use std::os::fd::AsRawFd;

use data_encoding::HEXLOWER;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::netns;

/// Sends each line of standard input, a frame in hexadecimal digits, out of a device of a network namespace; says
/// how many.
pub(super) fn inject(namespace: &str, device: &str) -> io::Result<()> {
    netns::enter(namespace)?;
    let index = if_nametoindex(device)?;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    let mut count = 0;
    for line in io::stdin().lock().lines() {
        let frame = HEXLOWER.decode(line?.trim().as_bytes()).map_err(Error::other)?;
        send(socket.as_raw_fd(), index, &frame)?;
        count += 1;
    }
    println!("{{\"sent\":{count}}}");
    Ok(())
}

/// Packet sockets have no address type in `nix` that names only an interface.
fn send(socket: i32, index: u32, frame: &[u8]) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: both pointers are to values that live until the call returns, with their lengths.
    let sent = unsafe {
        libc::sendto(
            socket,
            frame.as_ptr().cast(),
            frame.len(),
            0,
            std::ptr::from_ref(&address).cast(),
            length,
        )
    };
    if sent < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}
