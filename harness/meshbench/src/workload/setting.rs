use std::net::IpAddr;
use std::time::Duration;

use crate::cluster::Member;
use crate::module::drive::Deployment;

/// A connected overlay to measure on.
#[derive(Debug)]
pub struct Setting<'a> {
    /// The VPN on its cluster.
    pub deployment: &'a Deployment,
    /// Who starts it.
    pub from: &'a Member,
    /// Who answers.
    pub to: &'a Member,
    /// The answering member's overlay address.
    pub target: IpAddr,
    /// From the start of the initiator's daemon to the target's first answer.
    pub connected: Duration,
    /// The largest packet that passes whole, in bytes, as it was found to be just before; unknown without an answer.
    pub inner_mtu: Option<u32>,
    /// Lowest rate configured on the way, in either direction, in Mbit/s.
    pub bottleneck_mbit: Option<f64>,
    /// Lowest rate configured on the way to who answers, in Mbit/s.
    pub forward_mbit: Option<f64>,
    /// What is lost or damaged by the lines on that way, as configured, in percent.
    pub forward_loss_percent: f64,
    /// The delay configured on the lines of both, there and back, in ms.
    pub round_trip_ms: f64,
    /// Whether the scenario expects a direct path of a VPN that claims what this one claims.
    pub expects_direct: bool,
    /// Whether short runs suffice.
    pub quick: bool,
}
