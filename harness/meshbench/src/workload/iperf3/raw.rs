//! What is read of iperf3's JSON; names are iperf3's. A field that is missing, or null because iperf3 divided by
//! zero, is `None`: whether the test has a result without it is for the reader to say.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[derive(Deserialize)]
pub(super) struct Report {
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) start: Start,
    #[serde(default)]
    intervals: Vec<Value>,
    #[serde(default)]
    pub(super) end: End,
}

#[derive(Default, Deserialize)]
pub(super) struct Start {
    pub(super) test_start: Option<TestStart>,
}

#[derive(Deserialize)]
pub(super) struct TestStart {
    pub(super) protocol: String,
    #[serde(default)]
    pub(super) num_streams: Option<u32>,
    /// Seconds asked for.
    #[serde(default, deserialize_with = "number")]
    pub(super) duration: Option<f64>,
    /// Seconds between reports.
    #[serde(default, deserialize_with = "number")]
    pub(super) interval: Option<f64>,
}

#[derive(Default, Deserialize)]
pub(super) struct End {
    #[serde(default)]
    pub(super) streams: Vec<Value>,
    #[serde(default)]
    pub(super) sum_sent: Sum,
    #[serde(default)]
    pub(super) sum_received: Sum,
}

/// Figures of an interval, or of the whole test.
#[derive(Default, Deserialize)]
pub(super) struct Sum {
    #[serde(default, deserialize_with = "number")]
    pub(super) seconds: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    pub(super) bytes: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    pub(super) bits_per_second: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    pub(super) retransmits: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    pub(super) packets: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    pub(super) lost_packets: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    pub(super) jitter_ms: Option<f64>,
    #[serde(default)]
    pub(super) omitted: bool,
}

#[derive(Deserialize)]
struct Interval {
    sum: Sum,
}

impl Report {
    /// Whether the test itself had begun.
    pub(super) fn has_begun(&self) -> bool {
        !self.intervals.is_empty()
    }

    /// The intervals that can be read.
    pub(super) fn intervals(&self) -> impl Iterator<Item = Sum> {
        let read = |value: &Value| Interval::deserialize(value).ok();
        self.intervals.iter().filter_map(read).map(|interval| interval.sum)
    }
}

/// A number, or nothing in place of whatever else there is.
fn number<'de, D: Deserializer<'de>>(source: D) -> Result<Option<f64>, D::Error> {
    Ok(Value::deserialize(source)?.as_f64())
}
