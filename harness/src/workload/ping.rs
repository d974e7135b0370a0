//! Output of `ping -D` of iputils, taken in the locale C.

use std::collections::BTreeSet;

use thiserror::Error;

/// What one `ping` saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Ping {
    /// Packets sent.
    pub sent: u32,
    /// Packets answered; copies of an answer are not counted.
    pub received: u32,
    /// Further copies of answers.
    pub duplicates: u32,
    /// Answers in the order of their arrival, copies included.
    pub replies: Vec<Reply>,
    /// What routers and hosts on the way reported, in order.
    pub errors: Vec<Report>,
    /// Lines that are none of these, such as warnings about the clock.
    pub warnings: Vec<String>,
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reply {
    /// When it arrived: seconds since 1970 by the clock of the machine, as `-D` prints.
    pub at_seconds: f64,
    /// Sequence number of the packet, from 1; begins again from 0 after 65 535.
    pub sequence: u16,
    /// Round trip in milliseconds.
    pub rtt_ms: f64,
    /// Whether the packet had been answered before.
    pub duplicate: bool,
}

/// An ICMP error that came instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who reported it: an address, or a name with an address.
    pub from: String,
    /// Sequence number of the packet.
    pub sequence: u16,
    /// What happened to it (`Destination Host Unreachable`).
    pub what: String,
}

/// The output is not that of a `ping` that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PingError {
    /// `ping` itself gave up.
    #[error("ping did not start: {0}")]
    Refused(String),
    /// The statistics at the end are missing.
    #[error("line {0} of ping's output is the last: it was killed before its statistics")]
    Truncated(usize),
    /// A line does not hold what it should.
    #[error("line {line} of ping's output: {reason}: {text:?}")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
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
    pub fn loss_percent(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        100.0 * f64::from(self.sent.saturating_sub(self.received)) / f64::from(self.sent)
    }

    /// Sequence numbers that were never answered, of packets 1 to `sent`. Empty after 65 535
    /// packets, when the numbers repeat.
    pub fn lost(&self) -> Vec<u16> {
        let Ok(sent) = u16::try_from(self.sent) else { return Vec::new() };
        let answered: BTreeSet<u16> = self.replies.iter().map(|reply| reply.sequence).collect();
        (1..=sent).filter(|sequence| !answered.contains(sequence)).collect()
    }

    /// Round trips in milliseconds, in the order of arrival, without the copies.
    pub fn rtts_ms(&self) -> Vec<f64> {
        self.replies.iter().filter(|reply| !reply.duplicate).map(|reply| reply.rtt_ms).collect()
    }
}

/// Parses what `ping -D` printed, which ended by its count or by SIGINT, standard output and error together or the former alone.
///
/// # Errors
/// If `ping` gave up, was killed before it printed its statistics, or printed what it should not.
pub fn parse(text: &str) -> Result<Ping, PingError> {
    let mut replies = Vec::new();
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let mut totals = None;
    let mut last = 0;
    for (at, text) in text.lines().enumerate() {
        last = at + 1;
        let malformed = |reason| PingError::Malformed {
            line: last,
            reason,
            text: text.chars().take(200).collect(),
        };
        match classify(text).map_err(malformed)? {
            Line::Reply(reply) => replies.push(reply),
            Line::Report(report) => errors.push(report),
            Line::Totals(found) => totals = Some(found),
            Line::Decoration => {}
            Line::Other => warnings.push(text.to_string()),
        }
    }
    let Some(totals) = totals else {
        let refused = warnings.iter().find_map(|line| line.strip_prefix("ping: "));
        return Err(
            refused.map_or(PingError::Truncated(last), |text| PingError::Refused(text.into()))
        );
    };
    let seen = replies.iter().filter(|reply| !reply.duplicate).count();
    if seen != totals.received as usize {
        return Err(PingError::Lost { received: totals.received, seen });
    }
    let Totals { sent, received, duplicates } = totals;
    Ok(Ping { sent, received, duplicates, replies, errors, warnings })
}

enum Line {
    Reply(Reply),
    Report(Report),
    Totals(Totals),
    /// Says nothing that the others do not.
    Decoration,
    Other,
}

struct Totals {
    sent: u32,
    received: u32,
    duplicates: u32,
}

fn classify(line: &str) -> Result<Line, &'static str> {
    if line.contains(" packets transmitted, ") {
        return totals(line).map(Line::Totals).ok_or("not the statistics of ping");
    }
    let (at, rest) = match stamped(line) {
        Some((at, rest)) => (Some(at), rest),
        None => (None, line),
    };
    if rest.contains(" bytes from ") && rest.contains("icmp_seq=") {
        let at = at.ok_or("a reply without a time: ping was run without -D")?;
        return reply(at, rest).map(Line::Reply).ok_or("not a reply");
    }
    if rest.starts_with("From ") && rest.contains("icmp_seq=") {
        return report(rest).map(Line::Report).ok_or("not an ICMP error");
    }
    let decoration = ["PING ", "--- ", "rtt ", "pipe "];
    if line.is_empty() || decoration.iter().any(|start| line.starts_with(start)) {
        return Ok(Line::Decoration);
    }
    Ok(Line::Other)
}

/// `[1795418035.683210] …`
fn stamped(line: &str) -> Option<(f64, &str)> {
    let (stamp, rest) = line.strip_prefix('[')?.split_once("] ")?;
    Some((number(stamp)?, rest))
}

/// `64 bytes from 10.77.0.2: icmp_seq=2 ttl=64 time=57.6 ms (DUP!)`
fn reply(at_seconds: f64, line: &str) -> Option<Reply> {
    let sequence = sequence(line)?;
    let (_, time) = line.split_once(" time=")?;
    let (time, marks) = time.split_once(" ms")?;
    Some(Reply { at_seconds, sequence, rtt_ms: number(time)?, duplicate: marks.contains("(DUP!)") })
}

/// `From 10.9.0.1 icmp_seq=1 Destination Host Unreachable`
fn report(line: &str) -> Option<Report> {
    let (from, rest) = line.strip_prefix("From ")?.split_once("icmp_seq=")?;
    let from = from.trim_end().trim_end_matches(':').to_string();
    let what = rest.split_once(' ').map(|(_, what)| what.trim().to_string()).unwrap_or_default();
    Some(Report { from, sequence: sequence(line)?, what })
}

/// `20 packets transmitted, 17 received, +3 duplicates, 15% packet loss, time 3820ms`
fn totals(line: &str) -> Option<Totals> {
    let parts: Vec<&str> = line.split(", ").collect();
    let count = |what: &str| parts.iter().find_map(|part| part.strip_suffix(what));
    let duplicates = match count(" duplicates") {
        Some(text) => text.strip_prefix('+')?.parse().ok()?,
        None => 0,
    };
    let sent = count(" packets transmitted")?.parse().ok()?;
    let received = count(" received")?.parse().ok()?;
    (received <= sent).then_some(Totals { sent, received, duplicates })
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

    const LOSSY: &str = include_str!("fixtures/ping-lossy.txt");

    #[test]
    fn loopback_answers_all() {
        let ping = parse(include_str!("fixtures/ping-loopback.txt")).unwrap();
        assert_eq!((ping.sent, ping.received, ping.duplicates), (5, 5, 0));
        assert_eq!(ping.rtts_ms().len(), 5);
        assert_eq!(ping.loss_percent(), 0.0);
        let gap = ping.replies[1].at_seconds - ping.replies[0].at_seconds;
        assert!((0.19..0.22).contains(&gap), "{gap}");
        assert_eq!((ping.errors, ping.warnings), (vec![], vec![]));
    }

    #[test]
    fn ipv6_reads_alike() {
        let ping = parse(include_str!("fixtures/ping-v6.txt")).unwrap();
        assert_eq!((ping.sent, ping.rtts_ms().len()), (3, 3));
    }

    #[test]
    fn copies_overtaking_and_loss_are_told_apart() {
        let ping = parse(LOSSY).unwrap();
        assert_eq!((ping.sent, ping.received, ping.duplicates), (20, 17, 3));
        assert_eq!(ping.replies.iter().filter(|reply| reply.duplicate).count(), 3);
        assert_eq!(ping.lost(), [3, 10, 15]);
        assert!((ping.loss_percent() - 15.0).abs() < 1e-9);
        let rtts = ping.rtts_ms();
        assert_eq!((rtts.len(), rtts[0], rtts[3]), (17, 39.5, 314.0));
    }

    #[test]
    fn silence_is_a_loss_of_100_percent() {
        let ping = parse(include_str!("fixtures/ping-all-lost.txt")).unwrap();
        assert_eq!((ping.sent, ping.received, ping.loss_percent()), (3, 0, 100.0));
        assert_eq!(ping.lost(), [1, 2, 3]);
    }

    #[test]
    fn errors_of_routers_are_kept_with_who_and_what() {
        let ping = parse(include_str!("fixtures/ping-host-unreachable.txt")).unwrap();
        assert_eq!((ping.sent, ping.received, ping.errors.len()), (4, 0, 4));
        let first = Report {
            from: "10.9.0.1".into(),
            sequence: 1,
            what: "Destination Host Unreachable".into(),
        };
        assert_eq!(ping.errors[0], first);
    }

    #[rstest]
    #[case(
        include_str!("fixtures/ping-network-unreachable.txt"),
        PingError::Refused("connect: Network is unreachable".into())
    )]
    #[case(
        include_str!("fixtures/ping-unknown-name.txt"),
        PingError::Refused("nowhere.invalid: Temporary failure in name resolution".into())
    )]
    #[case(include_str!("fixtures/ping-truncated.txt"), PingError::Truncated(4))]
    #[case("", PingError::Truncated(0))]
    fn what_did_not_run_to_its_end_is_refused(#[case] text: &str, #[case] want: PingError) {
        assert_eq!(parse(text), Err(want));
    }

    #[test]
    fn lines_lost_in_the_middle_are_noticed() {
        let text: Vec<&str> = LOSSY.lines().filter(|line| !line.contains("icmp_seq=5 ")).collect();
        assert_eq!(parse(&text.join("\n")), Err(PingError::Lost { received: 17, seen: 16 }));
    }

    #[rstest]
    #[case("time=39.5 ms", "time=fast ms")]
    #[case("time=39.5 ms", "time=-3 ms")]
    #[case("icmp_seq=1 ", "icmp_seq=70000 ")]
    #[case("[1795418035.683210] ", "")]
    fn a_malformed_reply_is_refused_with_its_line(#[case] from: &str, #[case] to: &str) {
        let text = LOSSY.replacen(from, to, 1);
        assert_ne!(text, LOSSY);
        let error = parse(&text).unwrap_err();
        assert!(matches!(error, PingError::Malformed { line: 2, .. }), "{error}");
    }

    #[test]
    fn more_answers_than_packets_are_refused() {
        let text = LOSSY.replace("20 packets", "2 packets");
        assert!(matches!(parse(&text), Err(PingError::Malformed { line: 24, .. })));
    }

    #[test]
    fn a_clock_that_was_set_is_a_warning() {
        let warning = "Warning: time of day goes back (-12us), taking countermeasures";
        let text = LOSSY.replacen('\n', &format!("\n{warning}\n"), 1);
        let ping = parse(&text).unwrap();
        assert_eq!((ping.warnings, ping.received), (vec![warning.to_string()], 17));
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
                let _ = ping.lost();
            }
        }
    }
}
