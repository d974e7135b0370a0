//! The network between the machines: a scenario, compiled to what one Linux machine must be told.
//!
//! A [`Scenario`] is what people write, a [`Plan`] what the fabric applies, a [`Change`] what happens to it
//! while a workload runs. It computes, and touches no machine.

mod address;
mod aftermath;
mod carrier;
mod change;
mod construction;
mod distinct;
mod event;
mod facts;
mod gateway;
mod kernel;
mod lan;
#[cfg(test)]
mod line_test;
mod link;
mod names;
mod nat;
mod nat64;
mod place;
mod plan;
mod raw_machine;
mod raw_site;
mod reader;
mod ruleset;
#[cfg(test)]
mod sample;
mod scenario;
#[cfg(test)]
mod script;
mod second_line;
mod sites;
mod sound;
#[cfg(test)]
mod wire_lab;
#[cfg(test)]
mod wire_test;

pub use address::MTU;
pub(crate) use address::{CORE, CORE_V4, CORE_V6, V4_PREFIX};
pub(crate) use aftermath::Aftermath;
pub use change::{Change, ChangeError};
pub use event::{Action, Event, Way};
pub use facts::{Facts, UdpFacts};
pub use gateway::{Gateway, KINDS, Kind, kind};
pub use lan::Lan;
pub(crate) use lan::OVERLAY;
pub use link::{Direction, Link, Profile, profile, profiles};
pub use nat::{Behaviour, Firewall, Nat, Ports};
pub(crate) use nat64::beyond;
pub(crate) use plan::SiteLink;
pub use plan::{MachineNet, MemberNet, Plan, Point};
pub use scenario::{
    Carrier, Expect, Forward, LineMtu, Machine, NatTraversal, Reach, Role, Scenario, ScenarioError,
    Site,
};
pub(crate) use sites::SiteState;
pub use sound::{INITIATOR, TARGET};
