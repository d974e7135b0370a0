use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{default_cache, shipped};
use crate::fabric::{Scenario, ScenarioError};
use crate::guest::GuestError;
use crate::module::spec::{self, INTERNAL, Module};
use crate::name;
use crate::workload::Workload;

/// The modules and scenarios of a folder that holds `modules/` and `checks/`.
#[derive(Debug, Clone)]
pub struct Catalogue {
    root: PathBuf,
    shipped: bool,
}

/// Why something is not in a catalogue, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// There is no such folder.
    #[error("{0}")]
    NoRoot(String),
    /// Nothing has that name.
    #[error("there is no {what} `{name}`")]
    Unknown {
        /// Module or scenario.
        what: &'static str,
        /// As it was given.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A module that cannot be used.
    #[error(transparent)]
    Module(#[from] spec::Error),
    /// A scenario that cannot be used.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Those that the library carries cannot be unpacked.
    #[error("cannot unpack the modules and scenarios that belong to meshbench: {0}")]
    Shipped(#[from] GuestError),
    /// The folder cannot be listed.
    #[error("cannot list {}: {source}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

impl CatalogueError {
    /// What to do about it, where that is known.
    pub fn advice(&self) -> Option<String> {
        let Self::Unknown { name, known, .. } = self else { return None };
        Some(match name::nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", known.join(", ")),
        })
    }
}

impl Catalogue {
    /// The folder that `MESHBENCH_ROOT` names, else the nearest one from here upwards, else what this library
    /// carries, unpacked in the [`default_cache`].
    ///
    /// # Errors
    /// `MESHBENCH_ROOT` is no such folder, or nothing can be unpacked.
    pub fn find() -> Result<Self, CatalogueError> {
        Self::find_with(default_cache().as_deref())
    }

    /// As [`Catalogue::find`], with another cache.
    ///
    /// # Errors
    /// As [`Catalogue::find`].
    pub fn find_with(cache: Option<&Path>) -> Result<Self, CatalogueError> {
        if let Some(root) = env::var_os("MESHBENCH_ROOT").filter(|root| !root.is_empty()) {
            return Self::at(Path::new(&root));
        }
        let here = env::current_dir().unwrap_or_default();
        if let Some(root) = here.ancestors().find(|dir| is_root(dir)) {
            return Ok(Self { root: root.to_owned(), shipped: false });
        }
        let nowhere =
            "no modules/ and checks/ here or above, and no cache to unpack meshbench's own in";
        Self::shipped(cache.ok_or_else(|| CatalogueError::NoRoot(nowhere.to_owned()))?)
    }

    /// What this library carries, unpacked below `cache`.
    ///
    /// # Errors
    /// It cannot be written there.
    pub fn shipped(cache: &Path) -> Result<Self, CatalogueError> {
        Ok(Self { root: shipped::unpacked(cache)?, shipped: true })
    }

    /// Whether it is what the library carries, where nothing of the user's belongs.
    pub fn is_shipped(&self) -> bool {
        self.shipped
    }

    /// This folder's.
    ///
    /// # Errors
    /// It holds no `modules/` and `checks/`.
    pub fn at(root: &Path) -> Result<Self, CatalogueError> {
        if is_root(root) {
            return Ok(Self { root: root.to_owned(), shipped: false });
        }
        Err(CatalogueError::NoRoot(format!("{} has no modules/ and checks/", root.display())))
    }

    /// Where the modules are.
    pub fn modules_dir(&self) -> PathBuf {
        self.root.join("modules")
    }

    /// The module of that name.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub fn module(&self, name: &str) -> Result<Module, CatalogueError> {
        let known = spec::list(&self.modules_dir())?;
        if !known.iter().any(|other| other == name) {
            return Err(CatalogueError::Unknown { what: "module", name: name.to_owned(), known });
        }
        Ok(spec::load(&self.modules_dir(), name)?)
    }

    /// All modules, sorted.
    ///
    /// # Errors
    /// One cannot be used.
    pub fn modules(&self) -> Result<Vec<Module>, CatalogueError> {
        Ok(spec::load_all(&self.modules_dir())?)
    }

    /// These modules and `internal`, the wire, as a run wants them: sorted, each once.
    ///
    /// # Errors
    /// As [`Catalogue::module`].
    pub fn with_internal(&self, names: &[&str]) -> Result<Vec<Arc<Module>>, CatalogueError> {
        let mut names: Vec<&str> = names.iter().copied().chain([INTERNAL]).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| self.module(name).map(Arc::new)).collect()
    }

    /// Names of all scenarios, sorted.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn scenario_names(&self) -> Result<Vec<String>, CatalogueError> {
        let path = self.root.join("checks");
        let failed = |source| CatalogueError::List { path: path.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.extend(name.to_string_lossy().strip_suffix(".toml").map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    /// The scenario of that name.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub fn scenario(&self, name: &str) -> Result<Scenario, CatalogueError> {
        let known = self.scenario_names()?;
        if !known.iter().any(|other| other == name) {
            return Err(CatalogueError::Unknown { what: "scenario", name: name.to_owned(), known });
        }
        let workloads: Vec<_> = Workload::all().iter().map(|workload| workload.name()).collect();
        let file = self.root.join("checks").join(format!("{name}.toml"));
        Ok(Scenario::load(&file, &workloads)?)
    }
}

fn is_root(dir: &Path) -> bool {
    dir.join("modules").is_dir() && dir.join("checks").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_with_what_may_have_been_meant() {
        let catalogue = Catalogue::find().unwrap();
        let error = catalogue.module("wiregaurd").unwrap_err();
        assert_eq!(error.to_string(), "there is no module `wiregaurd`");
        assert_eq!(error.advice().as_deref(), Some("did you mean `wireguard`?"));
        let error = catalogue.scenario("zzzzzzzzzz").unwrap_err();
        assert!(error.advice().unwrap().contains("home-dsl"), "{error}");
    }

    #[test]
    fn a_run_has_the_wire_and_each_module_once() {
        let catalogue = Catalogue::find().unwrap();
        let modules = catalogue.with_internal(&["wireguard", "nebula", "wireguard"]).unwrap();
        let names: Vec<_> = modules.iter().map(|module| module.name.to_string()).collect();
        assert_eq!(names, ["internal", "nebula", "wireguard"]);
    }
}
