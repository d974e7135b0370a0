//! `bench nat-grid`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use comfy_table::{Table, presets};
use meshbench::fabric;
use meshbench::grid::{GRID_KINDS, Grid, grid_field, grid_name};
use meshbench::module::spec::{INTERNAL, Module};
use meshbench::report::table::time;
use meshbench::results::{self, CellRecord, Outcome as CellOutcome, OverlayPath, ResultSet};
use meshbench::run::{Event, EventKind, Events, Keep, Listener, ListenerError};

use crate::args::NatGridArgs;
use crate::binaries::Binaries;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::output::{print, say};
use crate::run::{command, failure, fresh_place, fresh_seed, kept, vacant};
use crate::workspace::Workspace;
use crate::{interrupt, lab};

/// Connects every pair of kinds, each on a cluster of its own; prints the grids and a line that sums up each, and
/// writes their cells: of several modules, in a folder each.
pub async fn nat_grid(workspace: &Workspace, arguments: &NatGridArgs) -> Outcome {
    let modules = modules(workspace, &arguments.modules)?;
    let alone = modules.len() == 1;
    let place = arguments.out.clone();
    let place = place.unwrap_or_else(|| fresh_place(&results::rfc3339(SystemTime::now())));
    let seed = arguments.seed.unwrap_or_else(fresh_seed);
    let (mut sums, mut failed) = (Vec::new(), false);
    for module in &modules {
        let dir = if alone { place.clone() } else { place.join(module.name.as_str()) };
        let cells = match fill(workspace, arguments, module, seed, &dir).await {
            Ok(Some(cells)) => cells,
            Ok(None) => return Ok(exit::INTERRUPTED),
            Err(failure) if alone => return Err(failure),
            // What one cannot do here is no reason to know nothing of the others.
            Err(failure) => {
                failed = true;
                sums.push(format!("{}: none of its pairs: {failure}\n", module.name));
                continue;
            }
        };
        failed |= cells.iter().any(|cell| matches!(cell.outcome, CellOutcome::Failed { .. }));
        sums.push(sum(&module.name, &cells));
    }
    print(&sums.concat())?;
    Ok(if failed { exit::CELLS_FAILED } else { exit::OK })
}

/// The modules of these names; without any, all that there are but the wire, which no gateway lets through.
fn modules(workspace: &Workspace, names: &[String]) -> Result<Vec<Arc<Module>>, Failure> {
    if names.is_empty() {
        let mut all = workspace.modules()?;
        all.retain(|module| module.name.as_str() != INTERNAL);
        return Ok(all);
    }
    names.iter().map(|name| workspace.module(name)).collect()
}

/// The grid of one module, printed; nothing if the user ended it.
async fn fill(
    workspace: &Workspace,
    arguments: &NatGridArgs,
    module: &Arc<Module>,
    seed: u64,
    dir: &Path,
) -> Result<Option<Vec<CellRecord>>, Failure> {
    vacant(dir)?;
    let modules = [module.clone()];
    let binaries = Binaries::of(&modules, &arguments.guests)?;
    let patience = Duration::from_secs(arguments.patience);
    let grid = Grid::new(module.clone(), kinds(arguments)?, seed, patience);
    let mut grid = grid.map_err(Failure::usage)?;
    grid.evidence(dir);
    let spec = grid.spec_mut();
    (spec.command, spec.revision) = (command(), crate::REVISION.map(str::to_owned));
    let events = Events::default().with(Keep::new(dir)).with(Fields);
    let settings = lab::settings(workspace, &arguments.guests, &binaries, &events)?;
    let scenarios = grid.spec_mut().scenarios.clone();
    let of = (modules.as_slice(), scenarios.as_slice());
    let (lab, clock) = lab::clocked(settings, of, arguments.time, None).await?;
    grid.spec_mut().clock = clock;
    let start = Instant::now();
    let interrupted = tokio::select! {
        result = grid.fill(&lab, &events) => { result.map_err(failure)?; false }
        () = interrupt::requested() => true,
    };
    let set = kept(dir, interrupted)?;
    say(format!("results: {}", dir.display()));
    print(&table(grid.kinds(), module, &set))?;
    print(&format!("{} clusters in {:.0} s\n", set.cells.len(), start.elapsed().as_secs_f64()))?;
    Ok((!interrupted).then_some(set.cells))
}

/// How many pairs a VPN connected, and how.
fn sum(module: &str, cells: &[CellRecord]) -> String {
    let ok = |path: OverlayPath| {
        cells.iter().filter(|cell| cell.outcome.is_ok() && cell.path == path).count()
    };
    let [direct, relayed, unknown] =
        [OverlayPath::Direct, OverlayPath::Relayed, OverlayPath::Unknown].map(ok);
    let all = cells.len();
    let none = all - direct - relayed - unknown;
    format!(
        "{module}: of {all} pairs {direct} direct, {relayed} relayed, {unknown} it does not tell how, {none} not at all\n"
    )
}

/// A line a field, as soon as it is filled.
struct Fields;

impl Listener for Fields {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        match &event.kind {
            EventKind::CellFinished { cell, .. } => {
                let seconds = cell.duration_seconds;
                say(format!("{}: {} ({seconds:.1} s)", cell.key.scenario, grid_field(cell)));
            }
            EventKind::Preparing { what } => say(what),
            EventKind::Warned { warning } => say(format!("warning: {warning}")),
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
fn table(kinds: &[&str], module: &Module, set: &ResultSet) -> String {
    let cells = &set.cells;
    let field = |alice: &str, bob: &str| {
        let name = grid_name(alice, bob);
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
        "{} behind every pair of gateways, in {}. Every pair is measured both ways, on clusters of their own; the \
         time is from the start of alice's daemon to the first answer.\n{table}\n{notes}",
        module.spec.title,
        time(&set.run)
    )
}
