//! Clusters for whoever wants some: host programs, guests, an accelerator and templates are got as they are needed.
//!
//! ```no_run
//! use meshbench::lab::{Catalogue, Lab};
//! use meshbench::module::drive::Deployment;
//!
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! let (lab, catalogue) = (Lab::from_env(), Catalogue::find()?);
//! let (wireguard, homes) = (catalogue.module("wireguard")?, catalogue.scenario("home-dsl")?);
//! let cluster = lab.cluster(&homes, &wireguard, 1).await?;
//! let uptime = cluster.members()[0].machine.run(&["uptime"]).await?.text();
//! cluster.down().await;
//! # Ok(()) }
//! ```

mod blueprint;
mod catalogue;
mod error;
mod guests;
mod sealed;
mod settings;
mod shipped;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit, Semaphore};

pub(crate) use blueprint::network;
pub use blueprint::{Images, blueprint};
pub use catalogue::{Catalogue, CatalogueError};
pub use error::LabError;
pub use guests::fabric_software;
pub use sealed::Room;
pub(crate) use sealed::sealed_members;
pub use settings::{Settings, default_cache};

use crate::blocking::blocking;
use crate::cluster::Cluster;
use crate::fabric::{INITIATOR, Scenario, TARGET};
use crate::guest::{GuestError, GuestImage, Qemu};
use crate::machine::{self, Start, Templates, Verdict};
use crate::module::drive::Deployment;
use crate::module::spec::{INTERNAL, Module};
use crate::results::Clock;
use crate::workload::Workload;
use guests::{FABRIC, Guests};

/// How machines run on this host.
#[derive(Debug, Clone)]
pub struct Host {
    /// The accelerator and why.
    pub verdict: Verdict,
    /// QEMU's version line.
    pub qemu_version: String,
}

/// The variable that names finished guests.
const GUESTS: &str = "MESHBENCH_GUESTS";

/// Guests and the means to start them. Nothing is done before the first cluster is asked for; shared by
/// reference, also by tests side by side, whose clusters then take turns.
#[derive(Debug)]
pub struct Lab {
    settings: Settings,
    /// What is wrong with the guests that the environment names.
    unreadable: Option<String>,
    opened: OnceCell<Opened>,
    images: Mutex<BTreeMap<String, Arc<GuestImage>>>,
    sealed_images: Mutex<BTreeMap<String, Arc<GuestImage>>>,
    qemu: OnceCell<Qemu>,
    verified: Mutex<BTreeSet<String>>,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Opened {
    host: Host,
    cache: PathBuf,
    fabric: Arc<GuestImage>,
    templates: RwLock<Templates>,
    /// Whether it is known how machines start, which nothing changes between two measurements.
    settled: AtomicBool,
}

impl Lab {
    /// Whether all that runs on its machines is what everyone gets who names the same modules.
    pub(crate) fn is_packaged(&self) -> bool {
        let Settings { guests, binaries, qemu, .. } = &self.settings;
        guests.is_empty() && binaries.is_empty() && qemu.is_none()
    }

    /// Whether the guests that it builds have the programs of these workloads.
    ///
    /// # Errors
    /// [`LabError::NoPrograms`]: the settings do not name them.
    pub(crate) fn check_programs(
        &self,
        workloads: impl IntoIterator<Item = Workload>,
    ) -> Result<(), LabError> {
        let has = |workload: &Workload| {
            workload.spec().software.debian.is_empty() || self.settings.workloads.contains(workload)
        };
        let lacking = workloads.into_iter().filter(|workload| !has(workload));
        let workloads: Vec<String> = lacking.map(|workload| workload.name().to_owned()).collect();
        // Whoever names finished guests knows what is in them.
        if workloads.is_empty() || !self.settings.guests.is_empty() {
            return Ok(());
        }
        Err(LabError::NoPrograms { workloads })
    }

    /// A lab with these settings.
    pub fn new(settings: Settings) -> Self {
        let turns = Arc::new(Semaphore::new(settings.clusters.max(1)));
        let (images, sealed_images) = (Mutex::default(), Mutex::default());
        let (opened, qemu) = (OnceCell::new(), OnceCell::new());
        let verified = Mutex::default();
        Self { settings, unreadable: None, opened, images, sealed_images, qemu, verified, turns }
    }

    /// A lab with the user's cache (`MESHBENCH_CACHE`), and the finished guests that `MESHBENCH_GUESTS` names as a
    /// JSON object from module to `guest.json`, as Nix's `runTest` does.
    pub fn from_env() -> Self {
        Self::with_guests(std::env::var(GUESTS).ok().as_deref())
    }

    /// Without a way to fail, since it stands in fixtures: what is wrong is told as soon as a guest is needed.
    fn with_guests(json: Option<&str>) -> Self {
        match json.map(serde_json::from_str).transpose() {
            Ok(guests) => {
                Self::new(Settings { guests: guests.unwrap_or_default(), ..Settings::default() })
            }
            Err(error) => {
                let unreadable =
                    Some(format!("{error}; it is an object from module to guest.json"));
                Self { unreadable, ..Self::new(Settings::default()) }
            }
        }
    }

    /// Installs or names what the host lacks, builds the guests of these modules, tries the accelerator. All of
    /// it is done at most once.
    ///
    /// # Errors
    /// As [`LabError`] says; a missing program's error names the command that installs it.
    pub async fn prepare(&self, modules: &[Arc<Module>]) -> Result<&Host, LabError> {
        let cache = self.cache()?;
        Guests::new(&self.settings, &cache)?.check_tools(modules, Clock::Real).await?;
        let opened = self.opened().await?;
        for module in modules {
            self.image(opened, module).await?;
        }
        Ok(&opened.host)
    }

    /// How machines run here.
    ///
    /// # Errors
    /// As [`Lab::prepare`].
    pub async fn host(&self) -> Result<&Host, LabError> {
        self.prepare(&[]).await
    }

    /// How machines are started: forked, or booted where no template can be had.
    ///
    /// # Errors
    /// As [`Lab::prepare`].
    pub async fn start(&self) -> Result<Start, LabError> {
        Ok(self.templates().await?.start().clone())
    }

    /// The means to start machines one by one.
    ///
    /// # Errors
    /// As [`Lab::prepare`].
    pub async fn templates(&self) -> Result<Templates, LabError> {
        let opened = self.opened().await?;
        Ok(opened.templates.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The guests of a module, made if need be.
    ///
    /// # Errors
    /// As [`Lab::prepare`].
    pub async fn images(&self, module: &Module) -> Result<Images, LabError> {
        let opened = self.opened().await?;
        let member = self.image(opened, module).await?;
        Ok(Images { fabric: opened.fabric.clone(), member })
    }

    /// The guests that were made or loaded so far, by module, and that of the fabric under its own name.
    pub async fn guests(&self) -> BTreeMap<String, Arc<GuestImage>> {
        let fabric = self.opened.get().map(|opened| (FABRIC.to_owned(), opened.fabric.clone()));
        self.images.lock().await.clone().into_iter().chain(fabric).collect()
    }

    /// Compares every byte of a module's guests with what their manifest says: once each, which takes seconds.
    ///
    /// # Errors
    /// Files that are not what it says.
    pub async fn verify(&self, module: &Module) -> Result<(), GuestError> {
        let images = [self.images.lock().await.clone(), self.sealed_images.lock().await.clone()];
        let fabric = self.opened.get().map(|opened| opened.fabric.clone());
        let own = images.iter().filter_map(|images| images.get(&*module.name).cloned());
        let mut verified = self.verified.lock().await;
        for image in own.chain(fabric) {
            if verified.insert(image.manifest.nar_hash.clone()) {
                blocking(move || image.verify()).await?;
            }
        }
        Ok(())
    }

    /// Makes the templates of a cluster; says how many were made. Where none can be had, machines are booted from now
    /// on: nothing shall have been measured yet.
    ///
    /// # Errors
    /// As [`Lab::cluster`].
    pub async fn warm(&self, scenario: &Scenario, module: &Module) -> Result<usize, LabError> {
        let blueprint = blueprint(scenario, module, self.images(module).await?, 0);
        let mut templates = self.templates().await?;
        let made = blueprint.warm(&mut templates).await?;
        let opened = self.opened().await?;
        opened.settled.store(true, Ordering::Relaxed);
        if let Start::Boot(_) = templates.start() {
            *opened.templates.write().unwrap_or_else(PoisonError::into_inner) = templates;
        }
        Ok(made)
    }

    /// A running cluster: the scenario's network as this module meets it, its machines without the VPN.
    /// `seed` makes what is random in the network repeatable. Waits until another cluster is down, where no more
    /// may run at once.
    ///
    /// # Errors
    /// As [`Lab::prepare`], or a machine that does not start.
    pub async fn cluster(
        &self,
        scenario: &Scenario,
        module: &Module,
        seed: u64,
    ) -> Result<Arc<Cluster>, LabError> {
        let turn = self.turn().await;
        if !self.opened().await?.settled.load(Ordering::Relaxed) {
            self.warm(scenario, module).await?;
        }
        let blueprint = blueprint(scenario, module, self.images(module).await?, seed);
        let templates = self.templates().await?;
        let cluster = Cluster::up(&blueprint, &templates).await?;
        cluster.hold(turn);
        Ok(cluster)
    }

    /// A module on a scenario of [`Catalogue::find`], both by name: machines, network and VPN up, and the first
    /// packet between alice and bob answered. Dropping it ends the machines.
    ///
    /// # Errors
    /// As [`Lab::cluster`]; a name that is not there; a VPN that does not connect.
    pub async fn bring_up(&self, module: &str, scenario: &str) -> Result<Deployment, LabError> {
        let catalogue = blocking(Catalogue::find).await?;
        let (module, scenario) = (catalogue.module(module)?, catalogue.scenario(scenario)?);
        let cluster = self.cluster(&scenario, &module, 1).await?;
        Ok(Deployment::up(&cluster, &module, INITIATOR, TARGET).await?.0)
    }

    /// Clusters that may run at once, by the settings; in virtual time [`Lab::sealed_room`] may say fewer.
    pub fn clusters(&self) -> usize {
        self.settings.clusters.max(1)
    }

    /// The right to run a cluster, until it is dropped. [`Lab::cluster`] takes it by itself.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.turns.clone().acquire_owned().await.ok()
    }

    async fn opened(&self) -> Result<&Opened, LabError> {
        self.opened.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Opened, LabError> {
        let cache = self.cache()?;
        let guests = Guests::new(&self.settings, &cache)?;
        guests.check_tools(&[], Clock::Real).await?;
        let (fabric, plain) = (guests.fabric().await?, guests.image(INTERNAL, None).await?);
        self.images.lock().await.insert(INTERNAL.into(), plain);
        let qemu_version = machine::qemu_version().await?;
        let verdict = match self.settings.accelerator {
            Some(accelerator) => machine::insist(accelerator, &fabric).await?,
            None => machine::choose(&fabric, &cache, &qemu_version).await?,
        };
        let start = if self.settings.fork {
            Start::Fork(cache.join("templates"))
        } else {
            Start::Boot("it was asked for".into())
        };
        let templates = Templates::new(start, verdict.accelerator, qemu_version.clone())
            .progress(self.settings.progress.clone());
        let (host, templates) = (Host { verdict, qemu_version }, RwLock::new(templates));
        Ok(Opened { host, cache, fabric, templates, settled: AtomicBool::new(false) })
    }

    async fn image(&self, opened: &Opened, module: &Module) -> Result<Arc<GuestImage>, LabError> {
        // Held while it is built: nobody else shall build the same.
        let mut images = self.images.lock().await;
        if let Some(image) = images.get(&*module.name) {
            return Ok(image.clone());
        }
        let guests = Guests::new(&self.settings, &opened.cache)?;
        let image = guests.image(&module.name, Some(module)).await?;
        images.insert(module.name.to_string(), image.clone());
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::BinaryRecord;

    #[tokio::test]
    async fn guests_of_the_environment_that_nobody_can_read_are_not_passed_over() {
        let error = Lab::with_guests(Some("{\"nebula\": 3}")).prepare(&[]).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains(GUESTS) && error.contains("line 1"), "{error}");
        let given = Lab::with_guests(Some("{\"nebula\": \"/x/guest.json\"}"));
        assert_eq!(given.settings.guests["nebula"], PathBuf::from("/x/guest.json"));
    }

    #[tokio::test]
    async fn programs_that_nothing_provides_are_all_named_before_anything_is_built() {
        let catalogue = Catalogue::find().unwrap();
        let modules = ["fastd", "hyprspace", "zerotier"]
            .map(|name| Arc::new(catalogue.module(name).unwrap()));
        let cache = tempfile::tempdir().unwrap();
        let own = Some(cache.path().to_owned());
        let lab = Lab::new(Settings { cache: own, ..Settings::default() });
        for prepared in
            [lab.prepare(&modules).await.map(drop), lab.prepare_sealed(&modules).await.map(drop)]
        {
            let error = prepared.unwrap_err();
            let LabError::NoSource { modules } = &error else { panic!("{error}") };
            assert_eq!(modules.keys().collect::<Vec<_>>(), ["hyprspace", "zerotier"]);
        }
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn programs_in_place_of_packaged_ones_are_recorded_by_their_content() {
        let wireguard = Catalogue::find().unwrap().module("wireguard").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#!/bin/sh\n").unwrap();
        let given = ["wg", "nebula"].map(|name| (name.to_owned(), file.path().to_owned()));
        let lab = Lab::new(Settings { binaries: given.into(), ..Settings::default() });
        // echo '#!/bin/sh' | sha256sum
        let sha256 = "a8076d3d28d21e02012b20eaf7dbf75409a6277134439025f282e368e3305abf";
        let recorded = lab.replaced(&wireguard).await.unwrap();
        assert_eq!(recorded, [BinaryRecord { name: "wg".into(), sha256: sha256.into() }]);
        file.close().unwrap();
        assert!(lab.replaced(&wireguard).await.is_err());
    }

    #[test]
    fn a_workload_whose_programs_no_guest_would_have_is_refused_by_name() {
        let files = Workload::named("files").unwrap();
        let both = || [Workload::CONNECT, files];
        let error = Lab::new(Settings::default()).check_programs(both()).unwrap_err();
        assert!(error.to_string().contains("what files needs"), "{error}");
        let workloads = vec![files];
        let lab = Lab::new(Settings { workloads, ..Settings::default() });
        assert!(lab.check_programs(both()).is_ok());
        let guests = BTreeMap::from([("internal".to_owned(), PathBuf::from("guest.json"))]);
        let lab = Lab::new(Settings { guests, ..Settings::default() });
        assert!(lab.check_programs(both()).is_ok(), "nobody can know what is in it");
    }
}
