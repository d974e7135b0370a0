//! What is shown while a run goes on: bars on a terminal, a line for each finished cell elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use harness::plan::Event;
use harness::results::{CellRecord, Outcome};
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
        while let Some(event) = events.recv().await {
            match event {
                Event::JobStarted { job, .. } => {
                    current = format!("block {} {} {}", job.block, job.scenario, job.module);
                    bar.set_message(current.clone());
                }
                Event::Stage { stage, .. } => bar.set_message(format!("{current}: {stage}")),
                Event::Cell(cell) if !terminal => eprintln!("{}", line(&cell, start.elapsed())),
                Event::Cell(cell) if !cell.outcome.is_ok() => {
                    bar.suspend(|| eprintln!("{}", line(&cell, start.elapsed())));
                }
                Event::Cell(_) => {}
                Event::JobEnded { .. } => bar.inc(1),
            }
        }
        bar.finish_and_clear();
    })
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
