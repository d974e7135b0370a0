//! Progress on standard error: a bar on a terminal, a line a cell elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use meshbench::results::{CellRecord, Outcome};
use meshbench::run::{Event, EventKind, Job, Listener, ListenerError, Stage, Stats};

use crate::output;

/// Shows what happens, and at the end where the time went.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    bar: ProgressBar,
    under_way: UnderWay,
    spent: Spent,
    paces: BTreeMap<usize, Pace>,
}

/// How long a cluster of virtual time took, in seconds.
#[derive(Debug, Clone, Copy)]
struct Pace {
    own: f64,
    wall: f64,
}

impl Progress {
    /// On this process's standard error.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let (under_way, spent) = (UnderWay::default(), Spent::default());
        Self { terminal, bar: ProgressBar::hidden(), under_way, spent, paces: BTreeMap::new() }
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
        if let EventKind::CellFinished { index, cell } = &event.kind {
            self.paces.extend(pace(cell).map(|pace| (*index, pace)));
        }
        match &event.kind {
            EventKind::Preparing { what } => self.say(&what.to_string()),
            EventKind::RunStarted { jobs, .. } => self.begin(*jobs),
            EventKind::TemplatesMade { count, seconds } => {
                self.say(&format!("templates: {count} made in {seconds:.1} s"));
            }
            EventKind::JobStarted { index, job } => {
                self.under_way.start(*index, job);
                self.bar.set_message(self.under_way.message());
            }
            EventKind::StageReached { index, stage } => {
                self.spent.add(self.under_way.reach(*index, *stage, event.at));
                self.bar.set_message(self.under_way.message());
            }
            EventKind::CellFinished { cell, .. } if !self.terminal || !cell.outcome.is_ok() => {
                self.say(&line(cell, event.at));
            }
            EventKind::JobEnded { index } => {
                self.spent.add(self.under_way.end(*index, event.at));
                self.bar.set_message(self.under_way.message());
                self.bar.inc(1);
            }
            EventKind::Warned { warning } => self.say(&format!("warning: {warning}")),
            EventKind::RunFinished { stats } => {
                self.bar.finish_and_clear();
                counts_line(stats, event.at).iter().for_each(output::say);
                self.spent.line().iter().chain(&pace_line(&self.paces)).for_each(output::say);
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

/// The jobs that have begun and not ended: several where as many clusters are up at once.
#[derive(Debug, Default)]
struct UnderWay {
    jobs: BTreeMap<usize, Doing>,
    /// The job that told something last.
    last: usize,
}

/// What a job does.
#[derive(Debug, Default)]
struct Doing {
    name: String,
    /// And since when, counted as events are.
    stage: Option<(Stage, Duration)>,
}

impl Doing {
    /// The stage that it leaves at that time, and how long it was in it.
    fn leave(&mut self, at: Duration) -> Option<(Stage, Duration)> {
        self.stage.take().map(|(stage, since)| (stage, at.saturating_sub(since)))
    }
}

impl UnderWay {
    fn start(&mut self, index: usize, job: &Job) {
        let name = format!("block {} {} {}", job.block, job.scenario, job.module);
        self.jobs.insert(index, Doing { name, stage: None });
        self.last = index;
    }

    /// The stage before, and how long that took.
    fn reach(&mut self, index: usize, stage: Stage, at: Duration) -> Option<(Stage, Duration)> {
        self.last = index;
        let doing = self.jobs.entry(index).or_default();
        let left = doing.leave(at);
        doing.stage = Some((stage, at));
        left
    }

    /// Its last stage, and how long that took.
    fn end(&mut self, index: usize, at: Duration) -> Option<(Stage, Duration)> {
        self.jobs.remove(&index)?.leave(at)
    }

    /// The job that told something last, or else the first of the others, and how many more there are.
    fn message(&self) -> String {
        let Some(doing) = self.jobs.get(&self.last).or_else(|| self.jobs.values().next()) else {
            return String::new();
        };
        let stage = doing.stage.map(|(stage, _)| format!(": {stage}")).unwrap_or_default();
        let more = match self.jobs.len() - 1 {
            0 => String::new(),
            others => format!(", and {others} more"),
        };
        format!("{}{stage}{more}", doing.name)
    }
}

/// Wall time by stage, of all clusters together.
#[derive(Debug, Default)]
struct Spent {
    stages: BTreeMap<Stage, Duration>,
}

impl Spent {
    fn add(&mut self, left: Option<(Stage, Duration)>) {
        if let Some((stage, took)) = left {
            *self.stages.entry(stage).or_default() += took;
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

/// How long the cluster took that a cell was measured on; all of its cells say the same.
fn pace(cell: &CellRecord) -> Option<Pace> {
    let sealed = cell.sealed.as_ref()?;
    Some(Pace { own: sealed.virtual_seconds?, wall: sealed.wall_seconds })
}

/// What became of cells, if there were any.
fn counts_line(stats: &Stats, at: Duration) -> Option<String> {
    let Stats { ok, failed, unsupported, skipped, .. } = *stats;
    let all = ok + failed + unsupported + skipped;
    let told = [(failed, "failed"), (unsupported, "unsupported"), (skipped, "skipped")];
    let others: String = told
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!(", {count} {what}"))
        .collect();
    (all > 0).then(|| format!("{all} cells in {:.0} s: {ok} ok{others}", at.as_secs_f64()))
}

/// How fast virtual time passed.
fn pace_line(paces: &BTreeMap<usize, Pace>) -> Option<String> {
    let of = |seconds: fn(&Pace) -> f64| paces.values().map(seconds).sum::<f64>();
    let (own, wall) = (of(|pace| pace.own), of(|pace| pace.wall));
    (own > 0.0 && wall > 0.0).then(|| {
        let each = wall / own;
        format!(
            "virtual time: {own:.1} s on all clusters, {each:.2} s of the host for each of them"
        )
    })
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
    use serde_json::json;

    use super::*;

    const CONNECT: Stage = Stage::Measure(meshbench::workload::Workload::CONNECT);

    fn job(module: &str) -> Job {
        Job { block: 1, scenario: "lan".into(), module: module.into() }
    }

    #[test]
    fn of_two_clusters_at_once_each_has_its_own_name_and_time() {
        let mut progress = Progress::new();
        let mut hear = |seconds, kind| {
            let event = Event { at: Duration::from_secs(seconds), kind };
            progress.hear(&event).unwrap();
            progress.bar.message()
        };
        let start = |index, module| EventKind::JobStarted { index, job: job(module) };
        let reach = |index, stage| EventKind::StageReached { index, stage };
        assert_eq!(hear(0, start(0, "nebula")), "block 1 lan nebula");
        assert_eq!(hear(0, reach(0, Stage::Boot)), "block 1 lan nebula: boot");
        assert_eq!(hear(1, start(1, "n2n")), "block 1 lan n2n, and 1 more");
        assert_eq!(hear(1, reach(1, Stage::Boot)), "block 1 lan n2n: boot, and 1 more");
        assert_eq!(hear(4, reach(0, CONNECT)), "block 1 lan nebula: connect, and 1 more");
        assert_eq!(hear(6, reach(1, CONNECT)), "block 1 lan n2n: connect, and 1 more");
        assert_eq!(hear(10, EventKind::JobEnded { index: 1 }), "block 1 lan nebula: connect");
        assert_eq!(hear(12, EventKind::JobEnded { index: 0 }), "");
        // nebula: 4 s and 8 s, n2n: 5 s and 4 s.
        let line = progress.spent.line();
        assert_eq!(line.as_deref(), Some("time: 12.0 of 21.0 s measuring (57 %); boot 9.0 s"));
    }

    #[test]
    fn how_fast_virtual_time_passed_is_told_of_each_cluster_once() {
        assert_eq!(pace_line(&BTreeMap::new()), None);
        let mut progress = Progress::new();
        for (index, own, wall) in [(0, 30.0, 60.0), (0, 30.0, 60.0), (1, 10.0, 20.0)] {
            let cell = Box::new(sealed(own, wall));
            let kind = EventKind::CellFinished { index, cell };
            progress.hear(&Event { at: Duration::ZERO, kind }).unwrap();
        }
        assert_eq!(
            pace_line(&progress.paces).as_deref(),
            Some("virtual time: 40.0 s on all clusters, 2.00 s of the host for each of them")
        );
    }

    #[test]
    fn what_became_of_cells_is_counted() {
        assert_eq!(counts_line(&Stats::default(), Duration::ZERO), None);
        let stats = Stats { ok: 60, failed: 3, skipped: 1, ..Stats::default() };
        let told = counts_line(&stats, Duration::from_secs(294)).unwrap();
        assert_eq!(told, "64 cells in 294 s: 60 ok, 3 failed, 1 skipped");
    }

    /// A cell of a cluster that took so long.
    fn sealed(own: f64, wall: f64) -> CellRecord {
        let sealed = json!({
            "template": "t", "said": "s", "workloads": ["ping"], "watched": false,
            "wall_seconds": wall, "virtual_seconds": own,
        });
        let cell = json!({
            "format": 1, "started": "2026-11-23T07:15:00Z", "duration_seconds": 1,
            "key": {"block": 1, "scenario": "lan", "module": "internal", "workload": "ping"},
            "outcome": {"status": "ok"}, "metrics": [], "path": "direct", "inner_mtu": null,
            "underlay": null, "links": [], "clock": "virtual", "sealed": sealed,
        });
        serde_json::from_value(cell).unwrap()
    }

    #[test]
    fn the_time_line_tells_measuring_from_the_rest() {
        let mut spent = Spent::default();
        assert_eq!(spent.line(), None);
        spent.stages.insert(Stage::Boot, Duration::from_millis(1));
        assert_eq!(spent.line(), None);
        spent.stages.insert(Stage::Boot, Duration::from_secs(1));
        assert_eq!(spent.line().as_deref(), Some("time: 0.0 of 1.0 s measuring (0 %); boot 1.0 s"));
        for (stage, seconds) in [(Stage::Boot, 1), (CONNECT, 6), (Stage::Proof, 3)] {
            spent.stages.insert(stage, Duration::from_secs(seconds));
        }
        assert_eq!(
            spent.line().as_deref(),
            Some("time: 6.0 of 10.0 s measuring (60 %); proof 3.0 s, boot 1.0 s")
        );
    }
}
