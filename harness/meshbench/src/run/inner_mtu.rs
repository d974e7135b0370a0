//! The largest packet that passes an overlay whole: to the byte, or unknown.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::cluster::Member;
use crate::machine::PROMPT;
use crate::workload::{command, echo_headers, is_too_big, said, whole_answers};

/// Packets of each size that are sent at once, or until the first is answered.
const PACKETS: u32 = 15;

/// So often has a size that passes been answered, among packets of another that never were, before that one is too big:
/// if the line loses as many of either, by chance that is so once in 4096 times, whatever it loses.
const ENOUGH: u32 = 12;

/// After so many times of [`PACKETS`] without an end it stays unknown: nine of ten packets are lost, or more.
const ROUNDS: u32 = 8;

/// After so many of them without any answer, too: the line is down.
const SILENT_ROUNDS: u32 = 2;

/// What came of packets of one size, and of as many of another one that were sent beside them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// Answered whole.
    answers: u32,
    /// Somebody said that they are too big.
    refused: bool,
    /// Answers to the others.
    beside: u32,
}

/// The largest packet that passes whole from a member to an overlay address; unknown without an answer. `known` is what
/// an earlier probe found.
pub(super) async fn inner_mtu(from: &Member, target: IpAddr, known: Option<u32>) -> Option<u32> {
    let script =
        "device=$(ip -json route get \"$1\" | jq -r '.[0].dev'); cat /sys/class/net/$device/mtu";
    let output = from.machine.run(&["sh", "-c", script, "sh", &target.to_string()]).await.ok()?;
    let device = output.text().trim().parse().ok()?;
    let ask = async |size, beside| ask(from, target, size, beside).await;
    largest_passing(echo_headers(target)..=device, known, ask).await
}

/// Sends packets of a size: alone until the first is answered, or each beside one of a size that passes. `None` if the
/// machine cannot be asked.
async fn ask(from: &Member, target: IpAddr, size: u32, beside: Option<u32>) -> Option<Seen> {
    let Some(beside) = beside else {
        // It also ends at the first word that it hears from the way, whatever that is of.
        return ping(from, target, size, &["-c", "1", "-w", "3"]).await;
    };
    let all = ["-c", &PACKETS.to_string(), "-W", "2"];
    let (seen, others) =
        tokio::join!(ping(from, target, size, &all), ping(from, target, beside, &all));
    Some(Seen { beside: others?.answers, ..seen? })
}

async fn ping(from: &Member, target: IpAddr, size: u32, until: &[&str]) -> Option<Seen> {
    let data = size.checked_sub(echo_headers(target))?.to_string();
    let target = target.to_string();
    let mut argv = vec!["ping", "-n", "-i", "0.2", "-M", "do", "-s", &data];
    argv.extend(until);
    argv.push(&target);
    let output = from.machine.execute(command(&argv), None, PROMPT).await.ok()?;
    let said = said(&output);
    Some(Seen { answers: whole_answers(&said), refused: is_too_big(&said), beside: 0 })
}

/// The largest of the sizes that passes, by bisection: what passes is `low` or less, what does not `high` or more.
/// What was `known` is tried first, else what the device takes. `None` if nothing passes, or once a size can be told
/// neither to pass nor to be too big.
async fn largest_passing(
    sizes: RangeInclusive<u32>,
    known: Option<u32>,
    mut ask: impl AsyncFnMut(u32, Option<u32>) -> Option<Seen>,
) -> Option<u32> {
    let (least, most) = sizes.into_inner();
    let (mut low, mut high) = (None, most + 1);
    let known = known.into_iter().filter(|size| (least..=most).contains(size));
    for size in known.flat_map(|size| [size, size + 1]).chain([most]) {
        if size >= high || low.is_some_and(|low| size <= low) {
            continue;
        }
        let seen = ask(size, None).await?;
        if seen.answers == 0 && !seen.refused && low.is_none() {
            // Nobody knows yet whether anything passes.
            low = (ask(least, None).await?.answers > 0).then_some(least);
        }
        if told(seen, size, low, &mut ask).await? { low = Some(size) } else { high = size }
    }
    let mut low = match low {
        Some(low) => low,
        None if ask(least, None).await?.answers > 0 => least,
        None => return None,
    };
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let seen = ask(middle, None).await?;
        if told(seen, middle, Some(low), &mut ask).await? { low = middle } else { high = middle }
    }
    Some(low)
}

/// Whether a size passes of which so much was seen. Silence alone tells nothing: the line may lose that much. So packets
/// of a size that passes are sent among those of this one, until it is plain that these alone are lost. `None` where it
/// is not, or where no size is known that passes.
async fn told(
    seen: Seen,
    size: u32,
    passing: Option<u32>,
    mut ask: impl AsyncFnMut(u32, Option<u32>) -> Option<Seen>,
) -> Option<bool> {
    let (mut seen, mut beside, mut silent) = (seen, 0, 0);
    for _ in 0..ROUNDS {
        if seen.answers > 0 {
            return Some(true);
        }
        if seen.refused || beside >= ENOUGH {
            return Some(false);
        }
        seen = ask(size, Some(passing?)).await?;
        beside += seen.beside;
        silent += u32::from(seen.beside + seen.answers == 0);
        if silent == SILENT_ROUNDS {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use futures_util::FutureExt;

    use super::*;
    use crate::stats::rng::SplitMix;

    /// A way that takes packets up to a size, and says nothing of larger ones.
    struct Way {
        takes: u32,
        /// How likely it is that the next packet or its answer is lost: after one that was not, and after one that was.
        lost: [f64; 2],
        random: RefCell<SplitMix>,
        losing: Cell<bool>,
        asked: Cell<usize>,
    }

    impl Way {
        fn new(takes: u32, lost: [f64; 2], seed: u64) -> Self {
            let random = RefCell::new(SplitMix::new(seed));
            Self { takes, lost, random, losing: Cell::new(false), asked: Cell::new(0) }
        }

        fn passes(&self, size: u32) -> bool {
            let drawn = self.random.borrow_mut().below(1_000_000) as f64 / 1e6;
            let losing = drawn < self.lost[usize::from(self.losing.get())];
            self.losing.set(losing);
            !losing && size <= self.takes
        }

        fn ask(&self, size: u32, beside: Option<u32>) -> Seen {
            self.asked.set(self.asked.get() + 1);
            let mut seen = Seen::default();
            for _ in 0..PACKETS {
                seen.answers += u32::from(self.passes(size));
                match beside {
                    None if seen.answers > 0 => break,
                    None => {}
                    Some(beside) => seen.beside += u32::from(self.passes(beside)),
                }
            }
            seen
        }

        fn largest(&self, device: u32, known: Option<u32>) -> Option<u32> {
            let ask = async |size, beside| Some(self.ask(size, beside));
            let found = largest_passing(28..=device, known, ask).now_or_never();
            found.expect("nothing is waited for")
        }
    }

    /// What is found where packets up to `truth` pass, and how often was asked.
    fn found(truth: u32, device: u32, known: Option<u32>) -> (Option<u32>, usize) {
        let way = Way::new(truth, [0.0; 2], 1);
        (way.largest(device, known), way.asked.get())
    }

    #[test]
    fn the_mtu_is_exact_to_the_byte() {
        for truth in 1280..=1500 {
            for known in
                [None, Some(1280), Some(truth), Some(1499), Some(1500), Some(9000), Some(0)]
            {
                let (mtu, asked) = found(truth, 1500, known);
                assert_eq!(mtu, Some(truth), "known: {known:?}");
                assert!(asked <= 28, "{asked} times for {truth}, known: {known:?}");
            }
        }
        assert_eq!(found(300, 1500, None).0, Some(300));
        assert_eq!(found(28, 1500, None).0, Some(28));
    }

    #[test]
    fn what_is_still_true_is_found_at_once() {
        assert_eq!(found(1420, 1420, None), (Some(1420), 1));
        assert_eq!(found(1420, 1420, Some(1420)), (Some(1420), 1));
        assert_eq!(found(1400, 1420, Some(1400)), (Some(1400), 3));
    }

    #[test]
    fn a_tunnel_that_passes_nothing_has_no_mtu() {
        assert_eq!(found(0, 1420, None), (None, 2));
        assert_eq!(found(0, 1420, Some(1420)).0, None);
    }

    #[test]
    fn a_word_that_a_packet_is_too_big_is_taken() {
        let asked = Cell::new(0);
        let ask = async |size, beside| {
            assert_eq!(beside, None);
            asked.set(asked.get() + 1);
            let refused = size > 1400;
            Some(Seen { answers: u32::from(!refused), refused, beside: 0 })
        };
        let found = largest_passing(28..=1500, None, ask).now_or_never().unwrap();
        assert_eq!(found, Some(1400));
        assert!(asked.get() <= 14, "{}", asked.get());
    }

    #[test]
    fn a_machine_that_cannot_be_asked_leaves_it_unknown() {
        let found = largest_passing(28..=1500, None, async |_, _| None).now_or_never();
        assert_eq!(found, Some(None));
    }

    /// Two lines that lose 40 % each way let one of eight through and back; a burst of 50 swallows all that is sent.
    #[test]
    fn on_a_line_that_loses_most_the_mtu_is_exact_or_unknown() {
        let in_bursts = |lost: f64, mean: f64| [lost / (1.0 - lost) / mean, 1.0 - 1.0 / mean];
        for (lost, at_least) in [
            ([0.64; 2], 195),
            ([0.87; 2], 100),
            (in_bursts(0.4, 50.0), 100),
            (in_bursts(0.1, 8.0), 195),
        ] {
            let mut known = 0;
            for seed in 0..100 {
                for truth in [1420, 1400] {
                    let mtu = Way::new(truth, lost, seed).largest(1420, None);
                    assert!(mtu.is_none_or(|mtu| mtu == truth), "{mtu:?} of {truth}, seed {seed}");
                    known += u32::from(mtu.is_some());
                }
            }
            assert!(known >= at_least, "{lost:?}: {known} of 200");
        }
    }
}
