//! Exit codes of `bench`. They never change their meaning, and are never a count.

/// Everything asked for was measured or done.
pub const OK: u8 = 0;
/// Something unexpected went wrong: a bug.
pub const UNEXPECTED: u8 = 1;
/// The command line or a file given by the user is wrong.
pub const USAGE: u8 = 2;
/// The selection is empty: nothing to measure.
pub const NOTHING_SELECTED: u8 = 4;
/// Machines could not run here: no QEMU, no memory, no guest that boots.
pub const MACHINES: u8 = 69;
/// A preparation failed: a guest image could not be built, or a check of `bench doctor` failed.
pub const SETUP: u8 = 96;
/// The run went through, but cells failed.
pub const CELLS_FAILED: u8 = 100;
/// `bench compare` or `bench gate` found a regression.
pub const REGRESSION: u8 = 101;
/// `bench gate`, or `bench compare --decide`, found no regression, and cannot say that there is none.
pub const UNDECIDED: u8 = 102;
/// Stopped by the user; what was measured is kept.
pub const INTERRUPTED: u8 = 130;
