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
    pub(super) sum_received_bidir_reverse: Option<Sum>,
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
    sum_bidir_reverse: Option<Sum>,
}

impl Report {
    /// Whether the test itself had begun.
    pub(super) fn has_begun(&self) -> bool {
        !self.intervals.is_empty()
    }

    /// The intervals that can be read.
    pub(super) fn intervals(&self) -> impl Iterator<Item = Sum> {
        self.intervals.iter().filter_map(read).map(|interval| interval.sum)
    }

    /// Bytes of all intervals and directions; `None` if one does not tell.
    pub(super) fn payload_bytes(&self) -> Option<f64> {
        let bytes = |value: &Value| {
            let Interval { sum, sum_bidir_reverse } = read(value)?;
            Some(sum.bytes? + sum_bidir_reverse.map_or(Some(0.0), |reverse| reverse.bytes)?)
        };
        self.intervals.iter().map(bytes).sum()
    }
}

/// A number, or nothing in place of whatever else there is.
fn number<'de, D: Deserializer<'de>>(source: D) -> Result<Option<f64>, D::Error> {
    Ok(Value::deserialize(source)?.as_f64())
}

fn read(value: &Value) -> Option<Interval> {
    Interval::deserialize(value).ok()
}
