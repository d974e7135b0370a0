//! A machine, whatever it is made of: its conversation, its power, its identity.

use std::io;
use std::ops::Deref;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use meshbench_protocol::{Condition, Container, Identity, Request};

use super::accelerator::Accelerator;
use super::contained::{Around, Contained};
use super::health::Loss;
use super::qemu::Virtual;
use super::qmp::Qmp;
use super::session::Session;
use super::shell::Shell;
use super::spec::{MachineSpec, Origin};
use super::{BOOT_DEADLINE, MachineError, PROMPT};

/// How long a fork may take to answer for the first time.
const FORK_DEADLINE: Duration = Duration::from_secs(60);

/// A running machine. Dropping it ends it.
#[derive(Debug)]
pub struct Machine {
    machine_id: Mutex<Option<String>>,
    shell: Shell,
    body: Body,
}

/// What a machine is made of.
#[derive(Debug)]
enum Body {
    /// A QEMU of its own.
    Virtual(Box<Virtual>),
    /// A container of the machine that this program runs in.
    Contained(Box<Contained>),
    /// The machine that this program runs in.
    Around,
}

/// A machine is asked by what it lends.
impl Deref for Machine {
    type Target = Shell;

    fn deref(&self) -> &Shell {
        &self.shell
    }
}

impl Around {
    /// It, as a machine of a cluster.
    pub(crate) fn machine(&self) -> Machine {
        Machine::new(Body::Around, self.0.clone())
    }

    /// Starts a container; returns when its system is up.
    ///
    /// # Errors
    /// One that does not start or come up.
    pub(crate) async fn contain(&self, container: Container) -> Result<Machine, MachineError> {
        let (own, session) = Contained::new(self, container).await?;
        let machine = Machine::new(Body::Contained(Box::new(own)), session);
        machine.booted(BOOT_DEADLINE).await?;
        Ok(machine)
    }
}

impl Machine {
    /// Starts a virtual machine without waiting for the guest. `disk` is its state disk, `cards` are its ends of
    /// the wires.
    pub(super) async fn launch(
        spec: MachineSpec,
        accelerator: Accelerator,
        origin: Origin<'_>,
        disk: OwnedFd,
        cards: Vec<OwnedFd>,
    ) -> Result<Self, MachineError> {
        let (own, session) = Virtual::launch(spec, accelerator, origin, disk, cards).await?;
        Ok(Self::new(Body::Virtual(Box::new(own)), session))
    }

    fn new(body: Body, session: Session) -> Self {
        Self { machine_id: Mutex::default(), shell: Shell::new(session), body }
    }

    /// The same machine under another name.
    #[must_use]
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.shell = Shell::new(Session { machine: name.into(), ..self.session() });
        self
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

    /// Whether a loss of power takes what the machine had not yet written to its disk. The kernel of a container
    /// outlives it, with all that was written.
    pub(crate) fn can_lose_power(&self) -> bool {
        matches!(self.body, Body::Virtual(_))
    }

    /// Cuts the power: nothing that the guest has not yet written to its disk survives.
    /// The machine then boots cold; returns when its system is up.
    pub async fn power_cycle(&self) -> Result<(), MachineError> {
        self.power_on().await?;
        self.booted(BOOT_DEADLINE).await
    }

    /// Cuts the power; of a container, ends all of its processes. Whoever asks the machine for something is told
    /// that it is lost.
    pub async fn power_off(&self) {
        let health = self.session().health;
        match &self.body {
            Body::Virtual(own) => {
                health.report(Loss::SwitchedOff);
                own.power_off().await;
            }
            Body::Contained(own) => {
                health.report(Loss::SwitchedOff);
                own.end().await;
            }
            Body::Around => {}
        }
    }

    /// Switches the power on, without waiting for the boot; cuts it first where it is on.
    pub async fn power_on(&self) -> Result<(), MachineError> {
        // The old QEMU must be gone before another one opens the same disk.
        self.power_off().await;
        let machine_id = self.machine_id();
        let session = match &self.body {
            Body::Virtual(own) => own.power_on(machine_id.as_deref()).await?,
            Body::Contained(own) => own.start_again(self.name()).await?,
            Body::Around => return Ok(()),
        };
        self.shell.renew(session);
        Ok(())
    }

    /// Waits until the system is up after [`Machine::power_on`].
    pub async fn wait_booted(&self) -> Result<(), MachineError> {
        self.booted(BOOT_DEADLINE).await
    }

    /// Ends it and waits until it is gone.
    pub async fn end(self) {
        self.power_off().await;
    }

    /// Process id of its QEMU, while it has one.
    pub fn pid(&self) -> Option<u32> {
        match &self.body {
            Body::Virtual(own) => own.pid(),
            Body::Contained(_) | Body::Around => None,
        }
    }

    /// Stops it where it is, or lets it go on; its clocks run meanwhile, and its silence is no loss. False of a
    /// container, whose control group is another's.
    pub(crate) fn hold(&self, held: bool) -> Result<bool, MachineError> {
        match &self.body {
            Body::Virtual(own) => own.hold(held).map(|()| true),
            Body::Contained(_) | Body::Around => Ok(false),
        }
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
        self.monitored("saving its state", async |qmp| qmp.save_state(file).await).await
    }

    /// Lets it go on from the device state in `file`.
    pub(crate) async fn load_state(&self, file: BorrowedFd<'_>) -> Result<(), MachineError> {
        self.monitored("loading its template", async |qmp| qmp.load_state(file).await).await
    }

    /// Does something with its monitor that keeps QEMU busy.
    async fn monitored(
        &self,
        stage: &str,
        work: impl AsyncFnOnce(&mut Qmp) -> io::Result<()>,
    ) -> Result<(), MachineError> {
        let session = self.session();
        let Body::Virtual(own) = &self.body else {
            return Err(session.refused(stage, "it has no monitor".into()));
        };
        let monitor = own.monitor();
        let work = async {
            let worked = async { work(monitor.turn().await.opened().await?).await };
            tokio::select! {
                biased;
                worked = worked => worked.map_err(|error: io::Error| error.to_string()),
                () = own.stood_still() => {
                    session.health.report(Loss::idle());
                    Err(Loss::idle().to_string())
                }
            }
        };
        session.guarded(stage, FORK_DEADLINE, work).await.map_err(|error| match error {
            MachineError::Agent { machine, stage, reason } => {
                MachineError::Monitor { machine, action: stage, reason }
            }
            other => other,
        })
    }
}
