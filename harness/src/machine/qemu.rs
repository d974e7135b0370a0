//! One virtual machine: its start, its conversation, its end.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ::agent::{Condition, Connect, Exec, Identity, Reply, Request};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::accelerator::Accelerator;
use super::agent::{AgentClient, Output, Running};
use super::command_line::{CommandLine, Ports};
use super::console::Console;
use super::health::Health;
use super::process::Process;
use super::qmp::Qmp;
use super::{Loss, MachineError};
use crate::guest::GuestImage;

/// The QEMU program for this processor.
pub const QEMU: &str =
    if cfg!(target_arch = "aarch64") { "qemu-system-aarch64" } else { "qemu-system-x86_64" };

/// How long a cold boot may take; an idle host without KVM needs a tenth of it.
pub(crate) const BOOT_DEADLINE: Duration = Duration::from_secs(240);

/// How long a fork may take to answer for the first time.
const FORK_DEADLINE: Duration = Duration::from_secs(60);

/// How long the agent may take for what needs no waiting.
pub const PROMPT: Duration = Duration::from_secs(60);

/// How long a machine that broke off a conversation may take until it is known to be lost.
const REASON: Duration = Duration::from_secs(5);

/// Console lines shown with an error.
const EVIDENCE: usize = 12;

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// Its name in messages and as host name.
    pub name: String,
    /// What it boots.
    pub image: Arc<GuestImage>,
    /// Memory in MiB; only what the guest touches costs anything.
    pub memory_mib: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// Number of network cards.
    pub cards: usize,
}

/// Where RAM and device state come from.
#[derive(Debug)]
pub(crate) enum Origin<'a> {
    /// A cold boot with anonymous memory.
    Cold {
        /// Its machine-id, where it had one before.
        machine_id: Option<&'a str>,
    },
    /// A cold boot whose memory lies in this file, to be saved as a template.
    Template(&'a OwnedFd),
    /// A fork: private memory over this file, a template's; device state is loaded by monitor.
    Fork(&'a OwnedFd),
}

/// A running machine. Dropping it kills its QEMU.
#[derive(Debug)]
pub struct Machine {
    spec: MachineSpec,
    accelerator: Accelerator,
    disk: OwnedFd,
    cards: Vec<OwnedFd>,
    machine_id: Mutex<Option<String>>,
    power: RwLock<Arc<Power>>,
}

/// What exists only while a machine has power.
#[derive(Debug)]
struct Power {
    process: Process,
    agent: AgentClient,
    console: Console,
    health: Health,
    monitor: Mutex<Option<UnixStream>>,
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
        let power = Power::on(&spec, accelerator, &origin, &disk, &cards).await;
        let power = power.map_err(cannot(&spec, &format!("start {QEMU}")))?;
        let (machine_id, power) = (Mutex::default(), RwLock::new(Arc::new(power)));
        Ok(Self { spec, accelerator, disk, cards, machine_id, power })
    }

    /// Waits for a cold boot to finish.
    pub(crate) async fn booted(&self, deadline: Duration) -> Result<(), MachineError> {
        let stage = "booting";
        let power = self.power();
        self.guarded(stage, deadline, power.agent.greeted()).await?;
        self.wait(Condition::Booted, deadline).await?;
        Ok(())
    }

    /// Waits for a fork's first answer.
    pub(crate) async fn resumed(&self) -> Result<(), MachineError> {
        let power = self.power();
        let echo = power.agent.call(&Request::Echo, None);
        self.guarded("resuming from its template", FORK_DEADLINE, echo).await.map(drop)
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
        let on = Power::on(&self.spec, self.accelerator, &origin, &self.disk, &self.cards);
        let on = on.await.map_err(cannot(&self.spec, &format!("start {QEMU}")))?;
        *self.power.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(on);
        Ok(())
    }

    fn power(&self) -> Arc<Power> {
        self.power.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the system is up after [`Machine::power_on`].
    pub async fn wait_booted(&self) -> Result<(), MachineError> {
        self.booted(BOOT_DEADLINE).await
    }

    /// Ends QEMU and waits until it is gone.
    pub async fn end(self) {
        self.power_off().await;
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it was made of.
    pub fn spec(&self) -> &MachineSpec {
        &self.spec
    }

    /// Its serial console.
    pub fn console(&self) -> Console {
        self.power().console.clone()
    }

    /// Process id of its QEMU, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.power().process.pid()
    }

    /// How it was lost, if it was.
    pub fn loss(&self) -> Option<Loss> {
        self.power().health.current()
    }

    /// Resolves when the machine is lost.
    pub async fn lost(&self) -> Loss {
        let power = self.power();
        power.health.lost().await
    }

    /// Does nothing in the guest: measures the way to the agent and back.
    pub async fn echo(&self) -> Result<(), MachineError> {
        self.request("echoing", &Request::Echo, None, PROMPT).await.map(drop)
    }

    /// Runs a program that must exit with 0.
    pub async fn run(&self, argv: &[&str]) -> Result<Output, MachineError> {
        self.run_within(argv, None, PROMPT).await
    }

    /// Runs a program with this standard input; it must exit with 0 within the deadline.
    pub async fn run_within(
        &self,
        argv: &[&str],
        input: Option<&[u8]>,
        deadline: Duration,
    ) -> Result<Output, MachineError> {
        let argv = argv.iter().map(ToString::to_string).collect();
        self.exec(Exec { argv, stdin: input.is_some(), ..Exec::default() }, input, deadline).await
    }

    /// Runs a program as described; it must exit with 0 within the deadline.
    pub async fn exec(
        &self,
        exec: Exec,
        input: Option<&[u8]>,
        deadline: Duration,
    ) -> Result<Output, MachineError> {
        let command = exec.argv.join(" ");
        let output = self.execute(exec, input, deadline).await?;
        match output.reply {
            Reply::Exited { code: Some(0), .. } => Ok(output),
            _ => Err(self.command_failed(command, &output)),
        }
    }

    /// Runs a program as described, whatever its exit status.
    pub async fn execute(
        &self,
        mut exec: Exec,
        input: Option<&[u8]>,
        deadline: Duration,
    ) -> Result<Output, MachineError> {
        let stage = format!("running `{}`", exec.argv.join(" "));
        exec.timeout_ms = deadline.as_millis() as u64;
        // The guest's own timer ends the program; ours only covers a guest that hangs.
        self.request(&stage, &Request::Exec(exec), input, deadline + PROMPT).await
    }

    /// The error for a command that ended otherwise than it should.
    pub fn command_failed(&self, command: String, output: &Output) -> MachineError {
        let outcome = match output.reply {
            Reply::Exited { timed_out: true, .. } => "did not end in time".to_owned(),
            Reply::Exited { code: Some(code), .. } => format!("exited with {code}"),
            Reply::Exited { signal: Some(signal), .. } => format!("was ended by signal {signal}"),
            _ => "ended strangely".to_owned(),
        };
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        let said = String::from_utf8_lossy(said);
        let lines: Vec<&str> = said.lines().rev().take(EVIDENCE).collect();
        let stderr = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        MachineError::Command { machine: self.spec.name.clone(), command, outcome, stderr }
    }

    /// Writes a file into the guest.
    pub async fn write_file(
        &self,
        path: &str,
        mode: u32,
        bytes: &[u8],
    ) -> Result<(), MachineError> {
        let request = Request::WriteFile { path: path.to_owned(), mode };
        self.request(&format!("writing {path}"), &request, Some(bytes), PROMPT).await.map(drop)
    }

    /// Reads a file of the guest.
    pub async fn read_file(&self, path: &str) -> Result<Vec<u8>, MachineError> {
        let request = Request::ReadFile { path: path.to_owned() };
        let output = self.request(&format!("reading {path}"), &request, None, PROMPT).await?;
        Ok(output.stdout)
    }

    /// Waits inside the guest; returns how long it took by the guest's clock.
    pub async fn wait(
        &self,
        condition: Condition,
        deadline: Duration,
    ) -> Result<Duration, MachineError> {
        let stage = format!("waiting for {condition:?}");
        let request = Request::Wait { condition, deadline_ms: deadline.as_millis() as u64 };
        match self.request(&stage, &request, None, deadline + PROMPT).await?.reply {
            Reply::Reached { after_ns } => Ok(Duration::from_nanos(after_ns)),
            reply => Err(self.refused(&stage, format!("{reply:?}"))),
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

    /// Runs the `connect` probe; returns the time to the first answer and the number of probes.
    pub async fn connect(&self, probe: Connect) -> Result<(Duration, u32), MachineError> {
        let stage = format!("connecting to {}", probe.target);
        let deadline = Duration::from_millis(probe.deadline_ms) + PROMPT;
        match self.request(&stage, &Request::Connect(probe), None, deadline).await?.reply {
            Reply::Connected { after_ns, probes } => Ok((Duration::from_nanos(after_ns), probes)),
            reply => Err(self.refused(&stage, format!("{reply:?}"))),
        }
    }

    /// The guest's clock source, such as `tsc`.
    pub async fn clock_source(&self) -> Result<String, MachineError> {
        match self.request("reading its clock", &Request::Clock, None, PROMPT).await?.reply {
            Reply::Clock { source, .. } => Ok(source),
            reply => Err(self.refused("reading its clock", format!("{reply:?}"))),
        }
    }

    /// Starts a request whose output is wanted while it runs.
    pub async fn start(&self, request: &Request) -> Result<Running, MachineError> {
        let power = self.power();
        self.guarded("starting a request", PROMPT, power.agent.start(request)).await
    }

    /// Makes a request and collects its output; a [`Reply::Failed`] is an error.
    pub async fn request(
        &self,
        stage: &str,
        request: &Request,
        input: Option<&[u8]>,
        deadline: Duration,
    ) -> Result<Output, MachineError> {
        let power = self.power();
        let call = power.agent.call(request, input);
        let output = self.guarded(stage, deadline, call).await?;
        match output.reply {
            Reply::Failed(reason) => Err(self.refused(stage, reason)),
            _ => Ok(output),
        }
    }

    /// Awaits something of this machine unless the machine is lost or the deadline passes first.
    async fn guarded<T>(
        &self,
        stage: &str,
        deadline: Duration,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, MachineError> {
        // Power that comes back does not bring back what was asked before.
        let power = self.power();
        tokio::select! {
            biased;
            result = work => match (result, power.health.current()) {
                (Ok(value), _) => Ok(value),
                (Err(_), Some(loss)) => Err(self.gone(stage, loss)),
                // A port breaks before it is known why.
                (Err(reason), None) => match timeout(REASON, power.health.lost()).await {
                    Ok(loss) => Err(self.gone(stage, loss)),
                    Err(_) => Err(self.refused(stage, reason)),
                },
            },
            loss = power.health.lost() => Err(self.gone(stage, loss)),
            () = tokio::time::sleep(deadline) => Err(MachineError::Deadline {
                machine: self.spec.name.clone(),
                stage: stage.to_owned(),
                seconds: deadline.as_secs_f64(),
                console: self.console().tail(EVIDENCE),
            }),
        }
    }

    fn gone(&self, stage: &str, loss: Loss) -> MachineError {
        MachineError::Lost {
            machine: self.spec.name.clone(),
            stage: stage.to_owned(),
            loss,
            console: self.console().tail(EVIDENCE),
        }
    }

    fn refused(&self, stage: &str, reason: String) -> MachineError {
        MachineError::Agent { machine: self.spec.name.clone(), stage: stage.to_owned(), reason }
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
        self.guarded(stage, FORK_DEADLINE, work).await.map_err(|error| match error {
            MachineError::Agent { machine, stage, reason } => {
                MachineError::Monitor { machine, action: stage, reason }
            }
            other => other,
        })
    }
}

impl Power {
    async fn on(
        spec: &MachineSpec,
        accelerator: Accelerator,
        origin: &Origin<'_>,
        disk: &OwnedFd,
        cards: &[OwnedFd],
    ) -> io::Result<Self> {
        let health = Health::new();
        let (console, console_end) = pair()?;
        let (agent, agent_end) = pair()?;
        let (monitor, monitor_end) = pair()?;
        let ports = Ports { console: console_end, agent: agent_end, monitor: monitor_end };
        cards.iter().for_each(drain);
        let line = CommandLine::of(spec, accelerator, origin, ports, disk, cards)?;
        let process =
            Process::start(QEMU, &line.arguments, &line.inherited, health.clone()).await?;
        Ok(Self {
            process,
            agent: AgentClient::open(agent, health.clone()),
            console: Console::follow(console, health.clone()),
            health,
            monitor: Mutex::new(Some(monitor)),
        })
    }
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
