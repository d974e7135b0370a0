use std::time::{Duration, Instant, SystemTime};

use super::Stage;
use super::expected::{expected_after, expected_at_first};
use super::overlay::Overlay;
use super::schedule::Job;
use crate::fabric::{Reach, Scenario};
use crate::machine::{Fallen, MachineError};
use crate::module::drive::DriveError;
use crate::module::spec::Claims;
use crate::results::{
    self, After, CellKey, CellRecord, Clock, EventRecord, Family, LinkRecord, MOST_SAMPLES, Metric,
    NatCheck, Outcome,
};
use crate::text;
use crate::workload::{Workload, WorkloadError};

/// Bytes of a reason that are kept. It is in every cell that shares it; what was said at length is evidence.
const LONGEST_REASON: usize = 6 << 10;

/// Why something was not measured: the stage reached, where, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) machine: Option<String>,
    pub(crate) reason: String,
    pub(crate) cause: Cause,
    /// Files that show it, relative to the result directory.
    pub(crate) evidence: Vec<String>,
}

/// What a failure says of the module. Only what a network can do to a VPN is ever excused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// All ran, and nothing came through.
    Unreached,
    /// The module's own `configure` said that it cannot.
    Refused,
    /// Its `module.toml` says that it cannot.
    Unclaimed,
    /// Anything else: a lost machine, a daemon that ended, a network that is not what it should be.
    Fault,
}

impl Failure {
    pub(crate) fn new(stage: Stage, machine: Option<&str>, reason: impl ToString) -> Self {
        Self {
            stage,
            machine: machine.map(str::to_owned),
            reason: text::cut(&reason.to_string(), LONGEST_REASON),
            cause: Cause::Fault,
            evidence: Vec::new(),
        }
    }

    /// Driving a module failed.
    pub(crate) fn driving(stage: Stage, error: &DriveError) -> Self {
        let cause = match error {
            DriveError::Machine { source, .. } => match **source {
                MachineError::Silent { .. } => Cause::Unreached,
                _ => Cause::Fault,
            },
            DriveError::Refused { .. } => Cause::Refused,
            DriveError::SeveralCoordinators { .. }
            | DriveError::NoCoordinator { .. }
            | DriveError::NoNames { .. }
            | DriveError::NoWay { .. }
            | DriveError::PortsClosed { .. }
            | DriveError::RealTime { .. } => Cause::Unclaimed,
            _ => Cause::Fault,
        };
        Self { cause, ..Self::new(stage, error.machine(), error) }
    }

    /// Measuring failed: a fault, unless it is found that all ran and nothing came through.
    pub(crate) fn measuring(stage: Stage, error: &WorkloadError) -> Self {
        Self::new(stage, error.machine(), error)
    }

    /// Says that it failed since a machine was lost, if it does not say so itself.
    pub(crate) fn blame(&mut self, fallen: &Fallen) {
        self.cause = Cause::Fault;
        if self.machine.as_deref() != Some(fallen.name()) {
            let (name, loss, then) = (fallen.name(), fallen.loss(), &self.reason);
            self.reason = format!("{name}: lost: {loss}; then {then}");
            self.machine = Some(name.to_owned());
        }
    }

    /// What its cell ends with. A module that does not claim to get through such a network is not blamed for
    /// it; whatever else went wrong is a failure there, too.
    pub(crate) fn outcome(self, scenario: &Scenario, claims: &Claims) -> Outcome {
        if self.cause == Cause::Unclaimed {
            return Outcome::Unsupported { reason: self.reason };
        }
        if let Some(reason) = excuse(&self, scenario, claims) {
            return Outcome::Unsupported { reason: reason.into() };
        }
        let Self { stage, machine, reason, evidence, .. } = self;
        Outcome::Failed { stage: stage.word().into(), machine, reason, evidence }
    }
}

fn excuse(failure: &Failure, scenario: &Scenario, claims: &Claims) -> Option<&'static str> {
    let ipv6_only = scenario.sites.iter().any(|site| !site.ipv4) && !claims.ipv6_underlay;
    match (failure.stage, failure.cause) {
        (Stage::Configure, Cause::Refused) | (Stage::Connect, Cause::Unreached) if ipv6_only => {
            Some("does not claim to run over IPv6")
        }
        (Stage::Connect, Cause::Unreached)
            if expected_at_first(scenario, claims) == Some(Reach::Unreachable) =>
        {
            Some("does not claim to cross such a network, and does not")
        }
        (Stage::Measure(_), Cause::Unreached)
            if expected_after(scenario, claims) == Some(Reach::Unreachable) =>
        {
            Some("does not claim to come back from this, and does not")
        }
        _ => None,
    }
}

/// The network as it was found to be before anything was measured on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Proof {
    pub(crate) links: Vec<LinkRecord>,
    pub(crate) nats: Vec<NatCheck>,
}

impl Proof {
    /// With what was found of gateways last.
    pub(crate) fn renew(&mut self, found: Vec<NatCheck>) {
        for check in found {
            let same =
                |other: &NatCheck| other.site == check.site && other.underlay == check.underlay;
            self.nats.retain(|other| !same(other));
            self.nats.push(check);
        }
    }
}

/// What a step of a job has to tell of a workload.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) outcome: Outcome,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) costs: Vec<Metric>,
    pub(crate) overlay: Overlay,
    pub(crate) underlay: Option<Family>,
    pub(crate) events: Vec<EventRecord>,
    /// What the overlay was like after the events.
    pub(crate) after: Option<Overlay>,
    pub(crate) duration: Duration,
}

impl Measured {
    /// Nothing was measured, and nothing is known of the overlay.
    pub(crate) fn nothing(outcome: Outcome, begun: Instant) -> Self {
        let (metrics, costs, overlay) = (Vec::new(), Vec::new(), Overlay::UNKNOWN);
        let (underlay, events, after, duration) = (None, Vec::new(), None, begun.elapsed());
        Self { outcome, metrics, costs, overlay, underlay, events, after, duration }
    }
}

/// What can be kept: nobody could read more samples again.
fn bounded(outcome: Outcome, metrics: Vec<Metric>) -> (Outcome, Vec<Metric>) {
    let Some(metric) = metrics.iter().find(|metric| metric.samples.len() > MOST_SAMPLES) else {
        return (outcome, metrics);
    };
    let Metric { name, samples, .. } = metric;
    let reason = format!("{name} has {} samples, and may have {MOST_SAMPLES}", samples.len());
    let (stage, machine, evidence) = ("measure".into(), None, Vec::new());
    (Outcome::Failed { stage, machine, reason, evidence }, Vec::new())
}

/// The record of a cell that has just ended.
pub(crate) fn record(
    job: &Job,
    workload: Workload,
    proof: &Proof,
    measured: Measured,
) -> CellRecord {
    let Measured { outcome, metrics, costs, overlay, underlay, events, after, duration } = measured;
    let (outcome, metrics) = bounded(outcome, metrics);
    CellRecord {
        format: results::FORMAT,
        key: CellKey {
            block: job.block,
            scenario: job.scenario.clone(),
            module: job.module.clone(),
            workload: workload.name().into(),
        },
        started: results::rfc3339(SystemTime::now() - duration),
        duration_seconds: duration.as_secs_f64(),
        outcome,
        metrics,
        costs,
        path: overlay.path,
        inner_mtu: overlay.inner_mtu,
        underlay,
        links: proof.links.clone(),
        nats: proof.nats.clone(),
        events,
        standing: Vec::new(),
        after: after.map(|Overlay { path, inner_mtu }| After { path, inner_mtu }),
        clock: Clock::Real,
        sealed: None,
    }
}

#[cfg(test)]
mod tests {
    use meshbench_protocol::Silence;
    use rstest::rstest;

    use super::*;
    use crate::machine::Loss;
    use crate::module::spec::NatTraversal;

    fn scenario(sites: &str) -> Scenario {
        let text = format!(
            "title = \"t\"\ndescription = \"t\"\n{sites}\n[expect]\nnone = \"unreachable\"\n"
        );
        Scenario::parse("test", "test.toml", &text, &[]).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            encryption: true,
            nat_traversal: NatTraversal::None,
            relay: false,
            ipv6_underlay: false,
            several_coordinators: false,
            names: true,
        }
    }

    fn drive(source: MachineError) -> DriveError {
        let (stage, machine) = ("connect".into(), "alice".into());
        DriveError::Machine { stage, machine, source: Box::new(source), log: String::new() }
    }

    fn silent() -> DriveError {
        let (machine, stage) = ("alice".into(), "connecting".into());
        let silence = Silence { probes: 6000, patience_ms: 120_000, no_way: None };
        drive(MachineError::Silent { machine, stage, silence })
    }

    fn start_failed() -> DriveError {
        let (machine, stage) = ("alice".into(), "connecting".into());
        let reason = "systemctl start vpn.service: exit status: 1".into();
        drive(MachineError::Agent { machine, stage, reason })
    }

    fn command_failed() -> MachineError {
        let (machine, command) = ("alice".into(), "lifecycle configure".into());
        let (outcome, stderr) = ("exited with 1".into(), String::new());
        MachineError::Command { machine, command, outcome, stderr }
    }

    fn refused() -> DriveError {
        let (machine, log) = ("alice".into(), String::new());
        DriveError::Refused { machine, source: Box::new(command_failed()), log }
    }

    fn lost() -> DriveError {
        let (machine, stage, console) = ("alice".into(), "connecting".into(), Vec::new());
        drive(MachineError::Lost { machine, stage, loss: Loss::Panicked("oops".into()), console })
    }

    fn crashed() -> DriveError {
        DriveError::Ended {
            machine: "alice".into(),
            stage: "connect".into(),
            status: "Result=exit-code".into(),
            log: String::new(),
        }
    }

    const NATTED: &str = "[[site]]\nname = \"alice\"\nnat = \"symmetric\"\n[[site]]\nname = \"bob\"\nnat = \"symmetric\"";

    /// Only silence is excused, only while connecting, and only where nothing else was claimed.
    #[rstest]
    #[case::silence(Stage::Connect, silent(), true)]
    #[case::lost_machine(Stage::Connect, lost(), false)]
    #[case::crashed_daemon(Stage::Connect, crashed(), false)]
    #[case::start_failed(Stage::Connect, start_failed(), false)]
    #[case::command_failed(Stage::Connect, drive(command_failed()), false)]
    #[case::refused(Stage::Configure, refused(), false)]
    #[case::later(Stage::Inspect, silent(), false)]
    fn a_network_excuses_silence_and_no_fault(
        #[case] stage: Stage,
        #[case] error: DriveError,
        #[case] excused: bool,
    ) {
        let outcome = Failure::driving(stage, &error).outcome(&scenario(NATTED), &claims());
        assert_eq!(matches!(outcome, Outcome::Unsupported { .. }), excused, "{outcome:?}");
    }

    /// A direct path that is cut for good: a VPN that claims no other one is not blamed for its silence.
    #[rstest]
    #[case::silence(Cause::Unreached, false, true)]
    #[case::fault(Cause::Fault, false, false)]
    #[case::relay(Cause::Unreached, true, false)]
    fn what_happened_excuses_silence_and_no_fault(
        #[case] cause: Cause,
        #[case] relay: bool,
        #[case] excused: bool,
    ) {
        let text = "[expect]\nnone = \"direct\"\n[expect.after]\nnone = \"unreachable\"\nrelay = \"relayed\"\n";
        let text = format!("title = \"t\"\ndescription = \"t\"\n{NATTED}\n{text}");
        let scenario = Scenario::parse("test", "test.toml", &text, &[]).unwrap();
        let stage = Stage::Measure(Workload::RECOVER);
        let failure = Failure { cause, ..Failure::new(stage, None, "silence") };
        let outcome = failure.outcome(&scenario, &Claims { relay, ..claims() });
        assert_eq!(matches!(outcome, Outcome::Unsupported { .. }), excused, "{outcome:?}");
    }

    /// What is cut before the overlay comes up is told by what is expected after it.
    #[rstest]
    #[case::all_at_first(&["connect"], "unreachable", true)]
    #[case::healed(&["connect"], "direct", false)]
    #[case::some_of_it_later(&["connect", "recover"], "unreachable", false)]
    #[case::all_of_it_later(&["recover"], "unreachable", false)]
    fn what_happens_while_it_comes_up_excuses_its_silence(
        #[case] during: &[&str],
        #[case] after: &str,
        #[case] excused: bool,
    ) {
        let event = |during: &&str| {
            format!(
                "[[event]]\nduring = \"{during}\"\nat = 0\ndo = \"link-down\"\nsite = \"bob\"\n"
            )
        };
        let text = format!(
            "title = \"t\"\ndescription = \"t\"\n{NATTED}\n{}[expect]\nnone = \"direct\"\n[expect.after]\nnone = \"{after}\"\n",
            during.iter().map(event).collect::<String>()
        );
        let scenario = Scenario::parse("test", "test.toml", &text, &[]).unwrap();
        let outcome = Failure::driving(Stage::Connect, &silent()).outcome(&scenario, &claims());
        assert_eq!(matches!(outcome, Outcome::Unsupported { .. }), excused, "{outcome:?}");
    }

    const WITHOUT_IPV4: &str = "[[site]]\nname = \"alice\"\nipv4 = false\nipv6 = true\n[[site]]\nname = \"bob\"\nipv6 = true";

    /// Beside silence, only the module's own `configure` tells that there is nothing for it here.
    #[rstest]
    #[case::silence(Stage::Connect, silent(), true)]
    #[case::start_failed(Stage::Connect, start_failed(), false)]
    #[case::refused(Stage::Configure, refused(), true)]
    #[case::another_command(Stage::Configure, drive(command_failed()), false)]
    fn a_vpn_over_ipv4_is_excused_without_it_but_not_its_faults(
        #[case] stage: Stage,
        #[case] error: DriveError,
        #[case] excused: bool,
    ) {
        let outcome = Failure::driving(stage, &error).outcome(&scenario(WITHOUT_IPV4), &claims());
        assert_eq!(matches!(outcome, Outcome::Unsupported { .. }), excused, "{outcome:?}");
    }

    #[test]
    fn what_a_guest_says_makes_no_reason_long() {
        let said = format!("exited with 1\n{}\nwhy", "\u{1}".repeat(10_000_000));
        let failure = Failure::new(Stage::Configure, Some("alice"), said);
        assert!(failure.reason.len() < 8 << 10, "{}", failure.reason.len());
        assert!(failure.reason.starts_with("exited with 1\n") && failure.reason.ends_with("\nwhy"));
        assert!(failure.reason.contains("bytes left out"));
    }

    #[test]
    fn a_vpn_that_claims_a_relay_is_not_excused() {
        let text = "[expect]\nnone = \"unreachable\"\nrelay = \"relayed\"\n";
        let text = format!("title = \"t\"\ndescription = \"t\"\n{NATTED}\n{text}");
        let scenario = Scenario::parse("test", "test.toml", &text, &[]).unwrap();
        let claims = Claims { relay: true, ..claims() };
        let outcome = Failure::driving(Stage::Connect, &silent()).outcome(&scenario, &claims);
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    }
}
