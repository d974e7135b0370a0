//! What goes into a sealed machine, and what comes out: both as JSON.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::fabric::{Scenario, ScenarioError};
use crate::file;
use crate::machine::Preparation;
use crate::module::spec::{self, Module};
use crate::results::OwnWorkload;
use crate::run::EventKind;
use crate::run::work::Learned;

/// Where the runner lies in the machine.
pub(crate) const RUNNER: &str = "/run/meshbench-runner/runner";

/// Where it finds what it is to prepare.
pub(crate) const SETUP_FILE: &str = "/run/meshbench-runner/setup.json";

/// Where it finds what it is to do.
pub(crate) const ERRAND_FILE: &str = "/run/meshbench-runner/errand.json";

/// The files of a module that a member needs.
const MODULE_FILES: [&str; 2] = ["module.toml", "lifecycle"];

/// What a template is made of, beside its image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) members: usize,
    pub(crate) preparation: Preparation,
}

/// Something to do on a cluster, with all that is needed to do it elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Errand {
    pub(crate) what: What,
    pub(crate) module: String,
    files: Vec<TextFile>,
    scenario: TextFile,
    pub(crate) seed: u64,
}

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// To measure.
    Job {
        /// By name.
        workloads: Vec<String>,
        /// Files of those that are the user's own.
        custom: Vec<OwnWorkload>,
        quick: bool,
        /// Whether what shows failures is wanted.
        evidence: bool,
    },
    /// To connect two sites of the grid, with this much patience.
    Pair {
        patience_ms: u64,
        /// Whether files that show failures are wanted.
        evidence: bool,
    },
    /// To check what the module promises.
    Contract,
}

/// A file and what is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TextFile {
    name: String,
    text: String,
}

/// What the runner tells, a line each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Told {
    /// What happened.
    Event(EventKind),
    /// A file for the result directory.
    File(Evidence),
    /// It is done.
    Done(Learned),
}

/// A file that shows a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Evidence {
    /// Relative to the result directory.
    pub(crate) path: String,
    base64: String,
}

impl Evidence {
    /// A file with this content.
    pub(crate) fn new(path: String, bytes: &[u8]) -> Self {
        Self { path, base64: BASE64.encode(bytes) }
    }

    /// Checks that its path leads nowhere out of the result directory.
    pub(crate) fn check(&self) -> io::Result<()> {
        if file::is_inside(&self.path) {
            return Ok(());
        }
        Err(io::Error::other(format!("{:?} leads out of the results", self.path)))
    }

    /// Writes it below a result directory, unless its path leads out of there.
    pub(crate) fn write(&self, results: &Path) -> io::Result<()> {
        self.check()?;
        let path = results.join(&self.path);
        let bytes = BASE64.decode(self.base64.as_bytes()).map_err(io::Error::other)?;
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, bytes)
    }
}

impl Errand {
    /// An errand on this network, with the module's files as they are now.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn new(
        what: What,
        scenario: &Scenario,
        module: &Module,
        seed: u64,
    ) -> io::Result<Self> {
        let read = |name: &&str| {
            let text = file::read_text(&module.dir.join(name))?;
            Ok(TextFile { name: (*name).to_owned(), text })
        };
        let files = MODULE_FILES.iter().map(read).collect::<io::Result<_>>()?;
        let scenario = TextFile { name: scenario.name.to_string(), text: scenario.source.clone() };
        Ok(Self { what, module: module.name.to_string(), files, scenario, seed })
    }

    /// The module, its files unpacked below `folder`.
    pub(crate) fn unpack(&self, folder: &Path) -> io::Result<Module> {
        let own = folder.join(&self.module);
        fs::create_dir_all(&own)?;
        for file in &self.files {
            let name = Path::new(&file.name).file_name().unwrap_or_default();
            fs::write(own.join(name), &file.text)?;
        }
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(own.join("lifecycle"), executable)?;
        spec::load(folder, &self.module).map_err(io::Error::other)
    }

    pub(crate) fn scenario(&self) -> Result<Scenario, ScenarioError> {
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
