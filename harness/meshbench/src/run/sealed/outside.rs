//! A sealed machine, as the runner outside of it sees it: sent on an errand, listened to.

use std::time::{Duration, Instant, SystemTime};

use meshbench_protocol::sealed::{Job as Task, JobFile, Said};

use super::errand::{ERRAND_FILE, Errand, RUNNER, SETUP_FILE, Setup, Told};
use crate::fabric::Scenario;
use crate::lab::{Lab, LabError, network};
use crate::machine::sealed::{Bounds, Ended, Outcome, SealedTemplate};
use crate::module::lifecycle;
use crate::module::spec::Module;
use crate::results::{self, CellRecord, Clock, Sealed};
use crate::run::cell::{Failure, Measured, Proof, record};
use crate::run::job::{Learned, Work};
use crate::run::{Stage, Warning};
use crate::workload::Workload;

/// How long a template may take to prepare itself in its own time.
const PREPARING_S: u64 = 600;

/// How long a job may take in its machine's own time: many times what the longest takes.
const LIMIT_S: u64 = 4 * 3600;

/// How long it may take on the host, however busy that is.
const WALL: Duration = Duration::from_secs(2 * 3600);

/// Members that the template of such a cluster has: rounded up, so that few templates serve many.
fn members(scenario: &Scenario, module: &Module) -> usize {
    network(scenario, module, 0).cards().next_power_of_two().max(2)
}

/// Makes the template of such a cluster; says how many were made.
pub(in crate::run) async fn warm(
    lab: &Lab,
    scenario: &Scenario,
    module: &Module,
) -> Result<usize, LabError> {
    Ok(usize::from(template(lab, scenario, module).await?.is_new()))
}

/// The template of such a cluster, made if it is missing.
async fn template(
    lab: &Lab,
    scenario: &Scenario,
    module: &Module,
) -> Result<SealedTemplate, LabError> {
    let members = members(scenario, module);
    let preparation = lifecycle::preparation(&module.spec.software.debian.kernel_modules);
    let setup = serde_json::to_vec(&Setup { members, preparation }).unwrap_or_default();
    let files = vec![
        JobFile::new(RUNNER, 0o755, lab.runner()?.to_vec()),
        JobFile::new(SETUP_FILE, 0o600, setup),
    ];
    let task = Task { files, ..Task::of(&[RUNNER, "prepare"], PREPARING_S) };
    lab.sealed(module, members, &task).await
}

/// Measures everything the job asks for, in a machine of its own that is gone afterwards.
pub(in crate::run) async fn carry_out(work: &Work<'_>, lab: &Lab) -> Learned {
    let begun = Instant::now();
    let mut told = Heard { work, cells: Vec::new(), learned: None };
    let failure = match sent(work, lab, &mut told).await {
        Ok((outcome, template)) => {
            let failure = told.failure(&outcome);
            told.emit(&outcome, &template);
            failure
        }
        Err(error) => Some(Failure::new(Stage::Boot, Some(machine(&error)), &error)),
    };
    if let Some(failure) = failure {
        told.all_missing_failed(&failure, begun);
    }
    told.learned.unwrap_or_default()
}

fn machine(error: &LabError) -> &str {
    match error {
        LabError::Machine(error) => error.machine(),
        _ => "host",
    }
}

async fn sent(
    work: &Work<'_>,
    lab: &Lab,
    told: &mut Heard<'_>,
) -> Result<(Outcome, SealedTemplate), LabError> {
    work.events.stage(Stage::Boot);
    let template = template(lab, work.scenario, work.module).await?;
    let _turn = lab.turn().await;
    let errand = serde_json::to_vec(&errand(work)?).unwrap_or_default();
    let files = vec![JobFile::new(ERRAND_FILE, 0o600, errand)];
    let task = Task { files, ..Task::of(&[RUNNER, "errand"], LIMIT_S) };
    let mut lines = Lines::default();
    let hear = |said: &Said| {
        if let Said::Stdout(bytes) = said {
            lines.take(bytes, |line| told.hear(line));
        }
    };
    let outcome = template.fork_telling(&task, work.seed, Bounds { wall: WALL }, hear).await?;
    Ok((outcome, template))
}

fn errand(work: &Work<'_>) -> Result<Errand, LabError> {
    let module = Errand::files_of(work.module);
    let module =
        module.map_err(|source| LabError::Unreadable { path: work.module.dir.clone(), source })?;
    Ok(Errand {
        job: work.job.clone(),
        module,
        scenario: Errand::text_of(work.scenario),
        workloads: work.workloads.to_vec(),
        seed: work.seed,
        quick: work.quick,
        evidence: work.results.is_some(),
    })
}

/// Whole lines of what comes in pieces.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        self.0.extend_from_slice(bytes);
        let whole = self.0.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.0.split_off(whole);
        std::mem::replace(&mut self.0, rest)
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .for_each(&mut each);
    }
}

/// What the runner inside has told so far.
struct Heard<'a> {
    work: &'a Work<'a>,
    /// Kept until it is known what the machine said in all.
    cells: Vec<CellRecord>,
    learned: Option<Learned>,
}

impl Heard<'_> {
    fn hear(&mut self, line: &[u8]) {
        let events = &self.work.events;
        match serde_json::from_slice(line) {
            Ok(Told::Stage(stage)) => events.stage(stage),
            Ok(Told::Happened(action)) => events.happened(&action),
            Ok(Told::Warned(warning)) => events.warn(warning),
            Ok(Told::Cell(cell)) => self.cells.push(*cell),
            Ok(Told::File(file)) => {
                let written = self.work.results.map(|results| file.write(results));
                if let Some(Err(error)) = written {
                    events.warn(Warning::EvidenceLost(error.to_string()));
                }
            }
            Ok(Told::Done(learned)) => self.learned = Some(learned),
            // Whoever made the machine say this broke the runner inside: its end tells.
            Err(error) => tracing::warn!(%error, "a line of a sealed machine"),
        }
    }

    /// Why not everything was measured, unless it was.
    fn failure(&self, outcome: &Outcome) -> Option<Failure> {
        use meshbench_protocol::sealed::End;
        if self.learned.is_some() && outcome.ended == Ended::Job(End::Exited(0)) {
            return None;
        }
        let said = String::from_utf8_lossy(&outcome.stderr);
        let console = outcome.console.join("\n    ");
        let reason = format!("{}\n{}\n    {console}", outcome.ended, said.trim());
        Some(Failure::new(Stage::Boot, Some("sealed machine"), reason.trim()))
    }

    /// Tells the cells, with what repeats them.
    fn emit(&mut self, outcome: &Outcome, template: &SealedTemplate) {
        let sealed = Sealed {
            template: template.identity().to_owned(),
            said: outcome.digest(),
            workloads: self.work.workloads.iter().map(|w| w.name().to_owned()).collect(),
            wall_seconds: outcome.wall.as_secs_f64(),
        };
        for mut cell in self.cells.clone() {
            // By the machine's own clock all of them began on the same day.
            cell.started = results::rfc3339(SystemTime::now() - outcome.wall);
            cell.clock = Clock::Virtual;
            cell.sealed = Some(sealed.clone());
            self.work.events.cell(cell);
        }
    }

    fn all_missing_failed(&self, failure: &Failure, begun: Instant) {
        let has = |workload: &Workload| {
            self.cells.iter().any(|cell| cell.key.workload == workload.name())
        };
        for workload in self.work.workloads.iter().filter(|workload| !has(workload)) {
            let (scenario, claims) = (self.work.scenario, &self.work.module.spec.claims);
            let outcome = failure.clone().outcome(scenario, claims);
            let measured = Measured::nothing(outcome, begun);
            let mut cell = record(self.work.job, *workload, &Proof::default(), measured);
            cell.clock = Clock::Virtual;
            self.work.events.cell(cell);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let mut lines = Lines::default();
        let mut heard = Vec::new();
        for piece in ["{\"a\"", ":1}\n{}", "\n", "\n[]\nrest"] {
            lines.take(piece.as_bytes(), |line| {
                heard.push(String::from_utf8_lossy(line).into_owned())
            });
        }
        assert_eq!(heard, ["{\"a\":1}", "{}", "[]"]);
    }
}
