//! `bench nat-grid`.

use std::time::{Duration, Instant, SystemTime};

use comfy_table::{Table, presets};
use meshbench::fabric;
use meshbench::grid::{GRID_KINDS, Grid, grid_field};
use meshbench::module::spec::Module;
use meshbench::results::{self, CellRecord, Outcome as CellOutcome, exit};
use meshbench::run::{Event, EventKind, Events, Keep, Listener, ListenerError};

use crate::args::NatGridArgs;
use crate::binaries::Binaries;
use crate::error::{Failure, Outcome};
use crate::output::print;
use crate::run::{command, failure, fresh_place, fresh_seed};
use crate::workspace::Workspace;
use crate::{interrupt, lab};

/// Connects every pair of kinds, each on a cluster of its own; prints the grid and writes its cells.
pub async fn nat_grid(workspace: &Workspace, arguments: &NatGridArgs) -> Outcome {
    let module = workspace.module(&arguments.module)?;
    let modules = [module.clone()];
    let binaries = Binaries::of(&modules, &arguments.guests)?;
    let seed = arguments.seed.unwrap_or_else(fresh_seed);
    let patience = Duration::from_secs(arguments.patience);
    let grid = Grid::new(module.clone(), kinds(arguments)?, seed, patience);
    let mut grid = grid.map_err(Failure::usage)?;
    grid.spec_mut().binaries = binaries.records(&modules);
    let spec = grid.spec_mut();
    (spec.command, spec.revision) = (command(), crate::REVISION.map(str::to_owned));
    let dir = arguments.out.clone();
    let dir = dir.unwrap_or_else(|| fresh_place(&results::rfc3339(SystemTime::now())));
    let events = Events::default().with(Keep::new(&dir)).with(Fields);
    let settings = lab::settings(workspace, &arguments.guests, &binaries, &events)?;
    let (lab, clock) = lab::clocked(settings, &modules, arguments.time, None).await?;
    grid.spec_mut().clock = clock;
    let start = Instant::now();
    let interrupted = tokio::select! {
        result = grid.fill(&lab, &events) => { result.map_err(failure)?; false }
        () = interrupt::requested() => true,
    };
    let set = results::load(&dir).map_err(Failure::setup)?;
    eprintln!("results: {}", dir.display());
    print(&table(grid.kinds(), &module, &set.cells))?;
    print(&format!("{} clusters in {:.0} s\n", set.cells.len(), start.elapsed().as_secs_f64()))?;
    if interrupted {
        return Ok(exit::INTERRUPTED);
    }
    let failed = set.cells.iter().any(|cell| matches!(cell.outcome, CellOutcome::Failed { .. }));
    Ok(if failed { exit::CELLS_FAILED } else { exit::OK })
}

/// A line a field, as soon as it is filled.
struct Fields;

impl Listener for Fields {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        match &event.kind {
            EventKind::CellFinished { cell, .. } => {
                let seconds = cell.duration_seconds;
                eprintln!("{}: {} ({seconds:.1} s)", cell.key.scenario, grid_field(cell));
            }
            EventKind::Preparing { what } => eprintln!("{what}"),
            EventKind::Warned { warning } => eprintln!("warning: {warning}"),
            _ => {}
        }
        Ok(())
    }
}

fn kinds(arguments: &NatGridArgs) -> Result<Vec<&'static str>, Failure> {
    if arguments.kinds.is_empty() {
        return Ok(GRID_KINDS.to_vec());
    }
    let known = |name: &String| fabric::kind(name).map(|kind| kind.name).map_err(Failure::usage);
    arguments.kinds.iter().map(known).collect()
}

/// The grid, and below it why fields are empty.
fn table(kinds: &[&str], module: &Module, cells: &[CellRecord]) -> String {
    let field = |alice: &str, bob: &str| {
        let name = format!("nat-{alice}-{bob}");
        cells.iter().find(|cell| cell.key.scenario == name)
    };
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let corner = "alice (begins) ↓  bob →".to_owned();
    table.set_header(std::iter::once(corner).chain(kinds.iter().map(ToString::to_string)));
    let mut notes = String::new();
    for alice in kinds {
        let mut row = vec![(*alice).to_owned()];
        for bob in kinds {
            let cell = field(alice, bob);
            row.push(cell.map_or_else(String::new, grid_field));
            if let Some(CellOutcome::Unsupported { reason } | CellOutcome::Failed { reason, .. }) =
                cell.map(|cell| &cell.outcome)
            {
                notes += &format!("{alice} to {bob}: {reason}\n");
            }
        }
        table.add_row(row);
    }
    format!(
        "{} behind every pair of gateways. Every pair is measured both ways, on clusters of their own; the \
         time is from the start of alice's daemon to the first answer.\n{table}\n{notes}",
        module.spec.title
    )
}
