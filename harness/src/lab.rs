//! What every user of machines needs first: host programs, guests, an accelerator, templates.
//!
//! A cluster test of your own:
//!
//! ```no_run
//! use harness::fabric::scenario::Scenario;
//! use harness::lab::{Lab, Settings};
//! use harness::module::{drive::Deployment, spec};
//!
//! #[tokio::test]
//! async fn wireguard_crosses_two_home_routers() -> Result<(), Box<dyn std::error::Error>> {
//!     let modules = [spec::load("modules".as_ref(), "wireguard")?];
//!     let scenario = Scenario::load("checks/home-dsl.toml".as_ref(), &["ping", "tcp", "connect"])?;
//!     let mut lab = Lab::open(Settings::default(), &modules).await?;
//!     let cluster = lab.cluster(&scenario, &modules[0], 1).await?;
//!     let deployment = Deployment::new(&cluster, &modules[0]).await?;
//!     let [alice, bob, ..] = cluster.members() else { panic!("two machines") };
//!     deployment.start_others(alice).await?;
//!     assert!(deployment.connect(alice, bob).await?.after.as_secs() < 10);
//!     cluster.down().await;
//!     Ok(())
//! }
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cluster::{Cluster, fabric_software};
use crate::fabric::scenario::Scenario;
use crate::guest::debian::{CargoCrate, Debian, GoProgram, ModuleSoftware, Progress};
use crate::guest::{self, GuestError, GuestImage, tools};
use crate::machine::{self, MachineError, Start, Templates, Verdict};
use crate::module::spec::{INTERNAL, Module};
use crate::plan::{self, Images};

/// How guests are got and machines started.
#[derive(Clone)]
pub struct Settings {
    /// Where guests and templates are kept; [`default_cache`] when absent.
    pub cache: Option<PathBuf>,
    /// Fork machines from templates; otherwise each is booted.
    pub fork: bool,
    /// Build guests anew, with the packages of today.
    pub refresh: bool,
    /// Finished guests by module: a `guest.json` or the directory that holds it.
    pub guests: BTreeMap<String, PathBuf>,
    /// Programs to use instead of the packaged ones, by name.
    pub binaries: BTreeMap<String, PathBuf>,
    /// Told about each stage that takes time.
    pub progress: Progress,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache: None,
            fork: true,
            refresh: false,
            guests: BTreeMap::new(),
            binaries: BTreeMap::new(),
            progress: Arc::new(|_| ()),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Settings").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// Why machines cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Host programs or guest images.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// QEMU or a machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A module whose programs must be brought along.
    #[error("{module} is in no registry that the Debian provider uses: {} must be given", programs.join(", "))]
    NoSource {
        /// The module.
        module: String,
        /// Its programs that nothing provides.
        programs: Vec<String>,
    },
    /// Neither a setting nor the environment names a place for guests.
    #[error("there is no place for guests: neither HOME nor XDG_CACHE_HOME is set")]
    NoCache,
    /// A cluster was asked for with a module that the lab was not opened for.
    #[error("the lab was not opened for {module}")]
    Unprepared {
        /// The module.
        module: String,
    },
}

/// Guests and the means to start them.
#[derive(Debug)]
pub struct Lab {
    images: BTreeMap<String, Images>,
    /// How machines start.
    pub templates: Templates,
    /// The accelerator and why.
    pub verdict: Verdict,
    /// QEMU's version line.
    pub qemu_version: String,
}

impl Lab {
    /// Installs or names what the host lacks, builds the guests of these modules, tries the accelerator.
    ///
    /// Blocks while it builds: half a minute for the first guest, minutes for what is compiled.
    ///
    /// # Errors
    /// As [`LabError`] says; a missing program's error names the command that installs it.
    pub async fn open(settings: Settings, modules: &[Module]) -> Result<Self, LabError> {
        let cache = settings.cache.clone().or_else(default_cache).ok_or(LabError::NoCache)?;
        // QEMU and mmdebstrap run in other directories.
        let cache = std::path::absolute(&cache).map_err(|source| MachineError::Host {
            machine: "host".into(),
            action: format!("find {}", cache.display()),
            source,
        })?;
        let guests = Guests { settings: &settings, provider: provider(&cache, &settings) };
        guests.check_tools(modules)?;
        let (fabric, plain) = (guests.fabric()?, guests.image(INTERNAL, None)?);
        let mut images = BTreeMap::new();
        for module in modules {
            let member = match module.name.as_str() {
                INTERNAL => plain.clone(),
                name => guests.image(name, Some(module))?,
            };
            images.insert(module.name.clone(), Images { fabric: fabric.clone(), member });
        }
        images
            .entry(INTERNAL.into())
            .or_insert_with(|| Images { fabric: fabric.clone(), member: plain });
        let qemu_version = machine::qemu_version().await?;
        let verdict = machine::choose(&fabric, &cache).await?;
        let start = if settings.fork {
            Start::Fork(cache.join("templates"))
        } else {
            Start::Boot("it was asked for".into())
        };
        let templates = Templates::new(start, verdict.accelerator, qemu_version.clone())
            .progress(settings.progress.clone());
        Ok(Self { images, templates, verdict, qemu_version })
    }

    /// The guests of a module that the lab was opened for; those of `internal` are always there.
    pub fn images(&self, module: &str) -> Option<&Images> {
        self.images.get(module)
    }

    /// The guest of the members with each module.
    pub fn guests(&self) -> impl Iterator<Item = (&str, &GuestImage)> {
        self.images.iter().map(|(name, images)| (name.as_str(), &*images.member))
    }

    /// A running cluster: the scenario's network as this module meets it, its machines without the VPN.
    /// `seed` makes what is random in the network repeatable.
    ///
    /// # Errors
    /// A module that the lab was not opened for, or a machine that does not start.
    pub async fn cluster(
        &mut self,
        scenario: &Scenario,
        module: &Module,
        seed: u64,
    ) -> Result<Cluster, LabError> {
        let unprepared = || LabError::Unprepared { module: module.name.clone() };
        let images = self.images(&module.name).ok_or_else(unprepared)?.clone();
        let blueprint = plan::blueprint(scenario, module, images, seed);
        blueprint.warm(&mut self.templates).await?;
        Ok(Cluster::up(&blueprint, &self.templates).await?)
    }
}

/// Where guests are kept unless another place is named: `MESHBENCH_CACHE`, or the user's cache.
pub fn default_cache() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = || var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    var("MESHBENCH_CACHE").or_else(|| Some(base()?.join("meshbench")))
}

fn provider(cache: &std::path::Path, settings: &Settings) -> Debian {
    Debian::new(cache, crate::AGENT).refresh(settings.refresh).progress(settings.progress.clone())
}

/// Finished guests, and the provider of the others.
struct Guests<'a> {
    settings: &'a Settings,
    provider: Debian,
}

impl Guests<'_> {
    /// All that is missing at once, before minutes are spent on building.
    fn check_tools(&self, modules: &[Module]) -> Result<(), GuestError> {
        let finished = |name: &str| self.settings.guests.contains_key(name);
        let mut needed = tools::MACHINES.to_vec();
        if !finished(INTERNAL) || modules.iter().any(|module| !finished(&module.name)) {
            needed.extend(tools::DEBIAN);
        }
        tools::install_missing(&needed, self.settings.progress.as_ref())
    }

    /// The fabric's guest: that of `internal`, with what gateways run.
    fn fabric(&self) -> Result<Arc<GuestImage>, LabError> {
        match self.settings.guests.get(INTERNAL) {
            Some(path) => Ok(Arc::new(guest::load(path)?)),
            None => Ok(Arc::new(self.provider.image(&[fabric_software()])?)),
        }
    }

    fn image(&self, name: &str, module: Option<&Module>) -> Result<Arc<GuestImage>, LabError> {
        if let Some(path) = self.settings.guests.get(name) {
            return Ok(Arc::new(guest::load(path)?));
        }
        let software = module.map(|module| self.software(module)).transpose()?;
        Ok(Arc::new(self.provider.image(software.as_slice())?))
    }

    /// What the Debian provider installs for a module.
    fn software(&self, module: &Module) -> Result<ModuleSoftware, LabError> {
        let debian = &module.spec.software.debian;
        let binaries = &self.settings.binaries;
        let absent = debian.missing_programs().into_iter();
        let programs: Vec<String> =
            absent.filter(|name| !binaries.contains_key(*name)).cloned().collect();
        if !programs.is_empty() {
            return Err(LabError::NoSource { module: module.name.clone(), programs });
        }
        let cargo = debian.cargo.iter().map(|program| CargoCrate {
            name: program.name.clone(),
            version: program.version.clone(),
            bins: program.bins.clone(),
            build_packages: program.build_packages.clone(),
        });
        let go = debian.go.iter().map(|program| GoProgram {
            package: program.package.clone(),
            version: program.version.clone(),
            bin: program.bin.clone(),
            ldflags: program.ldflags.clone(),
            cgo: program.cgo,
            tags: program.tags.clone(),
        });
        let replaced = debian.binaries.iter();
        let replaced =
            replaced.filter_map(|name| Some((name.clone(), binaries.get(name)?.clone())));
        Ok(ModuleSoftware {
            name: module.name.clone(),
            apt: debian.apt.clone(),
            cargo: cargo.collect(),
            go: go.collect(),
            binaries: replaced.collect(),
        })
    }
}
