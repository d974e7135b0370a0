//! Clusters of QEMU machines on networks that behave like real ones, and what is measured on them.
//!
//! The modules depend on each other in one direction: `contract` and `grid` are made of the steps of `run`, which
//! uses `lab`, `workload` and `module`, which use `cluster`, which uses `machine`, `fabric` and `guest`; `stats`
//! and `results` know nobody. [`lab`] is the place to begin for cluster tests of your own, [`run`] for measurements.

mod blocking;
pub mod cluster;
pub mod contract;
pub mod fabric;
pub mod file;
pub mod grid;
pub mod guest;
pub mod hash;
pub mod host;
mod inside;
pub mod lab;
pub mod machine;
pub mod module;
pub mod name;
mod position;
pub mod repeat;
pub mod report;
pub mod results;
pub mod run;
pub mod stats;
pub mod text;
pub mod workload;

pub use inside::main as inside;
pub use meshbench_protocol as protocol;

/// The agent, a static program for this host's processor, as guests get it.
#[cfg(feature = "bundled-agent")]
pub const AGENT: &[u8] = include_bytes!(env!("MESHBENCH_AGENT_BINARY"));
