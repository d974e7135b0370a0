//! `bench nat-grid`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use harness::fabric::gateway;
use harness::lab::Lab;
use harness::module::spec::Module;
use harness::plan::{self, GRID_KINDS, GridPair, Selection, grid_field, grid_scenario};
use harness::results::{CellRecord, Outcome as CellOutcome, Store, exit};
use harness::workload::Workload;

use crate::args::NatGridArgs;
use crate::binaries::Binaries;
use crate::error::{Failure, Outcome};
use crate::workspace::Workspace;
use crate::{interrupt, lab, record};

/// Connects every pair of kinds, each on a cluster of its own; prints the grid and writes its cells.
pub async fn nat_grid(workspace: &Workspace, arguments: &NatGridArgs) -> Outcome {
    let kinds = kinds(arguments)?;
    let modules = [workspace.module(&arguments.module)?];
    let mut lab = lab::open(workspace, &modules, &arguments.guests).await?;
    let seed = arguments.seed.unwrap_or_else(record::fresh_seed);
    let store = create_store(arguments, &kinds, &modules, seed, &lab)?;
    let start = Instant::now();
    let mut cells = Vec::new();
    let interrupted = tokio::select! {
        result = fill(&kinds, &modules[0], arguments, seed, &mut lab, &store, &mut cells) => { result?; false }
        () = interrupt::requested() => true,
    };
    store.finish().map_err(Failure::setup)?;
    eprintln!("results: {}", store.dir().display());
    crate::run::print(&grid(&kinds, &modules[0], &cells))?;
    let seconds = start.elapsed().as_secs_f64();
    crate::run::print(&format!("{} clusters in {seconds:.0} s\n", cells.len()))?;
    if interrupted {
        return Ok(exit::INTERRUPTED);
    }
    let failed = cells.iter().any(|cell| matches!(cell.outcome, CellOutcome::Failed { .. }));
    Ok(if failed { exit::CELLS_FAILED } else { exit::OK })
}

fn kinds(arguments: &NatGridArgs) -> Result<Vec<&'static str>, Failure> {
    if arguments.kinds.is_empty() {
        return Ok(GRID_KINDS.to_vec());
    }
    let known = |name: &String| gateway::kind(name).map(|kind| kind.name).map_err(Failure::usage);
    arguments.kinds.iter().map(known).collect()
}

fn create_store(
    arguments: &NatGridArgs,
    kinds: &[&str],
    modules: &[Module],
    seed: u64,
    lab: &Lab,
) -> Result<Store, Failure> {
    let pairs = kinds.iter().flat_map(|alice| kinds.iter().map(move |bob| (alice, bob)));
    let scenarios = pairs.map(|(alice, bob)| grid_scenario(alice, bob));
    let scenarios: Vec<_> = scenarios.collect::<Result<_, _>>().map_err(Failure::usage)?;
    let names = || scenarios.iter().map(|scenario| scenario.name.clone());
    let selection = Selection {
        modules: modules.iter().map(|module| module.name.clone()).collect(),
        scenarios: names().collect(),
        workloads: names().map(|name| (name, vec![Workload::Connect])).collect(),
        blocks: 1,
        seed,
    };
    let binaries = Binaries::of(modules, &arguments.guests)?;
    let record = record::run_record(&selection, modules, &scenarios, true, (lab, &binaries));
    let default = || PathBuf::from("results/local").join(&record.id);
    let dir = arguments.out.clone().unwrap_or_else(default);
    Store::create(&dir, &record).map_err(Failure::setup)
}

async fn fill(
    kinds: &[&'static str],
    module: &Module,
    arguments: &NatGridArgs,
    seed: u64,
    lab: &mut Lab,
    store: &Store,
    cells: &mut Vec<CellRecord>,
) -> Result<(), Failure> {
    let missing = || Failure::setup(format!("there is no guest with {}", module.name));
    let images = lab.images(&module.name).ok_or_else(missing)?.clone();
    let first = grid_scenario("none", "none").map_err(Failure::usage)?;
    let parts = plan::blueprint(&first, module, images.clone(), seed);
    let warmed = parts.warm(&mut lab.templates).await;
    warmed.map_err(|error| Failure::new(exit::MACHINES, error))?;
    for alice in kinds {
        for bob in kinds {
            let pair = GridPair {
                module,
                alice,
                bob,
                images: &images,
                templates: &lab.templates,
                seed,
                patience: Duration::from_secs(arguments.patience),
            };
            let cell = pair.measure().await.map_err(Failure::usage)?;
            store.write_cell(&cell).map_err(Failure::setup)?;
            eprintln!("{alice} to {bob}: {} ({:.1} s)", grid_field(&cell), cell.duration_seconds);
            cells.push(cell);
        }
    }
    Ok(())
}

/// The grid, and below it why fields are empty.
fn grid(kinds: &[&str], module: &Module, cells: &[CellRecord]) -> String {
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
