//! Errands into machines of virtual time: all that is done there is done by the library itself, inside, so that
//! nothing from outside reaches it.

mod errand;
mod outside;

pub(crate) use errand::{ERRAND_FILE, Errand, Evidence, SETUP_FILE, Setup, Told, What};
pub(super) use outside::carry_out;
pub(crate) use outside::{Kept, cell, send, unmeasured, unsent, warm};
