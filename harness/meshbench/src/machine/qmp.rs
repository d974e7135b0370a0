//! The monitor: just what saving a template needs.
//!
//! Spoken directly because the state file travels as a descriptor beside the command (SCM_RIGHTS),
//! which the QMP crates cannot send; so no socket or file name exists that a killed harness could leave.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Interest};
use tokio::net::UnixStream;

/// A negotiated monitor connection.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Negotiates on a connected monitor socket.
    pub(crate) async fn open(socket: UnixStream) -> io::Result<Self> {
        let mut monitor = Self { stream: BufReader::new(socket) };
        monitor.message().await?;
        monitor.execute("qmp_capabilities", json!({}), None).await?;
        Ok(monitor)
    }

    /// Writes the machine's device state to `file` and stops the machine; RAM stays in its own file.
    pub(crate) async fn save_state(&mut self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.migrate("migrate", file).await
    }

    /// Takes device state from `file`; RAM is there already. The machine then runs.
    ///
    /// It does not announce itself: as after a move to another host, QEMU would broadcast the template's
    /// MAC addresses and have the guest send gratuitous ARP, which no booted machine does.
    pub(crate) async fn load_state(&mut self, file: BorrowedFd<'_>) -> io::Result<()> {
        let quiet = json!({ "announce-rounds": 0 });
        self.execute("migrate-set-parameters", quiet, None).await?;
        self.migrate("migrate-incoming", file).await
    }

    /// Waits until the machine has stopped, which it does by itself.
    pub(crate) async fn stopped(&mut self) -> io::Result<()> {
        // It may have before anybody listened.
        if self.execute("query-status", json!({}), None).await?["running"] == false {
            return Ok(());
        }
        while self.message().await?["event"] != "STOP" {}
        Ok(())
    }

    /// What QEMU calls the state in which the machine is, such as `running`.
    pub(crate) async fn status(&mut self) -> io::Result<String> {
        let status = self.execute("query-status", json!({}), None).await?;
        Ok(status["status"].as_str().unwrap_or_default().to_owned())
    }

    /// Writes the state of a stopped machine's devices, without memory, to the file of this path. `migrate`
    /// would abort a QEMU that records.
    pub(crate) async fn save_devices(&mut self, path: &str) -> io::Result<()> {
        let arguments = json!({ "filename": path, "live": false });
        self.execute("xen-save-devices-state", arguments, None).await.map(drop)
    }

    /// Takes the state of the devices from `file`; memory is there already. The machine then runs.
    pub(crate) async fn load_devices(&mut self, file: BorrowedFd<'_>) -> io::Result<()> {
        let quiet = json!({ "announce-rounds": 0 });
        self.execute("migrate-set-parameters", quiet, None).await?;
        self.transfer("migrate-incoming", file, &["events"]).await?;
        self.execute("cont", json!({}), None).await.map(drop)
    }

    async fn migrate(&mut self, command: &str, file: BorrowedFd<'_>) -> io::Result<()> {
        self.transfer(command, file, &["events", "x-ignore-shared"]).await
    }

    async fn transfer(
        &mut self,
        command: &str,
        file: BorrowedFd<'_>,
        capabilities: &[&str],
    ) -> io::Result<()> {
        let on = |capability| json!({ "capability": capability, "state": true });
        let capabilities: Vec<Value> = capabilities.iter().map(on).collect();
        let capabilities = json!({ "capabilities": capabilities });
        self.execute("migrate-set-capabilities", capabilities, None).await?;
        self.execute("getfd", json!({ "fdname": "state" }), Some(file)).await?;
        self.execute(command, json!({ "uri": "fd:state" }), None).await?;
        loop {
            let message = self.message().await?;
            if message["event"] == "MIGRATION" {
                match message["data"]["status"].as_str() {
                    Some("completed") => return Ok(()),
                    Some("failed" | "cancelled") => {
                        return Err(io::Error::other(format!("{command} failed: {message}")));
                    }
                    _ => {}
                }
            }
        }
    }

    async fn execute(
        &mut self,
        command: &str,
        arguments: Value,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<Value> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.send(line.as_bytes(), fd).await?;
        loop {
            let mut message = self.message().await?;
            if !message["error"].is_null() {
                return Err(io::Error::other(format!("{command}: {}", message["error"]["desc"])));
            }
            if !message["return"].is_null() {
                return Ok(message["return"].take());
            }
        }
    }

    async fn send(&self, line: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let fds: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let control: &[_] = if fds.is_empty() { &[] } else { &rights };
        let socket = self.stream.get_ref();
        // A command is far smaller than the socket's buffer: it is sent whole or not at all.
        let send = || {
            let slices = [IoSlice::new(line)];
            Ok(sendmsg::<()>(socket.as_raw_fd(), &slices, control, MsgFlags::empty(), None)?)
        };
        socket.async_io(Interest::WRITABLE, send).await.map(drop)
    }

    async fn message(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "QEMU closed its monitor"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}
