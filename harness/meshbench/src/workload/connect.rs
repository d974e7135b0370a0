//! How long it takes until an overlay can be used.

use std::time::Duration;

use super::tool;
use crate::results::{Better, Metric, Unit};

pub(super) const SUMMARY: &str =
    "time from the daemon's start to the first answered overlay packet";

/// The time from the daemon's start to the first answer.
pub fn metric(after: Duration) -> Metric {
    let milliseconds = after.as_secs_f64() * 1e3;
    tool::metric("time", Unit::Milliseconds, Better::Lower, milliseconds, Vec::new())
}
