//! Blocks, their order, and carrying them out.

pub mod contract;
mod event;
mod evidence;
mod expected;
mod job;
mod nat_grid;
mod network;
mod overlay;
mod schedule;
mod timeline;
mod underlay;

pub use event::Event;
pub use expected::{Detour, detours, expected};
pub use job::{Images, Materials, blueprint, carry_out};
pub use nat_grid::{GRID_KINDS, GridPair, grid_field, grid_scenario};
pub use network::{bottleneck_mbit, link_settings, nat_records, network_for};
pub use schedule::{Job, Selection};
