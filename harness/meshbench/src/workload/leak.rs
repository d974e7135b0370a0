//! Whether what travels is in clear on the wire.

use std::net::IpAddr;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::echo_headers;
use super::wire::{Marks, Seen};
use super::{Setting, WorkloadError};
use crate::cluster::{Bound, Capture, Cluster, Member, random_hex};
use crate::machine::MachineError;
use crate::results::{Better, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "leak",
    summary: "packets on the wire that carry in clear what was sent through the overlay",
    question: Question::Security,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds::always(3.0),
    metrics: &[CLEAR, OUTSIDE, SEEN],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const CLEAR: Measure = Measure::new(
    "in-clear",
    Unit::Count,
    Better::Lower,
    "capture at every site's uplink: packets with a random mark that was sent through the overlay",
);
const OUTSIDE: Measure = Measure::new(
    "addresses-outside",
    Unit::Count,
    Better::Lower,
    "the same capture: addresses outside the scenario that somebody sent to",
);
const SEEN: Measure =
    Measure::new("packets", Unit::Count, Better::Neutral, "packets that the capture holds");

/// Packets that carry the mark.
const CANARIES: usize = 5;

/// Bytes of data in each.
const DATA: u32 = 200;

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let cluster = setting.deployment.cluster();
    let capture = cluster.capture("leak", &cluster.uplinks(), Bound::WHOLE).await?;
    let seen = look(cluster, capture, (setting.from, setting.to), setting.target).await?;
    if seen.controls == 0 {
        let reason = "the capture missed what was sent in clear past the VPN: it proves nothing";
        return Err(WorkloadError::tool(cluster.fabric(), reason));
    }
    let metrics = vec![
        CLEAR.is(seen.canaries as f64),
        OUTSIDE.is(seen.outside.len() as f64),
        SEEN.is(seen.packets as f64),
    ];
    // Whether there are answers is not asked.
    let sent = CANARIES as f64 * f64::from(DATA + echo_headers(setting.target));
    Ok(Yield::from(metrics).through(sent))
}

/// Sends what is looked for, ends the capture, and looks.
pub(crate) async fn look(
    cluster: &Cluster,
    capture: Capture,
    (from, to): (&Member, &Member),
    target: IpAddr,
) -> Result<Seen, MachineError> {
    // Sixteen bytes each that nothing else on the wire contains.
    let marks = Marks { canary: random_hex::<16>(), control: random_hex::<16>() };
    send(from, target, &marks.canary, CANARIES).await?;
    // In clear past the VPN, to know that the capture lasted and that what is in clear would be found.
    if let Some(public) = to.net.public.first() {
        send(from, *public, &marks.control, 1).await?;
    }
    let captured = capture.stop(cluster.fabric()).await?;
    Ok(Seen::of(&captured, &marks, target))
}

/// Sends echo requests filled with these bytes; the answers bring them back. Whether there are any is not asked:
/// a gateway may let nobody in.
async fn send(
    from: &Member,
    target: IpAddr,
    bytes: &str,
    count: usize,
) -> Result<(), MachineError> {
    let (count, data, target) = (count.to_string(), DATA.to_string(), target.to_string());
    let argv =
        ["ping", "-n", "-c", &count, "-i", "0.2", "-W", "2", "-s", &data, "-p", bytes, &target];
    from.machine.execute(super::tool::command(&argv), None, crate::machine::PROMPT).await.map(drop)
}
