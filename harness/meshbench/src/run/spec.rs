use std::sync::Arc;
use std::time::SystemTime;

use super::schedule::{Job, Selection};
use crate::fabric::Action;
use crate::fabric::Scenario;
use crate::module::spec::{INTERNAL, Module};
use crate::name;
use crate::results::{Clock, RunRecord};
use crate::workload::{CustomError, Workload};

/// Blocks that a ranking needs (a two-sided rank test reaches p < 0.001 from 7).
pub const RANKING_BLOCKS: u32 = 7;

/// In place of workloads' names: all of them.
pub const EVERY: &str = "all";

/// Seconds that a cluster needs besides its workloads, seen on 2 cores without KVM.
const CLUSTER_SECONDS: f64 = 9.0;

/// What a run is of: everything that decides what is measured, and nothing about how it is shown.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// Names, order and seed.
    pub selection: Selection,
    /// The modules, `internal` among them.
    pub modules: Vec<Arc<Module>>,
    /// The scenarios.
    pub scenarios: Vec<Arc<Scenario>>,
    /// Whether short runs suffice.
    pub quick: bool,
    /// Whose time is measured.
    pub clock: Clock,
    /// In virtual time: the date that records bear, and then nothing of the host is in them.
    pub date: Option<SystemTime>,
    /// The command that asks for it, program first; for people.
    pub command: Vec<String>,
    /// Out of which revision the program that runs it was built, where that is known.
    pub revision: Option<String>,
}

/// Why a run cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// No module or no scenario.
    #[error("no {0} is named")]
    Nothing(&'static str),
    /// A workload that does not exist.
    #[error("there is no workload `{name}`")]
    Workload {
        /// As it was given.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// Of events that belong together some are left out with their workloads.
    #[error("on {scenario} {reason}")]
    Events {
        /// The scenario.
        scenario: String,
        /// Which cannot happen.
        reason: String,
    },
    /// A workload of the user's own that is none.
    #[error(transparent)]
    Own(#[from] CustomError),
}

impl RunSpec {
    /// A run of these modules, and the wire beside them, on these scenarios. `workloads` names what is measured;
    /// empty: what each scenario is for; with [`EVERY`] among them: all that can be measured on each.
    ///
    /// # Errors
    /// Nothing to measure, or an unknown workload.
    pub fn new(
        modules: Vec<Arc<Module>>,
        scenarios: Vec<Arc<Scenario>>,
        workloads: &[String],
        seed: u64,
    ) -> Result<Self, SpecError> {
        let every = workloads.iter().any(|name| name == EVERY);
        let asked = if every { Vec::new() } else { workloads_named(workloads)? };
        Self::with(modules, scenarios, seed, |scenario| match asked.as_slice() {
            [] if every => Ok(possible_workloads(scenario)),
            [] => own_workloads(scenario),
            asked => Ok(asked.to_vec()),
        })
    }

    /// The run that a record is of, to be gone on with or repeated: its modules and scenarios as they are today. Its
    /// own workloads are known by their names from then on, as they were.
    ///
    /// # Errors
    /// As [`RunSpec::new`], or a workload of its own that is none.
    pub fn of(
        run: &RunRecord,
        modules: Vec<Arc<Module>>,
        scenarios: Vec<Arc<Scenario>>,
    ) -> Result<Self, SpecError> {
        for own in &run.own_workloads {
            own.clone().register()?;
        }
        // One that nobody knows must not look like one that nobody asks for.
        workloads_named(&run.workloads)?;
        let spec = Self::with(modules, scenarios, run.seed, |scenario| {
            let names = run.workloads.iter();
            let names = names.filter(|workload| run.asks_for(&scenario.name, workload));
            workloads_named(&names.cloned().collect::<Vec<_>>())
        });
        Ok(spec?.blocks(run.blocks).quick(run.quick).clock(run.clock))
    }

    /// As [`RunSpec::new`], with the workloads that `of` says for each scenario.
    ///
    /// # Errors
    /// As there.
    pub fn with(
        modules: Vec<Arc<Module>>,
        scenarios: Vec<Arc<Scenario>>,
        seed: u64,
        of: impl Fn(&Scenario) -> Result<Vec<Workload>, SpecError>,
    ) -> Result<Self, SpecError> {
        if modules.is_empty() {
            return Err(SpecError::Nothing("module"));
        }
        if scenarios.is_empty() {
            return Err(SpecError::Nothing("scenario"));
        }
        let workloads = scenarios.iter().map(|scenario| {
            let workloads = of(scenario)?;
            let mut ordered = workloads.clone();
            ordered.sort();
            let names: Vec<&str> = ordered.iter().map(|workload| workload.name()).collect();
            let hold = scenario.events_hold(&names);
            hold.map_err(|reason| SpecError::Events {
                scenario: scenario.name.to_string(),
                reason,
            })?;
            Ok((scenario.name.to_string(), workloads))
        });
        let selection = Selection {
            modules: modules.iter().map(|module| module.name.to_string()).collect(),
            scenarios: scenarios.iter().map(|scenario| scenario.name.to_string()).collect(),
            workloads: workloads.collect::<Result<_, SpecError>>()?,
            blocks: RANKING_BLOCKS,
            seed,
        };
        let command = vec!["meshbench".into()];
        let revision = option_env!("MESHBENCH_REVISION").map(str::to_owned);
        let (quick, clock, date) = (false, Clock::Real, None);
        Ok(Self { selection, modules, scenarios, quick, clock, date, command, revision })
    }

    /// Passes over all modules; [`RANKING_BLOCKS`] unless said.
    #[must_use]
    pub fn blocks(mut self, blocks: u32) -> Self {
        self.selection.blocks = blocks;
        self
    }

    /// Short workloads: a first impression.
    #[must_use]
    pub fn quick(mut self, quick: bool) -> Self {
        self.quick = quick;
        self
    }

    /// Whose time is measured; the host's unless said.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The date of all records, if it is not to be that of the host.
    pub(crate) fn fixed_date(&self) -> Option<SystemTime> {
        self.date.filter(|_| self.clock == Clock::Virtual)
    }

    /// All clusters, in order.
    pub fn jobs(&self) -> Vec<Job> {
        self.selection.schedule()
    }

    /// The module of a job.
    pub fn module(&self, name: &str) -> Option<&Arc<Module>> {
        self.modules.iter().find(|module| module.name == *name)
    }

    /// The scenario of a job.
    pub fn scenario(&self, name: &str) -> Option<&Arc<Scenario>> {
        self.scenarios.iter().find(|scenario| scenario.name == *name)
    }

    /// The seed of a block's network: repetition is over seeds.
    pub(crate) fn seed_of(&self, block: u32) -> u64 {
        self.selection.seed.wrapping_add(u64::from(block))
    }

    /// About how long it takes, in seconds.
    pub fn estimate_seconds(&self) -> f64 {
        let jobs = self.jobs();
        let proof = if self.quick { 4.0 } else { 12.0 };
        let proofs = match self.clock {
            // Of the bare wire, and as VPNs meet it.
            Clock::Real => jobs.len().min(2 * self.scenarios.len()),
            Clock::Virtual => jobs.len(),
        };
        proof * proofs as f64
            + jobs.iter().map(|job| self.seconds(job) + CLUSTER_SECONDS).sum::<f64>()
    }

    fn seconds(&self, job: &Job) -> f64 {
        let disturbed = self.scenario(&job.scenario).is_some_and(|scenario| is_disturbed(scenario));
        let workloads = self.selection.workloads(&job.scenario).iter();
        let workloads = workloads.filter(|workload| disturbed || !workload.needs_events());
        workloads.map(|workload| workload.seconds(self.quick)).sum()
    }
}

/// Adds `internal` to the names of modules, sorts them, and drops what is there twice.
pub fn with_internal(mut names: Vec<String>) -> Vec<String> {
    names.push(INTERNAL.into());
    names.sort();
    names.dedup();
    names
}

/// Workloads by name, in the order in which they run.
///
/// # Errors
/// An unknown name.
pub fn workloads_named(names: &[String]) -> Result<Vec<Workload>, SpecError> {
    let find = |name: &String| {
        Workload::named(name).ok_or_else(|| SpecError::Workload {
            name: name.clone(),
            nearest: name::nearest(name, &workload_names()).map(str::to_owned),
        })
    };
    let mut workloads: Vec<_> = names.iter().map(find).collect::<Result<_, _>>()?;
    workloads.sort();
    workloads.dedup();
    Ok(workloads)
}

/// Names of all workloads.
pub fn workload_names() -> Vec<String> {
    Workload::all().iter().map(|workload| workload.name().to_owned()).collect()
}

/// What a scenario is for, by its file; without a word about it, all that can be measured there.
fn own_workloads(scenario: &Scenario) -> Result<Vec<Workload>, SpecError> {
    if !scenario.workloads.is_empty() {
        return workloads_named(&scenario.workloads);
    }
    Ok(possible_workloads(scenario))
}

/// All that can be measured there: without events there is nothing to recover from, and what needs more members than
/// there are says so in its cell.
fn possible_workloads(scenario: &Scenario) -> Vec<Workload> {
    let possible = |workload: &Workload| !workload.needs_events() || is_disturbed(scenario);
    Workload::all().into_iter().filter(possible).collect()
}

/// Whether something happens from which a VPN has to recover.
fn is_disturbed(scenario: &Scenario) -> bool {
    scenario.events.iter().any(|event| event.during == Workload::RECOVER.name())
}

/// Whether a machine loses its power in it.
pub(crate) fn loses_power(scenario: &Scenario) -> bool {
    scenario.events.iter().any(|event| matches!(event.action, Action::PowerLoss { .. }))
}
