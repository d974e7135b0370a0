//! What goes into a sealed machine, and what comes out: both as JSON.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::fabric::{Action, Scenario, ScenarioError};
use crate::machine::Preparation;
use crate::module::spec::{self, Module};
use crate::results::CellRecord;
use crate::run::job::Learned;
use crate::run::{Job, Stage, Warning};
use crate::workload::Workload;

/// Where the runner lies in the machine.
pub(super) const RUNNER: &str = "/run/meshbench-runner/runner";

/// Where it finds what it is to prepare.
pub(super) const SETUP_FILE: &str = "/run/meshbench-runner/setup.json";

/// Where it finds what it is to do.
pub(super) const ERRAND_FILE: &str = "/run/meshbench-runner/errand.json";

/// The files of a module that a member needs.
const MODULE_FILES: [&str; 2] = ["module.toml", "lifecycle"];

/// What a template is made of, beside its image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) members: usize,
    pub(super) preparation: Preparation,
}

/// A job, with all that it needs to be done elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Errand {
    pub(super) job: Job,
    pub(super) module: Vec<TextFile>,
    pub(super) scenario: TextFile,
    pub(super) workloads: Vec<Workload>,
    pub(super) seed: u64,
    pub(super) quick: bool,
    /// Whether what shows failures is wanted.
    pub(super) evidence: bool,
}

/// A file and what is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TextFile {
    name: String,
    text: String,
}

/// What the runner tells, a line each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Told {
    Stage(Stage),
    Happened(Action),
    Warned(Warning),
    Cell(Box<CellRecord>),
    /// A file for the result directory.
    File(Evidence),
    /// It is done.
    Done(Learned),
}

/// A file that shows a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Evidence {
    /// Relative to the result directory.
    pub(super) path: String,
    base64: String,
}

impl Evidence {
    pub(super) fn new(path: String, bytes: &[u8]) -> Self {
        Self { path, base64: BASE64.encode(bytes) }
    }

    /// Writes it below a result directory, unless its path leads out of there.
    pub(super) fn write(&self, results: &Path) -> io::Result<()> {
        let path = PathBuf::from(&self.path);
        let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            return Err(io::Error::other(format!("{:?} leads out of the results", self.path)));
        }
        let path = results.join(path);
        let bytes = BASE64.decode(self.base64.as_bytes()).map_err(io::Error::other)?;
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, bytes)
    }
}

impl Errand {
    /// The files of a module, as they are now.
    pub(super) fn files_of(module: &Module) -> io::Result<Vec<TextFile>> {
        let read = |name: &&str| {
            let text = fs::read_to_string(module.dir.join(name))?;
            Ok(TextFile { name: (*name).to_owned(), text })
        };
        MODULE_FILES.iter().map(read).collect()
    }

    pub(super) fn text_of(scenario: &Scenario) -> TextFile {
        TextFile { name: scenario.name.to_string(), text: scenario.source.clone() }
    }

    /// The module, its files unpacked below `folder`.
    pub(super) fn unpack(&self, folder: &Path) -> io::Result<Module> {
        let own = folder.join(&self.job.module);
        fs::create_dir_all(&own)?;
        for file in &self.module {
            let name = Path::new(&file.name).file_name().unwrap_or_default();
            fs::write(own.join(name), &file.text)?;
        }
        let lifecycle = own.join("lifecycle");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(lifecycle, mode)?;
        spec::load(folder, &self.job.module).map_err(io::Error::other)
    }

    pub(super) fn scenario(&self) -> Result<Scenario, ScenarioError> {
        let TextFile { name, text } = &self.scenario;
        Scenario::parse(name, &format!("{name}.toml"), text, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_stays_below_the_results() {
        let results = tempfile::tempdir().unwrap();
        let file = Evidence::new("evidence/1-lan-a/network.txt".into(), b"\0\xff");
        file.write(results.path()).unwrap();
        let written = fs::read(results.path().join("evidence/1-lan-a/network.txt")).unwrap();
        assert_eq!(written, b"\0\xff");
        for path in ["../x", "/tmp/x", "a/../../x"] {
            assert!(Evidence::new(path.into(), b"").write(results.path()).is_err(), "{path}");
        }
    }
}
