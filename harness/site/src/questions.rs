//! The questions that people ask, who asks them, and which measurements answer.

use meshbench::workload::{self, Absent, Workload};
use serde::Deserialize;

/// What people ask about a mesh VPN, in the order of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Does it get through?
    Connectivity,
    /// Does it keep to itself what it carries?
    Security,
    /// Does it hold up when the network changes?
    Reliability,
    /// What does it cost beside the bare wire?
    Overhead,
    /// A workload that this program does not know.
    Other,
}

impl Question {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Connectivity, Self::Security, Self::Reliability, Self::Overhead, Self::Other];

    /// In addresses and data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connectivity => "connectivity",
            Self::Security => "security",
            Self::Reliability => "reliability",
            Self::Overhead => "overhead",
            Self::Other => "other",
        }
    }

    /// As people ask it.
    pub fn asked(self) -> &'static str {
        match self {
            Self::Connectivity => "Does it get through?",
            Self::Security => "Does it keep secrets?",
            Self::Reliability => "Does it hold up?",
            Self::Overhead => "What does it cost?",
            Self::Other => "And else?",
        }
    }
}

/// The question that a workload helps to answer.
pub fn of(workload: &str) -> Question {
    match Workload::named(workload).map(|it| it.spec().question) {
        Some(workload::Question::Connectivity) => Question::Connectivity,
        Some(workload::Question::Security) => Question::Security,
        Some(workload::Question::Reliability) => Question::Reliability,
        Some(workload::Question::Overhead) => Question::Overhead,
        _ => Question::Other,
    }
}

/// What a workload measures, in a line; empty for one that this program does not know.
pub fn summary(workload: &str) -> &'static str {
    Workload::named(workload).map_or("", Workload::summary)
}

/// Who tells a metric, and what exactly it is; empty where this program does not know.
pub fn source(workload: &str, metric: &str) -> &'static str {
    let measures = Workload::named(workload).map_or(&[][..], |it| it.spec().metrics);
    measures.iter().find(|it| it.name == metric).map_or("", |it| it.source)
}

/// What it means that a record of a cell that ended well does not tell a metric. Of a workload of somebody's own only who
/// measured knows; what a workload of ours once told or tells only since then, there was not when it was measured.
pub fn absent(workload: &str, metric: &str) -> Absent {
    let Some(workload) = Workload::named(workload) else { return Absent::Failure };
    match workload.spec().metrics.iter().find(|it| it.name == metric).map(|it| it.absent) {
        Some(Absent::Unreached) => Absent::Unreached,
        _ => Absent::Inapplicable,
    }
}

/// Place of a workload among all: by question, then in the order in which they run.
pub fn order(workload: &str) -> (Question, usize) {
    let place = Workload::all().iter().position(|it| it.name() == workload);
    (of(workload), place.unwrap_or(usize::MAX))
}

/// Somebody who wants to choose.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// In addresses.
    pub name: String,
    /// Who it is.
    pub title: String,
    /// What matters to them.
    pub wants: String,
    /// The networks that are like theirs.
    pub scenarios: Vec<String>,
    /// What they do; empty: everything.
    #[serde(default)]
    pub workloads: Vec<String>,
}

#[derive(Deserialize)]
struct Readers {
    reader: Vec<Reader>,
}

/// Typical readers, from `readers.toml` beside this crate's code.
///
/// # Errors
/// If that file is not what it should be.
pub fn readers() -> Result<Vec<Reader>, toml::de::Error> {
    let readers: Readers = toml::from_str(include_str!("../readers.toml"))?;
    Ok(readers.reader)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn readers_name_networks_that_there_are() {
        let checks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../checks");
        let readers = readers().unwrap();
        assert!(!readers.is_empty());
        for scenario in readers.iter().flat_map(|reader| &reader.scenarios) {
            assert!(checks.join(format!("{scenario}.toml")).is_file(), "{scenario}");
        }
    }

    /// What no scenario is for is never published.
    #[test]
    fn every_workload_is_measured_somewhere_and_of_a_stream_to_a_reader() {
        #[derive(Deserialize)]
        struct Check {
            workloads: Vec<String>,
        }
        let checks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../checks");
        let of = |name: &str| -> Vec<String> {
            let text = std::fs::read_to_string(checks.join(format!("{name}.toml"))).unwrap();
            toml::from_str::<Check>(&text).unwrap().workloads
        };
        let files = std::fs::read_dir(&checks).unwrap().map(|entry| entry.unwrap().path());
        let stems = files.filter(|path| path.extension().is_some_and(|it| it == "toml"));
        let asked: Vec<String> =
            stems.flat_map(|path| of(&path.file_stem().unwrap().to_string_lossy())).collect();
        let all = Workload::all();
        for workload in &all {
            assert!(asked.iter().any(|it| it == workload.name()), "{}", workload.name());
        }
        assert!(asked.iter().all(|name| all.iter().any(|it| it.name() == name)));
        let readers = readers().unwrap();
        let read: Vec<String> =
            readers.iter().flat_map(|it| &it.scenarios).flat_map(|it| of(it)).collect();
        for name in ["direct", "call", "loaded", "web", "video", "files", "rpc", "tcp-streams"] {
            assert!(read.iter().any(|it| it == name), "{name}");
        }
    }

    #[test]
    fn every_workload_has_a_question_and_an_unknown_one_is_other() {
        assert!(Workload::all().iter().all(|it| of(it.name()) != Question::Other));
        assert_eq!(of("juggling"), Question::Other);
        assert!(order("juggling") > order("recover"));
    }
}
