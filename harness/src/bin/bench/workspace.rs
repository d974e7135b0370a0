//! Where modules and scenarios are found, and where things are kept.

use std::env;
use std::path::{Path, PathBuf};

use harness::fabric::scenario::Scenario;
use harness::module::spec::{self, Module};
use harness::workload::Workload;

use crate::args::Common;
use crate::error::Failure;

/// The folders that a command works with.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    /// Guests, templates and verdicts.
    pub cache: PathBuf,
}

impl Workspace {
    /// Finds the folders.
    pub fn find(common: &Common) -> Result<Self, Failure> {
        let cache = common.cache.clone().or_else(harness::lab::default_cache).ok_or_else(|| {
            Failure::usage("there is no place for guests: neither HOME nor XDG_CACHE_HOME is set")
                .help("name one with --cache DIR")
        })?;
        // QEMU and mmdebstrap run in other directories.
        let cache = std::path::absolute(&cache).map_err(Failure::usage)?;
        Ok(Self { root: find_root(common.root.as_deref())?, cache })
    }

    /// The folder of modules.
    pub fn modules_dir(&self) -> PathBuf {
        self.root.join("modules")
    }

    /// The module of that name.
    pub fn module(&self, name: &str) -> Result<Module, Failure> {
        spec::load(&self.modules_dir(), name).map_err(Failure::usage)
    }

    /// All modules.
    pub fn modules(&self) -> Result<Vec<Module>, Failure> {
        spec::load_all(&self.modules_dir()).map_err(Failure::usage)
    }

    /// Names of all scenarios, sorted.
    pub fn scenario_names(&self) -> Result<Vec<String>, Failure> {
        let dir = self.root.join("checks");
        let entries = std::fs::read_dir(&dir)
            .map_err(|e| Failure::usage(format!("cannot read {}: {e}", dir.display())))?;
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                name.strip_suffix(".toml").map(str::to_owned)
            })
            .collect();
        names.sort();
        Ok(names)
    }

    /// The scenario of that name.
    pub fn scenario(&self, name: &str) -> Result<Scenario, Failure> {
        let names = self.scenario_names()?;
        if !names.iter().any(|known| known == name) {
            return Err(unknown("scenario", name, &names));
        }
        let known: Vec<&str> = Workload::ALL.iter().map(|workload| workload.name()).collect();
        Scenario::load(&self.root.join("checks").join(format!("{name}.toml")), &known)
            .map_err(Failure::usage)
    }
}

/// The error for a name that is not there, with the nearest that is.
pub fn unknown(what: &str, name: &str, names: &[String]) -> Failure {
    let failure = Failure::usage(format!("there is no {what} `{name}`"));
    match spec::nearest(name, names) {
        Some(near) => failure.help(format!("did you mean `{near}`?")),
        None => failure.help(format!("there are: {}", names.join(", "))),
    }
}

fn find_root(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let is_root = |dir: &Path| dir.join("modules").is_dir() && dir.join("checks").is_dir();
    if let Some(dir) = given {
        let complain = || Failure::usage(format!("{} has no modules/ and checks/", dir.display()));
        return if is_root(dir) { Ok(dir.to_owned()) } else { Err(complain()) };
    }
    let here = env::current_dir().map_err(Failure::usage)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let candidates = here.ancestors().chain(source.ancestors());
    candidates.into_iter().find(|dir| is_root(dir)).map(Path::to_owned).ok_or_else(|| {
        Failure::usage("no modules/ and checks/ here or above")
            .help("name their folder with --root DIR")
    })
}
