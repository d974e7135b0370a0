use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metric::Metric;
use super::{LinkRecord, check_blocks, check_format, check_name, time};
use crate::file;
use crate::text::plain;

/// No cell takes longer: a year, in seconds.
const LONGEST_S: f64 = 366.0 * 86400.0;

/// Bytes of a line of words.
const LONGEST_WORDS: usize = 4096;

/// Bytes of an IP packet.
const MTU: RangeInclusive<u32> = 1..=65_535;

/// One file of `cells/`: one workload of one module in one scenario, in one block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CellRecord {
    /// Version of the format, [`FORMAT`](super::FORMAT).
    pub format: u32,
    /// Which cell, in which block.
    pub key: CellKey,
    /// When it started: RFC 3339, UTC, whole seconds.
    pub started: String,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// What was measured: at least one when the outcome is `ok`, none otherwise.
    pub metrics: Vec<Metric>,
    /// What that took of the members that carried it: the same names for every workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub costs: Vec<Metric>,
    /// The way packets took, as the VPN tells.
    pub path: OverlayPath,
    /// Largest IP packet that passed through the tunnel whole, in bytes, as probed.
    pub inner_mtu: Option<u32>,
    /// What carried the tunnel.
    pub underlay: Option<Family>,
    /// The links of the cluster, as proved before measuring: in real time on the first cluster of the run that had them,
    /// and looked at on the later ones.
    pub links: Vec<LinkRecord>,
    /// The gateways of the cluster that translate or filter, as probed before measuring: where the
    /// links were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nats: Vec<NatCheck>,
    /// What happened to the network meanwhile, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventRecord>,
    /// What had happened on this cluster before and still stood when it began, in words: its links are told as they were
    /// at first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standing: Vec<String>,
    /// What the overlay was like when all of that had happened and it had been measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
    /// Whose time its seconds are.
    #[serde(default, skip_serializing_if = "Clock::is_real")]
    pub clock: Clock,
    /// In virtual time: what it was a function of, and what came of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
}

/// Something that happened to the network while a cell was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventRecord {
    /// When it was due, in seconds after the workload began.
    pub at_seconds: f64,
    /// What it is called in scenarios.
    pub action: String,
    /// Whether the workload was over by then.
    pub late: bool,
    /// When it had happened, in seconds after the workload began, where that took its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub happened_seconds: Option<f64>,
}

/// An overlay after events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// The way packets took, as the VPN tells.
    pub path: OverlayPath,
    /// Largest IP packet that passed through the tunnel whole, in bytes, as probed.
    pub inner_mtu: Option<u32>,
}

// Closed on purpose: figures of two clocks are never compared, so whoever reads them has to know each clock.
/// What time is in a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The host's.
    #[default]
    Real,
    /// Instructions, of which 10^9 are a second.
    Virtual,
}

/// By what a cell of virtual time is repeated, and recognised: the same template, seed, workloads and QEMU say the
/// same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// SHA-256 of the machine that it was forked from, in hexadecimal: image, harness, QEMU.
    pub template: String,
    /// SHA-256 of every byte that the machine said, in hexadecimal: equal when all was repeated to the last digit.
    pub said: String,
    /// What was measured on the cluster, in this order.
    pub workloads: Vec<String>,
    /// In a grid: how long its first packet was waited for, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience_ms: Option<u64>,
    /// Whether packets were captured until it was connected, to be kept if it failed: that takes instructions, too.
    pub watched: bool,
    /// The command that measures this cluster alone, and says the same bytes; empty where no command does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// How long the host took for the whole cluster, in seconds.
    pub wall_seconds: f64,
    /// How long the whole cluster took in its own time, in seconds; absent where it did not come to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_seconds: Option<f64>,
}

impl Clock {
    /// Whether it is the host's.
    pub fn is_real(&self) -> bool {
        *self == Self::Real
    }

    /// The word for it in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Virtual => "virtual",
        }
    }
}

/// What tells one record from another.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct CellKey {
    /// Number of the block, from 1.
    pub block: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the module.
    pub module: String,
    /// Name of the workload.
    pub workload: String,
}

// Closed on purpose: whoever counts or shows cells shall say of each ending what it is, and not pass a new one over.
/// How a cell ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// Measured. (Braces, because serde lets unknown fields of a unit variant pass.)
    Ok {},
    /// Should have worked, and did not.
    Failed {
        /// What was being done (`boot`, `proof`, `connect`, `measure`, …).
        stage: String,
        /// The machine it happened on, where there is one.
        machine: Option<String>,
        /// What went wrong.
        reason: String,
        /// Files that show it, relative to the result directory.
        evidence: Vec<String>,
    },
    /// The module says that it cannot do this.
    Unsupported {
        /// What it cannot do.
        reason: String,
    },
    /// Not tried.
    Skipped {
        /// Why not.
        reason: String,
    },
}

/// The way packets took through a VPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OverlayPath {
    /// From peer to peer.
    Direct,
    /// Through a relay.
    Relayed,
    /// The VPN does not tell.
    Unknown,
}

/// Address family of the underlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// A site's gateway: what was asked for, and what it was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatCheck {
    /// Name of the site.
    pub site: String,
    /// For which address family.
    pub underlay: Family,
    /// Name of the kind that the scenario asks for, or `custom`.
    pub configured: String,
    /// Name of a kind that behaves as was seen, or `unknown`.
    pub measured: String,
    /// What was seen, in the words of RFC 4787.
    pub behaviour: String,
}

impl CellKey {
    /// Name of the record's file in `cells/`. Names hold no `_`, so two keys never share one.
    pub fn file_name(&self) -> String {
        format!("{}_{}_{}_{}.json", self.block, self.scenario, self.module, self.workload)
    }
}

impl Outcome {
    /// The outcome of a cell that was measured.
    pub fn ok() -> Self {
        Self::Ok {}
    }

    /// Whether the cell was measured.
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok {})
    }

    /// Evidence becomes links on a page: it must not point out of the result directory.
    fn check(&self) -> Result<(), String> {
        let Self::Failed { evidence, .. } = self else { return Ok(()) };
        match evidence.iter().find(|path| path.is_empty() || !file::is_inside(path)) {
            Some(path) => Err(format!("the evidence {path:?} is not inside the result directory")),
            None => Ok(()),
        }
    }

    /// The word for it in every output: `ok`, `failed`, `unsupported` or `skipped`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ok {} => "ok",
            Self::Failed { .. } => "failed",
            Self::Unsupported { .. } => "unsupported",
            Self::Skipped { .. } => "skipped",
        }
    }
}

impl OverlayPath {
    /// The word for it in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relayed => "relayed",
            Self::Unknown => "unknown",
        }
    }
}

impl Family {
    /// The word for it in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

impl CellRecord {
    /// Checks what the types cannot say. The error says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        check_format(self.format)?;
        time::check(&self.started)?;
        check_blocks(self.key.block)?;
        for name in [&self.key.scenario, &self.key.module, &self.key.workload] {
            check_name(name)?;
        }
        check_duration(self.duration_seconds)?;
        if self.outcome.is_ok() == self.metrics.is_empty() {
            let word = self.outcome.word();
            return Err(format!("the outcome is {word}, with {} metrics", self.metrics.len()));
        }
        self.outcome.check()?;
        self.events.iter().try_for_each(EventRecord::check)?;
        if let Some(odd) = self.standing.iter().find(|words| !are_words(words)) {
            return Err(format!("{odd:?} says of nothing that it stands"));
        }
        for link in &self.links {
            link.configured
                .check_setting()
                .and_then(|()| link.measured.check())
                .map_err(|why| format!("the link of {:?}: {why}", link.site))?;
        }
        let sites = self.links.iter().map(|link| &link.site);
        sites.chain(self.nats.iter().map(|nat| &nat.site)).try_for_each(|site| check_name(site))?;
        let probed = [self.inner_mtu, self.after.and_then(|after| after.inner_mtu)];
        if let Some(mtu) = probed.into_iter().flatten().find(|mtu| !MTU.contains(mtu)) {
            return Err(format!("no IP packet has {mtu} bytes"));
        }
        self.sealed.iter().try_for_each(Sealed::check)?;
        for metrics in [&self.metrics, &self.costs] {
            for (at, metric) in metrics.iter().enumerate() {
                metric.check()?;
                if metrics[..at].iter().any(|other| other.name == metric.name) {
                    return Err(format!("metric {} is there twice", metric.name));
                }
            }
        }
        Ok(())
    }
}

impl EventRecord {
    fn check(&self) -> Result<(), String> {
        check_name(&self.action)?;
        let mut seconds = [Some(self.at_seconds), self.happened_seconds].into_iter().flatten();
        match seconds.find(|second| !(0.0..=LONGEST_S).contains(second)) {
            Some(none) => Err(format!("{} at {none} s is at no second", self.action)),
            None => Ok(()),
        }
    }
}

/// Whether it can be shown in a line.
fn are_words(text: &str) -> bool {
    (1..=LONGEST_WORDS).contains(&text.len()) && !text.contains(['\n', '\t']) && plain(text) == text
}

fn check_duration(seconds: f64) -> Result<(), String> {
    let known = (0.0..=LONGEST_S).contains(&seconds);
    if known { Ok(()) } else { Err(format!("a duration of {seconds} s is none")) }
}

impl Sealed {
    fn check(&self) -> Result<(), String> {
        check_duration(self.wall_seconds)?;
        self.virtual_seconds.map_or(Ok(()), check_duration)?;
        self.workloads.iter().try_for_each(|name| check_name(name))?;
        match self.patience_ms {
            Some(patience) if patience as f64 > LONGEST_S * 1e3 => {
                Err(format!("nobody waits for {patience} ms"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::{Direction, Impairment, sample};
    use super::*;

    #[test]
    fn keys_that_would_share_a_name_with_hyphens_do_not() {
        let key = |scenario: &str, module: &str| CellKey {
            block: 1,
            scenario: scenario.into(),
            module: module.into(),
            workload: "tcp".into(),
        };
        assert_ne!(key("lan-a", "b").file_name(), key("lan", "a-b").file_name());
    }

    #[rstest]
    #[case("/etc/passwd")]
    #[case("../other/run.json")]
    #[case("logs/../../x")]
    #[case("")]
    fn evidence_outside_the_directory_is_refused(#[case] path: &str) {
        let mut cell = sample::failed();
        assert_eq!(cell.check(), Ok(()));
        let Outcome::Failed { evidence, .. } = &mut cell.outcome else { panic!() };
        evidence.push(path.into());
        assert!(cell.check().is_err());
    }

    #[test]
    fn a_cell_is_ok_exactly_when_something_was_measured() {
        let mut cell = sample::cells().remove(0);
        let metrics = std::mem::take(&mut cell.metrics);
        assert!(cell.check().is_err());
        cell.outcome = Outcome::Unsupported { reason: "no IPv6".into() };
        assert_eq!(cell.check(), Ok(()));
        cell.metrics = metrics;
        assert!(cell.check().is_err());
    }

    /// Each makes one cell what none can be.
    #[rstest]
    #[case::rate(|cell: &mut CellRecord| cell.links[0].measured.rate_bits_per_second = Some(1e300), "the link of \"alice\": 1")]
    #[case::loss(|cell: &mut CellRecord| cell.links[0].configured.loss_percent = Some(101.0), "the link of \"alice\": 101")]
    #[case::delay(|cell: &mut CellRecord| cell.links[0].configured.delay_ms = Some(-5.0), "the link of \"alice\": -5")]
    #[case::site(|cell: &mut CellRecord| cell.links[0].site = "\u{1b}[2J".into(), "the name ")]
    #[case::gateway(|cell: &mut CellRecord| cell.nats[0].site = "\u{1b}[2J".into(), "the name ")]
    #[case::second(|cell: &mut CellRecord| cell.events[0].at_seconds = 1e300, "heal at 1")]
    #[case::before(|cell: &mut CellRecord| cell.events[0].at_seconds = -1.0, "heal at -1 s is at no second")]
    #[case::no_second(|cell: &mut CellRecord| cell.events[0].at_seconds = f64::NAN, "heal at NaN s is at no second")]
    #[case::no_second_happened(|cell: &mut CellRecord| cell.events[0].happened_seconds = Some(f64::NAN), "heal at NaN s is at no second")]
    #[case::event(|cell: &mut CellRecord| cell.events[0].action = "He al".into(), "the name ")]
    #[case::standing(|cell: &mut CellRecord| cell.standing = vec!["\u{1b}[2J".into()], "\"\\u{1b}[2J\" says of nothing")]
    #[case::mtu(|cell: &mut CellRecord| cell.inner_mtu = Some(u32::MAX), "no IP packet has 4294967295 bytes")]
    #[case::mtu_after(|cell: &mut CellRecord| cell.after.as_mut().unwrap().inner_mtu = Some(0), "no IP packet has 0 bytes")]
    #[case::patience(|cell: &mut CellRecord| cell.sealed.as_mut().unwrap().patience_ms = Some(u64::MAX), "nobody waits")]
    fn what_no_cell_can_say_is_refused(#[case] change: fn(&mut CellRecord), #[case] says: &str) {
        let mut cell = full();
        assert_eq!(cell.check(), Ok(()));
        change(&mut cell);
        let error = cell.check().unwrap_err();
        assert!(error.starts_with(says), "{error}");
    }

    /// A cell with one of everything.
    fn full() -> CellRecord {
        let impairment = Impairment { delay_ms: Some(12.0), ..Impairment::default() };
        let link = LinkRecord {
            site: "alice".into(),
            direction: Direction::Up,
            configured: impairment,
            measured: impairment,
            earlier: true,
        };
        let nat = NatCheck {
            site: "alice".into(),
            underlay: Family::Ipv4,
            configured: "home".into(),
            measured: "home".into(),
            behaviour: "endpoint-independent".into(),
        };
        let sealed = Sealed {
            template: "ab".into(),
            said: "cd".into(),
            workloads: vec!["ping".into()],
            patience_ms: Some(20_000),
            watched: false,
            command: String::new(),
            wall_seconds: 9.0,
            virtual_seconds: Some(5.0),
        };
        let mut cell = sample::cells().remove(0);
        let (action, happened_seconds) = ("heal".into(), Some(5.5));
        cell.events = vec![EventRecord { at_seconds: 5.0, action, late: false, happened_seconds }];
        cell.standing = vec!["roam alice to cafe".into()];
        cell.after = Some(After { path: OverlayPath::Direct, inner_mtu: Some(1420) });
        CellRecord { links: vec![link], nats: vec![nat], sealed: Some(sealed), ..cell }
    }

    #[test]
    fn a_figure_or_a_duration_that_is_none_is_refused() {
        for change in [
            |cell: &mut CellRecord| cell.metrics[0].value = f64::NAN,
            |cell: &mut CellRecord| cell.duration_seconds = 1e12,
            |cell: &mut CellRecord| cell.sealed.as_mut().unwrap().wall_seconds = -1.0,
        ] {
            let mut cell = full();
            change(&mut cell);
            assert!(cell.check().is_err(), "{cell:?}");
        }
    }
}
