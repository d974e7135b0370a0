//! NAT × NAT: whether, how and how soon a VPN connects two sites behind each pair of gateways.

use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime};

use super::job::{Images, blueprint};
use super::network::{link_record, nat_check};
use super::overlay::path_named;
use crate::cluster::{Cluster, Member};
use crate::fabric::nat::Behaviour::{AddressAndPortDependent, EndpointIndependent};
use crate::fabric::nat_proof::{self, Probed, Reach, UdpFacts};
use crate::fabric::proof::{self, Effort};
use crate::fabric::scenario::{Scenario, ScenarioError};
use crate::machine::Templates;
use crate::module::drive::{Connected, Deployment, DriveError};
use crate::module::spec::{Claims, Module, NatTraversal};
use crate::results::{
    self, Better, CellKey, CellRecord, Family, LinkRecord, Metric, NatCheck, Outcome, Unit,
};
use crate::workload::{self, Workload};

/// Kinds of a grid that names none, from what lets everything in to what lets nothing.
pub const GRID_KINDS: [&str; 6] =
    ["none", "full-cone", "restricted-cone", "home", "symmetric", "cgnat"];

/// A second: the links of the grid are clear, and only shall not be broken.
const EFFORT: Effort = Effort { count: 100, interval_us: 10_000 };

/// Between two looks at the path of a connection that is relayed.
const LOOK: Duration = Duration::from_millis(250);

/// One field of the grid, and what is needed to measure it.
#[derive(Debug)]
pub struct GridPair<'a> {
    /// The VPN.
    pub module: &'a Module,
    /// Kind of the gateway of `alice`, who begins.
    pub alice: &'a str,
    /// Kind of the gateway of `bob`.
    pub bob: &'a str,
    /// The guests.
    pub images: &'a Images,
    /// How machines start.
    pub templates: &'a Templates,
    /// Seed of the network.
    pub seed: u64,
    /// How long the first packet may take, and after it a direct path.
    pub patience: Duration,
}

/// What is known of a pair before its VPN starts.
struct Proved {
    links: Vec<LinkRecord>,
    nats: Vec<NatCheck>,
    /// Alice's gateway and bob's; `None` where no UDP passes.
    facts: [Option<UdpFacts>; 2],
}

/// A pair that was connected.
struct Reached {
    connected: Connected,
    path: results::Path,
    /// From the daemon's start until the VPN said that the path is direct, where it was not at first.
    direct_after: Option<Duration>,
}

/// Why a pair was not measured, or not connected.
struct Failure {
    stage: &'static str,
    machine: Option<String>,
    reason: String,
}

/// The network of one field: two sites behind these kinds, and a public one for coordinators and relays.
///
/// # Errors
/// An unknown kind.
pub fn grid_scenario(alice: &str, bob: &str) -> Result<Scenario, ScenarioError> {
    let text = format!(
        "title = \"{alice} to {bob}\"\ndescription = \"One field of the grid NAT × NAT.\"\n\
         workloads = [\"connect\"]\n[[site]]\nname = \"alice\"\nnat = \"{alice}\"\n\
         [[site]]\nname = \"bob\"\nnat = \"{bob}\"\n[[site]]\nname = \"hub\"\n"
    );
    Scenario::parse(&format!("nat-{alice}-{bob}"), "nat-grid", &text, &[])
}

impl GridPair<'_> {
    /// Measures the pair on a cluster of its own.
    ///
    /// # Errors
    /// An unknown kind; everything else is an outcome of the cell.
    pub async fn measure(&self) -> Result<CellRecord, ScenarioError> {
        let scenario = grid_scenario(self.alice, self.bob)?;
        let begun = Instant::now();
        let parts = blueprint(&scenario, self.module, self.images.clone(), self.seed);
        let (proved, result) = match Cluster::up(&parts, self.templates).await {
            Ok(cluster) => {
                let outcome = self.on(&cluster).await;
                cluster.down().await;
                outcome
            }
            Err(error) => (None, Err(failure("boot", Some(error.machine()), &error))),
        };
        Ok(self.record(&scenario, begun, proved, result))
    }

    async fn on(&self, cluster: &Cluster) -> (Option<Proved>, Result<Reached, Failure>) {
        let proved = match prove(cluster).await {
            Ok(proved) => proved,
            Err(failure) => return (None, Err(failure)),
        };
        let result = match (cluster.member("alice"), cluster.member("bob")) {
            (Some(alice), Some(bob)) => self.connect(cluster, alice, bob).await,
            _ => Err(failure("plan", None, "the grid's network has no alice and bob")),
        };
        (Some(proved), result)
    }

    async fn connect(
        &self,
        cluster: &Cluster,
        alice: &Member,
        bob: &Member,
    ) -> Result<Reached, Failure> {
        let drive = |e: DriveError| failure("configure", e.machine(), &e);
        let deployment = Deployment::new(cluster, self.module).await.map_err(drive)?;
        deployment.start_others(alice).await.map_err(drive)?;
        let begun = Instant::now();
        let connected = deployment.connect_within(alice, bob, self.patience).await;
        let connected = connected.map_err(|e| failure("connect", e.machine(), first_line(&e)))?;
        let mut path = deployment.path(alice, connected.target).await.map_err(drive)?;
        let mut direct_after = None;
        let end = Instant::now() + self.patience;
        while path.as_deref() == Some("relayed") && Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            path = deployment.path(alice, connected.target).await.map_err(drive)?;
            if path.as_deref() == Some("direct") {
                direct_after = Some(begun.elapsed());
            }
        }
        Ok(Reached { connected, path: path_named(path.as_deref()), direct_after })
    }

    fn record(
        &self,
        scenario: &Scenario,
        begun: Instant,
        proved: Option<Proved>,
        result: Result<Reached, Failure>,
    ) -> CellRecord {
        let duration = begun.elapsed();
        let mut path = results::Path::Unknown;
        let (outcome, metrics) = match result {
            Ok(reached) => {
                path = reached.path;
                (Outcome::ok(), reached.metrics())
            }
            Err(failure) => (self.outcome(failure, proved.as_ref()), Vec::new()),
        };
        let (links, nats) = proved.map_or_else(Default::default, |p| (p.links, p.nats));
        CellRecord {
            format: results::FORMAT,
            key: CellKey {
                block: 1,
                scenario: scenario.name.clone(),
                module: self.module.name.clone(),
                workload: Workload::Connect.name().into(),
            },
            started: results::rfc3339(SystemTime::now() - duration),
            duration_seconds: duration.as_secs_f64(),
            underlay: outcome.is_ok().then_some(Family::Ipv4),
            outcome,
            metrics,
            path,
            inner_mtu: None,
            links,
            nats,
        }
    }

    /// A pair that the VPN's own means cannot connect is not held against it, and the reason is said.
    fn outcome(&self, failure: Failure, proved: Option<&Proved>) -> Outcome {
        let Failure { stage, machine, reason } = failure;
        let hopeless = proved.filter(|_| stage == "connect").and_then(|proved| {
            let [alice, bob] = proved.facts;
            obstacle(&self.module.spec.claims, (self.alice, alice), (self.bob, bob))
        });
        match hopeless {
            Some(reason) => Outcome::Unsupported { reason },
            None => Outcome::Failed { stage: stage.into(), machine, reason, evidence: Vec::new() },
        }
    }
}

impl Reached {
    fn metrics(&self) -> Vec<Metric> {
        let mut metrics = vec![workload::connect_metric(self.connected.after)];
        if let Some(after) = self.direct_after {
            metrics.push(Metric {
                name: "direct-after".into(),
                unit: Unit::Milliseconds,
                better: Better::Lower,
                value: after.as_secs_f64() * 1e3,
                samples: Vec::new(),
            });
        }
        metrics
    }
}

/// Refuses a network on which a gateway is not of its kind.
async fn prove(cluster: &Cluster) -> Result<Proved, Failure> {
    let (links, verdict) = proof::prove(cluster.fabric(), &cluster.plan, EFFORT).await;
    verdict.map_err(|e| failure("proof", Some("fabric"), e))?;
    let find = |name: &str| cluster.member(name).map(|member| &member.machine);
    let (nats, verdict) =
        nat_proof::prove(cluster.fabric(), &cluster.plan, Reach::MEASURING, find).await;
    verdict.map_err(|e| failure("proof", Some("fabric"), e))?;
    let facts = ["alice", "bob"].map(|site| udp_facts(&nats, site));
    Ok(Proved {
        links: links.iter().map(link_record).collect(),
        nats: nats.iter().map(nat_check).collect(),
        facts,
    })
}

/// A site that was not probed neither translates nor filters.
fn udp_facts(nats: &[Probed], site: &str) -> Option<UdpFacts> {
    let probed = nats.iter().find(|probed| probed.site == site && !probed.ipv6);
    probed.map_or(nat_proof::PLAIN, |probed| probed.seen).udp
}

/// Why a VPN with these claims cannot connect the two, if it cannot.
fn obstacle(
    claims: &Claims,
    (alice_kind, alice): (&str, Option<UdpFacts>),
    (bob_kind, bob): (&str, Option<UdpFacts>),
) -> Option<String> {
    let blocked = [("alice", alice_kind, alice), ("bob", bob_kind, bob)];
    if let Some((site, kind, _)) = blocked.into_iter().find(|(_, _, facts)| facts.is_none()) {
        let why = format!("{site}'s gateway ({kind}) lets no UDP out");
        return (!claims.relay).then_some(why);
    }
    let pair = [("alice", alice_kind, alice?), ("bob", bob_kind, bob?)];
    match claims.nat_traversal {
        NatTraversal::None | NatTraversal::PortForward => {
            let one = refused(pair[0], pair[1])?;
            let other = refused(pair[1], pair[0])?;
            Some(format!("endpoints are configured, not found: {one}; {other}"))
        }
        NatTraversal::HolePunching if claims.relay => None,
        NatTraversal::HolePunching => {
            let symmetric = |(_, _, f): (&str, &str, UdpFacts)| f.mapping != EndpointIndependent;
            let strict = |(_, _, f): (&str, &str, UdpFacts)| f.filtering == AddressAndPortDependent;
            let hard = |a, b| symmetric(a) && (symmetric(b) || strict(b));
            (hard(pair[0], pair[1]) || hard(pair[1], pair[0])).then(|| {
                "no hole can be punched where one side's port is another for every peer and the \
                 other side lets in only the port it sent to; there is no relay"
                    .to_owned()
            })
        }
    }
}

/// Why packets from one site do not arrive at the other's configured endpoint, if they do not.
fn refused(
    (from, from_kind, from_facts): (&str, &str, UdpFacts),
    (to, to_kind, to_facts): (&str, &str, UdpFacts),
) -> Option<String> {
    if !to_facts.preserved {
        return Some(format!(
            "{to}'s gateway ({to_kind}) maps its port to another, unknown to {from}"
        ));
    }
    if to_facts.filtering == AddressAndPortDependent && !from_facts.preserved {
        return Some(format!(
            "{to}'s gateway ({to_kind}) admits only the endpoint that {to} was told, and {from}'s \
             gateway ({from_kind}) sends from another port"
        ));
    }
    None
}

fn failure(stage: &'static str, machine: Option<&str>, reason: impl ToString) -> Failure {
    Failure { stage, machine: machine.map(str::to_owned), reason: reason.to_string() }
}

fn first_line(error: &DriveError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// What is written into a field.
pub fn grid_field(cell: &CellRecord) -> String {
    let seconds = |name: &str| {
        let metric = cell.metrics.iter().find(|metric| metric.name == name)?;
        Some(metric.value / 1e3)
    };
    let mut text = match (&cell.outcome, cell.path) {
        (Outcome::Ok {}, results::Path::Relayed) => "relayed".to_owned(),
        (Outcome::Ok {}, results::Path::Direct) => "direct".to_owned(),
        (Outcome::Ok {}, results::Path::Unknown) => "connected".to_owned(),
        (Outcome::Unsupported { .. }, _) => return "–".to_owned(),
        (outcome, _) => return outcome.word().to_owned(),
    };
    let direct = seconds("direct-after");
    if direct.is_some() {
        text = "relayed".to_owned();
    }
    // Writing to a String does not fail.
    if let Some(after) = seconds("time") {
        let _ = write!(text, " {after:.1} s");
    }
    if let Some(after) = direct {
        let _ = write!(text, ", direct {after:.1} s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::gateway;

    fn facts(kind: &str) -> Option<UdpFacts> {
        nat_proof::facts_of(&gateway::kind(kind).unwrap().gateway()).udp
    }

    fn reachable(claims: &Claims, alice: &str, bob: &str) -> bool {
        obstacle(claims, (alice, facts(alice)), (bob, facts(bob))).is_none()
    }

    #[test]
    fn configured_endpoints_reach_where_one_side_keeps_its_port_and_lets_the_other_in() {
        let claims = Claims {
            encryption: true,
            nat_traversal: NatTraversal::None,
            relay: false,
            ipv6_underlay: true,
        };
        for (alice, bob, expected) in [
            ("none", "symmetric", true),
            ("home", "home", true),
            ("home", "symmetric", false),
            ("restricted-cone", "symmetric", true),
            ("full-cone", "cgnat", true),
            ("home", "cgnat", false),
            ("symmetric", "symmetric", false),
            ("none", "udp-blocked", false),
        ] {
            assert_eq!(reachable(&claims, alice, bob), expected, "{alice} {bob}");
            assert_eq!(reachable(&claims, bob, alice), expected, "{bob} {alice}");
        }
    }

    #[test]
    fn every_pair_of_kinds_has_a_name_that_files_can_have() {
        for alice in gateway::KINDS {
            for bob in gateway::KINDS {
                let scenario = grid_scenario(alice.name, bob.name).unwrap();
                assert_eq!(results::check_name(&scenario.name), Ok(()));
            }
        }
    }
}
