//! QEMU, as what a virtual machine is while it has power.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::Pid;
use tokio::net::UnixStream;

use super::MachineError;
use super::accelerator::Accelerator;
use super::agent::AgentClient;
use super::bond::Bond;
use super::command_line::{CommandLine, Ports};
use super::console::Console;
use super::health::Health;
use super::monitor::Monitor;
use super::process::Process;
use super::session::Session;
use super::spec::{MachineSpec, Origin};

/// The QEMU program for this processor.
pub(super) const QEMU: &str =
    if cfg!(target_arch = "aarch64") { "qemu-system-aarch64" } else { "qemu-system-x86_64" };

/// A virtual machine's QEMU, and what stays of it while it has none. Dropping it kills its QEMU.
#[derive(Debug)]
pub(super) struct Virtual {
    spec: MachineSpec,
    accelerator: Accelerator,
    disk: OwnedFd,
    cards: Vec<OwnedFd>,
    power: Mutex<Arc<Power>>,
}

/// The process that a machine is while it has power.
#[derive(Debug)]
struct Power {
    process: Process,
    monitor: Monitor,
}

impl Virtual {
    /// Starts QEMU without waiting for the guest. `disk` is its state disk, `cards` are its ends of the wires.
    pub(super) async fn launch(
        spec: MachineSpec,
        accelerator: Accelerator,
        origin: Origin<'_>,
        disk: OwnedFd,
        cards: Vec<OwnedFd>,
    ) -> Result<(Self, Session), MachineError> {
        let on = switch_on(&spec, accelerator, &origin, &disk, &cards).await;
        let (power, session) = on.map_err(cannot(&spec, &format!("start {QEMU}")))?;
        let power = Mutex::new(Arc::new(power));
        Ok((Self { spec, accelerator, disk, cards, power }, session))
    }

    pub(super) async fn power_off(&self) {
        self.power().process.end().await;
    }

    /// A cold boot with this machine-id.
    pub(super) async fn power_on(&self, machine_id: Option<&str>) -> Result<Session, MachineError> {
        let origin = Origin::Cold { machine_id };
        let on = switch_on(&self.spec, self.accelerator, &origin, &self.disk, &self.cards);
        let (power, session) = on.await.map_err(cannot(&self.spec, &format!("start {QEMU}")))?;
        *self.power.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(power);
        Ok(session)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.power().process.pid()
    }

    /// Stops its QEMU where it is, or lets it go on; its heartbeat knows.
    pub(super) fn hold(&self, held: bool) -> Result<(), MachineError> {
        let power = self.power();
        let signal = if held { Signal::SIGSTOP } else { Signal::SIGCONT };
        let sent = power.process.pid().ok_or(Errno::ESRCH).and_then(|pid| {
            // From before the silence until after it.
            power.monitor.hold(true);
            kill(Pid::from_raw(pid.cast_signed()), signal)
        });
        power.monitor.hold(held && sent.is_ok());
        let action = format!("send {signal} to its QEMU");
        sent.map_err(|error| cannot(&self.spec, &action)(error.into()))
    }

    pub(super) fn monitor(&self) -> Monitor {
        self.power().monitor.clone()
    }

    /// Resolves when its QEMU has done nothing for [`STILL`](super::health::STILL).
    pub(super) async fn stood_still(&self) {
        self.power().process.stood_still().await;
    }

    fn power(&self) -> Arc<Power> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Starts a machine's QEMU and listens to it.
async fn switch_on(
    spec: &MachineSpec,
    accelerator: Accelerator,
    origin: &Origin<'_>,
    disk: &OwnedFd,
    cards: &[OwnedFd],
) -> io::Result<(Power, Session)> {
    let health = Health::new();
    let (console, console_end) = pair()?;
    let (agent, agent_end) = pair()?;
    let (monitor, monitor_end) = pair()?;
    let ports = Ports { console: console_end, agent: agent_end, monitor: monitor_end };
    cards.iter().for_each(drain);
    let line = CommandLine::of(spec, accelerator, origin, ports, disk, cards)?;
    let process = Process::start(QEMU, &line.arguments, &line.inherited, health.clone()).await?;
    let session = Session {
        machine: spec.name.as_str().into(),
        agent: AgentClient::open(agent, health.clone()),
        console: Console::follow(console, health.clone()),
        health: health.clone(),
        bond: Bond::default(),
    };
    let monitor = Monitor::new(monitor);
    tokio::spawn(monitor.clone().beat(health));
    Ok((Power { process, monitor }, session))
}

/// A stream to the harness and its other end for QEMU.
pub(crate) fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (own, other) = std::os::unix::net::UnixStream::pair()?;
    own.set_nonblocking(true)?;
    Ok((UnixStream::from_std(own)?, other.into()))
}

/// The error of a host that refuses something.
pub(super) fn cannot(spec: &MachineSpec, action: &str) -> impl FnOnce(io::Error) -> MachineError {
    let (machine, action) = (spec.name.clone(), action.to_owned());
    move |source| MachineError::Host { machine, action, source }
}

/// Discards frames that arrived while the machine had no power.
fn drain(card: &OwnedFd) {
    let mut frame = [0; 2048];
    while !matches!(
        recv(card.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT),
        Err(Errno::EAGAIN | Errno::ECONNREFUSED | Errno::ECONNRESET) | Ok(0)
    ) {}
}
