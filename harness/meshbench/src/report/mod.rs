//! Results for people to read. Knows `stats` and `results`, nobody else.

mod comparable;
pub mod compare;
pub mod external;
mod metric;
mod sign;
pub mod survey;
pub mod table;

use crate::results::Unit;

pub use sign::Sign;

/// The absolute difference that is nothing to report in a metric that is zero at times, and so has no
/// ratio: a tenth of a percent of packets lost, one retransmit.
pub fn slack(unit: Unit) -> f64 {
    match unit {
        Unit::Percent => 0.1,
        Unit::Count => 1.0,
        Unit::OpinionScore => 0.05,
        Unit::BitsPerSecond
        | Unit::Milliseconds
        | Unit::Bytes
        | Unit::PerSecond
        | Unit::PerMinute
        | Unit::Ratio
        | Unit::NanosecondsPerByte
        | Unit::InstructionsPerByte
        | Unit::InstructionsPerPacket => 0.0,
    }
}
