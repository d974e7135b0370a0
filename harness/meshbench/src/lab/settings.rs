//! How guests are got and machines started.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::guest::Prepares;
use crate::machine::Accelerator;
use crate::workload::Workload;

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
    /// What will be measured: members get the programs that it needs.
    pub workloads: Vec<Workload>,
    /// The static agent for guests, where the library carries none.
    pub agent: Option<PathBuf>,
    /// The program that works inside sealed machines: what the package `meshbench-runner` carries.
    pub runner: Option<&'static [u8]>,
    /// The QEMU of sealed machines; without one, the Debian provider brings its own, the same for everyone.
    pub qemu: Option<PathBuf>,
    /// The accelerator to insist on; otherwise KVM where a trial guest runs under it, else TCG.
    pub accelerator: Option<Accelerator>,
    /// Clusters that may run at once: more than one disturb each other's figures in real time. In virtual time a run
    /// has fewer where the host has no memory for so many.
    pub clusters: usize,
    /// Told about each stage that takes time.
    pub progress: Prepares,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache: None,
            fork: true,
            refresh: false,
            guests: BTreeMap::new(),
            binaries: BTreeMap::new(),
            workloads: Vec::new(),
            agent: None,
            runner: None,
            qemu: None,
            accelerator: None,
            clusters: 1,
            progress: Arc::new(|_| ()),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Settings").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// Where guests are kept unless another place is named: `MESHBENCH_CACHE`, or the user's cache.
pub fn default_cache() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = || var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    var("MESHBENCH_CACHE").or_else(|| Some(base()?.join("meshbench")))
}
