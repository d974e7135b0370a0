//! Where modules and scenarios are found, and where things are kept.

use std::path::PathBuf;
use std::sync::Arc;

use meshbench::fabric::Scenario;
use meshbench::grid::grid_scenario_named;
use meshbench::lab::{Catalogue, CatalogueError};
use meshbench::module::spec::Module;
use meshbench::name;

use crate::args::Common;
use crate::error::Failure;

/// The folders that a command works with.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// Modules and scenarios.
    pub catalogue: Catalogue,
    /// Guests, templates and verdicts.
    pub cache: PathBuf,
}

impl Workspace {
    /// Finds the folders.
    pub fn find(common: &Common) -> Result<Self, Failure> {
        let cache =
            common.cache.clone().or_else(meshbench::lab::default_cache).ok_or_else(|| {
                Failure::usage(
                    "there is no place for guests: neither HOME nor XDG_CACHE_HOME is set",
                )
                .help("name one with --cache DIR")
            })?;
        let cache = std::path::absolute(&cache).map_err(Failure::usage)?;
        let catalogue = match &common.root {
            Some(root) => Catalogue::at(root),
            None => Catalogue::find_with(Some(&cache)),
        };
        let catalogue = catalogue.map_err(|error| {
            let failure = Failure::usage(&error);
            if common.root.is_some() {
                failure
            } else {
                failure.help("name their folder with --root DIR")
            }
        })?;
        Ok(Self { catalogue, cache })
    }

    /// The folder of modules.
    pub fn modules_dir(&self) -> PathBuf {
        self.catalogue.modules_dir()
    }

    /// The module of that name.
    pub fn module(&self, name: &str) -> Result<Arc<Module>, Failure> {
        self.catalogue.module(name).map(Arc::new).map_err(failure)
    }

    /// All modules.
    pub fn modules(&self) -> Result<Vec<Arc<Module>>, Failure> {
        let modules = self.catalogue.modules().map_err(failure)?;
        Ok(modules.into_iter().map(Arc::new).collect())
    }

    /// Names of all scenarios, sorted.
    pub fn scenario_names(&self) -> Result<Vec<String>, Failure> {
        self.catalogue.scenario_names().map_err(failure)
    }

    /// The scenario of that name, or the field of the NAT grid.
    pub fn scenario(&self, name: &str) -> Result<Arc<Scenario>, Failure> {
        let found = self.catalogue.scenario(name).map_err(failure);
        found.or_else(|error| grid_scenario_named(name).ok_or(error)).map(Arc::new)
    }
}

fn failure(error: CatalogueError) -> Failure {
    let advice = error.advice();
    let failure = Failure::usage(error);
    advice.into_iter().fold(failure, Failure::help)
}

/// The error for a name that is not there, with the nearest that is.
pub fn unknown(what: &str, name: &str, names: &[String]) -> Failure {
    let failure = Failure::usage(format!("there is no {what} `{name}`"));
    match name::nearest(name, names) {
        Some(near) => failure.help(format!("did you mean `{near}`?")),
        None => failure.help(format!("there are: {}", names.join(", "))),
    }
}
