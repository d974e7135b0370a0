//! Tests of the whole: the `bench` program, and machines that it boots or that a test boots itself.

#![allow(unreachable_pub, clippy::unwrap_used)]

mod cli;
mod common;
mod events;
mod faults;
mod forks;
mod interrupted;
mod link_profiles;
mod measured;
mod nat_kinds;
mod results_cli;
