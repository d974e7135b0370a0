//! Records of several sets made one: of a scenario the newest edition counts, and on each scenario that of a module which
//! was measured there last; a cell that was measured twice counts once.

use std::collections::{BTreeMap, BTreeSet};

use meshbench::hash::fnv1a;
use meshbench::results::{
    CellKey, CellRecord, Clock, INTERNAL, ModuleRecord, ResultSet, RunRecord, ScenarioRecord,
};

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
    /// The wire, measured in the same run and block; in virtual time else that of another run with the same seed.
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

/// Records of sets from one testbed, by key.
#[derive(Debug, Default)]
pub struct Pool<'a> {
    /// Those that count.
    pub current: BTreeMap<Key<'a>, Measured<'a>>,
    /// Pairs of which a run has records of others and none of this cell.
    pub absent: BTreeMap<MeasuredOf<'a>, BTreeSet<u64>>,
    /// Cells that were measured twice, in virtual time, with the same bytes.
    pub confirmed: usize,
    /// What contradicts, and what is left out.
    pub problems: Vec<Problem>,
}

impl<'a> Pool<'a> {
    /// Of sets in the order of their age.
    pub fn of(sources: &[&'a Source]) -> Self {
        let mut pool = Self::default();
        let scenarios = newest_scenarios(sources);
        let editions = newest_editions(sources, &scenarios);
        for source in sources {
            pool.take(source, &editions, &scenarios);
        }
        pool.borrow_wires();
        pool
    }

    /// In virtual time a seed is the same wire in every run: who has none of its own is given that of another. In real
    /// time a block is like no other, and pairs of two runs never meet.
    fn borrow_wires(&mut self) {
        let is_ok = |it: &&CellRecord| it.outcome.is_ok();
        let all = self.current.iter().filter(|((_, module, ..), _)| *module == INTERNAL);
        let wires: BTreeMap<_, _> = all
            .map(|((scenario, _, workload, pair), wire)| {
                ((*scenario, *workload, *pair), wire.record)
            })
            .filter(|(_, record)| record.clock == Clock::Virtual && is_ok(record))
            .collect();
        for ((scenario, _, workload, pair), measured) in &mut self.current {
            if !measured.wire.as_ref().is_some_and(is_ok) {
                let other = wires.get(&(*scenario, *workload, *pair)).copied();
                measured.wire = other.or(measured.wire);
            }
        }
    }

    fn take(
        &mut self,
        source: &'a Source,
        editions: &Editions<'_>,
        scenarios: &BTreeMap<&str, &ScenarioRecord>,
    ) {
        let run = &source.set.run;
        let wires = wires(source);
        let (mut changed, mut earlier) = (0, BTreeMap::<&str, usize>::new());
        for record in &source.set.cells {
            let key = &record.key;
            if !is_current(run, &key.scenario, scenarios) {
                changed += 1;
                continue;
            }
            // The wire is the network itself: how its module is written changes nothing of it.
            let newest = editions.get(&measured_of(key));
            if key.module != INTERNAL && edition(run, &key.module).as_ref() != newest {
                *earlier.entry(&key.module).or_default() += 1;
                continue;
            }
            let wire = wires.get(&(key.block, key.scenario.as_str(), key.workload.as_str()));
            self.add(Measured {
                pair: pair_of(run, key.block),
                source,
                record,
                wire: wire.copied(),
            });
        }
        self.miss(source, editions, scenarios);
        if changed > 0 {
            let reason = format!(
                "{changed} cells are of scenarios that were changed since, and are left out"
            );
            self.problems.push(Problem::notice(source.place.display(), reason));
        }
        for (module, cells) in earlier {
            let edition = edition(run, module).map(|it| it.title()).unwrap_or_default();
            let reason = format!(
                "{cells} cells of {module} are of an earlier edition ({edition}), and are left out: a later one was \
                 measured on the same networks"
            );
            self.problems.push(Problem::notice(source.place.display(), reason));
        }
    }

    /// Notes what a run was to measure and does not tell of: a record that was lost or left out must not help.
    fn miss(
        &mut self,
        source: &'a Source,
        editions: &Editions<'_>,
        scenarios: &BTreeMap<&str, &ScenarioRecord>,
    ) {
        let run = &source.set.run;
        for (block, key @ (module, scenario, _)) in lacking(&source.set) {
            // What is left out of earlier editions is not missed.
            let newest = editions.get(&key);
            let counts = newest.is_none() || newest == edition(run, module).as_ref();
            if counts && is_current(run, scenario, scenarios) {
                self.absent.entry(key).or_default().insert(pair_of(run, block));
            }
        }
    }

    fn add(&mut self, measured: Measured<'a>) {
        let CellKey { scenario, module, workload, .. } = &measured.record.key;
        let key = (scenario.as_str(), module.as_str(), workload.as_str(), measured.pair);
        let Some(before) = self.current.get(&key).copied() else {
            self.current.insert(key, measured);
            return;
        };
        let (Some(one), Some(other)) = (&before.record.sealed, &measured.record.sealed) else {
            return self.twice(&before, &measured, "the first is shown");
        };
        let edition = |of: &Measured<'_>| edition(&of.source.set.run, module);
        if one.template != other.template || edition(&before) != edition(&measured) {
            // Another harness or image, or another edition of the wire's module: the newer counts.
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

/// Cells of blocks of which a run has others. Jobs that it has not come to before it was ended are none: they are whole, and of
/// its last block. Nor is a module of which it tells nothing at all.
fn lacking(set: &ResultSet) -> Vec<(u32, MeasuredOf<'_>)> {
    let keys = || set.cells.iter().map(|cell| &cell.key);
    let last = keys().map(|key| key.block).max();
    let modules: BTreeSet<&str> = keys().map(|key| key.module.as_str()).collect();
    let told: BTreeSet<_> = keys().map(|key| (key.block, measured_of(key))).collect();
    let jobs: BTreeSet<_> =
        keys().map(|key| (key.block, key.scenario.as_str(), key.module.as_str())).collect();
    let asked: BTreeSet<_> =
        keys().map(|key| (key.block, key.scenario.as_str(), key.workload.as_str())).collect();
    let of_all = asked.into_iter().flat_map(|(block, scenario, workload)| {
        modules.iter().map(move |module| (block, (*module, scenario, workload)))
    });
    let is_lacking = |&(block, key @ (module, scenario, _)): &(u32, MeasuredOf<'_>)| {
        let begun = jobs.contains(&(block, scenario, module));
        !told.contains(&(block, key)) && (begun || Some(block) != last)
    };
    of_all.filter(is_lacking).collect()
}

/// In virtual time block b has the seed of the run and b more; in real time a block is like no other.
fn pair_of(run: &RunRecord, block: u32) -> u64 {
    let block = u64::from(block);
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

/// Module, scenario, workload.
type MeasuredOf<'a> = (&'a str, &'a str, &'a str);

fn measured_of(key: &CellKey) -> MeasuredOf<'_> {
    (&key.module, &key.scenario, &key.workload)
}

type Editions<'a> = BTreeMap<MeasuredOf<'a>, Edition>;

/// Of each module the edition that was measured last by each workload, on each scenario as it is now: what was measured
/// there says nothing of the rest. Programs of the measurer's own are nobody's later edition.
fn newest_editions<'a>(
    sources: &[&'a Source],
    scenarios: &BTreeMap<&str, &ScenarioRecord>,
) -> Editions<'a> {
    let mut newest = BTreeMap::new();
    for Source { set, .. } in sources {
        let keys = set.cells.iter().map(|cell| measured_of(&cell.key));
        for key @ (module, scenario, _) in keys.collect::<BTreeSet<_>>() {
            let edition = edition(&set.run, module);
            let Some(edition) = edition.filter(|_| is_current(&set.run, scenario, scenarios))
            else {
                continue;
            };
            let is_own = |edition: &Edition| !edition.binaries.is_empty();
            match newest.get(&key) {
                Some(before) if is_own(&edition) && !is_own(before) => {}
                _ => drop(newest.insert(key, edition)),
            }
        }
    }
    newest
}

fn edition(run: &RunRecord, module: &str) -> Option<Edition> {
    run.modules.iter().find(|it| it.name == module).map(Edition::of)
}

fn newest_scenarios<'a>(sources: &[&'a Source]) -> BTreeMap<&'a str, &'a ScenarioRecord> {
    // Of which nothing was measured, that is no edition of it.
    let of = |source: &&'a Source| {
        let measured: BTreeSet<&str> =
            source.set.cells.iter().map(|cell| cell.key.scenario.as_str()).collect();
        let named = source.set.run.scenarios.iter();
        named.filter(move |scenario| measured.contains(scenario.name.as_str()))
    };
    let scenarios = sources.iter().flat_map(of);
    scenarios.map(|scenario| (scenario.name.as_str(), scenario)).collect()
}

/// Whether a scenario is what it is now; of records without a hash, whether it says the same.
fn is_current(run: &RunRecord, name: &str, newest: &BTreeMap<&str, &ScenarioRecord>) -> bool {
    let own = run.scenarios.iter().find(|it| it.name == name);
    own.zip(newest.get(name)).is_some_and(|(own, newest)| match (&own.sha256, &newest.sha256) {
        (Some(own), Some(newest)) => own == newest,
        _ => own.links == newest.links && own.nats == newest.nats,
    })
}
