//! One virtual machine: its start, its conversation, its end.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meshbench_protocol::{Condition, Identity, Request};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::net::UnixStream;

use super::accelerator::Accelerator;
use super::agent::AgentClient;
use super::command_line::{CommandLine, Ports};
use super::console::Console;
use super::health::Health;
use super::process::Process;
use super::qmp::Qmp;
use super::session::Session;
use super::shell::Shell;
use super::spec::{MachineSpec, Origin};
use super::{MachineError, PROMPT};

/// The QEMU program for this processor.
pub const QEMU: &str =
    if cfg!(target_arch = "aarch64") { "qemu-system-aarch64" } else { "qemu-system-x86_64" };

/// How long a cold boot may take; an idle host without KVM needs a tenth of it.
pub(crate) const BOOT_DEADLINE: Duration = Duration::from_secs(240);

/// How long a fork may take to answer for the first time.
const FORK_DEADLINE: Duration = Duration::from_secs(60);

/// A running machine. Dropping it kills its QEMU.
#[derive(Debug)]
pub struct Machine {
    spec: MachineSpec,
    accelerator: Accelerator,
    disk: OwnedFd,
    cards: Vec<OwnedFd>,
    machine_id: Mutex<Option<String>>,
    power: Mutex<Arc<Power>>,
    shell: Shell,
}

/// The process that a machine is while it has power.
#[derive(Debug)]
struct Power {
    process: Process,
    monitor: Mutex<Option<UnixStream>>,
}

/// A machine is asked by what it lends.
impl Deref for Machine {
    type Target = Shell;

    fn deref(&self) -> &Shell {
        &self.shell
    }
}

impl Machine {
    /// Starts QEMU without waiting for the guest. `disk` is its state disk, `cards` are its ends of the wires.
    pub(crate) async fn launch(
        spec: MachineSpec,
        accelerator: Accelerator,
        origin: Origin<'_>,
        disk: OwnedFd,
        cards: Vec<OwnedFd>,
    ) -> Result<Self, MachineError> {
        let on = switch_on(&spec, accelerator, &origin, &disk, &cards).await;
        let (power, session) = on.map_err(cannot(&spec, &format!("start {QEMU}")))?;
        let (machine_id, power) = (Mutex::default(), Mutex::new(Arc::new(power)));
        Ok(Self { spec, accelerator, disk, cards, machine_id, power, shell: Shell::new(session) })
    }

    /// Waits for a cold boot to finish.
    pub(crate) async fn booted(&self, deadline: Duration) -> Result<(), MachineError> {
        let session = self.session();
        session.guarded("booting", deadline, session.agent.greeted()).await?;
        self.wait(Condition::Booted, deadline).await?;
        Ok(())
    }

    /// Waits for a fork's first answer.
    pub(crate) async fn resumed(&self) -> Result<(), MachineError> {
        self.request("resuming from its template", &Request::Echo, None, FORK_DEADLINE)
            .await
            .map(drop)
    }

    /// Cuts the power: nothing that the guest has not yet written to its disk survives.
    /// The machine then boots cold; returns when its system is up.
    pub async fn power_cycle(&self) -> Result<(), MachineError> {
        self.cut_power().await?;
        self.booted(BOOT_DEADLINE).await
    }

    /// Cuts the power and switches it on again at once, without waiting for the boot.
    pub async fn cut_power(&self) -> Result<(), MachineError> {
        self.power_off().await;
        self.power_on().await
    }

    /// Cuts the power. Whoever asks the machine for something is told that it is lost.
    pub async fn power_off(&self) {
        self.power().process.end().await;
    }

    /// Switches the power on, without waiting for the boot.
    pub async fn power_on(&self) -> Result<(), MachineError> {
        // The old QEMU must be gone before another one opens the same disk.
        self.power_off().await;
        let machine_id = self.machine_id();
        let origin = Origin::Cold { machine_id: machine_id.as_deref() };
        let on = switch_on(&self.spec, self.accelerator, &origin, &self.disk, &self.cards);
        let (power, session) = on.await.map_err(cannot(&self.spec, &format!("start {QEMU}")))?;
        *self.power.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(power);
        self.shell.renew(session);
        Ok(())
    }

    fn power(&self) -> Arc<Power> {
        self.power.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the system is up after [`Machine::power_on`].
    pub async fn wait_booted(&self) -> Result<(), MachineError> {
        self.booted(BOOT_DEADLINE).await
    }

    /// Ends QEMU and waits until it is gone.
    pub async fn end(self) {
        self.power_off().await;
    }

    /// What it was made of.
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// Process id of its QEMU, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.power().process.pid()
    }

    /// Gives the machine its identity.
    pub async fn identify(&self, identity: Identity) -> Result<(), MachineError> {
        *self.machine_id.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(identity.machine_id.clone());
        let request = Request::Identify(identity);
        self.request("taking its identity", &request, None, PROMPT).await.map(drop)
    }

    /// The machine-id that it was given.
    pub fn machine_id(&self) -> Option<String> {
        self.machine_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes its device state to `file` and stops it.
    pub(crate) async fn save_state(&self, file: BorrowedFd<'_>) -> Result<(), MachineError> {
        self.monitored("saving its state", async |mut qmp| qmp.save_state(file).await).await
    }

    /// Lets it go on from the device state in `file`.
    pub(crate) async fn load_state(&self, file: BorrowedFd<'_>) -> Result<(), MachineError> {
        self.monitored("loading its template", async |mut qmp| qmp.load_state(file).await).await
    }

    /// Does something with its monitor, which can be used once.
    async fn monitored(
        &self,
        stage: &str,
        work: impl AsyncFnOnce(Qmp) -> io::Result<()>,
    ) -> Result<(), MachineError> {
        let power = self.power();
        let socket = power.monitor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let work = async {
            let Some(socket) = socket else { return Err("its monitor was used before".into()) };
            let worked = async { work(Qmp::open(socket).await?).await }.await;
            worked.map_err(|error: io::Error| error.to_string())
        };
        self.session().guarded(stage, FORK_DEADLINE, work).await.map_err(|error| match error {
            MachineError::Agent { machine, stage, reason } => {
                MachineError::Monitor { machine, action: stage, reason }
            }
            other => other,
        })
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
        health,
    };
    Ok((Power { process, monitor: Mutex::new(Some(monitor)) }, session))
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
