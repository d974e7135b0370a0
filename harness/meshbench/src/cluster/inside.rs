//! A cluster inside the machine that this program runs in: fabric and members, made ready before anybody knows
//! whose they will be.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::try_join_all;
use meshbench_protocol::Container;

use super::{Cluster, Member, applied, fabric_preparation, identity, member_cards};
use crate::fabric::Plan;
use crate::machine::{Around, Bond, Machine, MachineError, Preparation, prepare};

/// Where containers keep what they change.
const DISKS: &str = "/run/meshbench-members";

/// A fabric and members that have no name yet.
#[derive(Debug)]
pub(crate) struct Spares {
    around: Around,
    members: Vec<Machine>,
    layers: Vec<String>,
    init: Vec<String>,
    preparation: Preparation,
}

impl Spares {
    /// Prepares the machine around as a fabric, and that many members in it. `layers` are the directories that
    /// their roots are laid over, the uppermost first; `init` is their first process.
    ///
    /// # Errors
    /// A machine that does not come up, or a preparation that fails.
    pub(crate) async fn make(
        agent: &Path,
        layers: Vec<String>,
        init: Vec<String>,
        preparation: Preparation,
        count: usize,
    ) -> Result<Self, MachineError> {
        let around = Around::by(agent, "fabric").await?;
        prepare(&around.machine(), &fabric_preparation()).await?;
        let mut spares = Self { around, members: Vec::new(), layers, init, preparation };
        spares.grow(count).await?;
        Ok(spares)
    }

    /// Adds members until there are so many.
    async fn grow(&mut self, count: usize) -> Result<(), MachineError> {
        for number in self.members.len()..count {
            let member = self.around.contain(self.container(number)).await?;
            prepare(&member, &self.preparation).await?;
            self.members.push(member);
        }
        Ok(())
    }

    fn container(&self, number: usize) -> Container {
        let name = member(number);
        Container {
            state: format!("{DISKS}/{name}"),
            name,
            lower: self.layers.clone(),
            fresh: true,
            init: self.init.clone(),
            card: format!("card{number}"),
        }
    }
}

fn member(number: usize) -> String {
    format!("member{number}")
}

/// The control group of the member that was made for this card.
pub(super) fn group(card: usize) -> String {
    // As the agent calls it (its control_group.rs).
    format!("meshbench-{}", member(card))
}

impl Cluster {
    /// Makes spare machines the cluster of this network. Those that it has no use for stay what they are.
    ///
    /// # Errors
    /// A machine that does not follow.
    pub(crate) async fn inside(plan: Plan, mut spares: Spares) -> Result<Arc<Self>, MachineError> {
        spares.grow(plan.cards()).await?;
        let (fabric, bond) = (spares.around.machine(), Bond::default());
        applied(&fabric, plan.namespaces()).await?;
        let (nets, seen) = (plan.machines(), plan.members());
        let mut machines: Vec<Option<Machine>> = spares.members.into_iter().map(Some).collect();
        let members = nets.iter().zip(seen).filter_map(|(net, seen)| {
            let machine = machines.get_mut(net.card)?.take()?.named(&net.name);
            machine.tie(&bond);
            Some(async move {
                machine.identify(identity(&machine, member_cards(net))).await?;
                Ok::<_, MachineError>(Member { machine, net: seen })
            })
        });
        let members = try_join_all(members).await?;
        let cluster = Self::of(plan, fabric, members, bond.clone());
        // They live as long as it does.
        cluster.hold(machines);
        Ok(cluster)
    }
}
