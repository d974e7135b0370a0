//! What is shown while a run goes on: bars on a terminal, a line for each finished cell elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use harness::plan::Event;
use harness::results::{CellRecord, Outcome};
use harness::workload::Workload;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

/// Shows events until their sender is gone.
pub fn show(mut events: UnboundedReceiver<Event>, jobs: usize) -> JoinHandle<()> {
    let start = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let bar = if terminal { ProgressBar::new(jobs as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:20} {pos}/{len} clusters, {elapsed} of about {duration}  {msg}",
    ) {
        bar.set_style(style);
    }
    tokio::spawn(async move {
        let mut current = String::new();
        let mut spent = Spent::default();
        while let Some(event) = events.recv().await {
            match event {
                Event::JobStarted { job, .. } => {
                    current = format!("block {} {} {}", job.block, job.scenario, job.module);
                    bar.set_message(current.clone());
                }
                Event::Stage { stage, .. } => {
                    bar.set_message(format!("{current}: {stage}"));
                    spent.begin(stage);
                }
                Event::Cell(cell) if !terminal => eprintln!("{}", line(&cell, start.elapsed())),
                Event::Cell(cell) if !cell.outcome.is_ok() => {
                    bar.suspend(|| eprintln!("{}", line(&cell, start.elapsed())));
                }
                Event::Cell(_) => {}
                Event::JobEnded { .. } => {
                    spent.end();
                    bar.inc(1);
                }
            }
        }
        bar.finish_and_clear();
        if let Some(line) = spent.line() {
            eprintln!("{line}");
        }
    })
}

/// Wall time by stage.
#[derive(Debug, Default)]
struct Spent {
    stages: BTreeMap<String, Duration>,
    current: Option<(String, Instant)>,
}

impl Spent {
    fn begin(&mut self, stage: String) {
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
        let total: f64 = self.stages.values().map(Duration::as_secs_f64).sum();
        let (measuring, mut rest): (Vec<_>, Vec<_>) =
            self.stages.iter().partition(|(stage, _)| Workload::named(stage).is_some());
        let measuring: f64 = measuring.iter().map(|(_, spent)| spent.as_secs_f64()).sum();
        rest.sort_by_key(|(_, spent)| std::cmp::Reverse(**spent));
        let rest: Vec<String> = rest
            .iter()
            .map(|(stage, spent)| format!("{stage} {:.1} s", spent.as_secs_f64()))
            .collect();
        (total > 0.0).then(|| {
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
                let value = harness::report::table::humanise(metric.value, metric.unit);
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
        for (stage, seconds) in [("boot", 1), ("tcp", 6), ("proof", 3)] {
            spent.stages.insert(stage.into(), Duration::from_secs(seconds));
        }
        assert_eq!(
            spent.line().as_deref(),
            Some("time: 6.0 of 10.0 s measuring (60 %); proof 3.0 s, boot 1.0 s")
        );
    }
}
