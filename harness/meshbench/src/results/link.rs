//! What is recorded of a link.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check_number;

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

impl Impairment {
    /// Checks what was measured. The error says what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        self.numbers().try_for_each(check_number)?;
        let mut shares = [self.loss_percent, self.reorder_percent].into_iter().flatten();
        match shares.find(|share| !(0.0..=100.0).contains(share)) {
            Some(share) => Err(format!("{share} % is no part of all")),
            None => Ok(()),
        }
    }

    /// Checks what was asked for. The error says what is wrong.
    pub(super) fn check_setting(&self) -> Result<(), String> {
        self.check()?;
        match self.numbers().find(|number| *number < 0.0) {
            Some(number) => Err(format!("{number} is less than nothing")),
            None => Ok(()),
        }
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        let rest = [self.jitter_ms, self.loss_percent, self.reorder_percent];
        [self.rate_bits_per_second, self.delay_ms].into_iter().chain(rest).flatten()
    }
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
    /// Whether that was on an earlier cluster of the same run: on this one it was only asked whether packets still take
    /// as long as they should.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub earlier: bool,
}
