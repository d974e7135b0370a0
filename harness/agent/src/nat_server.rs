//! The far side of a NAT probe: endpoints that tell who spoke to them, and answer for each other.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use meshbench_protocol::{End, Kind, Reply};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::train;

/// What a prober sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// Repeated in all answers.
    pub(crate) nonce: u32,
    /// An endpoint that shall answer as well, before the one that was asked.
    pub(crate) from: Option<SocketAddr>,
    /// Where that answer goes; to the asker if absent.
    pub(crate) to: Option<SocketAddr>,
}

/// What a server sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) nonce: u32,
    /// The asker as the server sees it.
    pub(crate) seen: SocketAddr,
}

/// Answers on all endpoints until the channel is cancelled.
pub(crate) fn serve(
    namespace: &str,
    endpoints: &[SocketAddr],
    channel: &Channel,
) -> io::Result<Reply> {
    let open = |at: &SocketAddr| {
        let socket =
            train::socket(&End { namespace: namespace.to_owned(), address: at.ip() }, at.port())?;
        socket.set_nonblocking(true)?;
        Ok((*at, socket))
    };
    let sockets: Vec<(SocketAddr, UdpSocket)> =
        endpoints.iter().map(open).collect::<io::Result<_>>()?;
    channel.output.send(Kind::Output, b"\n")?;
    while !channel.cancel.is_set()? {
        let fds = sockets.iter().map(|(_, socket)| socket.as_fd()).chain([channel.cancel.as_fd()]);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, PollTimeout::NONE)?;
        for (_, socket) in &sockets {
            answer(socket, &sockets);
        }
    }
    Ok(Reply::Done)
}

/// Answers all that waits on one endpoint. What cannot be sent is lost, as on any network.
fn answer(socket: &UdpSocket, all: &[(SocketAddr, UdpSocket)]) {
    let mut bytes = [0; 512];
    while let Ok((length, seen)) = socket.recv_from(&mut bytes) {
        let Ok(ask) = serde_json::from_slice::<Ask>(&bytes[..length]) else { continue };
        let Ok(answer) = serde_json::to_vec(&Answer { nonce: ask.nonce, seen }) else { continue };
        let other = all.iter().find(|(at, _)| Some(*at) == ask.from);
        if let Some((_, other)) = other {
            let _ = other.send_to(&answer, ask.to.unwrap_or(seen));
        }
        let _ = socket.send_to(&answer, seen);
    }
}
