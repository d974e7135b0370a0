//! The network between the machines: a scenario, compiled to what one Linux machine must be told.
//!
//! `scenario` is what people write, `plan` what the fabric applies, `change` what happens to it
//! while a workload runs. None of it touches a machine.

pub mod address;
pub mod change;
pub mod event;
pub mod gateway;
pub mod link;
pub mod nat;
pub mod nat_proof;
pub mod plan;
pub mod proof;
pub mod reader;
pub mod ruleset;
pub mod scenario;

mod nearest;
#[cfg(test)]
mod script;
mod sites;
#[cfg(test)]
mod wire_lab;
#[cfg(test)]
mod wire_test;
