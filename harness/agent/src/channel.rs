//! One open conversation, as the code that serves it sees it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshbench_protocol::{Frame, Kind};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// What the harness sends on an open channel.
pub(crate) enum Input {
    Bytes(Vec<u8>),
    End,
    Cancel,
}

/// One open channel.
pub(crate) struct Channel {
    pub(crate) output: Output,
    pub(crate) input: Receiver<Input>,
    /// For those who wait for something else than input.
    pub(crate) cancel: Cancel,
}

/// The other side of a [`Channel`], with whoever reads frames.
pub(crate) struct Open {
    input: Sender<Input>,
    cancel: Cancel,
}

impl Channel {
    /// A channel whose output goes to `output`.
    pub(crate) fn open(output: Output) -> io::Result<(Self, Open)> {
        let cancel =
            Cancel(Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?));
        let (sender, input) = channel();
        let open = Open { input: sender, cancel: cancel.clone() };
        Ok((Self { output, input, cancel }, open))
    }
}

impl Open {
    /// Hands input to whoever serves the channel.
    pub(crate) fn take(&self, input: Input) {
        if matches!(input, Input::Cancel) {
            // It is told already when this would block.
            let _ = self.cancel.0.write(1);
        }
        // A channel that has just ended gets late input: nobody is left to take it.
        let _ = self.input.send(input);
    }
}

/// Readable once the harness has cancelled the channel, and from then on.
#[derive(Clone)]
pub(crate) struct Cancel(Arc<EventFd>);

impl Cancel {
    /// Whether the harness cancels within `patience`; an event, so that it may be long.
    pub(crate) fn within(&self, patience: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut fds, timeout(patience))? > 0)
    }

    /// Whether the harness has cancelled.
    pub(crate) fn is_set(&self) -> io::Result<bool> {
        self.within(Duration::ZERO)
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// For poll(2), rounded up: a wait must not end before its time, or it turns into a busy loop.
pub(crate) fn timeout(patience: Duration) -> PollTimeout {
    PollTimeout::try_from(patience.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
}

/// Where frames go: one whole frame at a time, whoever sends it.
#[derive(Clone)]
pub(crate) struct Port(Arc<Mutex<File>>);

impl Port {
    /// Writes to this descriptor.
    pub(crate) fn new(port: OwnedFd) -> Self {
        Self(Arc::new(Mutex::new(port.into())))
    }

    /// Sends a frame.
    pub(crate) fn send(&self, frame: &Frame) -> io::Result<()> {
        frame.write(&mut *lock(&self.0))
    }
}

/// Where a channel's data goes.
pub(crate) struct Output {
    /// The channel's number.
    pub(crate) id: u32,
    /// What all channels share.
    pub(crate) port: Port,
}

impl Output {
    /// Sends bytes on the channel.
    pub(crate) fn send(&self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        self.port.send(&Frame { channel: self.id, kind, payload: bytes.to_vec() })
    }
}

/// A poisoned lock still guards whole things: nothing panics in the middle of a change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
