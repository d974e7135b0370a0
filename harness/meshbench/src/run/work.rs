use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::event::JobEvents;
use super::proved::Proved;
use super::schedule::Job;
use crate::cluster::{Cluster, Member};
use crate::fabric::Scenario;
use crate::module::drive::{Connected, Deployment};
use crate::module::spec::Module;
use crate::results::Clock;
use crate::workload::Workload;

/// What a job is of.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) job: &'a Job,
    pub(crate) module: &'a Arc<Module>,
    pub(crate) scenario: &'a Arc<Scenario>,
    /// What to measure; what was measured before is not among it.
    pub(crate) workloads: &'a [Workload],
    /// Seed of the network.
    pub(crate) seed: u64,
    pub(crate) quick: bool,
    pub(crate) clock: Clock,
    /// The date that records bear, if it is not to be that of the host.
    pub(crate) date: Option<SystemTime>,
    /// The result directory, where evidence of failures is kept; absent to keep none.
    pub(crate) results: Option<&'a Path>,
    /// The networks that the run has proved.
    pub(crate) proved: &'a Proved,
    pub(crate) events: JobEvents,
}

/// What a finished job tells besides its cells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Learned {
    /// The software's version, as it tells itself.
    pub(crate) version: Option<String>,
    /// Where the guests' kernel takes the time from.
    pub(crate) clock_source: Option<String>,
}

impl Learned {
    /// What a cluster tells before anything runs on it: where its kernels take the time from, as the fabric's says.
    pub(crate) async fn of(cluster: &Cluster) -> Self {
        Self { clock_source: cluster.fabric().clock_source().await.ok(), version: None }
    }
}

/// A module on a cluster, all but its initiator running.
pub(crate) struct Deployed<'a> {
    pub(crate) deployment: Deployment,
    pub(crate) from: &'a Member,
    pub(crate) to: &'a Member,
}

/// An overlay over which a packet has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) connected: Connected,
    pub(crate) begun: Instant,
}
