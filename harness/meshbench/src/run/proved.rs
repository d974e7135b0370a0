//! Proof of a job's network: measured once in a run, and only looked at where it is met again.

use std::sync::{Mutex, PoisonError};

use super::cell::{Failure, Proof};
use super::event::JobEvents;
use super::network::{link_record, nat_check};
use super::{Stage, Warning};
use crate::cluster::Cluster;
use crate::cluster::proof::{Effort, Measured, Probed, Probing, ProofError};
use crate::fabric::SiteLink;
use crate::protocol::Namespace;
use crate::results::{LinkRecord, NatCheck};

/// What was proved in a run: links, and gateways. A VPN's gateways may be others than those of the bare wire, over the
/// same links.
#[derive(Debug, Default)]
pub(crate) struct Proved {
    links: Known<Vec<SiteLink>, Vec<LinkRecord>>,
    /// By what the fabric was told, but for what follows from the seed.
    gateways: Known<Vec<Namespace>, (Vec<NatCheck>, Vec<Probed>)>,
}

#[derive(Debug)]
struct Known<K, V>(Mutex<Vec<(K, V)>>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq, V: Clone> Known<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(other, _)| other == key).map(|(_, value)| value.clone())
    }

    fn keep(&self, key: K, value: V) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(other, _)| *other != key);
        known.push((key, value));
    }
}

/// Measures links and gateways, and says whether the network is what the scenario says. Of links that were found to be
/// so in this run it is asked only whether packets still take as long as they should, and of gateways behind such
/// links nothing.
pub(crate) async fn prove(
    cluster: &Cluster,
    effort: Effort,
    proved: &Proved,
    events: &JobEvents,
) -> (Proof, Result<Vec<Probed>, Failure>) {
    let (site_links, told) = (cluster.plan().site_links(), cluster.plan().told());
    let mut proof = Proof::default();
    let known = known_links(cluster, &site_links, proved).await;
    let stand = known.is_some();
    match known {
        Some(links) => {
            let earlier = |link| LinkRecord { earlier: true, ..link };
            proof.links = links.into_iter().map(earlier).collect();
        }
        None => {
            let (links, verdict) = cluster.prove_links(effort).await;
            proof.links = links.iter().map(link_record).collect();
            warn_of_unproved(&links, events);
            if let Err(error) = verdict {
                return (proof, Err(differs(&error)));
            }
            proved.links.keep(site_links, proof.links.clone());
        }
    }
    if let Some((nats, probed)) = proved.gateways.get(&told).filter(|_| stand) {
        proof.nats = nats;
        return (proof, Ok(probed));
    }
    let (nats, probed) = prove_gateways(cluster).await;
    proof.renew(nats);
    if let Ok(probed) = &probed {
        proved.gateways.keep(told, (proof.nats.clone(), probed.clone()));
    }
    (proof, probed)
}

/// What was measured of these links in this run, if they still are so.
async fn known_links(
    cluster: &Cluster,
    links: &Vec<SiteLink>,
    proved: &Proved,
) -> Option<Vec<LinkRecord>> {
    let known = proved.links.get(links)?;
    match cluster.glance_at_links().await {
        Ok(()) => Some(known),
        Err(error) => {
            tracing::info!(%error, "the links are not what they were, and are proved again");
            None
        }
    }
}

fn warn_of_unproved(links: &[Measured], events: &JobEvents) {
    for link in links {
        if let Some(unproved) = link.unproved {
            let (site, reason) = (link.site.clone(), unproved.to_string());
            events.warn(Warning::Unproved { site, up: link.up, reason });
        }
    }
}

/// The gateways behind which somebody is now, and whether they are what the scenario says.
pub(super) async fn prove_gateways(
    cluster: &Cluster,
) -> (Vec<NatCheck>, Result<Vec<Probed>, Failure>) {
    let (probed, verdict) = cluster.prove_gateways(Probing::MEASURING).await;
    let nats = probed.iter().map(nat_check).collect();
    (nats, verdict.map(|()| probed).map_err(|error| differs(&error)))
}

fn differs(error: &ProofError) -> Failure {
    Failure::new(Stage::Proof, Some(error.machine()), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{Plan, Scenario};

    #[test]
    fn what_was_measured_last_is_what_is_known() {
        let known = Known::default();
        known.keep("home", 1);
        known.keep("home", 2);
        assert_eq!((known.get(&"home"), known.get(&"phone")), (Some(2), None));
    }

    #[test]
    fn gateways_are_known_again_whatever_the_seed_and_links_whatever_the_gateways() {
        let plan = |nat: &str, link: &str, seed: u64| {
            let site = |name: &str| {
                format!("[[site]]\nname = \"{name}\"\nnat = \"{nat}\"\nlink = \"{link}\"\n")
            };
            let text =
                format!("title = \"t\"\ndescription = \"d\"\n{}{}", site("alice"), site("bob"));
            Plan::new(&Scenario::parse("s", "s.toml", &text, &[]).unwrap(), seed)
        };
        let proved = Proved::default();
        let known = |plan: &Plan| {
            (
                proved.links.get(&plan.site_links()).is_some(),
                proved.gateways.get(&plan.told()).is_some(),
            )
        };
        let first = plan("home", "dsl", 1);
        assert_eq!(known(&first), (false, false));
        proved.links.keep(first.site_links(), Vec::new());
        proved.gateways.keep(first.told(), Default::default());
        assert_eq!(known(&plan("home", "dsl", 2)), (true, true));
        assert_eq!(known(&plan("symmetric", "dsl", 1)), (true, false));
        assert_eq!(known(&plan("home", "fibre", 1)), (false, false));
    }
}
