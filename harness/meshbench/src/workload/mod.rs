//! One thing measured, a file each: what it is, run it, parse it.

mod call;
mod certificate;
mod connect;
mod custom;
mod direct;
mod files;
mod gateway;
mod idle;
mod iperf3;
mod leak;
mod loaded;
mod many_peers;
mod mesh;
mod mtu;
mod nginx;
mod nix_cache;
mod orphaned;
mod ping;
mod quic;
mod recover;
mod replay;
mod rpc;
mod setting;
mod spec;
mod stranger;
mod tcp;
mod tcp_streams;
mod tool;
mod traffic;
mod udp;
mod udp_max;
mod video;
mod web;
mod wire;

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::results::OwnWorkload;

pub use connect::metric as connect_metric;
pub use custom::CustomError;
pub(crate) use leak::{UNANSWERED, canary_bytes, look};
pub(crate) use ping::requested as echo_requests;
pub(crate) use ping::whole_answers;
pub(crate) use setting::Setting;
pub use spec::{Absent, Measure, Phase, Question, Seconds, Software, Spec};
pub(crate) use spec::{Events, Run};
pub(crate) use spec::{Through, Yield};
pub(crate) use stranger::{Siege, besiege};
pub use tool::WorkloadError;
pub(crate) use tool::{command, echo_headers, is_too_big, said};
pub(crate) use wire::Seen;

/// All that come with this library, in the order in which they run within their phase.
const BUILT_IN: &[&Spec] = &[
    &connect::SPEC,
    &ping::SPEC,
    &gateway::SPEC,
    &mtu::SPEC,
    &idle::SPEC,
    &tcp::SPEC,
    &tcp_streams::SPEC,
    &udp::SPEC,
    &udp_max::SPEC,
    &rpc::SPEC,
    &call::SPEC,
    &loaded::SPEC,
    &web::SPEC,
    &files::SPEC,
    &nix_cache::SPEC,
    &video::SPEC,
    &quic::SPEC,
    &mesh::SPEC,
    &leak::SPEC,
    &replay::SPEC,
    &recover::SPEC,
    &direct::SPEC,
    &many_peers::SPEC,
    &stranger::SPEC,
    // Last, since who rejoins as somebody new may have another address from then on.
    &orphaned::SPEC,
];

/// The user's own, by the folders they were read from: known by name from then on, as those above are.
static CUSTOM: Mutex<Vec<&'static Spec>> = Mutex::new(Vec::new());

/// One thing measured.
#[derive(Clone, Copy)]
pub struct Workload(&'static Spec);

impl Workload {
    /// Measured while the overlay comes up: what all others stand on.
    pub const CONNECT: Self = Self(&connect::SPEC);

    /// What happens on a network is waited for by this one.
    pub const RECOVER: Self = Self(&recover::SPEC);

    /// All that come with this library, in the order in which they run.
    pub fn all() -> Vec<Self> {
        let mut all: Vec<Self> = BUILT_IN.iter().map(|spec| Self(spec)).collect();
        all.sort();
        all
    }

    /// The workload of that name, the user's own among them.
    pub fn named(name: &str) -> Option<Self> {
        let custom = CUSTOM.lock().unwrap_or_else(PoisonError::into_inner);
        BUILT_IN.iter().chain(custom.iter()).find(|spec| spec.name == name).map(|spec| Self(spec))
    }

    /// What it is.
    pub fn spec(self) -> &'static Spec {
        self.0
    }

    /// Its name in flags, files and results.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// What it measures, in a line.
    pub fn summary(self) -> &'static str {
        self.0.summary
    }

    /// About how many seconds it takes.
    pub fn seconds(self, quick: bool) -> f64 {
        self.0.seconds.of(quick)
    }

    /// Whether there is nothing to measure unless something happens meanwhile.
    pub(crate) fn needs_events(self) -> bool {
        self.0.phase == Phase::Events
    }

    /// Measures it. `events` resolves when all has happened that the scenario makes happen meanwhile.
    ///
    /// # Errors
    /// If a machine is lost, a tool has no result to give, or what is told is not what its description says.
    pub(crate) async fn run(
        self,
        setting: &Setting<'_>,
        events: Events<'_>,
    ) -> Result<Yield, WorkloadError> {
        let told = match &self.0.run {
            Run::BuiltIn(run) => run(setting, events).await,
            Run::Scripts(files) => files.run(setting).await,
        }?;
        let fits = self.0.check(&told.metrics);
        fits.map_err(|reason| WorkloadError::tool(&setting.from.machine, reason))?;
        Ok(told)
    }

    /// Reads one of the user's own from its folder; it is known by its name from then on.
    ///
    /// # Errors
    /// No such folder, or what lies in it is no workload.
    pub fn from_folder(folder: &Path) -> Result<Self, CustomError> {
        OwnWorkload::read(folder)?.register()
    }

    /// Its files, if it is one of the user's own.
    pub(crate) fn files(self) -> Option<&'static OwnWorkload> {
        match &self.0.run {
            Run::BuiltIn(_) => None,
            Run::Scripts(files) => Some(files),
        }
    }

    /// Makes one known by its name. The program keeps it to its end.
    fn register(spec: Spec) -> Self {
        let spec: &'static Spec = Box::leak(Box::new(spec));
        let mut custom = CUSTOM.lock().unwrap_or_else(PoisonError::into_inner);
        custom.retain(|other| other.name != spec.name);
        custom.push(spec);
        Self(spec)
    }

    /// Where it comes in a run.
    fn place(self) -> (Phase, usize, &'static str) {
        let at = BUILT_IN.iter().position(|spec| spec.name == self.name());
        (self.0.phase, at.unwrap_or(BUILT_IN.len()), self.name())
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Workload({})", self.name())
    }
}

impl PartialEq for Workload {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Workload {}

impl Hash for Workload {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl Ord for Workload {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Workload {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Workload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let unknown = || serde::de::Error::custom(format!("there is no workload `{name}`"));
        Self::named(&name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn names_are_the_same_in_flags_and_in_json() {
        for workload in Workload::all() {
            assert_eq!(Workload::named(workload.name()), Some(workload));
            let json = serde_json::to_string(&workload).unwrap();
            assert_eq!(json, format!("{:?}", workload.name()));
            assert_eq!(serde_json::from_str::<Workload>(&json).unwrap(), workload);
        }
        assert_eq!(Workload::named("Ping"), None);
    }

    #[test]
    fn the_overlay_is_connected_first_and_disturbed_last() {
        let all = Workload::all();
        assert_eq!(all.first(), Some(&Workload::CONNECT));
        assert!(all.is_sorted_by_key(|workload| workload.spec().phase));
    }

    #[test]
    fn guests_of_nix_have_what_workloads_need() {
        let list = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nix/profile.nix");
        let Ok(profile) = std::fs::read_to_string(list) else {
            let _ = writeln!(std::io::stderr(), "skipped: {list} is not beside this package");
            return;
        };
        for workload in Workload::all() {
            for attribute in workload.spec().software.nixpkgs {
                let listed = profile.lines().any(|line| line.trim() == format!("pkgs.{attribute}"));
                assert!(listed, "{workload:?} needs {attribute}, which nix/profile.nix lacks");
            }
        }
    }

    #[test]
    fn what_a_workload_may_tell_has_names_of_its_own() {
        for workload in Workload::all() {
            let names: Vec<_> = workload.spec().metrics.iter().map(|metric| metric.name).collect();
            let mut distinct = names.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), names.len(), "{names:?}");
            assert!(!names.is_empty(), "{workload:?} tells nothing");
        }
    }
}
