//! Output of `ping` of iputils, taken in the locale C.

use std::collections::BTreeMap;

use thiserror::Error;

/// The answer to the last packet is not waited for longer, in milliseconds; and that an answer that is told later came
/// earlier by more is a clock that was set.
const LINGER_MS: f64 = 3000.0;

/// What one `ping` saw.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::workload) struct Ping {
    /// Packets sent.
    pub(in crate::workload) sent: u32,
    /// Packets answered; copies of an answer and damaged ones are not counted.
    pub(in crate::workload) received: u32,
    /// Answers in the order of their arrival, copies included, damaged ones not.
    pub(in crate::workload) replies: Vec<Reply>,
    /// Why packets were not answered, in the words of routers, hosts and the kernel, and how often.
    reasons: BTreeMap<String, u32>,
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::workload) struct Reply {
    /// When it arrived, in seconds: the stamp in brackets before the line, if there is one.
    pub(in crate::workload) at_seconds: Option<f64>,
    /// Sequence number of the packet, from 1; begins again from 0 after 65 535.
    pub(in crate::workload) sequence: u16,
    /// Round trip in milliseconds; `None` where `ping` gives none that can be: for a shortened answer, or when
    /// the clock was set meanwhile.
    pub(in crate::workload) rtt_ms: Option<f64>,
    /// Whether the packet had been answered before.
    pub(in crate::workload) duplicate: bool,
}

/// The output is not that of a `ping` that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::workload) enum PingError {
    /// `ping` itself gave up.
    #[error("ping did not start: {0}")]
    Refused(String),
    /// The statistics at the end are missing.
    #[error("line {0} of ping's output is the last: it was killed before its statistics")]
    Truncated(usize),
    /// The statistics do not hold what they should.
    #[error("line {line} of ping's output: not the statistics of ping: {text:?}")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
        /// The line itself.
        text: String,
    },
    /// Lines are missing in the middle.
    #[error(
        "ping's statistics tell of {received} replies, its output shows {seen}: lines were lost"
    )]
    Lost {
        /// By the statistics.
        received: u32,
        /// In the output.
        seen: usize,
    },
}

impl Ping {
    /// Packets without an answer, of 100 sent.
    pub(in crate::workload) fn loss_percent(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        100.0 * f64::from(self.sent.saturating_sub(self.received)) / f64::from(self.sent)
    }

    /// Round trips in milliseconds, in the order of arrival, without the copies.
    pub(in crate::workload) fn rtts_ms(&self) -> Vec<f64> {
        let first = self.replies.iter().filter(|reply| !reply.duplicate);
        first.filter_map(|reply| reply.rtt_ms).collect()
    }

    /// A sentence for when there is no round trip, with the reasons that were given.
    pub(in crate::workload) fn silence(&self) -> String {
        let what = match self.received {
            0 => format!("none of {} packets was answered", self.sent),
            received => format!("none of {received} answers tells its round trip"),
        };
        let reasons: Vec<String> = self
            .reasons
            .iter()
            .map(|(reason, count)| format!("{reason} ({count} times)"))
            .collect();
        if reasons.is_empty() { what } else { format!("{what}: {}", reasons.join(", ")) }
    }
}

/// Parses what `ping` printed, which ended by its count or by SIGINT: standard output with standard error behind or
/// among it.
///
/// # Errors
/// If `ping` gave up, was killed before it printed its statistics, or less is there than these tell of.
pub(in crate::workload) fn parse(text: &str) -> Result<Ping, PingError> {
    let mut seen = Seen::default();
    for (at, text) in text.lines().enumerate() {
        seen.lines = at + 1;
        match classify(text) {
            Line::Reply(reply) => seen.replies.push(reply),
            Line::Garbled => seen.garbled += 1,
            Line::Begun => seen.begun = true,
            Line::Own(reason) => {
                seen.refusal.get_or_insert_with(|| reason.clone());
                *seen.reasons.entry(reason).or_default() += 1;
            }
            Line::Reason(reason) => *seen.reasons.entry(reason).or_default() += 1,
            Line::Totals(Some(found)) => seen.totals = Some(found),
            Line::Totals(None) => {
                let text = text.chars().take(200).collect();
                return Err(PingError::Malformed { line: seen.lines, text });
            }
            Line::Other => {}
        }
    }
    seen.finish()
}

#[derive(Default)]
struct Seen {
    lines: usize,
    /// Whether it says what it does.
    begun: bool,
    replies: Vec<Reply>,
    /// Answers that cannot be read.
    garbled: usize,
    reasons: BTreeMap<String, u32>,
    /// What it says first of itself.
    refusal: Option<String>,
    totals: Option<Totals>,
}

impl Seen {
    fn finish(mut self) -> Result<Ping, PingError> {
        let Some(totals) = self.totals else {
            // What it says once it has begun is no reason why it did not.
            let begun = self.begun || !self.replies.is_empty();
            let refused = self.refusal.filter(|_| !begun);
            return Err(refused.map_or(PingError::Truncated(self.lines), PingError::Refused));
        };
        let seen = self.replies.iter().filter(|reply| !reply.duplicate).count();
        if seen + self.garbled < totals.received as usize {
            return Err(PingError::Lost { received: totals.received, seen });
        }
        possible(&mut self.replies, &totals);
        let Totals { sent, received, .. } = totals;
        Ok(Ping { sent, received, replies: self.replies, reasons: self.reasons })
    }
}

/// Takes away what no round trip can be: the clock was set meanwhile. Packets are sent on a clock of their own, and an
/// answer came before all that are told after it, and before the end.
fn possible(replies: &mut [Reply], totals: &Totals) {
    let Totals { sent, elapsed_ms, .. } = *totals;
    // Sequence numbers that began again do not tell when a packet was sent.
    let between = match u16::try_from(sent) {
        Ok(2..) => elapsed_ms / f64::from(sent - 1),
        _ => 0.0,
    };
    let mut latest = elapsed_ms + LINGER_MS;
    for reply in replies.iter_mut().rev() {
        let sent_at = f64::from(reply.sequence.saturating_sub(1)) * between;
        // No answer comes at once: 0 is what `ping` says when the clock was set back.
        reply.rtt_ms = reply.rtt_ms.filter(|rtt| *rtt > 0.0 && sent_at + rtt <= latest);
        if let Some(rtt) = reply.rtt_ms {
            latest = latest.min(sent_at + rtt + LINGER_MS);
        }
    }
}

enum Line {
    /// Says what it is about to do.
    Begun,
    /// Why it cannot, in its own words.
    Own(String),
    Reply(Reply),
    /// An answer that cannot be read.
    Garbled,
    /// Why something was not answered, or not sent.
    Reason(String),
    Totals(Option<Totals>),
    /// Says nothing that the others do not.
    Other,
}

struct Totals {
    sent: u32,
    received: u32,
    /// Between the first packet and the last.
    elapsed_ms: f64,
}

/// How often it was answered whole: an answer that came back shortened or damaged is none to a packet of that size.
pub(crate) fn whole_answers(said: &str) -> u32 {
    let whole = |line: &&str| {
        matches!(classify(line), Line::Reply(Reply { duplicate: false, .. }))
            && !line.contains("(truncated)")
    };
    said.lines().filter(whole).count() as u32
}

fn classify(line: &str) -> Line {
    let (at, rest) = match stamped(line) {
        Some((at, rest)) => (Some(at), rest),
        None => (None, line),
    };
    if rest.contains(" packets transmitted, ") {
        return Line::Totals(totals(rest));
    }
    if rest.contains(" bytes from ") && rest.contains("icmp_seq=") {
        // iputils takes these out of the received.
        if rest.contains("(BAD CHECKSUM!)") {
            return Line::Other;
        }
        return reply(at, rest).map_or(Line::Garbled, Line::Reply);
    }
    if rest.starts_with("PING ") {
        return Line::Begun;
    }
    if let Some(reason) = rest.strip_prefix("ping: ") {
        // A warning is no reason: it went on.
        let warned = reason.starts_with("Warning: ");
        return if warned { Line::Other } else { Line::Own(reason.to_owned()) };
    }
    match report(rest) {
        Some(reason) => Line::Reason(reason),
        None => Line::Other,
    }
}

/// `[1795418035.683210] …`
fn stamped(line: &str) -> Option<(f64, &str)> {
    let (stamp, rest) = line.strip_prefix('[')?.split_once("] ")?;
    Some((number(stamp)?, rest))
}

/// `64 bytes from 10.77.0.2: icmp_seq=2 ttl=64 time=57.6 ms (DUP!)`, or without a time: `… ttl=64 (truncated)`.
fn reply(at_seconds: Option<f64>, line: &str) -> Option<Reply> {
    let sequence = sequence(line)?;
    let time = line.split_once(" time=").and_then(|(_, time)| time.split_once(" ms"));
    let rtt_ms = time.and_then(|(time, _)| number(time));
    Some(Reply { at_seconds, sequence, rtt_ms, duplicate: line.contains("(DUP!)") })
}

/// `From 10.9.0.1 icmp_seq=1 Destination Host Unreachable`, told without the number.
fn report(line: &str) -> Option<String> {
    let (from, rest) = line.strip_prefix("From ")?.split_once("icmp_seq=")?;
    let from = from.trim_end().trim_end_matches(':');
    let (_, what) = rest.split_once(' ')?;
    Some(format!("{} from {from}", what.trim()))
}

/// `20 packets transmitted, 17 received, +3 duplicates, 15% packet loss, time 3820ms`
fn totals(line: &str) -> Option<Totals> {
    let parts: Vec<&str> = line.split(", ").collect();
    let count = |what: &str| parts.iter().find_map(|part| part.strip_suffix(what));
    let sent = count(" packets transmitted")?.parse().ok()?;
    let received = count(" received")?.parse().ok()?;
    let elapsed = parts.iter().find_map(|part| part.strip_prefix("time ")?.strip_suffix("ms"));
    let elapsed_ms = elapsed.and_then(number).unwrap_or(0.0);
    (received <= sent).then_some(Totals { sent, received, elapsed_ms })
}

fn sequence(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("icmp_seq=")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// A number as `ping` prints it: digits and a point, so neither `inf` nor `-1`.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = if plain { text.parse().ok()? } else { return None };
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn an_answer_that_was_shortened_or_damaged_is_none_to_a_packet_of_that_size() {
        let answer = "1428 bytes from 10.77.0.2: icmp_seq=1 ttl=64 time=0.5 ms";
        assert_eq!(whole_answers(&format!("PING\n{answer}\n{answer}\n")), 2);
        let shortened = "64 bytes from 10.77.0.2: icmp_seq=1 ttl=64 (truncated)";
        assert_eq!(whole_answers(shortened), 0);
        assert_eq!(whole_answers(&format!("{answer} (BAD CHECKSUM!)")), 0);
        assert_eq!(whole_answers(&format!("{answer}\n{answer} (DUP!)\n")), 1);
        assert_eq!(whole_answers("1 packets transmitted, 1 received, 0% packet loss"), 0);
    }

    const LOSSY: &str = include_str!("../fixtures/ping-lossy.txt");

    #[test]
    fn loopback_answers_all() {
        let ping = parse(include_str!("../fixtures/ping-loopback.txt")).unwrap();
        assert_eq!((ping.sent, ping.received, ping.loss_percent()), (5, 5, 0.0));
        assert_eq!(ping.rtts_ms().len(), 5);
        let gap = ping.replies[1].at_seconds.unwrap() - ping.replies[0].at_seconds.unwrap();
        assert!((0.19..0.22).contains(&gap), "{gap}");
    }

    #[test]
    fn ipv6_reads_alike() {
        let ping = parse(include_str!("../fixtures/ping-v6.txt")).unwrap();
        assert_eq!((ping.sent, ping.rtts_ms().len()), (3, 3));
    }

    #[test]
    fn copies_overtaking_and_loss_are_told_apart() {
        let ping = parse(LOSSY).unwrap();
        assert_eq!((ping.sent, ping.received), (20, 17));
        assert_eq!(ping.replies.iter().filter(|reply| reply.duplicate).count(), 3);
        assert!((ping.loss_percent() - 15.0).abs() < 1e-9);
        let rtts = ping.rtts_ms();
        assert_eq!((rtts.len(), rtts[0], rtts[3]), (17, 39.5, 314.0));
    }

    #[test]
    fn silence_is_a_loss_of_100_percent() {
        let ping = parse(include_str!("../fixtures/ping-all-lost.txt")).unwrap();
        assert_eq!((ping.sent, ping.received, ping.loss_percent()), (3, 0, 100.0));
        assert_eq!(ping.silence(), "none of 3 packets was answered");
    }

    #[test]
    fn routers_and_the_kernel_say_why_nothing_was_answered() {
        let ping = parse(include_str!("../fixtures/ping-host-unreachable.txt")).unwrap();
        let want =
            "none of 4 packets was answered: Destination Host Unreachable from 10.9.0.1 (4 times)";
        assert_eq!(ping.silence(), want);
        // As it stands on standard error when WireGuard has no key for the other side.
        let text = [
            include_str!("../fixtures/ping-all-lost.txt"),
            "ping: sendmsg: Required key not available\n",
        ];
        let silence = parse(&text.concat()).unwrap().silence();
        assert!(silence.ends_with(": sendmsg: Required key not available (1 times)"), "{silence}");
    }

    #[rstest]
    #[case(
        include_str!("../fixtures/ping-network-unreachable.txt"),
        PingError::Refused("connect: Network is unreachable".into())
    )]
    #[case(
        include_str!("../fixtures/ping-unknown-name.txt"),
        PingError::Refused("nowhere.invalid: Temporary failure in name resolution".into())
    )]
    #[case(include_str!("../fixtures/ping-truncated.txt"), PingError::Truncated(4))]
    #[case("", PingError::Truncated(0))]
    #[case::the_first_word_of_its_own("ping: b: first\nping: a: second\n", PingError::Refused("b: first".into()))]
    #[case::a_routers_word_is_not_its_own(
        "PING 10.9.0.1 (10.9.0.1) 56(84) bytes of data.\nFrom 10.9.0.1 icmp_seq=1 Destination Host Unreachable\n",
        PingError::Truncated(2)
    )]
    #[case::it_had_begun(
        "PING 10.9.0.1 (10.9.0.1) 56(84) bytes of data.\nping: sendmsg: Network is unreachable\n",
        PingError::Truncated(2)
    )]
    fn what_did_not_run_to_its_end_is_refused(#[case] text: &str, #[case] want: PingError) {
        assert_eq!(parse(text), Err(want));
    }

    #[test]
    fn lines_lost_in_the_middle_are_noticed() {
        let text: Vec<&str> = LOSSY.lines().filter(|line| !line.contains("icmp_seq=5 ")).collect();
        assert_eq!(parse(&text.join("\n")), Err(PingError::Lost { received: 17, seen: 16 }));
    }

    /// An answer that cannot be read, that the overlay has shortened, or over which the clock was set.
    #[rstest]
    #[case::no_number("time=39.5 ms", "time=fast ms")]
    #[case::negative("time=39.5 ms", "time=-3 ms")]
    #[case::no_sequence("icmp_seq=1 ", "icmp_seq=70000 ")]
    #[case::shortened("time=39.5 ms", "(truncated)")]
    #[case::set_back("time=39.5 ms", "time=0.000 ms")]
    #[case::set_forward("time=39.5 ms", "time=604800000 ms")]
    fn a_bad_sample_is_left_out_and_costs_no_cell(#[case] from: &str, #[case] to: &str) {
        let text = LOSSY.replacen(from, to, 1);
        assert_ne!(text, LOSSY);
        let ping = parse(&text).unwrap();
        assert_eq!((ping.received, ping.rtts_ms().len()), (17, 16));
        assert!(ping.rtts_ms().iter().all(|rtt| *rtt < 1000.0));
    }

    /// The answer to packet number 10 of 110, on its way while the clock is set.
    #[rstest]
    #[case::by_little_more_than_is_waited(3.5, false)]
    #[case::by_less_than_the_run(9.0, false)]
    #[case::by_more(20.0, false)]
    #[case::not_at_all(0.0, true)]
    fn a_clock_that_is_set_forward_is_no_round_trip(#[case] seconds: f64, #[case] kept: bool) {
        let mut text = String::from("PING 10.77.0.2 (10.77.0.2) 56(84) bytes of data.\n");
        for number in 1..=110 {
            let ms = 50.0 + if number == 10 { seconds * 1e3 } else { 0.0 };
            text += &format!("64 bytes from 10.77.0.2: icmp_seq={number} ttl=64 time={ms} ms\n");
        }
        text += "110 packets transmitted, 110 received, 0% packet loss, time 10900ms\n";
        assert_eq!(parse(&text).unwrap().rtts_ms().len(), 109 + usize::from(kept));
    }

    #[test]
    fn an_answer_that_came_late_and_after_others_is_kept() {
        let line = |number: u32, ms: f64| {
            format!("64 bytes from 10.77.0.2: icmp_seq={number} ttl=64 time={ms} ms\n")
        };
        let text = [
            line(2, 50.0),
            line(3, 50.0),
            line(60, 50.0),
            line(1, 6000.0),
            line(100, 50.0),
            "100 packets transmitted, 5 received, 95% packet loss, time 9900ms\n".into(),
        ];
        assert_eq!(parse(&text.concat()).unwrap().rtts_ms().len(), 5);
    }

    #[test]
    fn an_answer_that_the_way_has_damaged_is_no_answer() {
        let text = LOSSY
            .replacen("time=39.5 ms", "time=39.5 ms (BAD CHECKSUM!)", 1)
            .replace("17 received, +3 duplicates", "16 received, +3 duplicates, +1 corrupted");
        let ping = parse(&text).unwrap();
        assert_eq!((ping.received, ping.rtts_ms().len()), (16, 16));
        assert!((ping.loss_percent() - 20.0).abs() < 1e-9);
    }

    #[rstest]
    #[case::changed_on_the_way("wrong data byte #16 should be 0x10 but was 0x0\n#16\t0 11 12 13")]
    #[case::clock_set("Warning: time of day goes back (-12us), taking countermeasures")]
    #[case::clock_set_in_full(
        "ping: Warning: time of day goes back (-12us), taking countermeasures"
    )]
    fn remarks_between_the_answers_change_nothing(#[case] remark: &str) {
        let text = LOSSY.replacen('\n', &format!("\n{remark}\n"), 1);
        assert_eq!(parse(&text), parse(LOSSY));
        let text = LOSSY.replacen("time=39.5 ms", "time=39.5 ms (DIFFERENT ADDRESS!)", 1);
        assert_eq!(parse(&text), parse(LOSSY));
    }

    #[test]
    fn more_answers_than_packets_are_refused() {
        let text = LOSSY.replace("20 packets", "2 packets");
        assert!(matches!(parse(&text), Err(PingError::Malformed { line: 24, .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = parse(&text);
        }

        #[test]
        fn damaged_output_never_panics(at in 0..LOSSY.len(), end in 0..LOSSY.len(), put in "[ -~é\n]{0,6}") {
            let (at, end) = (at.min(end), at.max(end));
            let text = format!("{}{put}{}", &LOSSY[..at], &LOSSY[end..]);
            if let Ok(ping) = parse(&text) {
                prop_assert!((0.0..=100.0).contains(&ping.loss_percent()));
                prop_assert!(ping.rtts_ms().iter().all(|rtt| rtt.is_finite() && *rtt >= 0.0));
            }
        }
    }
}
