//! Records of several sets made one: of a scenario and of a module the newest edition counts, and a cell that was
//! measured twice counts once.

use std::collections::BTreeMap;

use meshbench::hash::fnv1a;
use meshbench::results::{CellRecord, Clock, INTERNAL, ModuleRecord, RunRecord, ScenarioRecord};

use crate::load::{Problem, Source};

/// A record and what belongs to it.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// What records of different modules share that were measured under the same circumstances: the seed in virtual
    /// time, the block of a run in real time.
    pub pair: u64,
    /// The set that it is from.
    pub source: &'a Source,
    /// The record.
    pub record: &'a CellRecord,
    /// The wire, measured in the same run and block.
    pub wire: Option<&'a CellRecord>,
}

/// A module as it was measured: what tells it from another of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    /// As its own program tells it.
    pub version: String,
    /// Of the module's files.
    sha256: Option<String>,
    /// Of programs in place of packaged ones.
    binaries: Vec<String>,
}

impl Edition {
    /// That of a run's module.
    pub fn of(module: &ModuleRecord) -> Self {
        let own = module.binaries.iter().map(|binary| format!("{} {}", binary.name, binary.sha256));
        Self {
            version: module.version.clone().unwrap_or_else(|| "unknown version".into()),
            sha256: module.sha256.clone(),
            binaries: own.collect(),
        }
    }

    /// Shown to people.
    pub fn title(&self) -> String {
        match self.binaries.as_slice() {
            [] => self.version.clone(),
            own => {
                format!("{}, with a program of the measurer's own ({})", self.version, own.len())
            }
        }
    }
}

/// Scenario, module, workload, pair.
type Key<'a> = (&'a str, &'a str, &'a str, u64);

/// Records of sets from one testbed, by key; older editions are apart.
#[derive(Debug, Default)]
pub struct Pool<'a> {
    /// Those that count.
    pub current: BTreeMap<Key<'a>, Measured<'a>>,
    /// Those of earlier editions of a module, on the scenarios as they are now.
    pub earlier: Vec<Measured<'a>>,
    /// Cells that were measured twice, in virtual time, with the same bytes.
    pub confirmed: usize,
    /// What contradicts.
    pub problems: Vec<Problem>,
}

impl<'a> Pool<'a> {
    /// Of sets in the order of their age.
    pub fn of(sources: &[&'a Source]) -> Self {
        let mut pool = Self::default();
        let modules = newest_modules(sources);
        let scenarios = newest_scenarios(sources);
        for source in sources {
            pool.take(source, &modules, &scenarios);
        }
        pool
    }

    fn take(
        &mut self,
        source: &'a Source,
        modules: &BTreeMap<&str, Edition>,
        scenarios: &BTreeMap<&str, &ScenarioRecord>,
    ) {
        let run = &source.set.run;
        let wires = wires(source);
        let mut older = 0;
        for record in &source.set.cells {
            let key = &record.key;
            let own = run.scenarios.iter().find(|it| it.name == key.scenario);
            if !own.is_some_and(|own| same_network(own, scenarios)) {
                older += 1;
                continue;
            }
            let wire = wires.get(&(key.block, key.scenario.as_str(), key.workload.as_str()));
            let measured =
                Measured { pair: pair(run, record), source, record, wire: wire.copied() };
            let edition = run.modules.iter().find(|it| it.name == key.module).map(Edition::of);
            if edition.as_ref() == modules.get(key.module.as_str()) {
                self.add(measured);
            } else {
                self.earlier.push(measured);
            }
        }
        if older > 0 {
            let place = source.place.display();
            let reason =
                format!("{older} cells are of scenarios that were changed since, and are left out");
            self.problems.push(Problem::notice(place, reason));
        }
    }

    fn add(&mut self, measured: Measured<'a>) {
        let key = &measured.record.key;
        let key =
            (key.scenario.as_str(), key.module.as_str(), key.workload.as_str(), measured.pair);
        let Some(before) = self.current.get(&key).copied() else {
            self.current.insert(key, measured);
            return;
        };
        let (Some(one), Some(other)) = (&before.record.sealed, &measured.record.sealed) else {
            return self.twice(&before, &measured, "the first is shown");
        };
        if one.template != other.template {
            // Another harness or image: the newer counts.
            self.current.insert(key, measured);
        } else if one.said == other.said {
            self.confirmed += 1;
        } else if one.workloads == other.workloads && one.watched == other.watched {
            self.twice(
                &before,
                &measured,
                "the same machine and seed said different things, which is a leak; the first is shown",
            );
        }
    }

    fn twice(&mut self, before: &Measured<'_>, measured: &Measured<'_>, what: &str) {
        let key = &measured.record.key;
        let place = format!("{} {} {}", key.scenario, key.module, key.workload);
        let (one, other) = (&before.source.set.run.id, &measured.source.set.run.id);
        let reason = format!("it is in {one} and in {other}: {what}");
        self.problems.push(Problem::new(place, reason));
    }
}

/// In virtual time block b has the seed of the run and b more; in real time a block is like no other.
fn pair(run: &RunRecord, record: &CellRecord) -> u64 {
    let block = u64::from(record.key.block);
    match run.clock {
        Clock::Virtual => run.seed + block,
        Clock::Real => {
            // The same for every record of a run, and unlike that of another run.
            fnv1a(run.id.as_bytes()).wrapping_add(block)
        }
    }
}

fn wires(source: &Source) -> BTreeMap<(u32, &str, &str), &CellRecord> {
    let cells = source.set.cells.iter().filter(|cell| cell.key.module == INTERNAL);
    cells.map(|cell| ((cell.key.block, &*cell.key.scenario, &*cell.key.workload), cell)).collect()
}

/// Of each module the edition that was measured last.
fn newest_modules<'a>(sources: &[&'a Source]) -> BTreeMap<&'a str, Edition> {
    let mut newest = BTreeMap::new();
    for source in sources {
        for module in &source.set.run.modules {
            let measured = source.set.cells.iter().any(|cell| cell.key.module == module.name);
            if measured {
                newest.insert(module.name.as_str(), Edition::of(module));
            }
        }
    }
    newest
}

fn newest_scenarios<'a>(sources: &[&'a Source]) -> BTreeMap<&'a str, &'a ScenarioRecord> {
    let scenarios = sources.iter().flat_map(|source| &source.set.run.scenarios);
    scenarios.map(|scenario| (scenario.name.as_str(), scenario)).collect()
}

/// Whether a scenario is what it is now; of records without a hash, whether it says the same.
fn same_network(own: &ScenarioRecord, newest: &BTreeMap<&str, &ScenarioRecord>) -> bool {
    newest.get(own.name.as_str()).is_some_and(|newest| match (&own.sha256, &newest.sha256) {
        (Some(own), Some(newest)) => own == newest,
        _ => own.links == newest.links && own.nats == newest.nats,
    })
}
