//! Whether what travels is in clear on the wire.

use std::net::IpAddr;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::{command, echo_headers};
use super::wire::{Marks, Seen};
use super::{Setting, WorkloadError, ping};
use crate::cluster::{Bound, Capture, Cluster, Member, random_hex};
use crate::machine::{MachineError, PROMPT};
use crate::module::past_the_vpn;
use crate::results::{Better, Unit, names};

pub(super) const SPEC: Spec = Spec {
    name: names::LEAK,
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
    let plan = cluster.plan();
    // Where the carrier is one, or the house, what they say to each other does not come by there.
    if plan.uplink(&setting.from.net.site) == plan.uplink(&setting.to.net.site) {
        return Err(WorkloadError::Unsupported(ONE_WAY_OUT.into()));
    }
    let capture = cluster.capture("leak", &cluster.uplinks(), Bound::WHOLE).await?;
    let ends = (setting.from, setting.to);
    let (seen, answered) = look(cluster, capture, ends, setting.target).await?;
    proves_something(&seen, answered)
        .map_err(|reason| WorkloadError::tool(cluster.fabric(), reason))?;
    let metrics = vec![
        CLEAR.is(seen.canaries as f64),
        OUTSIDE.is(seen.outside.len() as f64),
        SEEN.is(seen.packets as f64),
    ];
    Ok(Yield::from(metrics).through(canary_bytes(setting.target)))
}

/// Bytes that [`look`] sends through the overlay. Whether there are answers is not asked.
pub(crate) fn canary_bytes(target: IpAddr) -> f64 {
    CANARIES as f64 * f64::from(DATA + echo_headers(target))
}

/// What it says where nothing came through the overlay.
pub(crate) const UNANSWERED: &str =
    "no packet with the mark was answered over the overlay: that none is seen proves nothing";

/// Why nobody can listen between two members.
pub(super) const ONE_WAY_OUT: &str = "both members are behind one gateway, and what they say to each other does not pass the lines that are listened at";

/// That nothing was seen in clear says something only of what came through the overlay, in a capture that lasted.
fn proves_something(seen: &Seen, answered: u32) -> Result<(), &'static str> {
    if answered == 0 {
        return Err(UNANSWERED);
    }
    if seen.controls == 0 {
        return Err("the capture missed what was sent in clear past the VPN: it proves nothing");
    }
    Ok(())
}

/// Sends what is looked for, ends the capture, and looks; with how many of the packets that carried the mark through the
/// overlay were answered.
pub(crate) async fn look(
    cluster: &Cluster,
    capture: Capture,
    (from, to): (&Member, &Member),
    target: IpAddr,
) -> Result<(Seen, u32), MachineError> {
    // Sixteen bytes each that nothing else on the wire contains.
    let marks = Marks { canary: random_hex::<16>(), control: random_hex::<16>() };
    let answered = send(from, target, &marks.canary, CANARIES).await?;
    // In clear past the VPN, to know that the capture lasted and that what is in clear would be found.
    if let Some(public) = past_the_vpn(&from.net, &to.net) {
        send(from, public, &marks.control, 1).await?;
    }
    let captured = capture.stop(cluster.fabric()).await?;
    Ok((Seen::of(&captured, &marks, target), answered))
}

/// Sends echo requests filled with these bytes; the answers bring them back. How many there are: none where a gateway lets
/// nobody in.
async fn send(
    from: &Member,
    target: IpAddr,
    bytes: &str,
    count: usize,
) -> Result<u32, MachineError> {
    let (count, data, target) = (count.to_string(), DATA.to_string(), target.to_string());
    let argv =
        ["ping", "-n", "-c", &count, "-i", "0.2", "-W", "2", "-s", &data, "-p", bytes, &target];
    let output = from.machine.execute(command(&argv), None, PROMPT).await?;
    Ok(ping::parse(&output.text()).map_or(0, |seen| seen.received))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nothing_seen_of_nothing_carried_is_no_proof() {
        let seen =
            |packets, controls| Seen { packets, controls, canaries: 0, outside: BTreeSet::new() };
        assert_eq!(proves_something(&seen(9, 1), 5), Ok(()));
        assert!(
            proves_something(&seen(9, 1), 0).unwrap_err().starts_with("no packet with the mark")
        );
        assert!(proves_something(&seen(9, 0), 5).unwrap_err().starts_with("the capture missed"));
        assert!(proves_something(&seen(0, 0), 5).is_err());
    }
}
