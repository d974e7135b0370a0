//! Tests of clusters that boot machines.

#![allow(unreachable_pub, clippy::unwrap_used)]

#[allow(dead_code)]
mod common;
mod events;
mod faults;
mod forks;
mod link_profiles;
mod nat_kinds;
mod shared;
