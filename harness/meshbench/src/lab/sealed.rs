//! Sealed machines: their guests, their QEMU, their templates.

use std::path::PathBuf;
use std::sync::Arc;

use super::guests::{Guests, fabric_software};
use super::{Host, Lab, LabError, network};
use crate::blocking::blocking;
use crate::fabric::Scenario;
use crate::guest::{GuestImage, Qemu};
use crate::host;
use crate::machine::sealed::{SealedSpec, SealedTemplate};
use crate::machine::{Accelerator, Verdict};
use crate::module::spec::Module;
use crate::protocol::sealed::Task;
use crate::results::Clock;

/// Memory of a sealed machine in MiB, and of it with each member that it has. Only what is touched costs anything.
const MEMORY: u32 = 896;
const MEMBER_MEMORY: u32 = 96;

/// The first major version whose machines of virtual time repeat: of 7.2's, two of three were others by microseconds.
const OLDEST_QEMU: u32 = 10;

/// Members that the template of such a cluster has: rounded up, so that few templates serve many.
pub(crate) fn sealed_members(scenario: &Scenario, module: &Module) -> usize {
    network(scenario, module, 0).cards().next_power_of_two().max(2)
}

fn memory(members: usize) -> u32 {
    MEMORY + MEMBER_MEMORY * u32::try_from(members).unwrap_or(u32::MAX)
}

/// Memory that such a cluster may touch in virtual time, in MiB.
fn sealed_mib(scenario: &Scenario, module: &Module) -> u32 {
    memory(sealed_members(scenario, module))
}

/// How many clusters in virtual time this host has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// So many at once; at least one.
    pub clusters: usize,
    /// Memory that was free, in MiB; 0 if the host does not tell.
    pub free_mib: u64,
}

/// So many of the clusters that were asked for have room in so much free memory: at least one.
fn at_once(asked: usize, free_mib: u64, each_mib: u64) -> usize {
    // What is not known forbids nothing.
    let room = if free_mib == 0 { asked as u64 } else { free_mib / each_mib.max(1) };
    asked.min(usize::try_from(room).unwrap_or(asked)).max(1)
}

impl Lab {
    /// How many clusters in virtual time may run at once, whichever of these they are: what the settings say, or
    /// fewer where memory is short now.
    pub fn sealed_room<'p>(
        &self,
        pairs: impl IntoIterator<Item = (&'p Scenario, &'p Module)>,
    ) -> Room {
        let each = pairs.into_iter().map(|(scenario, module)| sealed_mib(scenario, module)).max();
        let free_mib = host::free_memory_mib();
        let clusters = at_once(self.clusters(), free_mib, u64::from(each.unwrap_or(1)));
        Room { clusters, free_mib }
    }

    /// Builds the guests of these modules and brings the QEMU of sealed machines, each at most once.
    ///
    /// # Errors
    /// As [`Lab::prepare`].
    pub async fn prepare_sealed(&self, modules: &[Arc<Module>]) -> Result<Host, LabError> {
        let cache = self.cache()?;
        Guests::new(&self.settings, &cache)?.check_tools(modules, Clock::Virtual).await?;
        let qemu = self.sealed_qemu().await?;
        for module in modules {
            self.sealed_image(module).await?;
        }
        let reason = "virtual time counts instructions".to_owned();
        let verdict = Verdict { accelerator: Accelerator::Tcg, reason };
        Ok(Host { verdict, qemu_version: qemu.version().to_owned() })
    }

    /// The program that works inside sealed machines.
    ///
    /// # Errors
    /// The settings name none.
    pub fn runner(&self) -> Result<&'static [u8], LabError> {
        self.settings.runner.ok_or(LabError::NoRunner)
    }

    /// The template of sealed machines for this many members of a module, on which this was done; made if it is
    /// missing.
    ///
    /// # Errors
    /// As [`Lab::prepare_sealed`], or a machine that does not come up.
    pub async fn sealed(
        &self,
        module: &Module,
        members: usize,
        preparation: &Task,
    ) -> Result<SealedTemplate, LabError> {
        let (qemu, image) = (self.sealed_qemu().await?, self.sealed_image(module).await?);
        let spec = SealedSpec::new(qemu, image, memory(members));
        let templates = self.cache()?.join("templates");
        let progress = self.settings.progress.clone();
        Ok(SealedTemplate::get_telling(&spec, preparation, &templates, progress).await?)
    }

    /// The QEMU of sealed machines that came with their guests; none where the settings name one.
    pub(crate) fn brought_qemu(&self) -> Option<&Qemu> {
        self.qemu.get().filter(|_| self.settings.qemu.is_none())
    }

    async fn sealed_qemu(&self) -> Result<Qemu, LabError> {
        let cache = self.cache()?;
        let opened = self.qemu.get_or_try_init(async || match &self.settings.qemu {
            Some(program) => {
                let program = program.clone();
                Ok(blocking(move || Qemu::own(&program)).await?)
            }
            None => Guests::new(&self.settings, &cache)?.qemu().await,
        });
        let qemu = opened.await.cloned()?;
        if is_too_old(qemu.release()) {
            let (has, oldest) = (qemu.release().to_owned(), OLDEST_QEMU);
            return Err(LabError::OldQemu { has, oldest });
        }
        Ok(qemu)
    }

    /// One image for the network and a module's members: they share a machine.
    async fn sealed_image(&self, module: &Module) -> Result<Arc<GuestImage>, LabError> {
        let cache = self.cache()?;
        // Held while it is built: nobody else shall build the same.
        let mut images = self.sealed_images.lock().await;
        if let Some(image) = images.get(&*module.name) {
            return Ok(image.clone());
        }
        let image = Guests::new(&self.settings, &cache)?.sealed(module).await?;
        images.insert(module.name.to_string(), image.clone());
        Ok(image)
    }

    /// The guests of sealed machines that were made so far, by module.
    pub(crate) async fn sealed_guests(
        &self,
    ) -> std::collections::BTreeMap<String, Arc<GuestImage>> {
        self.sealed_images.lock().await.clone()
    }

    pub(super) fn cache(&self) -> Result<PathBuf, LabError> {
        if let Some(reason) = self.unreadable.clone() {
            return Err(LabError::Environment { variable: super::GUESTS, reason });
        }
        let cache = self.settings.cache.clone().or_else(super::default_cache);
        let cache = cache.ok_or(LabError::NoCache)?;
        // QEMU and mmdebstrap run in other directories.
        std::path::absolute(&cache)
            .map_err(|source| LabError::Unreadable { path: cache.clone(), source })
    }
}

impl Guests<'_> {
    async fn qemu(&self) -> Result<Qemu, LabError> {
        let debian = self.debian();
        Ok(blocking(move || debian.qemu()).await?)
    }

    async fn sealed(&self, module: &Module) -> Result<Arc<GuestImage>, LabError> {
        if let Some(path) = self.finished(&module.name) {
            return Ok(Arc::new(crate::guest::load(path)?));
        }
        let software = self.software_of(Some(module))?;
        let fabric = [fabric_software()];
        self.build(fabric.into_iter().chain(software).chain(self.of_workloads()).collect()).await
    }
}

/// Whether a release is known to be older than virtual time can be measured with.
fn is_too_old(release: &str) -> bool {
    let major = release.split('.').next().and_then(|number| number.parse::<u32>().ok());
    major.is_some_and(|major| major < OLDEST_QEMU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_whose_machines_do_not_repeat_is_too_old() {
        assert!(is_too_old("7.2.22") && is_too_old("9.2.0"));
        assert!(!is_too_old("10.0.13") && !is_too_old("11.1.0"));
        assert!(!is_too_old(""), "one that does not tell is tried");
    }

    #[test]
    fn fewer_clusters_run_at_once_where_memory_is_short_and_one_always() {
        assert_eq!(at_once(8, 64_000, 1_000), 8);
        assert_eq!(at_once(8, 3_500, 1_000), 3);
        assert_eq!(at_once(8, 500, 13_000), 1);
        assert_eq!(at_once(8, 0, 1_000), 8, "a host that does not tell forbids nothing");
    }
}
