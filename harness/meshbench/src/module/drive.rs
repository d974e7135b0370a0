//! Driving a module's lifecycle on the members of a cluster.

mod addresses;
mod carried;
mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::try_join_all;
use meshbench_protocol::{Condition, Connect, Exec};
use serde_json::Value;

use super::describe::describe;
pub use super::error::DriveError;
use super::lifecycle::{LIFECYCLE, STATE, UNIT, Verb};
use super::spec::Module;
use super::{fit, verbs};
use crate::cluster::{Cluster, Member};
use crate::fabric::Role;
use crate::file;
use crate::results::OverlayPath;
pub(crate) use carried::Counted;

/// How long a daemon may take until it says that it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(120);

/// How long the first packet through the overlay may take.
pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_secs(120);

/// Time between two probes of the overlay.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// Characters of a version; what is longer is none.
const VERSION_LENGTH: usize = 200;

/// Name of a machine that has the software and no credentials.
pub(crate) const STRANGER: &str = "mallory";

/// A module on a cluster.
#[derive(Debug)]
pub struct Deployment {
    cluster: Arc<Cluster>,
    module: Module,
    identities: BTreeMap<String, Value>,
    /// Machines whose daemon ran when they lost their power.
    interrupted: Mutex<BTreeSet<String>>,
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

impl Deployment {
    /// Puts the module's files on every member that takes part, and lets each make its identity.
    pub async fn new(cluster: &Arc<Cluster>, module: &Module) -> Result<Self, DriveError> {
        let mut deployment = Self {
            cluster: cluster.clone(),
            module: module.clone(),
            identities: BTreeMap::new(),
            interrupted: Mutex::default(),
        };
        let coordinators = deployment.with_role(Role::Coordinator);
        fit::coordinators(module, coordinators.map(|member| member.net.name.as_str()))?;
        let identities = deployment.participants().map(|member| deployment.install(member));
        let identities = try_join_all(identities).await?;
        deployment.identities = identities.into_iter().collect();
        Ok(deployment)
    }

    /// Brings the module up everywhere, the initiator last, and waits until the target answers it through
    /// the overlay.
    pub async fn up(
        cluster: &Arc<Cluster>,
        module: &Module,
        initiator: &str,
        target: &str,
    ) -> Result<(Self, Connected), DriveError> {
        let deployment = Self::new(cluster, module).await?;
        let initiator = deployment.cluster.member_named(initiator)?;
        let target = deployment.cluster.member_named(target)?;
        deployment.start_others(initiator).await?;
        let connected = deployment.connect(initiator, target).await?;
        Ok((deployment, connected))
    }

    /// The cluster that it runs on.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// What runs on it.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Members that run the module, in the order of the scenario.
    pub(crate) fn participants(&self) -> impl Iterator<Item = &Member> {
        let coordinated = self.module.spec.has_coordinator();
        let members = self.cluster.members().iter().filter(|m| m.net.name != STRANGER);
        members.filter(move |m| coordinated || m.net.role == Role::Peer)
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = &Member> {
        self.participants().filter(move |member| member.net.role == role)
    }

    /// Starts all daemons but the initiator's, which is left configured.
    pub async fn start_others(&self, initiator: &Member) -> Result<(), DriveError> {
        let bring_up = async |member: &Member| {
            self.configure(member, &self.identities).await?;
            if member.net.name != initiator.net.name {
                self.start(member).await?;
            }
            Ok::<_, DriveError>(())
        };
        for role in &self.module.spec.roles {
            let mut members = self.with_role(role.name);
            if role.name == Role::Coordinator
                && let Some(first) = members.next()
            {
                bring_up(first).await?;
            }
            try_join_all(members.map(&bring_up)).await?;
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
    pub(crate) async fn connect_within(
        &self,
        initiator: &Member,
        target: &Member,
        patience: Duration,
    ) -> Result<Connected, DriveError> {
        let addresses = self.addresses(target).await?;
        let Some(address) = addresses.first().copied() else {
            return Err(verbs::bad_output(target, Verb::Address, "", "no address"));
        };
        self.check_placed(target, address, &[initiator]).await?;
        let argv = ["systemctl", "start", UNIT].map(str::to_owned).into();
        let probe = Connect {
            start: Exec { argv, ..Exec::default() },
            target: address,
            interval_ms: PROBE_INTERVAL.as_millis() as u64,
            deadline_ms: patience.as_millis() as u64,
        };
        let connected = initiator.machine.connect(probe);
        let (after, probes) = verbs::while_alive(initiator, "connect", connected).await?;
        Ok(Connected { after, probes, target: address })
    }

    /// Starts a member's daemon and waits until it is ready.
    pub async fn start(&self, member: &Member) -> Result<(), DriveError> {
        let started = member.machine.run(&["systemctl", "start", UNIT]).await;
        verbs::with_log(member, "run", started).await?;
        let ready = Condition::Succeeds(Verb::Ready.exec(None));
        let ready = member.machine.wait(ready, READY_DEADLINE);
        verbs::while_alive(member, "ready", ready).await.map(drop)
    }

    /// Stops a member's daemon and lets the module clean up behind it.
    pub async fn stop(&self, member: &Member) -> Result<(), DriveError> {
        let stopped = member.machine.run(&["systemctl", "stop", UNIT]).await;
        verbs::with_log(member, "stop", stopped).await?;
        verbs::run(member, Verb::Stop, None, None).await.map(drop)
    }

    /// Restarts a member's daemon, with what the module does after its end, and waits until it is ready again.
    pub async fn restart(&self, member: &Member) -> Result<(), DriveError> {
        // What is left of the old one would be taken for the new one's, which is not ready yet.
        self.stop(member).await?;
        self.start(member).await
    }

    /// Lets a member join once more, as somebody new: without any state, with an identity that no other member has been
    /// told of, admitted by the coordinator if that can.
    ///
    /// # Errors
    /// It cannot be admitted, configured or started; some cannot without a coordinator.
    pub(crate) async fn join_anew(&self, member: &Member) -> Result<(), DriveError> {
        self.stop(member).await?;
        let emptied = member.machine.run(&["find", STATE, "-mindepth", "1", "-delete"]).await;
        verbs::with_log(member, "join", emptied).await?;
        let mut identities = self.identities.clone();
        identities.extend([self.install(member).await?]);
        self.configure(member, &identities).await?;
        self.start(member).await
    }

    /// Runs the module on a machine that nobody has let in, configured as if somebody had. Whether its
    /// daemon runs at all is the VPN's own affair. False where the module has nothing for such a machine.
    pub(crate) async fn intrude(&self, stranger: &str) -> Result<bool, DriveError> {
        let stranger = self.cluster.member_named(stranger)?;
        let mut identities = self.identities.clone();
        identities.extend([self.install(stranger).await?]);
        let described = self.describe(stranger, &identities, &Value::Null).to_string();
        let configured =
            verbs::run(stranger, Verb::Configure, None, Some(described.as_bytes())).await;
        if matches!(configured, Ok(None)) {
            return Ok(false);
        }
        // Without an admission some cannot even be configured.
        if configured.is_ok() {
            let started = stranger.machine.run(&["systemctl", "start", UNIT]).await;
            tracing::debug!(?started, "the stranger's daemon");
        }
        Ok(true)
    }

    /// The way to an overlay address, as the VPN tells: [`OverlayPath::Unknown`] as yet, or `None` where it has no
    /// means to tell.
    pub async fn path(
        &self,
        member: &Member,
        address: IpAddr,
    ) -> Result<Option<OverlayPath>, DriveError> {
        let text = verbs::run(member, Verb::Path, Some(&address.to_string()), None).await?;
        let path = |text: String| match text.trim() {
            "direct" => Ok(OverlayPath::Direct),
            "relayed" => Ok(OverlayPath::Relayed),
            "unknown" => Ok(OverlayPath::Unknown),
            _ => {
                let reason = "not direct, relayed or unknown";
                Err(verbs::bad_output(member, Verb::Path, &text, reason))
            }
        };
        text.map(path).transpose()
    }

    /// The version of the VPN's software, as it tells itself.
    pub async fn version(&self, member: &Member) -> Result<Option<String>, DriveError> {
        let text = verbs::run(member, Verb::Version, None, None).await?;
        Ok(text.as_deref().map(version_of))
    }

    async fn install(&self, member: &Member) -> Result<(String, Value), DriveError> {
        let path = self.module.lifecycle();
        let script = file::read(&path).map_err(|source| DriveError::Lifecycle { path, source })?;
        let written = member.machine.write_file(LIFECYCLE, 0o755, &script).await;
        verbs::with_log(member, "install", written).await?;
        let text = verbs::required(member, Verb::Identity, None, None).await?;
        let identity = verbs::json(member, Verb::Identity, &text)?;
        Ok((member.net.name.clone(), identity))
    }

    async fn configure(
        &self,
        member: &Member,
        identities: &BTreeMap<String, Value>,
    ) -> Result<(), DriveError> {
        let admission = self.admission(member, identities).await?;
        let described = self.describe(member, identities, &admission).to_string();
        verbs::required(member, Verb::Configure, None, Some(described.as_bytes())).await.map(drop)
    }

    /// What the first coordinator gives whoever joins it with that identity, a further coordinator among them.
    async fn admission(
        &self,
        member: &Member,
        identities: &BTreeMap<String, Value>,
    ) -> Result<Value, DriveError> {
        let coordinator = self.with_role(Role::Coordinator).next();
        let Some(coordinator) = coordinator.filter(|first| first.net.name != member.net.name)
        else {
            return Ok(Value::Null);
        };
        let described = self.describe(coordinator, identities, &Value::Null).to_string();
        let input = Some(described.as_bytes());
        match verbs::run(coordinator, Verb::Admit, Some(&member.net.name), input).await? {
            Some(text) => verbs::json(coordinator, Verb::Admit, &text),
            None => Ok(Value::Null),
        }
    }

    /// The cluster as `configure` reads it.
    fn describe(
        &self,
        member: &Member,
        identities: &BTreeMap<String, Value>,
        admission: &Value,
    ) -> Value {
        let stranger = (member.net.name == STRANGER).then_some(member);
        let members = self.participants().chain(stranger).map(|member| &member.net);
        describe(&self.module.name, &member.net.name, members, identities, admission)
    }
}

/// The first line of what a program says of its version.
fn version_of(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().chars().take(VERSION_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_one_line_of_a_length_that_people_read() {
        assert_eq!(version_of(" nebula 1.9\nbuilt by hand"), "nebula 1.9");
        assert_eq!(version_of(""), "");
        assert_eq!(version_of(&"v".repeat(3 << 20)).len(), VERSION_LENGTH);
    }
}
