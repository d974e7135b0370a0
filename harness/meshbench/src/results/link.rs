//! What is recorded of a link.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Direction of a link, seen from its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Towards the Internet.
    Up,
    /// From the Internet.
    Down,
}

/// What a link does to packets. Absent: not impaired, or not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Impairment {
    /// Bits a second.
    pub rate_bits_per_second: Option<f64>,
    /// One-way delay in milliseconds.
    pub delay_ms: Option<f64>,
    /// Deviation of the delay in milliseconds.
    pub jitter_ms: Option<f64>,
    /// Packets lost, of 100 sent.
    pub loss_percent: Option<f64>,
    /// Packets overtaken, of 100 sent.
    pub reorder_percent: Option<f64>,
    /// Longest queue, in packets.
    pub queue_packets: Option<u32>,
}

/// One direction of a site's uplink: what was asked for, and what it was found to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkRecord {
    /// Name of the site.
    pub site: String,
    /// Which direction.
    pub direction: Direction,
    /// As the scenario asks.
    pub configured: Impairment,
    /// As measured before the VPN.
    pub measured: Impairment,
}
