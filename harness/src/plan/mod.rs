//! Blocks, their order, and carrying them out.

pub mod contract;
mod event;
mod job;
mod network;
mod schedule;

pub use event::Event;
pub use job::{Images, Materials, blueprint, carry_out};
pub use network::{bottleneck_mbit, link_settings, nat_records, network_for};
pub use schedule::{Job, Selection};
