use std::net::IpAddr;
use std::time::Duration;

use crate::cluster::Member;
use crate::module::drive::Deployment;

/// A connected overlay to measure on.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    /// The VPN on its cluster.
    pub(crate) deployment: &'a Deployment,
    /// Who starts it.
    pub(crate) from: &'a Member,
    /// Who answers.
    pub(crate) to: &'a Member,
    /// The answering member's overlay address.
    pub(crate) target: IpAddr,
    /// From the start of the initiator's daemon to the target's first answer.
    pub(crate) connected: Duration,
    /// The largest packet that passes whole, in bytes, as it was found to be just before; unknown without an answer.
    pub(crate) inner_mtu: Option<u32>,
    /// Lowest rate configured on the way, in either direction, in Mbit/s.
    pub(crate) bottleneck_mbit: Option<f64>,
    /// Lowest rate configured on the way to who answers, in Mbit/s.
    pub(crate) forward_mbit: Option<f64>,
    /// What is lost or damaged by the lines on that way, as configured, in percent.
    pub(crate) forward_loss_percent: f64,
    /// The delay configured on the lines of both, there and back, in ms.
    pub(crate) round_trip_ms: f64,
    /// Whether the scenario expects a direct path of a VPN that claims what this one claims.
    pub(crate) expects_direct: bool,
    /// Whether short runs suffice.
    pub(crate) quick: bool,
}
