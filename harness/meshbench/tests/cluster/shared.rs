//! Clusters with a VPN for several tests: booted by the first, left to the next, ended a moment after the last.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use meshbench::cluster::Cluster;
use meshbench::module::drive::Deployment;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, MutexGuard};

use crate::common::{Turn, lab, module, network, shared_turn};

/// How long a cluster waits for another test.
const LINGER: Duration = Duration::from_secs(5);

/// It outlives each test, as the conversations with machines must.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// What several tests have one after the other, or two at once, each on a cluster of its own: most of what they do is to
/// wait for packets.
pub struct Shared {
    module: &'static str,
    sites: &'static str,
    places: [Mutex<Place>; 2],
}

struct Place {
    stage: Option<Stage>,
    uses: usize,
}

/// A VPN that is up, with an overlay address of bob that alice has reached.
pub struct Stage {
    pub cluster: Arc<Cluster>,
    pub deployment: Deployment,
    pub overlay: IpAddr,
    _turn: Turn,
}

impl Shared {
    pub const fn new(module: &'static str, sites: &'static str) -> Self {
        let places = [const { Mutex::const_new(Place { stage: None, uses: 0 }) }; 2];
        Self { module, sites, places }
    }

    /// Runs a test on it. A test that fails leaves a network that nobody knows: the next one gets another.
    pub fn with(&'static self, test: impl AsyncFnOnce(&Stage)) {
        RUNTIME.block_on(async {
            let (at, mut place) = self.place().await;
            let stage = match place.stage.take() {
                Some(stage) => stage,
                None => self.up().await,
            };
            test(&stage).await;
            place.stage = Some(stage);
            place.uses += 1;
            RUNTIME.spawn(self.end_unless_used(at, place.uses));
        });
    }

    /// One that nobody is at; with a cluster, if there is one.
    async fn place(&self) -> (usize, MutexGuard<'_, Place>) {
        let free = self.places.iter().map(|place| place.try_lock().ok()).enumerate();
        let mut free: Vec<_> = free.filter_map(|(at, place)| Some((at, place?))).collect();
        free.sort_by_key(|(_, place)| place.stage.is_none());
        match free.into_iter().next() {
            Some(place) => place,
            None => (0, self.places[0].lock().await),
        }
    }

    async fn up(&self) -> Stage {
        let turn = shared_turn();
        let module = module(self.module);
        let cluster = lab(true).cluster(&network(self.sites), &module, 1).await;
        let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
        let up = Deployment::up(&cluster, &module, "alice", "bob").await;
        let (deployment, connected) = up.unwrap_or_else(|error| panic!("{error}"));
        println!("{} connected after {:?}", module.name, connected.after);
        Stage { cluster, deployment, overlay: connected.target, _turn: turn }
    }

    async fn end_unless_used(&self, at: usize, uses: usize) {
        tokio::time::sleep(LINGER).await;
        let mut place = self.places[at].lock().await;
        if place.uses == uses
            && let Some(stage) = place.stage.take()
        {
            stage.cluster.down().await;
        }
    }
}
