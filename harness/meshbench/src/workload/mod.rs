//! One thing measured, a file each: run it, parse it.

mod connect;
mod iperf3;
mod ping;
mod recover;
mod tcp;
mod tool;
mod udp;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

pub use connect::metric as connect_metric;
pub use tool::WorkloadError;

use crate::cluster::Member;
use crate::results::Metric;

/// One thing measured. The order is that in which they run: the overlay must be connected first, and what
/// disturbs the network comes last.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Workload {
    /// Time from the daemon's start to the first answered packet through the overlay.
    Connect,
    /// Round-trip time of small packets on an idle overlay.
    Ping,
    /// One TCP stream, in each direction.
    Tcp,
    /// Datagrams at a fixed rate.
    Udp,
    /// How long the overlay is silent when the scenario's events happen.
    Recover,
}

/// What people ask about a mesh VPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
#[non_exhaustive]
pub enum Question {
    /// Does it get through?
    Connectivity,
    /// Does it keep to itself what it carries?
    Security,
    /// Does it hold up when the network changes?
    Reliability,
    /// What does it cost beside the bare wire?
    Overhead,
}

/// Between whom, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// Who starts it.
    pub from: &'a Member,
    /// Who answers.
    pub to: &'a Member,
    /// The answering member's overlay address.
    pub target: IpAddr,
    /// From the start of the initiator's daemon to the target's first answer.
    pub connected: Duration,
    /// Lowest rate configured on the way, in Mbit/s.
    pub bottleneck_mbit: Option<f64>,
    /// Whether short runs suffice.
    pub quick: bool,
}

impl Workload {
    /// All of them, in the order in which they run.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name in flags, files and results.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The workload of that name.
    pub fn named(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// What it measures, in a line.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Connect => connect::SUMMARY,
            Self::Ping => ping::SUMMARY,
            Self::Tcp => tcp::SUMMARY,
            Self::Udp => udp::SUMMARY,
            Self::Recover => recover::SUMMARY,
        }
    }

    /// Which question it helps to answer.
    pub fn question(self) -> Question {
        match self {
            Self::Connect => Question::Connectivity,
            Self::Ping | Self::Tcp | Self::Udp => Question::Overhead,
            Self::Recover => Question::Reliability,
        }
    }

    /// About how many seconds it takes.
    pub fn seconds(self, quick: bool) -> f64 {
        match self {
            Self::Connect => 0.0,
            Self::Ping => ping::seconds(quick),
            Self::Tcp => tcp::seconds(quick),
            Self::Udp => udp::seconds(quick),
            Self::Recover => recover::SECONDS,
        }
    }

    /// Whether there is nothing to measure unless something happens meanwhile.
    pub fn needs_events(self) -> bool {
        self == Self::Recover
    }

    /// Measures it. `events_over` resolves when all has happened that the scenario makes happen meanwhile.
    ///
    /// # Errors
    /// If a machine is lost, or a tool has no result to give.
    pub async fn run(
        self,
        route: &Route<'_>,
        events_over: impl Future,
    ) -> Result<Vec<Metric>, WorkloadError> {
        match self {
            Self::Connect => Ok(vec![connect::metric(route.connected)]),
            Self::Ping => ping::run(route).await,
            Self::Tcp => tcp::run(route).await,
            Self::Udp => udp::run(route).await,
            Self::Recover => recover::run(route, events_over).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_flags_and_in_json() {
        for workload in Workload::ALL {
            assert_eq!(Workload::named(workload.name()), Some(*workload));
            let json = serde_json::to_string(workload).unwrap();
            assert_eq!(json, format!("{:?}", workload.name()));
        }
        assert_eq!(Workload::named("Ping"), None);
    }

    #[test]
    fn the_overlay_is_connected_first_and_disturbed_last() {
        assert_eq!(Workload::ALL.first(), Some(&Workload::Connect));
        assert_eq!(Workload::ALL.last(), Some(&Workload::Recover));
        assert!(Workload::ALL.is_sorted());
    }
}
