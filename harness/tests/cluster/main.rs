//! Tests of the whole: the `bench` program, and machines that it boots or that a test boots itself.

mod cli;
mod common;
mod faults;
mod forks;
mod interrupted;
mod measured;
