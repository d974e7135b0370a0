//! What a row of a board is about.

use meshbench::results::{Better, Unit};

/// What a row measures.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// Name of the metric.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// Which way it is better.
    pub better: Better,
    /// Whether it is what a workload took of the members, and not what it measured.
    pub cost: bool,
}
