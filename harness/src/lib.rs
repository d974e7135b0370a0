//! Clusters of QEMU machines on networks that behave like real ones, and what is measured on them.
//!
//! The modules depend on each other in one direction: `plan` uses `cluster`, `workload` and `module`,
//! which use `machine`, `fabric` and `guest`; `stats` and `results` know nobody.

pub mod cluster;
pub mod fabric;
pub mod guest;
pub mod machine;
pub mod module;
pub mod plan;
pub mod report;
pub mod results;
pub mod stats;
pub mod workload;

/// The agent, a static program for this host's processor, as guests get it.
pub const AGENT: &[u8] = include_bytes!(env!("MESHBENCH_AGENT_BINARY"));
