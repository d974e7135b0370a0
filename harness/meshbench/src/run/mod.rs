//! Measuring: what a run is of, its order, its jobs step by step, and the events that tell of it.

mod cell;
mod cost;
mod event;
mod evidence;
mod expected;
mod inner_mtu;
mod job;
mod keep;
mod measure;
mod network;
mod overlay;
mod proved;
mod record;
mod runner;
mod schedule;
mod sealed;
mod spec;
mod stage;
mod through;
mod timeline;
mod underlay;
mod warning;
mod work;

pub use event::{Event, EventKind, Events, Listener, ListenerError, Stats};
pub use expected::{Detour, detours, expected};
pub use keep::Keep;
pub(crate) use record::differences;
pub use record::{module_sha256, run_record, scenario_sha256};
pub use runner::{RunError, Runner};
pub use schedule::{Job, Selection};
pub use spec::{
    EVERY, RANKING_BLOCKS, RunSpec, SpecError, with_internal, workload_names, workloads_named,
};
pub use stage::Stage;
pub use warning::Warning;

pub(crate) use cell::{Cause, Failure, Measured, Proof, record};
pub(crate) use event::{Ending, JobEvents};
pub(crate) use job::{carry_out, connect, deploy, on};
pub(crate) use measure::{gather, recorded};
pub(crate) use overlay::Overlay;
pub(crate) use proved::prove;
pub(crate) use runner::sealed_at_once;
pub(crate) use sealed::{
    ERRAND_FILE, Errand, Evidence, Kept, SETUP_FILE, Setup, Told, What, cell, send, unmeasured,
    unsent,
};
pub(crate) use through::prove_carried;
pub(crate) use work::{Deployed, Learned, Work};
