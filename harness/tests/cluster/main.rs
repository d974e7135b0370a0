//! Tests of the whole: the `bench` program, and machines that it boots or that a test boots itself.

#![allow(unreachable_pub, clippy::unwrap_used)]

mod cli;
mod common;
mod faults;
mod forks;
mod interrupted;
mod measured;
mod results_cli;
