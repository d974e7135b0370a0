//! What a workload is.

use futures_util::future::LocalBoxFuture;

use super::setting::Setting;
use super::tool::WorkloadError;
use crate::results::{Better, Metric, Unit};

/// A workload's description, a constant in its file.
#[derive(Debug)]
pub struct Spec {
    /// Its name in flags, files and results.
    pub name: &'static str,
    /// What it measures, in a line.
    pub summary: &'static str,
    /// Which question it helps to answer.
    pub question: Question,
    /// What it does to the network.
    pub phase: Phase,
    /// Peers that must run the VPN for it to mean anything; a hub counts as none.
    pub members: usize,
    /// What members need for it beside their module.
    pub software: Software,
    /// About how long it takes.
    pub seconds: Seconds,
    /// Everything it may tell.
    pub metrics: &'static [Measure],
    /// Measures it.
    pub(crate) run: Run,
}

/// About how long something takes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds {
    /// In a run that counts.
    pub full: f64,
    /// Where a short one suffices.
    pub quick: f64,
}

/// How a workload is run.
#[derive(Debug)]
pub(crate) enum Run {
    /// By a function of this program.
    BuiltIn(for<'a> fn(&'a Setting<'a>, Events<'a>) -> Told<'a>),
    /// By the scripts of a folder.
    Scripts(crate::results::OwnWorkload),
}

/// Resolves when all has happened that the scenario makes happen meanwhile.
pub(crate) type Events<'a> = LocalBoxFuture<'a, ()>;

/// What comes of it.
pub(crate) type Told<'a> = LocalBoxFuture<'a, Result<Yield, WorkloadError>>;

/// What a workload gives.
#[derive(Debug, Default)]
pub struct Yield {
    /// What was measured.
    pub metrics: Vec<Metric>,
    /// Bytes that applications had to carry, both ways together, where it is known: costs are told for each.
    pub payload_bytes: Option<f64>,
    /// What must have passed the overlay for figures to be the VPN's.
    pub through: Through,
}

/// What has passed the initiator's interface of the overlay while something was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Through {
    /// So many bytes or more, both ways together; something at least.
    AtLeast(f64),
    /// Nothing need have: the traffic is another machine's, or who answered has another address by now.
    Elsewhere,
}

impl Default for Through {
    /// Something.
    fn default() -> Self {
        Self::AtLeast(0.0)
    }
}

/// What people ask about a mesh VPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
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

/// When a workload runs. The overlay must be connected first, and what disturbs the network comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// It is measured while the overlay comes up.
    Connecting,
    /// It leaves the overlay as it is.
    Calm,
    /// It measures what the scenario's events do.
    Events,
    /// It takes the overlay itself apart: daemons stop, strangers come.
    Destructive,
}

/// What members need for a workload beside their module. NixOS guests have all of it.
#[derive(Debug, Clone, Copy)]
pub struct Software {
    /// Packages of the Debian provider.
    pub debian: &'static [&'static str],
    /// Attributes of nixpkgs.
    pub nixpkgs: &'static [&'static str],
}

impl Seconds {
    /// As long in either case.
    pub(super) const fn always(seconds: f64) -> Self {
        Self { full: seconds, quick: seconds }
    }

    /// The one or the other.
    pub(super) const fn of(self, quick: bool) -> f64 {
        if quick { self.quick } else { self.full }
    }
}

impl Software {
    /// Every guest has what it needs.
    pub const NONE: Self = Self { debian: &[], nixpkgs: &[] };
}

/// One thing that a workload may tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// Its name, unique in the workload.
    pub name: &'static str,
    /// In what.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
    /// Who tells it, and what exactly it is.
    pub source: &'static str,
}

impl Measure {
    pub(super) const fn new(
        name: &'static str,
        unit: Unit,
        better: Better,
        source: &'static str,
    ) -> Self {
        Self { name, unit, better, source }
    }

    /// What was measured of it.
    pub(super) fn of(&self, value: f64, samples: Vec<f64>) -> Metric {
        let Self { name, unit, better, .. } = *self;
        Metric { name: name.to_owned(), unit, better, value, samples }
    }

    /// What was measured of it, in one number.
    pub(super) fn is(&self, value: f64) -> Metric {
        self.of(value, Vec::new())
    }
}

impl From<Vec<Metric>> for Yield {
    fn from(metrics: Vec<Metric>) -> Self {
        Self { metrics, ..Self::default() }
    }
}

impl Yield {
    /// Figures of so many bytes that the initiator and the target have had from each other.
    pub(super) fn carried(metrics: Vec<Metric>, payload_bytes: f64) -> Self {
        let through = Through::AtLeast(payload_bytes);
        Self { metrics, payload_bytes: Some(payload_bytes), through }
    }

    /// As it is, where this much has passed the overlay.
    pub(super) fn through(self, bytes: f64) -> Self {
        Self { through: Through::AtLeast(bytes), ..self }
    }

    /// As it is, of traffic that the initiator has no part in.
    pub(super) fn elsewhere(self) -> Self {
        Self { through: Through::Elsewhere, ..self }
    }
}

impl Question {
    /// Its name in tables.
    pub fn word(self) -> &'static str {
        self.into()
    }
}
