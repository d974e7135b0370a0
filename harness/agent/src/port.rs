//! Where the agent is spoken to: a virtio-serial port of its machine, or a unix socket of its container.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::serve::serve;
use crate::uevent::Uevents;

const DRIVER_DEADLINE: Duration = Duration::from_secs(30);

/// Serves on the machine's port, whoever is at its other end, until it breaks.
pub(crate) fn virtio() -> io::Result<()> {
    let name = Uevents::open()?.until(DRIVER_DEADLINE, find)?;
    let name = name.ok_or_else(|| {
        io::Error::other(format!("no virtio-serial port {}", meshbench_protocol::PORT_NAME))
    })?;
    let port = OpenOptions::new().read(true).write(true).open(format!("/dev/{name}"))?;
    let changes = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    // While no harness is connected the port reads as ended and always polls as hung up: only edges tell.
    let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLET;
    changes.add(&port, EpollEvent::new(edge, 0))?;
    serve(port.into(), || {
        changes.wait(&mut [EpollEvent::empty()], CHANGE_MS)?;
        Ok(true)
    })
}

/// How long a change of the port is waited for, in milliseconds; a look more often is not needed.
const CHANGE_MS: u16 = 1000;

/// Serves one connection after the other on a socket that it makes, until the socket breaks.
pub(crate) fn socket(path: &Path) -> io::Result<()> {
    // One that an agent before this one has left.
    if path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    // It is there under its name once it listens: whoever waits for it may watch for that.
    let nameless = path.with_extension("new");
    let _ = fs::remove_file(&nameless);
    let listener = UnixListener::bind(&nameless)?;
    fs::rename(&nameless, path)?;
    loop {
        let (connection, _) = listener.accept()?;
        // Whoever connects next is not harmed by how the one before broke off.
        if let Err(error) = serve(connection.into(), || Ok(false)) {
            eprintln!("meshbench agent: {error}");
        }
    }
}

fn find() -> io::Result<Option<String>> {
    let Ok(ports) = fs::read_dir("/sys/class/virtio-ports") else { return Ok(None) };
    for port in ports {
        let port = port?;
        let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        if name.trim() == meshbench_protocol::PORT_NAME {
            return Ok(Some(port.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}
