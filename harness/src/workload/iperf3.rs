//! Output of `iperf3 --json`, client side, one stream, as version 3.18 prints it.
//!
//! iperf3 is not ours and adds fields, so unknown ones are let pass.

mod raw;

use serde::de::DeserializeOwned;
use thiserror::Error;

use raw::{Failure, Intervals, Report, TcpEnd, UdpEnd};

/// A TCP test.
#[derive(Debug, Clone, PartialEq)]
pub struct Tcp {
    /// Whether the server sent (`-R`).
    pub reverse: bool,
    /// How long it lasted at the receiver, in seconds, without what `-O` omits.
    pub seconds: f64,
    /// Goodput at the receiver, in bits a second.
    pub goodput_bits_per_second: f64,
    /// Segments sent again; `None` where the sender cannot tell.
    pub retransmits: Option<u64>,
    /// Mean of the sender's smoothed round-trip times in milliseconds. `None` with `-R`, where the
    /// client does not know it.
    pub mean_rtt_ms: Option<f64>,
    /// Bits a second of each interval, without the omitted: received with `-R`, else *handed to the
    /// kernel*, so the first ones hold the send buffer.
    pub intervals_bits_per_second: Vec<f64>,
    /// Congestion control of the sender.
    pub congestion: Option<String>,
}

/// A UDP test.
#[derive(Debug, Clone, PartialEq)]
pub struct Udp {
    /// Whether the server sent (`-R`).
    pub reverse: bool,
    /// Rate asked for, in bits a second of payload.
    pub target_bits_per_second: f64,
    /// Rate sent, in bits a second of payload.
    pub sent_bits_per_second: f64,
    /// Rate received, in bits a second of payload: what arrived of the rate sent.
    ///
    /// Not iperf3's own figure: its receiver counts seconds from before the first datagram is sent until it
    /// has heard of the end, which on a line with a delay is longer by a round trip.
    pub received_bits_per_second: f64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Jitter of RFC 3550 in milliseconds; `None` with fewer than two datagrams received.
    pub jitter_ms: Option<f64>,
    /// Datagrams that arrived after a later one. `None` unless `-R`: a sender is not told.
    pub out_of_order: Option<u64>,
    /// Bits a second of each interval, without the omitted: received with `-R`, else sent.
    pub intervals_bits_per_second: Vec<f64>,
}

impl Udp {
    /// Datagrams that did not arrive, of 100 sent.
    ///
    /// Not iperf3's own figure, which counts gaps before the last datagram received: when all are
    /// lost from some moment on, it tells of no loss at all.
    pub fn loss_percent(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        100.0 * self.sent.saturating_sub(self.received) as f64 / self.sent as f64
    }
}

/// The output is not that of a test that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Iperf3Error {
    /// iperf3 says that it failed. What it measured until then is not used: the receiver's figures
    /// are zero in it.
    #[error("iperf3: {0}")]
    Failed(String),
    /// Not JSON, or cut off.
    #[error("line {line} of iperf3's output: {reason}")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// JSON, but not of the test asked for.
    #[error("iperf3's output: {0}")]
    Unexpected(String),
}

/// Parses the output of a TCP test of one stream.
///
/// # Errors
/// If iperf3 failed, was cut off, or the test is another.
pub fn parse_tcp(text: &str) -> Result<Tcp, Iperf3Error> {
    let report: Report<TcpEnd> = report(text, "TCP")?;
    let end = report.end;
    let [stream] = &end.streams[..] else { return Err(streams(end.streams.len())) };
    let reverse = report.start.test_start.reverse != 0;
    Ok(Tcp {
        reverse,
        seconds: end.sum_received.seconds,
        goodput_bits_per_second: rate(end.sum_received.bits_per_second)?,
        retransmits: end.sum_sent.retransmits,
        mean_rtt_ms: stream.sender.mean_rtt.filter(|rtt| *rtt > 0.0).map(|micros| micros / 1000.0),
        intervals_bits_per_second: report.intervals.rates(report.start.test_start.interval)?,
        congestion: end.sender_tcp_congestion,
    })
}

/// Parses the output of a UDP test of one stream.
///
/// # Errors
/// If iperf3 failed, was cut off, or the test is another.
pub fn parse_udp(text: &str) -> Result<Udp, Iperf3Error> {
    let report: Report<UdpEnd> = report(text, "UDP")?;
    let end = report.end;
    let [stream] = &end.streams[..] else { return Err(streams(end.streams.len())) };
    let reverse = report.start.test_start.reverse != 0;
    // Late copies make iperf3's count of the lost negative.
    let lost = u64::try_from(end.sum_received.lost_packets).unwrap_or(0);
    let received = end.sum_received.packets.saturating_sub(lost);
    let (sent, sent_bits_per_second) = (end.sum_sent.packets, rate(end.sum_sent.bits_per_second)?);
    let arrived = if sent == 0 { 0.0 } else { received as f64 / sent as f64 };
    Ok(Udp {
        reverse,
        target_bits_per_second: rate(report.start.test_start.target_bitrate)?,
        sent_bits_per_second,
        received_bits_per_second: sent_bits_per_second * arrived,
        sent,
        received,
        jitter_ms: (received > 1).then_some(end.sum_received.jitter_ms),
        out_of_order: stream.udp.out_of_order.filter(|_| reverse),
        intervals_bits_per_second: report.intervals.rates(report.start.test_start.interval)?,
    })
}

/// Looks for iperf3's own error and for the protocol first: a failed test lacks the rest.
fn report<End: DeserializeOwned>(text: &str, want: &str) -> Result<Report<End>, Iperf3Error> {
    let failure: Failure = json(text)?;
    if let Some(error) = failure.error {
        return Err(Iperf3Error::Failed(error));
    }
    match failure.start.and_then(|start| start.test_start) {
        Some(test) if test.protocol == want => json(text),
        Some(test) => {
            let text = format!("the test is of {}, not of {want}", test.protocol);
            Err(Iperf3Error::Unexpected(text))
        }
        None => Err(Iperf3Error::Unexpected("no test was started".into())),
    }
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, Iperf3Error> {
    serde_json::from_str(text).map_err(|error| {
        let reason = error.to_string();
        // The line stands before the reason.
        let position = format!(" at line {} column {}", error.line(), error.column());
        let reason = reason.strip_suffix(&position).unwrap_or(&reason).to_string();
        Iperf3Error::Malformed { line: error.line(), reason }
    })
}

fn streams(count: usize) -> Iperf3Error {
    Iperf3Error::Unexpected(format!("it has {count} streams, not one"))
}

fn rate(bits_per_second: f64) -> Result<f64, Iperf3Error> {
    if bits_per_second >= 0.0 {
        Ok(bits_per_second)
    } else {
        Err(Iperf3Error::Unexpected(format!("a rate of {bits_per_second} bit/s is none")))
    }
}

impl Intervals {
    /// Without the omitted ones, and without a remainder at the end shorter than half an interval,
    /// whose rate means nothing.
    fn rates(&self, interval: f64) -> Result<Vec<f64>, Iperf3Error> {
        self.0
            .iter()
            .map(|part| &part.sum)
            .filter(|sum| !sum.omitted && sum.seconds >= interval / 2.0)
            .map(|sum| rate(sum.bits_per_second))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const FORWARD: &str = include_str!("fixtures/iperf3-tcp-forward.json");
    const REVERSE: &str = include_str!("fixtures/iperf3-tcp-reverse.json");
    const UDP: &str = include_str!("fixtures/iperf3-udp.json");
    const UDP_LOSSY: &str = include_str!("fixtures/iperf3-udp-lossy.json");

    #[test]
    fn tcp_forward() {
        insta::assert_debug_snapshot!(parse_tcp(FORWARD).unwrap(), @r#"
        Tcp {
            reverse: false,
            seconds: 3.001782,
            goodput_bits_per_second: 12987637236.814665,
            retransmits: Some(
                5,
            ),
            mean_rtt_ms: Some(
                0.344,
            ),
            intervals_bits_per_second: [
                11996998029.243229,
                14004818452.89986,
                12963606040.557253,
            ],
            congestion: Some(
                "bbr",
            ),
        }
        "#);
    }

    #[test]
    fn tcp_reverse_knows_no_round_trip() {
        insta::assert_debug_snapshot!(parse_tcp(REVERSE).unwrap(), @r#"
        Tcp {
            reverse: true,
            seconds: 3.000194,
            goodput_bits_per_second: 11187582456.33449,
            retransmits: Some(
                4,
            ),
            mean_rtt_ms: None,
            intervals_bits_per_second: [
                10723228668.157597,
                11399878252.362818,
                11439995367.46864,
            ],
            congestion: Some(
                "bbr",
            ),
        }
        "#);
    }

    #[test]
    fn omitted_intervals_are_left_out() {
        let tcp = parse_tcp(include_str!("fixtures/iperf3-tcp-omit.json")).unwrap();
        assert_eq!(tcp.intervals_bits_per_second.len(), 2);
        assert!((2.0..2.1).contains(&tcp.seconds), "{}", tcp.seconds);
        let udp = parse_udp(include_str!("fixtures/iperf3-udp-omit.json")).unwrap();
        assert_eq!((udp.intervals_bits_per_second.len(), udp.loss_percent()), (2, 0.0));
    }

    #[test]
    fn udp_without_loss() {
        insta::assert_debug_snapshot!(parse_udp(UDP).unwrap(), @r#"
        Udp {
            reverse: false,
            target_bits_per_second: 10000000.0,
            sent_bits_per_second: 10040533.078255815,
            received_bits_per_second: 10040533.078255815,
            sent: 115,
            received: 115,
            jitter_ms: Some(
                0.0677818445281882,
            ),
            out_of_order: None,
            intervals_bits_per_second: [
                10216311.160586692,
                9964002.611463036,
                9941340.70354044,
            ],
        }
        "#);
    }

    #[test]
    fn udp_with_loss() {
        let udp = parse_udp(UDP_LOSSY).unwrap();
        assert_eq!((udp.sent, udp.received, udp.out_of_order), (626, 587, None));
        assert!((udp.loss_percent() - 6.230_031_948_881_79).abs() < 1e-9);
        let share = udp.received_bits_per_second / udp.sent_bits_per_second;
        assert!((share - 587.0 / 626.0).abs() < 1e-9);
        assert!(udp.jitter_ms.is_some_and(|jitter| (4.4..4.5).contains(&jitter)));
    }

    #[test]
    fn the_receiver_knows_what_came_out_of_order() {
        let udp = parse_udp(include_str!("fixtures/iperf3-udp-reverse-lossy.json")).unwrap();
        assert!(udp.reverse);
        assert_eq!((udp.sent, udp.received, udp.out_of_order), (634, 600, Some(16)));
    }

    /// iperf3 itself says "lost_percent: 0" in all of these.
    #[rstest]
    #[case(include_str!("fixtures/iperf3-udp-all-lost.json"), 626, 1)]
    #[case(include_str!("fixtures/iperf3-udp-tail-lost.json"), 626, 299)]
    #[case(include_str!("fixtures/iperf3-udp-reverse-tail-lost.json"), 635, 299)]
    fn loss_up_to_the_end_is_loss(#[case] text: &str, #[case] sent: u64, #[case] received: u64) {
        let udp = parse_udp(text).unwrap();
        assert_eq!((udp.sent, udp.received), (sent, received));
        assert!(udp.loss_percent() > 50.0);
        assert_eq!(udp.jitter_ms.is_some(), received > 1);
    }

    #[rstest]
    #[case(
        include_str!("fixtures/iperf3-error-refused.json"),
        "iperf3: unable to connect to server - server may have stopped running or use a different \
         port, firewall issue, etc.: Connection refused"
    )]
    #[case(
        include_str!("fixtures/iperf3-error-busy.json"),
        "iperf3: the server is busy running a test. try again later"
    )]
    #[case(
        include_str!("fixtures/iperf3-tcp-server-gone.json"),
        "iperf3: the server has terminated"
    )]
    #[case(
        include_str!("fixtures/iperf3-truncated.json"),
        "line 116 of iperf3's output: EOF while parsing a string"
    )]
    #[case("", "line 1 of iperf3's output: EOF while parsing a value")]
    #[case("{}", "iperf3's output: no test was started")]
    #[case(UDP, "iperf3's output: the test is of UDP, not of TCP")]
    fn what_is_no_finished_tcp_test_is_refused(#[case] text: &str, #[case] want: &str) {
        assert_eq!(parse_tcp(text).unwrap_err().to_string(), want);
    }

    #[test]
    fn several_streams_are_refused() {
        let mut value: serde_json::Value = serde_json::from_str(FORWARD).unwrap();
        let streams = value["end"]["streams"].as_array_mut().unwrap();
        streams.push(streams[0].clone());
        let error = parse_tcp(&value.to_string()).unwrap_err();
        assert_eq!(error, Iperf3Error::Unexpected("it has 2 streams, not one".into()));
    }

    #[test]
    fn a_remainder_of_an_interval_is_no_sample() {
        let mut value: serde_json::Value = serde_json::from_str(FORWARD).unwrap();
        let intervals = value["intervals"].as_array_mut().unwrap();
        let mut remainder = intervals[0].clone();
        remainder["sum"]["seconds"] = 0.0003.into();
        intervals.push(remainder);
        let tcp = parse_tcp(&value.to_string()).unwrap();
        assert_eq!(tcp.intervals_bits_per_second.len(), 3);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = (parse_tcp(&text), parse_udp(&text));
        }

        #[test]
        fn damaged_output_never_panics(at in 0..UDP_LOSSY.len(), long in 0..12_usize, put in "[-0-9.e{}\\[\\]\"a]{0,6}") {
            let end = (at + long).min(UDP_LOSSY.len());
            let text = format!("{}{put}{}", &UDP_LOSSY[..at], &UDP_LOSSY[end..]);
            if let Ok(udp) = parse_udp(&text) {
                prop_assert!((0.0..=100.0).contains(&udp.loss_percent()));
                prop_assert!(udp.received_bits_per_second >= 0.0);
            }
        }
    }
}
