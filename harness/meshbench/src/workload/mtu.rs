//! Which sizes come through, and which vanish without a word.

use std::net::IpAddr;

use super::ping::whole_answers;
use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::{command, echo_headers, is_too_big, said};
use super::{Setting, WorkloadError};
use crate::cluster::Member;
use crate::machine::PROMPT;
use crate::results::{Better, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "mtu",
    summary: "sizes of packets that come through the overlay whole, in pieces, or not at all without a word",
    question: Question::Connectivity,
    phase: Phase::Calm,
    members: 2,
    software: Software::NONE,
    seconds: Seconds::always(10.0),
    metrics: &[WHOLE, PIECES, LOST],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const WHOLE: Measure = Measure::new(
    "whole",
    Unit::Bytes,
    Better::Higher,
    "ping -M do: the largest size in steps that is answered without being cut into pieces",
);
const PIECES: Measure = Measure::new(
    "in-pieces",
    Unit::Bytes,
    Better::Higher,
    "ping -M dont: the largest size in steps that is answered when it may be cut into pieces",
)
.optional();
const LOST: Measure = Measure::new(
    "vanished",
    Unit::Count,
    Better::Lower,
    "ping -M do: sizes in steps that were neither answered nor refused: a black hole",
);

/// Bytes of IP packets: what every host must take, IPv6's least, tunnels' common ones, Ethernet's, and beyond.
const SIZES: [u32; 10] = [576, 1000, 1200, 1280, 1360, 1420, 1500, 2800, 4000, 9000];

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// The sender's kernel, or a router, said that it is too big.
    Refused,
    Vanished,
}

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let mut whole = Vec::new();
    let mut pieces = None;
    for size in SIZES {
        whole.push((size, fate(setting.from, setting.target, size, "do").await?));
        if fate(setting.from, setting.target, size, "dont").await? == Fate::Answered {
            pieces = Some(size);
        }
    }
    let answered = whole.iter().filter(|(_, fate)| *fate == Fate::Answered).map(|(size, _)| *size);
    let Some(largest) = answered.max() else {
        let reason = format!("no packet of {} bytes or more was answered", SIZES[0]);
        return Err(WorkloadError::tool(&setting.from.machine, reason));
    };
    let vanished = whole.iter().filter(|(_, fate)| *fate == Fate::Vanished).count();
    let mut metrics = vec![WHOLE.is(f64::from(largest)), LOST.is(vanished as f64)];
    metrics.extend(pieces.map(|size| PIECES.is(f64::from(size))));
    Ok(Yield::from(metrics).through(2.0 * f64::from(largest)))
}

/// The first answer to one of eight will do: a line that loses some is not a narrow one.
async fn fate(
    from: &Member,
    target: IpAddr,
    size: u32,
    whole: &str,
) -> Result<Fate, WorkloadError> {
    let (data, target) = ((size - echo_headers(target)).to_string(), target.to_string());
    let argv =
        ["ping", "-n", "-c", "1", "-w", "2", "-i", "0.25", "-M", whole, "-s", &data, &target];
    let output = from.machine.execute(command(&argv), None, PROMPT).await?;
    Ok(judged(&said(&output)))
}

fn judged(said: &str) -> Fate {
    match whole_answers(said) {
        1.. => Fate::Answered,
        0 if is_too_big(said) => Fate::Refused,
        0 => Fate::Vanished,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_a_black_hole_and_a_word_is_none() {
        let local = "ping: local error: message too long, mtu=1420";
        assert_eq!(judged(local), Fate::Refused);
        let remote = "From 5.1.0.1 icmp_seq=1 Frag needed and DF set (mtu = 1400)";
        assert_eq!(judged(remote), Fate::Refused);
        assert_eq!(judged("8 packets transmitted, 0 received"), Fate::Vanished);
        let answer = "1428 bytes from 10.77.0.2: icmp_seq=1 ttl=64";
        assert_eq!(judged(&format!("{answer} time=0.5 ms")), Fate::Answered);
        assert_eq!(judged(&format!("{answer} (truncated)")), Fate::Vanished);
    }
}
