//! What happens to a running cluster: to its network, and to the power of its machines.

use std::sync::PoisonError;

use super::inside::group;
use super::{Cluster, MEMBER_CARD, Member, NoMember, applied, identity, member_cards};
use crate::fabric::Action;
use crate::fabric::ChangeError;
use crate::fabric::MachineNet;
use crate::machine::{Machine, MachineError, PROMPT};

/// Why something could not be made to happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// This network cannot do it.
    #[error(transparent)]
    Impossible(#[from] ChangeError),
    /// The plan knows every name, but a machine may have been left out of the cluster.
    #[error(transparent)]
    NoMember(#[from] NoMember),
    /// A machine did not follow.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

impl EventError {
    /// The machine it failed on, where there is one.
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::Impossible(_) | Self::NoMember(_) => None,
            Self::Machine(error) => Some(error.machine()),
        }
    }
}

impl Cluster {
    /// Makes an event happen to the network or to a machine's power, also while a workload runs; returns
    /// when it has happened. A machine that gets its power back has then booted. Daemons belong to whoever
    /// has started them.
    ///
    /// # Errors
    /// An unknown name, what this network cannot do, or a machine that does not follow.
    pub async fn apply(&self, action: &Action) -> Result<(), EventError> {
        let _happening = self.happening.lock().await;
        let mut next = self.plan();
        let change = next.change(action)?;
        if !change.namespaces.is_empty() {
            applied(&self.fabric, change.namespaces).await?;
        }
        let nets = next.machines();
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = next;
        for net in &change.readdressed {
            let member = self.member(&net.name);
            // One without power gets its addresses when it boots.
            if let Some(member) = member.filter(|member| member.machine.loss().is_none()) {
                readdress(&member.machine, net).await?;
            }
        }
        match action {
            Action::PowerLoss { machine } => self.member_named(machine)?.machine.power_off().await,
            Action::PowerOn { machine, clock } => {
                let net = nets.iter().find(|net| net.name == *machine);
                self.power_on(self.member_named(machine)?, net, *clock).await?;
            }
            Action::Suspend { machine } => {
                self.hold_still(self.member_named(machine)?, true).await?
            }
            Action::Resume { machine } => {
                self.hold_still(self.member_named(machine)?, false).await?
            }
            Action::Reboot { machine } => {
                let member = self.member_named(machine)?;
                member.machine.run(&["sync"]).await?;
                member.machine.power_off().await;
                let net = nets.iter().find(|net| net.name == *machine);
                self.power_on(member, net, 0).await?;
            }
            Action::DaemonStop { machine } | Action::DaemonStart { machine } => {
                return Err(EventError::Impossible(ChangeError {
                    what: format!("stop or start a daemon on `{machine}`"),
                    reason: "a cluster alone has none; its deployment has".into(),
                }));
            }
            _ => {}
        }
        Ok(())
    }

    async fn power_on(
        &self,
        member: &Member,
        net: Option<&MachineNet>,
        clock: i64,
    ) -> Result<(), MachineError> {
        let machine = &member.machine;
        machine.power_on().await?;
        // A container's card is new at each of its starts.
        let anew = (!machine.can_lose_power()).then(|| self.plan().plugged_anew(machine.name()));
        let [plug, passes] = anew.unwrap_or_default();
        applied(&self.fabric, plug).await?;
        machine.wait_booted().await?;
        let cards = net.map(member_cards).unwrap_or_default();
        let mut identity = identity(machine, cards);
        let wrong = clock.saturating_mul(1_000_000_000);
        identity.realtime_ns = identity.realtime_ns.saturating_add_signed(wrong);
        machine.identify(identity).await?;
        applied(&self.fabric, passes).await
    }

    /// Stops a machine where it is, or lets it go on. Its clocks run meanwhile.
    async fn hold_still(&self, member: &Member, still: bool) -> Result<(), MachineError> {
        let machine = &member.machine;
        if machine.hold(still)? {
            return Ok(());
        }
        let card = self.plan().machines().into_iter().find(|net| net.name == member.net.name);
        let group = card.map(|net| group(net.card)).unwrap_or_default();
        self.fabric.run(&["sh", "-euc", &freezing(&group, still)]).await.map(drop)
    }
}

/// The script that freezes a control group, or thaws it, and waits until it has.
fn freezing(group: &str, still: bool) -> String {
    let state = u8::from(still);
    format!(
        "root=$(awk '$3 == \"cgroup2\" {{ print $2; exit }}' /proc/self/mounts)
         echo {state} >$root/{group}/cgroup.freeze
         n=0; until grep -qx 'frozen {state}' $root/{group}/cgroup.events; do
         n=$((n + 1)); [ $n -lt 100 ]; sleep 0.05; done"
    )
}

/// Gives a machine its new addresses and routes, and takes the old ones away.
async fn readdress(machine: &Machine, net: &MachineNet) -> Result<(), MachineError> {
    let script = readdressing(net);
    machine.run_within(&["sh", "-c", &script], None, PROMPT).await.map(drop)
}

/// The script that does it. With its last address the kernel drops a card's IPv4 routes, and not those of IPv6.
fn readdressing(net: &MachineNet) -> String {
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
    let lines = lines.join("\n");
    let resolvers: String = net.resolvers.iter().map(|own| format!("nameserver {own}\n")).collect();
    let asked = match resolvers.as_str() {
        "" => String::new(),
        resolvers => format!("cat >/etc/resolv.conf <<'END'\n{resolvers}END\n"),
    };
    format!(
        "{asked}ip -6 route flush default dev {MEMBER_CARD} && ip -batch - <<'END'\n{lines}\nEND\n"
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_family_that_the_new_place_lacks_leaves_no_route_behind() {
        let net = MachineNet {
            name: "alice".into(),
            card: 0,
            addresses: vec!["192.168.2.101/24".into()],
            gateways: vec!["192.168.2.1".parse().unwrap()],
            mtu: 1500,
            resolvers: Vec::new(),
        };
        let script = format!(
            "ip link add {MEMBER_CARD} type veth peer name far; ip link set far up; ip link set {MEMBER_CARD} up
             ip address add 192.168.1.10/24 dev {MEMBER_CARD}; ip route add default via 192.168.1.1
             ip address add 2a0e:1:1::10/64 dev {MEMBER_CARD} nodad; ip route add default via 2a0e:1:1::1
             {}ip -4 route show default; ip -6 route show default",
            readdressing(&net)
        );
        let unshare = Command::new("unshare")
            .args(["-rn", "sh", "-ec", &script])
            .stdin(Stdio::null())
            .output();
        let output = match unshare {
            Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("unshare") => output,
            other => {
                let _ = writeln!(std::io::stderr(), "skipped: no network namespace: {other:?}");
                return;
            }
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.trim(), format!("default via 192.168.2.1 dev {MEMBER_CARD}"));
    }
}
