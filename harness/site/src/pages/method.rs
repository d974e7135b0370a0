//! How it is measured, what may be said of it, who measured what.

use askama::Template;
use meshbench::stats::{DEFAULT_MARGIN, DEFAULT_NOISE_FLOOR};
use meshbench::workload::Workload;

use super::Frame;
use crate::board::Board;
use crate::load::{Loaded, Source};
use crate::questions;
use crate::score::MISSING;
use crate::testbed::{Class, Testbed};
use crate::words::count;

#[derive(Template)]
#[template(path = "method.html")]
struct Page {
    frame: Frame,
    workloads: Vec<Measures>,
    classes: [Meaning; 3],
    floor: String,
    margin: String,
    missing: String,
    floors: Vec<String>,
    sets: Vec<Set>,
    confirmed: usize,
}

struct Measures {
    name: &'static str,
    question: &'static str,
    metrics: &'static [meshbench::workload::Measure],
    summary: &'static str,
}

struct Meaning {
    title: &'static str,
    about: &'static str,
}

struct Set {
    id: String,
    by: String,
    clock: &'static str,
    blocks: String,
    seed: u64,
    cells: usize,
    environment: String,
}

/// Renders it.
///
/// # Errors
/// None that content could cause.
pub(crate) fn method(loaded: &Loaded, boards: &[Board<'_>]) -> Result<String, askama::Error> {
    let measures = |workload: &Workload| Measures {
        name: workload.name(),
        question: questions::of(workload.name()).asked(),
        metrics: workload.spec().metrics,
        summary: workload.summary(),
    };
    let classes = [Class::Virtual, Class::Kvm, Class::Emulated];
    Page {
        frame: Frame::new("Method", "", 0),
        workloads: Workload::all().iter().map(measures).collect(),
        classes: classes.map(|class| Meaning { title: class.title(), about: class.about() }),
        floor: percent(DEFAULT_NOISE_FLOOR),
        margin: percent(DEFAULT_MARGIN),
        missing: format!("{MISSING:.0} times as bad"),
        floors: floors(&loaded.sources),
        sets: loaded.sources.iter().map(set).collect(),
        confirmed: boards.iter().map(|board| board.pool.confirmed).sum(),
    }
    .render()
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn floors(sources: &[Source]) -> Vec<String> {
    let records = sources.iter().filter_map(|source| source.noise.as_ref());
    let floors = records.flat_map(|record| record.floors.iter().map(move |it| (record, it)));
    let line =
        |(record, floor): (&meshbench::results::NoiseRecord, &meshbench::results::NoiseFloor)| {
            let relative = floor.relative.map(|it| format!("{:.1} %", it * 100.0));
            let absolute = floor.absolute.map(|it| format!("{it} {}", floor.unit.symbol()));
            format!(
                "{} {} {} {}: {} ({} and {}, {} blocks)",
                floor.scenario,
                floor.module,
                floor.workload,
                floor.metric,
                relative.or(absolute).unwrap_or_default(),
                record.of[0],
                record.of[1],
                floor.blocks
            )
        };
    floors.map(line).collect()
}

fn set(source: &Source) -> Set {
    let run = &source.set.run;
    let it = &run.environment;
    let harness = it.harness_revision.as_deref().unwrap_or("unknown revision");
    let testbed = Testbed::of(run);
    let host = match testbed.class {
        Class::Virtual => String::new(),
        Class::Kvm | Class::Emulated => format!(
            ", {} cores, {} GB, kernel {}, clock source {}",
            it.host_cores,
            it.host_memory_bytes >> 30,
            it.host_kernel,
            it.clock_source.as_deref().unwrap_or("unknown")
        ),
    };
    Set {
        id: run.id.clone(),
        by: if source.by.is_empty() { "not said".into() } else { source.by.clone() },
        clock: testbed.class.title(),
        blocks: source.set.unfinished().unwrap_or_else(|| count(run.blocks as usize, "block")),
        seed: run.seed,
        cells: source.set.cells.len(),
        environment: format!(
            "{}{host}, meshbench {} ({harness}), {}",
            testbed.detail, it.harness_version, it.accelerator_reason
        ),
    }
}
