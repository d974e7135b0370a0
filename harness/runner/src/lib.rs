//! The program that does a job inside a machine of virtual time, for [`Settings::runner`] of the library's lab.
//!
//! [`Settings::runner`]: https://docs.rs/meshbench/latest/meshbench/lab/struct.Settings.html#structfield.runner

/// A static program for this host's processor.
#[cfg(feature = "bundled")]
pub const RUNNER: &[u8] = include_bytes!(env!("MESHBENCH_RUNNER_BINARY"));
