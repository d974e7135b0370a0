//! Jobs in virtual time: the runner goes into the machine, so that nothing from outside reaches it while it works.

mod errand;
mod inside;
mod outside;

pub use inside::main;
pub(super) use outside::{carry_out, warm};
