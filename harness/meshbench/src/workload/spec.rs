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
pub(crate) struct Yield {
    /// What was measured.
    pub(crate) metrics: Vec<Metric>,
    /// Bytes that applications had to carry, both ways together, where it is known: costs are told for each.
    pub(crate) payload_bytes: Option<f64>,
    /// What must have passed the overlay for figures to be the VPN's.
    pub(crate) through: Through,
}

/// What has passed the initiator's interface of the overlay while something was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Through {
    /// So many bytes or more, both ways together; something at least.
    AtLeast(f64),
    /// Nothing need have: the traffic is another machine's, or who answered has another address by now. What can be
    /// proved of it, the workload has proved.
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
    /// What it means that it is not told.
    pub absent: Absent,
}

/// What it means that a workload does not tell one of its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Absent {
    /// That it failed.
    Failure,
    /// That there is no such thing on this network, or of this VPN.
    Inapplicable,
    /// That what it is the time of did not come to pass.
    Unreached,
}

impl Measure {
    pub(super) const fn new(
        name: &'static str,
        unit: Unit,
        better: Better,
        source: &'static str,
    ) -> Self {
        Self { name, unit, better, source, absent: Absent::Failure }
    }

    /// As it is, of what there is not everywhere.
    pub(super) const fn optional(self) -> Self {
        Self { absent: Absent::Inapplicable, ..self }
    }

    /// As it is, of what may never come to pass.
    pub(super) const fn unreached(self) -> Self {
        Self { absent: Absent::Unreached, ..self }
    }

    /// Why what was told under its name is another thing.
    fn misread(&self, told: &Metric) -> Option<String> {
        let name = self.name;
        ((self.unit, self.better) != (told.unit, told.better)).then(|| {
            format!("it told `{name}` in another unit, or with another better side, than it says")
        })
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

impl Spec {
    /// Why these metrics are not what the description says; of metrics that it does not know, which are of another
    /// edition, nothing is said.
    pub fn misread(&self, told: &[Metric]) -> Option<String> {
        told.iter().find_map(|metric| {
            self.metrics.iter().find(|it| it.name == metric.name)?.misread(metric)
        })
    }

    /// Refuses what is not all that the description says, and no more: a name or a unit that is another's would be compared
    /// with nothing, and what is missing would count for nobody.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn check(&self, told: &[Metric]) -> Result<(), String> {
        let declared = |metric: &Metric| self.metrics.iter().find(|it| it.name == metric.name);
        for (at, metric) in told.iter().enumerate() {
            let name = &metric.name;
            let known = declared(metric)
                .ok_or_else(|| format!("it told `{name}`, which is no metric of it"))?;
            if let Some(reason) = known.misread(metric) {
                return Err(reason);
            }
            if told[..at].iter().any(|earlier| earlier.name == *name) {
                return Err(format!("it told `{name}` twice"));
            }
            metric.check()?;
        }
        let is_told = |measure: &Measure| told.iter().any(|metric| metric.name == measure.name);
        let mut needed = self.metrics.iter().filter(|it| it.absent == Absent::Failure);
        match needed.find(|measure| !is_told(measure)) {
            Some(missing) => Err(format!("it did not tell `{}`", missing.name)),
            None => Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use super::super::Workload;
    use super::*;

    const SYNC: Measure = Measure::new("sync", Unit::Milliseconds, Better::Lower, "the test");
    const MORE: Measure = Measure::new("more", Unit::Bytes, Better::Lower, "the test").optional();
    const OTHER: Measure = Measure::new("other", Unit::Bytes, Better::Lower, "the test");

    #[test]
    fn what_is_told_is_what_is_declared() {
        let spec = Spec { metrics: &[SYNC, MORE], ..described() };
        assert_eq!(spec.check(&[SYNC.is(1.0)]), Ok(()));
        assert_eq!(spec.check(&[MORE.is(2.0), SYNC.is(1.0)]), Ok(()));
        let refused = |told: &[Metric]| spec.check(told).unwrap_err();
        assert_eq!(refused(&[MORE.is(1.0)]), "it did not tell `sync`");
        assert_eq!(
            refused(&[SYNC.is(1.0), OTHER.is(1.0)]),
            "it told `other`, which is no metric of it"
        );
        assert_eq!(refused(&[SYNC.is(1.0), SYNC.is(1.0)]), "it told `sync` twice");
        let seconds = Metric { unit: Unit::Count, ..SYNC.is(1.0) };
        assert!(refused(&[seconds]).contains("another unit"));
        assert!(refused(&[SYNC.is(f64::NAN)]).starts_with("metric sync: "));
    }

    /// A description to take the rest from.
    fn described() -> Spec {
        let Spec { name, summary, question, phase, members, software, seconds, .. } =
            *Workload::CONNECT.spec();
        let run = Run::BuiltIn(|_, _| Box::pin(async { Ok(Yield::default()) }));
        Spec { name, summary, question, phase, members, software, seconds, metrics: &[], run }
    }
}
