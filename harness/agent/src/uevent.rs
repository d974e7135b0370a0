//! What the kernel tells of devices as they come.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::channel::timeout;

/// The kernel's own messages; udev's are another group (libudev's monitor).
const KERNEL: u32 = 1;

/// An ear for the kernel's device events.
pub(crate) struct Uevents(OwnedFd);

impl Uevents {
    /// Listens from now on.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL))?;
        Ok(Self(socket))
    }

    /// Looks now and after each event until there is something, or the time is up.
    pub(crate) fn until<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout(left))? == 0 {
                return Ok(None);
            }
            // What they say does not matter. An overrun is an event, too.
            let _ = recv(self.0.as_raw_fd(), &mut [0; 64], MsgFlags::empty());
        }
    }
}
