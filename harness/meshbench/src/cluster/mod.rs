//! A fabric with its machines, brought up and always taken down.

mod capture;
mod change;
mod fabric;
mod image;
mod inside;
pub mod proof;

use std::ops::Index;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use futures_util::future::try_join_all;
use meshbench_protocol::{Card, Identity};

pub use capture::{Bound, Capture, Captured, Packet};
pub use change::EventError;
use fabric::{applied, fabric_preparation};
pub use image::member_preparation;
pub(crate) use inside::Spares;

use crate::fabric::{MachineNet, MemberNet, Plan};
use crate::guest::GuestImage;
use crate::machine::{
    Bond, Fallen, Machine, MachineError, MachineSpec, Preparation, Templates, wire,
};

/// Memory of a member in MiB.
const MEMBER_MEMORY: u32 = 512;

/// Memory of the fabric in MiB.
const FABRIC_MEMORY: u32 = 384;

/// Name of the card inside a member.
pub(crate) const MEMBER_CARD: &str = "eth0";

/// What a cluster is made from.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// The network.
    pub plan: Plan,
    /// What the fabric boots.
    pub fabric_image: Arc<GuestImage>,
    /// What the members boot.
    pub member_image: Arc<GuestImage>,
    /// What members do before anything else.
    pub preparation: Preparation,
}

/// A running cluster. Dropping it kills all of its machines.
#[derive(Debug)]
pub struct Cluster {
    plan: RwLock<Plan>,
    /// Held while something happens: one thing at a time.
    happening: tokio::sync::Mutex<()>,
    fabric: Machine,
    members: Vec<Member>,
    bond: Bond,
    held: Mutex<Vec<Box<dyn Held>>>,
}

/// What ends with a cluster, such as the right to run one.
pub trait Held: std::fmt::Debug + Send {}
impl<T: std::fmt::Debug + Send> Held for T {}

/// Somebody who is not in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no member `{name}`; there are: {}", members.join(", "))]
#[non_exhaustive]
pub struct NoMember {
    /// Who was asked for.
    pub name: String,
    /// Who is there.
    pub members: Vec<String>,
}

/// A machine and what the network knows of it.
#[derive(Debug)]
pub struct Member {
    /// The machine.
    pub machine: Machine,
    /// How the others saw it when the cluster came up.
    pub net: MemberNet,
}

impl Blueprint {
    /// What the fabric machine is made of. Its cards are rounded up, so that few templates serve many clusters.
    pub(crate) fn fabric_spec(&self) -> MachineSpec {
        MachineSpec {
            name: "fabric".into(),
            image: self.fabric_image.clone(),
            memory_mib: FABRIC_MEMORY,
            cpus: 1,
            cards: self.plan.cards().next_power_of_two().max(4),
        }
    }

    /// What a member is made of.
    pub fn member_spec(&self, name: &str) -> MachineSpec {
        MachineSpec {
            name: name.to_owned(),
            image: self.member_image.clone(),
            memory_mib: MEMBER_MEMORY,
            cpus: 1,
            cards: 1,
        }
    }

    /// Makes the templates of this cluster's machines; says how many were made.
    pub async fn warm(&self, templates: &mut Templates) -> Result<usize, MachineError> {
        let fabric = templates.warm(&self.fabric_spec(), &fabric_preparation()).await?;
        let member = templates.warm(&self.member_spec("member"), &self.preparation).await?;
        Ok(usize::from(fabric) + usize::from(member))
    }
}

impl Cluster {
    /// Starts all machines side by side, gives each its identity, and applies the network.
    pub async fn up(
        blueprint: &Blueprint,
        templates: &Templates,
    ) -> Result<Arc<Self>, MachineError> {
        let start = Instant::now();
        let plan = blueprint.plan.clone();
        let nets = plan.machines();
        let spec = blueprint.fabric_spec();
        let mut far_ends = Vec::new();
        let mut near_ends = Vec::new();
        for _ in 0..spec.cards {
            let (near, far) = wire().map_err(|source| MachineError::Host {
                machine: "fabric".into(),
                action: "make a wire".into(),
                source,
            })?;
            near_ends.push(near);
            far_ends.push(far);
        }
        let bond = &Bond::default();
        let members = nets.iter().zip(far_ends).map(|(net, wire)| {
            let spec = blueprint.member_spec(&net.name);
            let preparation = &blueprint.preparation;
            async move {
                let machine = templates.machine(spec, preparation, vec![wire]).await?;
                machine.tie(bond);
                machine.identify(identity(&machine, member_cards(net))).await?;
                tracing::debug!(name = net.name, elapsed = ?start.elapsed(), "identified");
                Ok::<_, MachineError>(machine)
            }
        });
        let fabric = async {
            let machine = templates.machine(spec, &fabric_preparation(), near_ends).await?;
            machine.tie(bond);
            machine.identify(identity(&machine, Vec::new())).await?;
            tracing::debug!(elapsed = ?start.elapsed(), "fabric identified");
            applied(&machine, plan.namespaces()).await?;
            Ok(machine)
        };
        let all = async { tokio::try_join!(fabric, try_join_all(members)) };
        let (fabric, machines) = tokio::select! {
            all = all => all?,
            // Others may still boot, whom nothing ties as yet.
            fallen = bond.broken() => return Err(fallen.error("others were booting".into())),
        };
        let members = machines.into_iter().zip(plan.members());
        let members = members.map(|(machine, net)| Member { machine, net }).collect();
        tracing::debug!(elapsed = ?start.elapsed(), "cluster up");
        Ok(Self::of(plan, fabric, members, bond.clone()))
    }

    fn of(plan: Plan, fabric: Machine, members: Vec<Member>, bond: Bond) -> Arc<Self> {
        let (plan, held) = (RwLock::new(plan), Mutex::default());
        Arc::new(Self { plan, happening: Default::default(), fabric, members, bond, held })
    }

    /// Keeps something until the cluster is down.
    pub fn hold(&self, held: impl Held + 'static) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(held));
    }

    /// The network as it is now.
    pub fn plan(&self) -> Plan {
        self.plan.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The machine that is the network.
    pub fn fabric(&self) -> &Machine {
        &self.fabric
    }

    /// All members, in the order of the scenario.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A member by name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.net.name == name)
    }

    /// A member by name.
    ///
    /// # Errors
    /// Nobody is called so; the error names who is there.
    pub fn member_named(&self, name: &str) -> Result<&Member, NoMember> {
        self.member(name).ok_or_else(|| NoMember {
            name: name.to_owned(),
            members: self.members.iter().map(|member| member.net.name.clone()).collect(),
        })
    }

    /// Has all members write to their disks what they hold in memory, as a machine that has run for a
    /// minute has done by itself: a loss of power would take it.
    pub async fn sync(&self) -> Result<(), MachineError> {
        let synced = self.members.iter().map(|member| member.machine.run(&["sync"]));
        try_join_all(synced).await.map(drop)
    }

    /// The first machine that was lost, though nobody switched it off: with it all that is being done on any
    /// machine has ended.
    pub(crate) fn fallen(&self) -> Option<Fallen> {
        self.bond.fallen()
    }

    /// Resolves when such a machine is lost, unless each is asked for itself.
    pub(crate) async fn broken(&self) -> Fallen {
        self.bond.broken().await
    }

    /// From now on each machine is asked for itself: the loss of one ends no wait on another. Says whether it did
    /// until now.
    pub fn release(&self) -> bool {
        self.bond.release()
    }

    /// Ends all machines and waits until they are gone.
    pub async fn down(&self) {
        let members = self.members.iter().map(|member| member.machine.power_off());
        tokio::join!(self.fabric.power_off(), futures_util::future::join_all(members));
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Index<&str> for Cluster {
    type Output = Member;

    /// # Panics
    /// Nobody is called so; use [`Cluster::member_named`] where that can be.
    fn index(&self, name: &str) -> &Member {
        self.member_named(name).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// How a member's card is set up.
pub(crate) fn member_cards(net: &MachineNet) -> Vec<Card> {
    vec![Card {
        name: MEMBER_CARD.into(),
        mac: format!("52:54:00:00:01:{:02x}", net.card),
        addresses: net.addresses.clone(),
        gateways: net.gateways.clone(),
        resolvers: net.resolvers.clone(),
    }]
}

/// The identity of a machine that has just begun to run; its name and machine-id stay over a loss of power.
fn identity(machine: &Machine, cards: Vec<Card>) -> Identity {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = random_id();
    Identity {
        name: machine.name().to_owned(),
        machine_id: machine.machine_id().unwrap_or_else(random_id),
        boot_id: [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-"),
        realtime_ns: now.as_nanos() as u64,
        entropy: random_hex::<64>(),
        cards,
    }
}

/// The 32 digits of a random UUID (version 4 of RFC 9562), such as kernels and systemd draw as their ids.
fn random_id() -> String {
    let mut id = random_hex::<16>();
    id.replace_range(12..13, "4");
    let variant = u8::from_str_radix(&id[16..17], 16).unwrap_or_default() & 3 | 8;
    id.replace_range(16..17, &format!("{variant:x}"));
    id
}

/// N random bytes of the host, as hexadecimal digits.
pub(crate) fn random_hex<const N: usize>() -> String {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).expect("the host's kernel always has so few random bytes");
    HEXLOWER.encode(&bytes)
}
