//! Clusters of QEMU machines on networks that behave like real ones, and what is measured on them.
//!
//! The modules depend on each other in one direction: `lab` uses `plan`, which uses `cluster`, `workload`
//! and `module`, which use `machine`, `fabric` and `guest`; `stats` and `results` know nobody.
//! [`lab`] is the place to begin for cluster tests of your own.

pub mod cluster;
pub mod fabric;
pub mod guest;
pub mod lab;
pub mod machine;
pub mod module;
pub mod plan;
pub mod report;
pub mod results;
pub mod stats;
pub mod workload;

/// The agent, a static program for this host's processor, as guests get it.
pub const AGENT: &[u8] = include_bytes!(env!("MESHBENCH_AGENT_BINARY"));
