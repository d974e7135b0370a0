//! Tests of the `bench` program, with the machines that it starts.

#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "../../../meshbench/tests/cluster/busy.rs"]
mod busy;
mod cli;
#[path = "../../../meshbench/tests/cluster/common.rs"]
#[allow(dead_code)]
mod common;
mod contract;
#[path = "../../src/exit.rs"]
#[allow(dead_code)]
mod exit;
mod failing_modules;
mod figures;
mod interrupted;
mod judging;
mod made_up;
mod measured;
mod networks;
mod new_module;
mod program;
mod random_faults;
mod results_cli;
mod workflow;
mod workloads;
