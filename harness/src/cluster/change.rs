//! What happens to a running cluster: to its network, and to the power and daemons of its machines.

use ::agent::Exec;

use super::{Cluster, LIFECYCLE, MEMBER_CARD, Member, STATE, applied, identity, member_cards};
use crate::fabric::change::ChangeError;
use crate::fabric::event::Action;
use crate::fabric::plan::{MachineNet, MemberNet, Plan};
use crate::machine::{Machine, MachineError, PROMPT};

/// The unit that runs the VPN.
const DAEMON: &str = "vpn.service";

/// Exit status of a lifecycle's verb that the module does not have.
const UNSUPPORTED: i32 = 64;

/// Why something could not be made to happen.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// This network cannot do it.
    #[error(transparent)]
    Impossible(#[from] ChangeError),
    /// A machine did not follow.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

impl EventError {
    /// The machine it failed on, where there is one.
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::Impossible(_) => None,
            Self::Machine(error) => Some(error.machine()),
        }
    }
}

impl Cluster {
    /// Makes an event happen, also while a workload runs; returns when it has happened. A machine
    /// that gets its power back has then booted, and runs its daemon if it did before.
    ///
    /// # Errors
    /// An unknown name, what this network cannot do, or a machine that does not follow.
    pub async fn apply(&self, action: &Action) -> Result<(), EventError> {
        let mut now = self.now.lock().await;
        let mut next = now.plan.clone();
        let change = next.change(action)?;
        if !change.namespaces.is_empty() {
            applied(&self.fabric, change.namespaces).await?;
        }
        now.plan = next;
        let nets = now.plan.machines();
        drop(now);
        for net in &change.readdressed {
            let member = self.member(&net.name);
            // One without power gets its addresses when it boots.
            if let Some(member) = member.filter(|member| member.machine.loss().is_none()) {
                readdress(&member.machine, net).await?;
            }
        }
        match action {
            Action::PowerLoss { machine } => {
                let member = self.known(machine)?;
                if runs_daemon(&member.machine).await {
                    self.now.lock().await.interrupted.insert(machine.clone());
                }
                member.machine.power_off().await;
            }
            Action::PowerOn { machine } => {
                let member = self.known(machine)?;
                let net = nets.iter().find(|net| net.name == *machine);
                power_on(member, net).await?;
                if self.now.lock().await.interrupted.remove(machine) {
                    member.machine.run(&["systemctl", "start", DAEMON]).await?;
                }
            }
            Action::DaemonStop { machine } => stop_daemon(&self.known(machine)?.machine).await?,
            Action::DaemonStart { machine } => {
                self.known(machine)?.machine.run(&["systemctl", "start", DAEMON]).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The network as it is now.
    pub async fn plan_now(&self) -> Plan {
        self.now.lock().await.plan.clone()
    }

    /// How the members see each other now, in the order of the scenario.
    pub async fn nets_now(&self) -> Vec<MemberNet> {
        self.now.lock().await.plan.members()
    }

    /// The plan knows every name, but a machine may have been left out of the cluster.
    fn known(&self, name: &str) -> Result<&Member, ChangeError> {
        self.member(name).ok_or_else(|| ChangeError {
            what: format!("do anything with machine `{name}`"),
            reason: "it is not in this cluster".into(),
        })
    }
}

/// Gives a machine its new addresses and routes, and takes the old ones away.
async fn readdress(machine: &Machine, net: &MachineNet) -> Result<(), MachineError> {
    // Link-local addresses stay: they are the card's.
    let mut lines = vec![format!("address flush dev {MEMBER_CARD} scope global")];
    for address in &net.addresses {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        lines.push(format!("address add {address} dev {MEMBER_CARD}{nodad}"));
    }
    for gateway in &net.gateways {
        lines.push(format!("route replace default via {gateway} dev {MEMBER_CARD}"));
    }
    // What it knows of its old neighbours is wrong at the new place.
    lines.push(format!("neigh flush dev {MEMBER_CARD}"));
    let script = lines.join("\n") + "\n";
    machine.run_within(&["ip", "-batch", "-"], Some(script.as_bytes()), PROMPT).await.map(drop)
}

async fn power_on(member: &Member, net: Option<&MachineNet>) -> Result<(), MachineError> {
    let machine = &member.machine;
    machine.power_on().await?;
    machine.wait_booted().await?;
    let cards = net.map(member_cards).unwrap_or_default();
    machine.identify(identity(machine, cards)).await
}

async fn runs_daemon(machine: &Machine) -> bool {
    // A machine that does not answer has no daemon that could be started again.
    machine.run(&["systemctl", "is-active", "--quiet", DAEMON]).await.is_ok()
}

async fn stop_daemon(machine: &Machine) -> Result<(), MachineError> {
    machine.run(&["systemctl", "stop", DAEMON]).await?;
    let argv = [LIFECYCLE, "stop"].map(String::from).to_vec();
    let env = [("STATE".to_owned(), STATE.to_owned())].into();
    let exec = Exec { argv, env, cwd: STATE.to_owned(), ..Exec::default() };
    let output = machine.execute(exec, None, PROMPT).await?;
    match output.reply {
        ::agent::Reply::Exited { code: Some(0 | UNSUPPORTED), .. } => Ok(()),
        _ => Err(machine.command_failed("lifecycle stop".into(), &output)),
    }
}
