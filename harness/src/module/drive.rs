//! Driving a module's lifecycle on the members of a cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ::agent::{Condition, Connect, Exec, Reply};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::spec::{Module, RoleName};
use crate::cluster::{Cluster, LIFECYCLE, Member, STATE};
use crate::fabric::scenario::Role;
use crate::machine::{Machine, MachineError, PROMPT};

/// How long a daemon may take until it says that it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(120);

/// How long the first packet through the overlay may take.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(120);

/// Time between two probes of the overlay.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// Name of a machine that has the software and no credentials.
pub const STRANGER: &str = "mallory";

/// Exit status by which a lifecycle says that it does not support a verb (EX_USAGE of sysexits.h).
const UNSUPPORTED: i32 = 64;

/// Between two looks whether a daemon that shall become ready still runs. A fast one is never looked at.
const LIFE_INTERVAL: Duration = Duration::from_secs(2);

/// Lines of the daemon's log that are shown with an error.
const LOG_LINES: &str = "40";

/// Why a module could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// A machine or a command on it failed.
    #[error("{stage}: {source}{}", log_text(log))]
    Machine {
        /// The verb, or what else was being done.
        stage: String,
        /// The machine it happened on.
        machine: String,
        /// What happened.
        source: Box<MachineError>,
        /// The end of the daemon's log.
        log: String,
    },
    /// The daemon ended before it was ready.
    #[error("{machine}: its daemon ended while {stage}: {status}{}", log_text(log))]
    Ended {
        /// The machine.
        machine: String,
        /// What was waited for.
        stage: String,
        /// How it ended, in systemd's words.
        status: String,
        /// The end of the daemon's log.
        log: String,
    },
    /// A verb printed what it should not.
    #[error("{machine}: `lifecycle {verb}` printed {text:?}: {reason}")]
    Output {
        /// The machine.
        machine: String,
        /// The verb.
        verb: String,
        /// What it printed, shortened.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A program that shall replace a packaged one cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Binary {
        /// The program.
        path: PathBuf,
        /// The host's words.
        source: std::io::Error,
    },
}

impl DriveError {
    /// The machine it happened on, where there is one.
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::Machine { machine, .. }
            | Self::Ended { machine, .. }
            | Self::Output { machine, .. } => Some(machine),
            Self::Binary { .. } => None,
        }
    }
}

fn log_text(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("\nits daemon's log ends with\n{log}") }
}

/// A module on a cluster.
#[derive(Debug)]
pub struct Deployment<'a> {
    cluster: &'a Cluster,
    module: &'a Module,
    identities: BTreeMap<String, Value>,
}

/// The first packet through the overlay.
#[derive(Debug, Clone, Copy)]
pub struct Connected {
    /// From the start of the initiator's daemon to the first answer, by the initiator's monotonic clock.
    pub after: Duration,
    /// Probes sent until then.
    pub probes: u32,
    /// The overlay address that answered.
    pub target: IpAddr,
}

impl<'a> Deployment<'a> {
    /// Puts the module's files on every member that takes part, and lets each make its identity.
    pub async fn new(cluster: &'a Cluster, module: &'a Module) -> Result<Self, DriveError> {
        let mut deployment = Self { cluster, module, identities: BTreeMap::new() };
        let identities = deployment.participants().map(|member| deployment.install(member));
        let identities = try_join_all(identities).await?;
        deployment.identities = identities.into_iter().collect();
        Ok(deployment)
    }

    /// Members that run the module, in the order of the scenario.
    pub fn participants(&self) -> impl Iterator<Item = &'a Member> {
        let coordinated = self.module.spec.has_coordinator();
        let members = self.cluster.members().iter().filter(|m| m.net.name != STRANGER);
        members.filter(move |m| coordinated || m.net.role == Role::Peer)
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = &'a Member> {
        self.participants().filter(move |member| member.net.role == role)
    }

    /// Starts all daemons but the initiator's, which is left configured.
    pub async fn start_others(&self, initiator: &Member) -> Result<(), DriveError> {
        for role in &self.module.spec.roles {
            let role = match role.name {
                RoleName::Coordinator => Role::Coordinator,
                RoleName::Peer => Role::Peer,
            };
            let bring_up = self.with_role(role).map(|member| async {
                self.configure(member).await?;
                if member.net.name != initiator.net.name {
                    self.start(member).await?;
                }
                Ok::<_, DriveError>(())
            });
            try_join_all(bring_up).await?;
        }
        Ok(())
    }

    /// Starts the initiator's daemon and probes the target's overlay address until it answers.
    pub async fn connect(
        &self,
        initiator: &Member,
        target: &Member,
    ) -> Result<Connected, DriveError> {
        self.connect_within(initiator, target, CONNECT_DEADLINE).await
    }

    /// As [`Deployment::connect`], giving up after `patience`.
    pub async fn connect_within(
        &self,
        initiator: &Member,
        target: &Member,
        patience: Duration,
    ) -> Result<Connected, DriveError> {
        let addresses = self.addresses(target).await?;
        let Some(address) = addresses.first().copied() else {
            return Err(self.bad_output(target, "address", "", "no address"));
        };
        let probe = Connect {
            start: Exec { argv: words(&["systemctl", "start", "vpn.service"]), ..Exec::default() },
            target: address,
            interval_ms: PROBE_INTERVAL.as_millis() as u64,
            deadline_ms: patience.as_millis() as u64,
        };
        let connected = self.while_alive(initiator, "connect", initiator.machine.connect(probe));
        let (after, probes) = connected.await?;
        Ok(Connected { after, probes, target: address })
    }

    /// Starts a member's daemon and waits until it is ready.
    pub async fn start(&self, member: &Member) -> Result<(), DriveError> {
        let started = member.machine.run(&["systemctl", "start", "vpn.service"]).await;
        self.with_log(member, "run", started).await?;
        let ready = Exec { argv: words(&[LIFECYCLE, "ready"]), ..verb_exec() };
        let ready = member.machine.wait(Condition::Succeeds(ready), READY_DEADLINE);
        self.while_alive(member, "ready", ready).await.map(drop)
    }

    /// Stops a member's daemon and lets the module clean up behind it.
    pub async fn stop(&self, member: &Member) -> Result<(), DriveError> {
        let stopped = member.machine.run(&["systemctl", "stop", "vpn.service"]).await;
        self.with_log(member, "stop", stopped).await?;
        self.verb(member, &["stop"], None).await.map(drop)
    }

    /// Runs the module on a machine that nobody has let in, configured as if somebody had. Whether its
    /// daemon runs at all is the VPN's own affair.
    pub async fn intrude(&mut self, stranger: &Member) -> Result<(), DriveError> {
        let (name, identity) = self.install(stranger).await?;
        self.identities.insert(name, identity);
        let cluster = self.describe(stranger, Value::Null).to_string();
        // Without an admission some cannot even be configured.
        if self.verb(stranger, &["configure"], Some(cluster.as_bytes())).await.is_ok() {
            let started = stranger.machine.run(&["systemctl", "start", "vpn.service"]).await;
            tracing::debug!(?started, "the stranger's daemon");
        }
        Ok(())
    }

    /// Restarts a member's daemon and waits until it is ready again.
    pub async fn restart(&self, member: &Member) -> Result<(), DriveError> {
        let stopped = member.machine.run(&["systemctl", "stop", "vpn.service"]).await;
        self.with_log(member, "restart", stopped).await?;
        self.start(member).await
    }

    /// The member's overlay addresses.
    pub async fn addresses(&self, member: &Member) -> Result<Vec<IpAddr>, DriveError> {
        let text = self.required(member, &["address"], None).await?;
        let parse = |line: &str| {
            line.trim()
                .parse()
                .map_err(|_| self.bad_output(member, "address", line, "not an address"))
        };
        text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
    }

    /// The way to an overlay address, as the VPN tells: `direct`, `relayed`, or `unknown` as yet.
    /// `None` where it has no means to tell.
    pub async fn path(
        &self,
        member: &Member,
        address: IpAddr,
    ) -> Result<Option<String>, DriveError> {
        let text = self.verb(member, &["path", &address.to_string()], None).await?;
        let word = |text: String| match text.trim() {
            word @ ("direct" | "relayed" | "unknown") => Ok(word.to_owned()),
            _ => Err(self.bad_output(member, "path", &text, "not direct, relayed or unknown")),
        };
        text.map(word).transpose()
    }

    /// The version of the VPN's software, as it tells itself.
    pub async fn version(&self, member: &Member) -> Result<Option<String>, DriveError> {
        let text = self.verb(member, &["version"], None).await?;
        Ok(text.map(|text| text.lines().next().unwrap_or_default().trim().to_owned()))
    }

    async fn install(&self, member: &Member) -> Result<(String, Value), DriveError> {
        let script = std::fs::read(self.module.lifecycle())
            .map_err(|source| DriveError::Binary { path: self.module.lifecycle(), source })?;
        let written = member.machine.write_file(LIFECYCLE, 0o755, &script).await;
        self.with_log(member, "install", written).await?;
        let text = self.required(member, &["identity"], None).await?;
        let identity = self.json(member, "identity", &text)?;
        Ok((member.net.name.clone(), identity))
    }

    async fn configure(&self, member: &Member) -> Result<(), DriveError> {
        let admission = self.admission(member).await?;
        let cluster = self.describe(member, admission).to_string();
        self.required(member, &["configure"], Some(cluster.as_bytes())).await.map(drop)
    }

    /// What the coordinator gives a joining peer, where there is one.
    async fn admission(&self, member: &Member) -> Result<Value, DriveError> {
        let coordinator = self.with_role(Role::Coordinator).next();
        let Some(coordinator) = coordinator.filter(|_| member.net.role == Role::Peer) else {
            return Ok(Value::Null);
        };
        match self.verb(coordinator, &["admit", &member.net.name], None).await? {
            Some(text) => self.json(coordinator, "admit", &text),
            None => Ok(Value::Null),
        }
    }

    /// The cluster as `configure` reads it.
    fn describe(&self, member: &Member, admission: Value) -> Value {
        let stranger = (member.net.name == STRANGER).then_some(member);
        let members: Vec<Value> = self
            .participants()
            .chain(stranger)
            .zip(1..)
            .map(|(member, number)| {
                let net = &member.net;
                json!({
                    "name": net.name,
                    "number": number,
                    "role": if net.role == Role::Coordinator { "coordinator" } else { "peer" },
                    "site": net.site,
                    "local": net.local,
                    "public": net.public,
                    "nat": net.nat,
                    "overlay": [format!("10.77.0.{number}"), format!("fd77::{number:x}")],
                    "identity": self.identities.get(&net.name),
                })
            })
            .collect();
        json!({
            "self": member.net.name,
            "module": self.module.name,
            "admission": admission,
            "members": members,
        })
    }

    /// Runs a verb that every module has.
    async fn required(
        &self,
        member: &Member,
        verb: &[&str],
        input: Option<&[u8]>,
    ) -> Result<String, DriveError> {
        let text = self.verb(member, verb, input).await?;
        text.ok_or_else(|| self.bad_output(member, verb[0], "", "the verb is not supported"))
    }

    /// Runs a verb; `None` when the module does not support it.
    async fn verb(
        &self,
        member: &Member,
        verb: &[&str],
        input: Option<&[u8]>,
    ) -> Result<Option<String>, DriveError> {
        let mut argv = words(&[LIFECYCLE]);
        argv.extend(verb.iter().map(ToString::to_string));
        let command = format!("lifecycle {}", verb.join(" "));
        let exec = Exec { argv, stdin: input.is_some(), ..verb_exec() };
        let result = member.machine.execute(exec, input, PROMPT).await;
        let output = self.with_log(member, verb[0], result).await?;
        match output.reply {
            Reply::Exited { code: Some(0), .. } => Ok(Some(output.text())),
            Reply::Exited { code: Some(UNSUPPORTED), .. } => Ok(None),
            _ => {
                let error = member.machine.command_failed(command, &output);
                self.with_log(member, verb[0], Err(error)).await
            }
        }
    }

    /// Awaits `work` unless the member's daemon, just started, ends by itself first.
    async fn while_alive<T>(
        &self,
        member: &Member,
        stage: &str,
        work: impl Future<Output = Result<T, MachineError>>,
    ) -> Result<T, DriveError> {
        tokio::select! {
            biased;
            result = work => self.with_log(member, stage, result).await,
            status = ended(&member.machine) => Err(DriveError::Ended {
                machine: member.net.name.clone(),
                stage: stage.to_owned(),
                status,
                log: log_tail(&member.machine).await,
            }),
        }
    }

    /// Adds the end of the daemon's log to an error.
    async fn with_log<T>(
        &self,
        member: &Member,
        stage: &str,
        result: Result<T, MachineError>,
    ) -> Result<T, DriveError> {
        let source = match result {
            Ok(value) => return Ok(value),
            Err(source) => Box::new(source),
        };
        Err(DriveError::Machine {
            stage: stage.to_owned(),
            machine: member.net.name.clone(),
            source,
            log: log_tail(&member.machine).await,
        })
    }

    fn json(&self, member: &Member, verb: &str, text: &str) -> Result<Value, DriveError> {
        serde_json::from_str(text).map_err(|e| self.bad_output(member, verb, text, &e.to_string()))
    }

    fn bad_output(&self, member: &Member, verb: &str, text: &str, reason: &str) -> DriveError {
        DriveError::Output {
            machine: member.net.name.clone(),
            verb: verb.to_owned(),
            text: text.chars().take(200).collect(),
            reason: reason.to_owned(),
        }
    }
}

/// Resolves when the daemon no longer runs; with how it ended.
async fn ended(machine: &Machine) -> String {
    let show = ["systemctl", "show", "vpn.service", "-p", "ActiveState,Result,ExecMainStatus"];
    loop {
        tokio::time::sleep(LIFE_INTERVAL).await;
        // A machine that is lost is for those to tell who wait for it.
        let Ok(output) = machine.run(&show).await else { return std::future::pending().await };
        let text = output.text();
        if !["active", "activating"].iter().any(|s| text.contains(&format!("ActiveState={s}\n"))) {
            return text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
    }
}

/// The end of the daemon's log. A machine that is gone has none to give.
async fn log_tail(machine: &Machine) -> String {
    let tail = machine.run(&["tail", "-n", LOG_LINES, "/var/log/vpn.log"]).await;
    tail.map(|output| output.text()).unwrap_or_default()
}

fn verb_exec() -> Exec {
    let env = BTreeMap::from([("STATE".to_owned(), STATE.to_owned())]);
    Exec { cwd: STATE.to_owned(), env, ..Exec::default() }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}
