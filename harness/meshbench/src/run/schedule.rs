//! What is measured, in which order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::stats::rng::SplitMix;
use crate::workload::Workload;

/// What a run shall measure.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Names of modules, `internal` among them.
    pub modules: Vec<String>,
    /// Names of scenarios.
    pub scenarios: Vec<String>,
    /// By scenario, in the order in which they run on one cluster.
    pub workloads: BTreeMap<String, Vec<Workload>>,
    /// Passes over all modules.
    pub blocks: u32,
    /// Seed of the order, and of all else that is random.
    pub seed: u64,
}

/// One cluster: all workloads of one module in one scenario, in one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The block, from 1.
    pub block: u32,
    /// The scenario.
    pub scenario: String,
    /// The module.
    pub module: String,
}

impl Selection {
    /// What is measured on a scenario.
    pub fn workloads(&self, scenario: &str) -> &[Workload] {
        self.workloads.get(scenario).map_or(&[], Vec::as_slice)
    }

    /// What is measured on any scenario.
    pub fn all_workloads(&self) -> BTreeSet<Workload> {
        self.workloads.values().flatten().copied().collect()
    }

    /// All jobs in order. Each block has every module once in each scenario, in an order of its own:
    /// what drifts on the host then meets all modules alike.
    pub fn schedule(&self) -> Vec<Job> {
        let mut random = SplitMix::new(self.seed);
        let mut jobs = Vec::new();
        for block in 1..=self.blocks {
            for scenario in &self.scenarios {
                let mut modules = self.modules.clone();
                shuffle(&mut modules, &mut random);
                jobs.extend(modules.into_iter().map(|module| Job {
                    block,
                    scenario: scenario.clone(),
                    module,
                }));
            }
        }
        jobs
    }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], random: &mut SplitMix) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(seed: u64) -> Selection {
        Selection {
            modules: ["internal", "a", "b", "c"].map(String::from).to_vec(),
            scenarios: ["lan", "lossy"].map(String::from).to_vec(),
            workloads: BTreeMap::new(),
            blocks: 6,
            seed,
        }
    }

    #[test]
    fn every_block_has_every_module_once_in_every_scenario() {
        let jobs = selection(1).schedule();
        assert_eq!(jobs.len(), 6 * 2 * 4);
        for part in jobs.chunks(4) {
            let mut modules: Vec<_> = part.iter().map(|job| job.module.as_str()).collect();
            modules.sort_unstable();
            assert_eq!(modules, ["a", "b", "c", "internal"]);
            assert!(
                part.iter().all(|j| (j.block, &j.scenario) == (part[0].block, &part[0].scenario))
            );
        }
    }

    #[test]
    fn the_order_follows_from_the_seed_and_differs_between_blocks() {
        assert_eq!(selection(7).schedule(), selection(7).schedule());
        let jobs = selection(7).schedule();
        let order = |chunk: &[Job]| chunk.iter().map(|job| job.module.clone()).collect::<Vec<_>>();
        let orders: std::collections::BTreeSet<_> = jobs.chunks(4).map(order).collect();
        assert!(orders.len() > 3, "{orders:?}");
    }
}
