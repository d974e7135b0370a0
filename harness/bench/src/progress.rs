//! Progress on standard error: a bar on a terminal, a line a cell elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use meshbench::results::{CellRecord, Outcome};
use meshbench::run::{Event, EventKind, Listener, ListenerError, Stage};

use crate::output;

/// Shows what happens, and at the end where the time went.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    bar: ProgressBar,
    job: String,
    spent: Spent,
}

impl Progress {
    /// On this process's standard error.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let (job, spent) = (String::new(), Spent::default());
        Self { terminal, bar: ProgressBar::hidden(), job, spent }
    }

    fn begin(&mut self, jobs: usize) {
        if !self.terminal {
            return;
        }
        self.bar = ProgressBar::new(jobs as u64);
        let template = "{bar:20} {pos}/{len} clusters, {elapsed} of about {duration}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| output::say(line));
    }
}

impl Listener for Progress {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        match &event.kind {
            EventKind::Preparing { what } => self.say(what),
            EventKind::RunStarted { jobs, .. } => self.begin(*jobs),
            EventKind::TemplatesMade { count, seconds } => {
                self.say(&format!("templates: {count} made in {seconds:.1} s"));
            }
            EventKind::JobStarted { job, .. } => {
                self.job = format!("block {} {} {}", job.block, job.scenario, job.module);
                self.bar.set_message(self.job.clone());
            }
            EventKind::StageReached { stage, .. } => {
                self.bar.set_message(format!("{}: {stage}", self.job));
                self.spent.begin(*stage);
            }
            EventKind::CellFinished { cell, .. } if !self.terminal || !cell.outcome.is_ok() => {
                self.say(&line(cell, event.at));
            }
            EventKind::JobEnded { .. } => {
                self.spent.end();
                self.bar.inc(1);
            }
            EventKind::Warned { warning } => self.say(&format!("warning: {warning}")),
            EventKind::RunFinished { .. } => {
                self.bar.finish_and_clear();
                self.spent.line().iter().for_each(output::say);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // Also of a run that was interrupted.
        self.bar.finish_and_clear();
    }
}

/// Wall time by stage.
#[derive(Debug, Default)]
struct Spent {
    stages: BTreeMap<Stage, Duration>,
    current: Option<(Stage, Instant)>,
}

impl Spent {
    fn begin(&mut self, stage: Stage) {
        self.end();
        self.current = Some((stage, Instant::now()));
    }

    fn end(&mut self) {
        if let Some((stage, begun)) = self.current.take() {
            *self.stages.entry(stage).or_default() += begun.elapsed();
        }
    }

    /// How much of the time went into measuring, and where the rest went, the most first.
    fn line(&self) -> Option<String> {
        let total = self.stages.values().sum::<Duration>().as_secs_f64();
        let (measuring, mut rest): (Vec<_>, Vec<_>) =
            self.stages.iter().partition(|(stage, _)| stage.is_measuring());
        let measuring = measuring.iter().map(|(_, spent)| **spent).sum::<Duration>().as_secs_f64();
        rest.sort_by_key(|(_, spent)| std::cmp::Reverse(**spent));
        let rest: Vec<String> = rest
            .iter()
            .map(|(stage, spent)| format!("{stage} {:.1} s", spent.as_secs_f64()))
            .collect();
        // Less is shown as nothing.
        (total >= 0.05).then(|| {
            format!(
                "time: {measuring:.1} of {total:.1} s measuring ({:.0} %); {}",
                100.0 * measuring / total,
                rest.join(", ")
            )
        })
    }
}

fn line(cell: &CellRecord, elapsed: Duration) -> String {
    let key = &cell.key;
    let what = format!("block {} {} {} {}", key.block, key.scenario, key.module, key.workload);
    let result = match &cell.outcome {
        Outcome::Ok {} => {
            let first = cell.metrics.first();
            first.map_or("ok".into(), |metric| {
                let value = meshbench::report::table::humanise(metric.value, metric.unit);
                format!("{} {value}", metric.name)
            })
        }
        Outcome::Failed { stage, machine, reason, .. } => {
            let place = machine.as_deref().map(|m| format!(" on {m}")).unwrap_or_default();
            format!("FAILED in {stage}{place}: {reason}")
        }
        Outcome::Unsupported { reason } => format!("unsupported: {reason}"),
        Outcome::Skipped { reason } => format!("skipped: {reason}"),
    };
    format!("[{:>5.1}s] {what}: {result}", elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_line_tells_measuring_from_the_rest() {
        let mut spent = Spent::default();
        assert_eq!(spent.line(), None);
        spent.stages.insert(Stage::Boot, Duration::from_millis(1));
        assert_eq!(spent.line(), None);
        spent.stages.insert(Stage::Boot, Duration::from_secs(1));
        assert_eq!(spent.line().as_deref(), Some("time: 0.0 of 1.0 s measuring (0 %); boot 1.0 s"));
        let tcp = Stage::Measure(meshbench::workload::Workload::CONNECT);
        for (stage, seconds) in [(Stage::Boot, 1), (tcp, 6), (Stage::Proof, 3)] {
            spent.stages.insert(stage, Duration::from_secs(seconds));
        }
        assert_eq!(
            spent.line().as_deref(),
            Some("time: 6.0 of 10.0 s measuring (60 %); proof 3.0 s, boot 1.0 s")
        );
    }
}
