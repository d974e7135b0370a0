//! What a machine's agent is asked to do.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use meshbench_protocol::{Condition, Connect, Exec, Reply, Request};

use super::agent::Output;
use super::bond::Bond;
use super::console::Console;
use super::health::Loss;
use super::running::Running;
use super::session::Session;
use super::{EVIDENCE, MachineError, PROMPT};
use crate::text::last_lines;

/// How much later than the guest's own timer the answer may come: ours only covers a guest that hangs.
const LATE: Duration = Duration::from_secs(20);

/// The way to a machine's agent, whichever it is at the moment: after a loss of power it is another one.
#[derive(Debug)]
pub struct Shell {
    machine: Arc<str>,
    session: RwLock<Session>,
}

impl Shell {
    pub(super) fn new(session: Session) -> Self {
        Self { machine: session.machine.clone(), session: RwLock::new(session) }
    }

    pub(super) fn session(&self) -> Session {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it is this one that is asked.
    pub(super) fn renew(&self, mut session: Session) {
        let mut current = self.session.write().unwrap_or_else(PoisonError::into_inner);
        session.tie(&current.bond);
        *current = session;
    }

    /// Ties the machine to others.
    pub(crate) fn tie(&self, bond: &Bond) {
        self.session.write().unwrap_or_else(PoisonError::into_inner).tie(bond);
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.machine
    }

    /// The machine's serial console.
    pub fn console(&self) -> Console {
        self.session().console
    }

    /// How the machine was lost, if it was.
    pub fn loss(&self) -> Option<Loss> {
        self.session().health.current()
    }

    /// Resolves when the machine is lost.
    pub async fn lost(&self) -> Loss {
        self.session().health.lost().await
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
        self.request(&stage, &Request::Exec(exec), input, deadline + LATE).await
    }

    /// The error for a command that ended otherwise than it should.
    pub(crate) fn command_failed(&self, command: String, output: &Output) -> MachineError {
        let outcome = match output.reply {
            Reply::Exited { timed_out: true, .. } => "did not end in time".to_owned(),
            Reply::Exited { code: Some(code), .. } => format!("exited with {code}"),
            Reply::Exited { signal: Some(signal), .. } => format!("was ended by signal {signal}"),
            _ => "ended strangely".to_owned(),
        };
        let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        let stderr = last_lines(said, EVIDENCE).join("\n");
        MachineError::Command { machine: self.machine.to_string(), command, outcome, stderr }
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
    ///
    /// # Errors
    /// [`MachineError::Silent`] if an address did not answer in time, and only then.
    pub async fn wait(
        &self,
        condition: Condition,
        deadline: Duration,
    ) -> Result<Duration, MachineError> {
        let stage = format!("waiting until {condition}");
        let request = Request::Wait { condition, deadline_ms: deadline.as_millis() as u64 };
        match self.request(&stage, &request, None, deadline + LATE).await?.reply {
            Reply::Reached { after_ns } => Ok(Duration::from_nanos(after_ns)),
            reply => Err(self.session().refused(&stage, reply.to_string())),
        }
    }

    /// Runs the `connect` probe; returns the time to the first answer and the number of probes.
    ///
    /// # Errors
    /// [`MachineError::Silent`] if the address did not answer in time, and only then.
    pub async fn connect(&self, probe: Connect) -> Result<(Duration, u32), MachineError> {
        let stage = format!("connecting to {}", probe.target);
        let deadline = Duration::from_millis(probe.deadline_ms) + LATE;
        match self.request(&stage, &Request::Connect(probe), None, deadline).await?.reply {
            Reply::Connected { after_ns, probes } => Ok((Duration::from_nanos(after_ns), probes)),
            reply => Err(self.session().refused(&stage, reply.to_string())),
        }
    }

    /// The guest's clock source, such as `tsc`.
    pub async fn clock_source(&self) -> Result<String, MachineError> {
        match self.request("reading its clock", &Request::Clock, None, PROMPT).await?.reply {
            Reply::Clock { source, .. } => Ok(source),
            reply => Err(self.session().refused("reading its clock", reply.to_string())),
        }
    }

    /// Starts a request whose output is wanted while it runs.
    pub async fn start(&self, request: &Request) -> Result<Running, MachineError> {
        let session = self.session();
        let channel = session.agent.start(request);
        let channel = session.guarded("starting a request", PROMPT, channel).await?;
        Ok(Running::new(session, request, channel))
    }

    /// Makes a request and collects its output; a [`Reply::Failed`] or [`Reply::Silent`] is an error.
    pub async fn request(
        &self,
        stage: &str,
        request: &Request,
        input: Option<&[u8]>,
        deadline: Duration,
    ) -> Result<Output, MachineError> {
        // Power that comes back does not bring back what was asked before.
        let session = self.session();
        let call = session.agent.call(request, input);
        let output = session.guarded(stage, deadline, call).await?;
        match output.reply {
            Reply::Failed(reason) => Err(session.refused(stage, reason)),
            Reply::Silent(silence) => {
                let (machine, stage) = (self.machine.to_string(), stage.to_owned());
                Err(MachineError::Silent { machine, stage, silence })
            }
            _ => Ok(output),
        }
    }
}
