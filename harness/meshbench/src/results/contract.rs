use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Clock, StoreError, check_name, file};
use crate::text;

/// Name of the file that `bench contract --out` writes.
pub const CONTRACT: &str = "contract.json";

/// Bytes that are kept of what was seen: it is a guest's to say.
const LONGEST_SEEN: usize = 6 << 10;

/// Bytes that a file may hold of it: what was cut says how much was left out.
const MOST_SEEN: usize = LONGEST_SEEN + 100;

/// What the contract test found for a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContractRecord {
    /// Name of the module.
    pub module: String,
    /// Each promise, in the order tested.
    pub findings: Vec<Finding>,
    /// Whose time it was tested in; records of old do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
    /// In virtual time: what the findings are a function of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedContract>,
    /// What was tested, and by what; records of old do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<ContractContents>,
}

/// What the findings are of, as the record of a run says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContractContents {
    /// SHA-256 of the module's files, in hexadecimal; absent where one cannot be read.
    pub module_sha256: Option<String>,
    /// Hash of the NAR of its guest (`sha256-…`); absent where there was none.
    pub guest_nar_hash: Option<String>,
    /// Version of the harness.
    pub harness_version: String,
    /// Revision of the harness, where it is known.
    pub harness_revision: Option<String>,
}

/// A contract that was checked in virtual time: with the same template the same is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SealedContract {
    /// SHA-256 of the machine that it was forked from, in hexadecimal: image, harness, QEMU.
    pub template: String,
    /// SHA-256 of every byte that the machine said, in hexadecimal.
    pub said: String,
}

impl ContractRecord {
    /// Whose time it was tested in; records that do not say are older than the other clock.
    pub fn clock(&self) -> Clock {
        self.clock.unwrap_or(Clock::Real)
    }

    /// What was found of a module, wherever and whenever that was.
    pub fn of(module: impl Into<String>, findings: Vec<Finding>) -> Self {
        Self { module: module.into(), findings, clock: None, sealed: None, contents: None }
    }
}

/// What every module promises, in the words by which it is recorded.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Promise {
    /// There are machines for it.
    #[serde(rename = "can be started")]
    CanBeStarted,
    /// Its lifecycle does what it is asked for, on a cluster.
    #[serde(rename = "can be driven")]
    CanBeDriven,
    /// The first packet between two members is answered.
    #[serde(rename = "comes up")]
    ComesUp,
    /// Each member has an overlay address of its own.
    #[serde(rename = "has addresses")]
    HasAddresses,
    /// Who was asked can ask back.
    #[serde(rename = "works both ways")]
    WorksBothWays,
    /// It tells whether its path is direct.
    #[serde(rename = "tells its path")]
    TellsItsPath,
    /// Nothing of a payload is readable on the underlay.
    #[serde(rename = "is encrypted")]
    IsEncrypted,
    /// It talks to nobody outside of the scenario.
    #[serde(rename = "stays inside")]
    StaysInside,
    /// Its daemon is reached again after a restart.
    #[serde(rename = "survives a restart")]
    SurvivesARestart,
    /// Who has no key reaches nobody.
    #[serde(rename = "keeps strangers out")]
    KeepsStrangersOut,
    /// Once stopped, a machine is as it was.
    #[serde(rename = "leaves nothing behind")]
    LeavesNothingBehind,
    /// Nothing has stopped the test of it.
    #[serde(rename = "is checked to its end")]
    IsCheckedToItsEnd,
}

impl fmt::Display for Promise {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// One promise, and whether it was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What was promised.
    pub promise: Promise,
    /// Whether it was kept; `None` where the module does not make it, or where nobody can tell.
    pub kept: Option<bool>,
    /// What was seen.
    pub seen: String,
}

impl Finding {
    /// What was found. Of what was seen the beginning and the end are kept, if it is long.
    pub fn new(promise: Promise, kept: Option<bool>, seen: impl ToString) -> Self {
        Self { promise, kept, seen: seen.to_string() }.bounded()
    }

    /// As [`Finding::new`], of one that came from a guest.
    pub(crate) fn bounded(self) -> Self {
        if self.seen.len() <= MOST_SEEN {
            return self;
        }
        Self { seen: text::cut(&self.seen, LONGEST_SEEN), ..self }
    }

    fn check(&self) -> Result<(), String> {
        let (bytes, promise) = (self.seen.len(), self.promise);
        if bytes <= MOST_SEEN {
            return Ok(());
        }
        Err(format!("`seen` of {promise:?} has {bytes} bytes, and may have {MOST_SEEN}"))
    }
}

impl ContractRecord {
    /// Checks what the types cannot say. The error says what is wrong.
    fn check(&self) -> Result<(), String> {
        check_name(&self.module)?;
        self.findings.iter().try_for_each(Finding::check)
    }
}

/// Reads the findings in a directory that `bench contract --out` wrote.
///
/// # Errors
/// If the file cannot be read or does not hold what it should; names file, line and reason.
pub fn load_contract(dir: &Path) -> Result<Vec<ContractRecord>, StoreError> {
    let path = dir.join(CONTRACT);
    let records: Vec<ContractRecord> = file::parse(&path)?;
    records.iter().try_for_each(ContractRecord::check).map_err(|reason| StoreError::Malformed {
        path: path.clone(),
        line: None,
        reason,
    })?;
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_list_of_findings_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let loaded = |text: &str| {
            std::fs::write(dir.path().join(CONTRACT), text).unwrap();
            load_contract(dir.path()).map_err(|error| error.to_string())
        };
        let good = "[{\"module\": \"a\", \"findings\": [{\"promise\": \"comes up\", \"kept\": null, \"seen\": \"s\"}]}]";
        assert_eq!(loaded(good).unwrap()[0].findings[0].kept, None);
        assert_eq!(loaded(good).unwrap()[0].clock, None, "as before there was any other");
        assert_eq!(loaded(good).unwrap()[0].contents, None, "as before it was recorded");
        assert_eq!(loaded(good).unwrap()[0].findings[0].promise.to_string(), "comes up");
        let unknown = loaded(&good.replace("comes up", "sings")).unwrap_err();
        assert!(unknown.contains("contract.json:1") && unknown.contains("sings"), "{unknown}");
        assert!(loaded("[\n{}]").unwrap_err().contains("contract.json:2"));
        assert!(loaded(&good.replace("\"a\"", "\"../a\"")).unwrap_err().contains("../a"));
    }

    #[test]
    fn what_was_seen_is_kept_in_a_length_that_is_read_back_and_a_longer_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let loaded = |seen: &Finding| {
            let record = ContractRecord::of("a", vec![seen.clone()]);
            let text = serde_json::to_string(&[record]).unwrap();
            std::fs::write(dir.path().join(CONTRACT), text).unwrap();
            load_contract(dir.path()).map_err(|error| error.to_string())
        };
        let cut = Finding::new(Promise::ComesUp, None, "s".repeat(64 << 20));
        assert!(cut.seen.len() < MOST_SEEN && cut.seen.contains("bytes left out"));
        assert_eq!(loaded(&cut).unwrap()[0].findings, std::slice::from_ref(&cut));
        let refused = loaded(&Finding { seen: "s".repeat(7 << 10), ..cut }).unwrap_err();
        assert!(refused.contains("contract.json: `seen`") && refused.contains("7168"), "{refused}");
    }
}
