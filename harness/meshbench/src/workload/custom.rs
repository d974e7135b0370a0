//! A workload of the user's own: a folder with `workload.toml` and two scripts.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshbench_protocol::{Exec, Request};
use serde::Deserialize;

use super::spec::{Absent, Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::command;
use super::{Setting, Workload, WorkloadError};
use crate::file;
use crate::machine::PROMPT;
use crate::name::Name;
use crate::results::{Better, Metric, OwnWorkload, Unit};

/// What the folder holds.
const DESCRIPTION: &str = "workload.toml";
const SERVE: &str = "serve";
const MEASURE: &str = "measure";

/// Where the scripts lie in a member.
const PLACE: &str = "/run/meshbench-workload";

/// The line by which `serve` says that it can be measured.
const READY: &str = "ready";

/// Seconds that it may say it takes.
const SECONDS: RangeInclusive<u32> = 1..=86_400;

/// How much longer than it says it may take.
const PATIENCE: f64 = 5.0;

/// Why a folder is no workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustomError {
    /// A file that cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// `workload.toml` says what it may not.
    #[error("{name}/workload.toml: {reason}")]
    Invalid {
        /// The folder's name.
        name: String,
        /// What, and where.
        reason: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Description {
    summary: String,
    question: Asked,
    seconds: u32,
    #[serde(default)]
    apt: Vec<String>,
    metric: BTreeMap<String, Described>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Asked {
    Connectivity,
    Security,
    Reliability,
    Overhead,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    unit: Unit,
    better: Better,
    /// Whether `measure` may leave it out.
    #[serde(default)]
    optional: bool,
}

/// What `measure` may print of a metric.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Number(f64),
    Sampled {
        value: f64,
        #[serde(default)]
        samples: Vec<f64>,
    },
}

impl OwnWorkload {
    /// Reads a workload's folder.
    ///
    /// # Errors
    /// A file that is missing, or a description that is none.
    pub(crate) fn read(folder: &Path) -> Result<Self, CustomError> {
        let read = |file: &str| {
            let path = folder.join(file);
            let unreadable = |error: io::Error| CustomError::Unreadable {
                path: path.clone(),
                reason: error.to_string(),
            };
            file::read_text(&path).map_err(unreadable)
        };
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            description: read(DESCRIPTION)?,
            serve: read(SERVE)?,
            measure: read(MEASURE)?,
            name,
        })
    }

    /// Makes it a workload that is known by its name.
    ///
    /// # Errors
    /// A description that is none, or the name of a workload that comes with this library.
    pub(crate) fn register(self) -> Result<Workload, CustomError> {
        let Self { name, description, .. } = &self;
        let invalid = |reason: String| CustomError::Invalid { name: name.clone(), reason };
        Name::parse(name).map_err(|error| invalid(error.to_string()))?;
        if super::BUILT_IN.iter().any(|spec| spec.name == *name) {
            return Err(invalid("a workload that comes with meshbench has this name".into()));
        }
        let read: Description =
            toml::from_str(description).map_err(|error| invalid(error.to_string()))?;
        if read.metric.is_empty() {
            return Err(invalid("it names no metric".into()));
        }
        if !SECONDS.contains(&read.seconds) {
            let (least, most, said) = (SECONDS.start(), SECONDS.end(), read.seconds);
            return Err(invalid(format!("`seconds` is from {least} to {most}, and not {said}")));
        }
        for metric in read.metric.keys() {
            Name::parse(metric).map_err(|error| invalid(format!("metric {metric:?}: {error}")))?;
        }
        Ok(Workload::register(spec(read, self)))
    }
}

/// Its description for as long as the program lives.
fn spec(read: Description, files: OwnWorkload) -> Spec {
    let metrics = read.metric.into_iter().map(|(name, said)| Measure {
        name: kept(name),
        unit: said.unit,
        better: said.better,
        source: "the workload's own script",
        absent: if said.optional { Absent::Inapplicable } else { Absent::Failure },
    });
    let apt: Vec<&'static str> = read.apt.into_iter().map(kept).collect();
    Spec {
        name: kept(files.name.clone()),
        summary: kept(read.summary),
        question: match read.question {
            Asked::Connectivity => Question::Connectivity,
            Asked::Security => Question::Security,
            Asked::Reliability => Question::Reliability,
            Asked::Overhead => Question::Overhead,
        },
        phase: Phase::Calm,
        members: 2,
        software: Software { debian: Vec::leak(apt), nixpkgs: &[] },
        seconds: Seconds::always(f64::from(read.seconds)),
        metrics: Vec::leak(metrics.collect()),
        run: Run::Scripts(files),
    }
}

fn kept(text: String) -> &'static str {
    String::leak(text)
}

impl OwnWorkload {
    /// Runs both scripts: `serve` from before `measure` begins until it has ended.
    pub(super) async fn run(&self, setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
        let Setting { from, to, .. } = setting;
        for (member, name, script) in [(to, SERVE, &self.serve), (from, MEASURE, &self.measure)] {
            let path = format!("{PLACE}/{name}");
            member.machine.write_file(&path, 0o755, script.as_bytes()).await?;
        }
        let mut server = to.machine.start(&Request::Exec(self.exec(SERVE, setting))).await?;
        let measured = async {
            server.until_whole_line(READY, PROMPT).await?;
            let deadline = Duration::from_secs_f64(PATIENCE * self.seconds()) + PROMPT;
            let exec = self.exec(MEASURE, setting);
            Ok::<_, WorkloadError>(from.machine.exec(exec, None, deadline).await?)
        };
        let output = measured.await;
        // It serves until it is told to stop; an error means that its machine is gone.
        let _ = server.cancel().await;
        let _ = server.wait(PROMPT).await;
        let metrics = metrics(&output?.text(), self.declared());
        Ok(metrics.map_err(|reason| WorkloadError::tool(&from.machine, reason))?.into())
    }

    fn declared(&self) -> &'static [Measure] {
        Workload::named(&self.name).map_or(&[], |known| known.spec().metrics)
    }

    fn seconds(&self) -> f64 {
        Workload::named(&self.name).map_or(0.0, |known| known.seconds(false))
    }

    fn exec(&self, script: &str, setting: &Setting<'_>) -> Exec {
        let mut exec = command(&[&format!("{PLACE}/{script}")]);
        let quick = if setting.quick { "1" } else { "" };
        exec.env.extend([
            ("TARGET".to_owned(), setting.target.to_string()),
            ("SECONDS_ASKED".to_owned(), self.seconds().to_string()),
            ("QUICK".to_owned(), quick.to_owned()),
        ]);
        exec
    }
}

/// Reads what `measure` printed: a JSON object from each metric to its number, or to an object with `value` and
/// `samples`.
///
/// # Errors
/// A sentence: no JSON, a metric that was not declared, a number that is none or beyond any unit.
fn metrics(text: &str, declared: &[Measure]) -> Result<Vec<Metric>, String> {
    let said: BTreeMap<String, Said> = serde_json::from_str(text)
        .map_err(|error| format!("{MEASURE} printed no metrics as JSON: {error}"))?;
    if said.is_empty() {
        return Err(format!("{MEASURE} printed no metric"));
    }
    let metric = |(name, said): (String, Said)| {
        let known = declared.iter().find(|measure| measure.name == name);
        let known = known
            .ok_or_else(|| format!("{MEASURE} told `{name}`, which {DESCRIPTION} does not name"))?;
        let (value, samples) = match said {
            Said::Number(value) => (value, Vec::new()),
            Said::Sampled { value, samples } => (value, samples),
        };
        let metric = known.of(value, samples);
        metric.check().map_err(|reason| format!("{MEASURE} printed what is none: {reason}"))?;
        Ok(metric)
    };
    said.into_iter().map(metric).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const DECLARED: &[Measure] =
        &[Measure::new("sync", Unit::Milliseconds, Better::Lower, "the script")];

    fn folder(description: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("syncthing");
        fs::create_dir(&own).unwrap();
        fs::write(own.join(DESCRIPTION), description).unwrap();
        fs::write(own.join(SERVE), "#!/bin/sh\necho ready\nsleep 99\n").unwrap();
        fs::write(own.join(MEASURE), "#!/bin/sh\necho '{\"sync\": 3}'\n").unwrap();
        root
    }

    const GOOD: &str = "summary = \"syncs\"\nquestion = \"overhead\"\nseconds = 10\napt = [\"syncthing\"]\n[metric.sync]\nunit = \"ms\"\nbetter = \"lower\"\n";

    #[test]
    fn a_folder_is_known_by_its_name_with_what_it_needs() {
        let root = folder(GOOD);
        let files = OwnWorkload::read(&root.path().join("syncthing")).unwrap();
        let workload = files.register().unwrap();
        assert_eq!(Workload::named("syncthing"), Some(workload));
        assert_eq!(workload.spec().software.debian, ["syncthing"]);
        assert_eq!(workload.spec().metrics[0].name, "sync");
        let untold = workload.spec().check(&[]).unwrap_err();
        assert_eq!(untold, "it did not tell `sync`");
        assert!(Workload::CONNECT < workload && workload < Workload::RECOVER);
    }

    #[test]
    fn a_metric_may_be_left_out_where_its_description_says_so() {
        let optional =
            format!("{GOOD}[metric.rest]\nunit = \"ms\"\nbetter = \"lower\"\noptional = true\n");
        let read: Description = toml::from_str(&optional).unwrap();
        let root = folder(&optional);
        let spec = spec(read, OwnWorkload::read(&root.path().join("syncthing")).unwrap());
        let told = |text: &str| metrics(text, spec.metrics).and_then(|told| spec.check(&told));
        assert_eq!(told("{\"sync\": 3}"), Ok(()));
        assert_eq!(told("{\"rest\": 3}"), Err("it did not tell `sync`".to_owned()));
    }

    #[test]
    fn what_is_no_workload_is_refused_with_its_reason() {
        let said = |description: &str| {
            let root = folder(description);
            OwnWorkload::read(&root.path().join("syncthing"))
                .unwrap()
                .register()
                .unwrap_err()
                .to_string()
        };
        assert!(
            said("summary = 1").starts_with("syncthing/workload.toml: "),
            "{}",
            said("summary = 1")
        );
        assert!(said(&GOOD.replace("\"ms\"", "\"parsec\"")).contains("parsec"));
        assert!(said(&GOOD.replace("metric.sync", "metric.Sync_1")).contains("Sync_1"));
        assert!(said(GOOD.split("[metric").next().unwrap()).contains("metric"));
        for seconds in ["0", "4294967295"] {
            let said = said(&GOOD.replace("= 10", &format!("= {seconds}")));
            assert!(said.contains(&format!("from 1 to 86400, and not {seconds}")), "{said}");
        }
        let missing = OwnWorkload::read(Path::new("/nowhere/x")).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/x/workload.toml"), "{missing}");
    }

    #[test]
    fn nonsense_is_no_number() {
        assert_eq!(metrics("{\"sync\": 3}", DECLARED).unwrap()[0].value, 3.0);
        let sampled = metrics("{\"sync\": {\"value\": 2, \"samples\": [1, 3]}}", DECLARED).unwrap();
        assert_eq!(sampled[0].samples, [1.0, 3.0]);
        for nonsense in [
            "",
            "{}",
            "[]",
            "{\"sync\": null}",
            "{\"sync\": NaN}",
            "{\"other\": 1}",
            "{\"sync\": \"3\"}",
            "{\"sync\": 3",
            "{\"sync\": 1e30}",
            "{\"sync\": {\"value\": 2, \"samples\": [1, -1e30]}}",
        ] {
            assert!(metrics(nonsense, DECLARED).is_err(), "{nonsense}");
        }
        let beyond = metrics("{\"sync\": 1e30}", DECLARED).unwrap_err();
        assert!(beyond.contains("metric sync: 1"), "{beyond}");
    }
}
