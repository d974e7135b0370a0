use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Lab, LabError, Settings};
use crate::blocking::blocking;
use crate::file;
use crate::guest::debian::{Debian, ModuleSoftware};
use crate::guest::{self, GuestImage, tools};
use crate::hash;
use crate::module::spec::{INTERNAL, Module};
use crate::results::{BinaryRecord, Clock};
use crate::workload::Workload;

/// Finished guests, and the provider of the others. Building blocks for minutes, on a thread for that.
pub(super) struct Guests<'a> {
    settings: &'a Settings,
    cache: &'a Path,
    agent: Arc<[u8]>,
}

impl<'a> Guests<'a> {
    pub(super) fn new(settings: &'a Settings, cache: &'a Path) -> Result<Self, LabError> {
        Ok(Self { settings, cache, agent: agent(settings)? })
    }

    /// All that is missing at once, before minutes are spent on building: programs of the host, and those of modules that
    /// nothing provides. Who builds nothing needs nothing for it.
    pub(super) async fn check_tools(
        &self,
        modules: &[Arc<Module>],
        clock: Clock,
    ) -> Result<(), LabError> {
        self.all_provided(self.unfinished(modules))?;
        let (wanted, debian) = (self.wanted(modules, clock)?, self.debian());
        let progress = self.settings.progress.clone();
        blocking(move || {
            let mut needed = tools::MACHINES.to_vec();
            if !wanted.iter().all(|one| debian.has(one)) {
                needed.extend(tools::DEBIAN);
            }
            Ok(guest::install_missing(&needed, progress.as_ref())?)
        })
        .await
    }

    /// The software of each image that is not finished.
    fn wanted(
        &self,
        modules: &[Arc<Module>],
        clock: Clock,
    ) -> Result<Vec<Vec<ModuleSoftware>>, LabError> {
        let mut wanted = Vec::new();
        if clock == Clock::Real && self.finished(INTERNAL).is_none() {
            wanted.extend([vec![fabric_software()], self.of_workloads().collect()]);
        }
        for module in self.unfinished(modules) {
            let own = self.software_of(Some(module))?.into_iter().chain(self.of_workloads());
            wanted.push(match clock {
                Clock::Real => own.collect(),
                Clock::Virtual => std::iter::once(fabric_software()).chain(own).collect(),
            });
        }
        Ok(wanted)
    }

    /// Those whose guests have to be made.
    fn unfinished<'m>(&self, modules: &'m [Arc<Module>]) -> impl Iterator<Item = &'m Module> {
        modules
            .iter()
            .filter(|module| self.finished(&module.name).is_none())
            .map(|module| &**module)
    }

    /// The fabric's guest: that of `internal`, with what gateways run.
    pub(super) async fn fabric(&self) -> Result<Arc<GuestImage>, LabError> {
        match self.settings.guests.get(INTERNAL) {
            Some(path) => Ok(Arc::new(guest::load(path)?)),
            None => self.build(vec![fabric_software()]).await,
        }
    }

    /// The guest of a module's members.
    pub(super) async fn image(
        &self,
        name: &str,
        module: Option<&Module>,
    ) -> Result<Arc<GuestImage>, LabError> {
        if let Some(path) = self.finished(name) {
            return Ok(Arc::new(guest::load(path)?));
        }
        let software = self.software_of(module)?.into_iter().chain(self.of_workloads());
        self.build(software.collect()).await
    }

    /// What members have for what is measured, a layer a workload, so that layers are shared among runs.
    pub(super) fn of_workloads(&self) -> impl Iterator<Item = ModuleSoftware> {
        let mut workloads = self.settings.workloads.clone();
        workloads.sort();
        workloads.dedup();
        let needs = |workload: &Workload| !workload.spec().software.debian.is_empty();
        workloads.into_iter().filter(needs).map(|workload| ModuleSoftware {
            name: format!("for-{}", workload.name()),
            apt: workload.spec().software.debian.iter().map(ToString::to_string).collect(),
            ..ModuleSoftware::default()
        })
    }

    /// What the settings name as a module's guest.
    pub(super) fn finished(&self, name: &str) -> Option<&PathBuf> {
        self.settings.guests.get(name)
    }

    pub(super) async fn build(
        &self,
        software: Vec<ModuleSoftware>,
    ) -> Result<Arc<GuestImage>, LabError> {
        let debian = self.debian();
        Ok(Arc::new(blocking(move || debian.image(&software)).await?))
    }

    pub(super) fn debian(&self) -> Debian {
        let Settings { refresh, progress, .. } = self.settings.clone();
        Debian::new(self.cache, &self.agent).refresh(refresh).progress(progress)
    }

    /// What a module's members have beyond the base.
    pub(super) fn software_of(
        &self,
        module: Option<&Module>,
    ) -> Result<Option<ModuleSoftware>, LabError> {
        let software = module.filter(|module| module.name != INTERNAL);
        software.map(|module| self.software(module)).transpose()
    }

    /// Refuses modules with programs that nothing provides.
    fn all_provided<'m>(
        &self,
        modules: impl IntoIterator<Item = &'m Module>,
    ) -> Result<(), LabError> {
        let given = |name: &&String| self.settings.binaries.contains_key(*name);
        let lacking = modules.into_iter().filter_map(|module| {
            let absent = module.spec.software.debian.missing_programs().into_iter();
            let programs: Vec<String> = absent.filter(|name| !given(name)).cloned().collect();
            (!programs.is_empty()).then(|| (module.name.to_string(), programs))
        });
        let modules: BTreeMap<_, _> = lacking.collect();
        if modules.is_empty() { Ok(()) } else { Err(LabError::NoSource { modules }) }
    }

    /// What the Debian provider installs for a module.
    fn software(&self, module: &Module) -> Result<ModuleSoftware, LabError> {
        self.all_provided([module])?;
        let debian = &module.spec.software.debian;
        let binaries = &self.settings.binaries;
        let replaced = debian.binaries.iter();
        let replaced =
            replaced.filter_map(|name| Some((name.clone(), binaries.get(name)?.clone())));
        Ok(ModuleSoftware {
            name: module.name.to_string(),
            apt: debian.apt.clone(),
            cargo: debian.cargo.clone(),
            go: debian.go.clone(),
            binaries: replaced.collect(),
        })
    }
}

impl Lab {
    /// The programs that a module runs in place of packaged ones, by their content.
    ///
    /// # Errors
    /// A program that cannot be read.
    pub(crate) async fn replaced(&self, module: &Module) -> Result<Vec<BinaryRecord>, LabError> {
        let programs = &module.spec.software.debian.binaries;
        let given = self.settings.binaries.iter().filter(|(name, _)| programs.contains(name));
        let given: Vec<_> = given.map(|(name, path)| (name.clone(), path.clone())).collect();
        let record = |(name, path): (String, PathBuf)| match std::fs::read(&path) {
            Ok(program) => Ok(BinaryRecord { name, sha256: hash::sha256(&program) }),
            Err(source) => Err(LabError::Unreadable { path, source }),
        };
        blocking(move || given.into_iter().map(record).collect()).await
    }
}

impl Lab {
    /// The archive that Debian guests are made from, fit to be published; absent where none was made.
    ///
    /// # Errors
    /// As [`Lab::prepare`].
    pub(crate) async fn debian_mirror(&self) -> Result<Option<String>, LabError> {
        let cache = self.cache()?;
        let debian = Guests::new(&self.settings, &cache)?.debian();
        blocking(move || Ok(debian.mirror())).await
    }
}

/// What the fabric and its guest are called.
pub(super) const FABRIC: &str = "fabric";

/// What the fabric's guest has beyond the base: the server of gateways that grant port forwards, the translator of
/// those that have only IPv6, and the server of names.
pub fn fabric_software() -> ModuleSoftware {
    ModuleSoftware {
        name: FABRIC.into(),
        apt: vec!["dnsmasq-base".into(), "miniupnpd-nftables".into(), "tayga".into()],
        ..ModuleSoftware::default()
    }
}

/// The agent that guests get: the one named, else the one that the library carries.
fn agent(settings: &Settings) -> Result<Arc<[u8]>, LabError> {
    if let Some(path) = &settings.agent {
        let read = file::read(path);
        let failed = |source| LabError::Agent { path: path.clone(), source };
        return Ok(read.map_err(failed)?.into());
    }
    #[cfg(feature = "bundled-agent")]
    return Ok(crate::AGENT.into());
    #[cfg(not(feature = "bundled-agent"))]
    Err(LabError::NoAgent)
}
