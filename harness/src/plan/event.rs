//! What happens during a run, for whoever shows it.

use crate::results::CellRecord;

use super::schedule::Job;

/// Something that happened. Listeners draw progress, write logs, or ignore it.
#[derive(Debug, Clone)]
pub enum Event {
    /// A cluster's job begins.
    JobStarted {
        /// Its place in the schedule, from 0.
        index: usize,
        /// Which.
        job: Job,
    },
    /// The job has reached a stage, such as `boot` or `tcp`.
    Stage {
        /// Its place in the schedule.
        index: usize,
        /// The stage.
        stage: String,
    },
    /// A cell is finished and written.
    Cell(Box<CellRecord>),
    /// The job is over and its machines are gone.
    JobEnded {
        /// Its place in the schedule.
        index: usize,
    },
}
