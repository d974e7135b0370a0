//! What `iperf3 --json` tells on the client's side of one stream, as version 3.18 prints it.
//!
//! iperf3 is not ours and adds fields, so unknown ones are let pass.

use super::document::document;
use super::error::Iperf3Error;
use super::raw::{Report, Sum, TestStart};

/// Nothing that a virtual machine sends is faster, in bits a second: such a rate is a division by almost nothing.
const FASTEST: f64 = 1e12;

/// By so much of it may a rate differ from that of its bytes: the seconds beside them are those of another clock.
const UNEVEN: f64 = 0.1;

/// A TCP test.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::workload) struct Tcp {
    /// Goodput at the receiver, in bits a second.
    pub(in crate::workload) goodput_bits_per_second: f64,
    /// Segments sent again; `None` where the sender cannot tell.
    pub(in crate::workload) retransmits: Option<u64>,
    /// Bits a second of each interval, without the omitted: received with `-R`, else *handed to the
    /// kernel*, so the first ones hold the send buffer.
    pub(in crate::workload) intervals_bits_per_second: Vec<f64>,
    /// Payload of all intervals, the omitted among them; `None` if one does not tell.
    pub(in crate::workload) payload_bytes: Option<f64>,
}

/// A TCP test of both directions at once.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::workload) struct Both {
    /// Goodput at the server, in bits a second.
    pub(in crate::workload) forward_bits_per_second: f64,
    /// Goodput at the client, in bits a second.
    pub(in crate::workload) reverse_bits_per_second: f64,
    /// As of [`Tcp`], both directions together.
    pub(in crate::workload) payload_bytes: Option<f64>,
}

/// A UDP test.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::workload) struct Udp {
    /// Rate received, in bits a second of payload: what arrived of the rate sent.
    ///
    /// Not iperf3's own figure: its receiver counts seconds from before the first datagram is sent until it
    /// has heard of the end, which on a line with a delay is longer by a round trip.
    pub(in crate::workload) received_bits_per_second: f64,
    /// Datagrams sent.
    pub(in crate::workload) sent: u64,
    /// Datagrams received.
    pub(in crate::workload) received: u64,
    /// Jitter of RFC 3550 in milliseconds; `None` with fewer than two datagrams received.
    pub(in crate::workload) jitter_ms: Option<f64>,
    /// Bits a second of each interval, without the omitted: received with `-R`, else sent.
    pub(in crate::workload) intervals_bits_per_second: Vec<f64>,
}

impl Udp {
    /// Datagrams that did not arrive, of 100 sent.
    ///
    /// Not iperf3's own figure, which counts gaps before the last datagram received: when all are
    /// lost from some moment on, it tells of no loss at all.
    pub(in crate::workload) fn loss_percent(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        100.0 * self.sent.saturating_sub(self.received) as f64 / self.sent as f64
    }
}

/// Parses the output of a TCP test of one stream.
///
/// # Errors
/// If iperf3 failed, was cut off, or the test is another.
pub(in crate::workload) fn parse_tcp(text: &str) -> Result<Tcp, Iperf3Error> {
    parse_streams(text, 1)
}

/// Parses the output of a TCP test of so many streams, whose figures are sums.
///
/// # Errors
/// As of [`parse_tcp`].
pub(in crate::workload) fn parse_streams(text: &str, streams: u32) -> Result<Tcp, Iperf3Error> {
    let (report, test) = report(text, "TCP")?;
    has_streams(&report, &test, (streams, streams))?;
    let end = &report.end;
    Ok(Tcp {
        goodput_bits_per_second: rate(&end.sum_received).ok_or_else(|| missing("goodput"))?,
        retransmits: end.sum_sent.retransmits.and_then(count),
        intervals_bits_per_second: rates(&report, &test),
        payload_bytes: report.payload_bytes(),
    })
}

/// Parses the output of a TCP test of one stream in each direction at once.
///
/// # Errors
/// As of [`parse_tcp`].
pub(in crate::workload) fn parse_both(text: &str) -> Result<Both, Iperf3Error> {
    let (report, test) = report(text, "TCP")?;
    has_streams(&report, &test, (1, 2))?;
    let goodput = |sum: Option<&Sum>| sum.and_then(rate).ok_or_else(|| missing("goodput"));
    Ok(Both {
        forward_bits_per_second: goodput(Some(&report.end.sum_received))?,
        reverse_bits_per_second: goodput(report.end.sum_received_bidir_reverse.as_ref())?,
        payload_bytes: report.payload_bytes(),
    })
}

/// Parses the output of a UDP test of one stream.
///
/// # Errors
/// If iperf3 failed, was cut off, or the test is another.
pub(in crate::workload) fn parse_udp(text: &str) -> Result<Udp, Iperf3Error> {
    let (report, test) = report(text, "UDP")?;
    has_streams(&report, &test, (1, 1))?;
    let (sent_sum, received_sum) = (&report.end.sum_sent, &report.end.sum_received);
    let counted = |packets: Option<f64>, what| packets.and_then(count).ok_or_else(|| missing(what));
    let sent = counted(sent_sum.packets, "number of datagrams sent")?;
    let received = counted(received_sum.packets, "number of datagrams received")?;
    // Late copies make iperf3's count of the lost negative.
    let lost = counted(received_sum.lost_packets.map(|lost| lost.max(0.0)), "number of the lost")?;
    let received =
        received.checked_sub(lost).ok_or_else(|| missing("possible number of the lost"))?;
    if received > sent {
        let reason = format!("it tells of {received} datagrams received and {sent} sent");
        return Err(Iperf3Error::Unexpected(reason));
    }
    let sent_bits_per_second = rate(sent_sum).ok_or_else(|| missing("rate sent"))?;
    let arrived = if sent == 0 { 0.0 } else { received as f64 / sent as f64 };
    Ok(Udp {
        received_bits_per_second: sent_bits_per_second * arrived,
        sent,
        received,
        jitter_ms: received_sum
            .jitter_ms
            .filter(|ms| received > 1 && possible_jitter(*ms, &test, sent_sum)),
        intervals_bits_per_second: rates(&report, &test),
    })
}

/// Looks for iperf3's own error and for the protocol first: a failed test lacks the rest.
fn report(text: &str, want: &str) -> Result<(Report, TestStart), Iperf3Error> {
    let document = document(text)?;
    let mut report: Report = serde_json::from_value(document)
        .map_err(|error| Iperf3Error::Unexpected(error.to_string()))?;
    if let Some(reason) = report.error.take() {
        return Err(Iperf3Error::Failed { reason, begun: report.has_begun() });
    }
    let Some(test) = report.start.test_start.take() else {
        return Err(Iperf3Error::Unexpected("no test was started".into()));
    };
    if test.protocol != want {
        let reason = format!("the test is of {}, not of {want}", test.protocol);
        return Err(Iperf3Error::Unexpected(reason));
    }
    Ok((report, test))
}

/// Checks that as many streams were asked for, and as many reported.
fn has_streams(
    report: &Report,
    test: &TestStart,
    (asked, reported): (u32, u32),
) -> Result<(), Iperf3Error> {
    let streams = report.end.streams.len();
    if streams != reported as usize || test.num_streams.is_some_and(|count| count != asked) {
        return Err(Iperf3Error::Unexpected(format!("it has {streams} streams, not {reported}")));
    }
    Ok(())
}

fn missing(what: &str) -> Iperf3Error {
    Iperf3Error::Unexpected(format!("it tells no {what}"))
}

fn count(number: f64) -> Option<u64> {
    (number >= 0.0 && number.fract() == 0.0 && number < u64::MAX as f64).then_some(number as u64)
}

/// Bits a second, reckoned from the bytes where iperf3 could not.
fn rate(sum: &Sum) -> Option<f64> {
    given_rate(sum).or_else(|| reckoned(sum))
}

/// Bits a second as iperf3 tells them, if they can be and are what its bytes say.
fn given_rate(sum: &Sum) -> Option<f64> {
    let fits = |rate: &f64| reckoned(sum).is_none_or(|own| (rate - own).abs() <= UNEVEN * own);
    sum.bits_per_second.filter(possible_rate).filter(fits)
}

fn reckoned(sum: &Sum) -> Option<f64> {
    let rate = 8.0 * sum.bytes? / sum.seconds.filter(|seconds| *seconds > 0.0)?;
    Some(rate).filter(possible_rate)
}

fn possible_rate(rate: &f64) -> bool {
    (0.0..FASTEST).contains(rate)
}

/// A datagram cannot be later than the test is long; more is a clock that was set, or an old iperf3's overflow.
fn possible_jitter(milliseconds: f64, test: &TestStart, sent: &Sum) -> bool {
    let seconds = test.duration.or(sent.seconds);
    seconds.is_some_and(|most| (0.0..=most * 1e3).contains(&milliseconds))
}

/// Without the omitted ones, without what is no rate or not that of its bytes, and without a remainder at the end shorter
/// than half an interval, whose rate means nothing.
fn rates(report: &Report, test: &TestStart) -> Vec<f64> {
    let shortest = test.interval.unwrap_or(0.0) / 2.0;
    let whole = |sum: &Sum| !sum.omitted && sum.seconds.is_some_and(|seconds| seconds >= shortest);
    report.intervals().filter(whole).filter_map(|sum| given_rate(&sum)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::Value;

    use super::*;

    const FORWARD: &str = include_str!("../fixtures/iperf3-tcp-forward.json");
    const REVERSE: &str = include_str!("../fixtures/iperf3-tcp-reverse.json");
    const UDP: &str = include_str!("../fixtures/iperf3-udp.json");
    const UDP_LOSSY: &str = include_str!("../fixtures/iperf3-udp-lossy.json");

    #[test]
    fn tcp_in_either_direction() {
        insta::assert_debug_snapshot!([parse_tcp(FORWARD).unwrap(), parse_tcp(REVERSE).unwrap()], @r#"
        [
            Tcp {
                goodput_bits_per_second: 12987637236.814665,
                retransmits: Some(
                    5,
                ),
                intervals_bits_per_second: [
                    11996998029.243229,
                    14004818452.89986,
                    12963606040.557251,
                ],
                payload_bytes: Some(
                    4873125888.0,
                ),
            },
            Tcp {
                goodput_bits_per_second: 11187582456.33449,
                retransmits: Some(
                    4,
                ),
                intervals_bits_per_second: [
                    10723228668.157597,
                    11399878252.362818,
                    11439995367.46864,
                ],
                payload_bytes: Some(
                    4195614720.0,
                ),
            },
        ]
        "#);
    }

    #[test]
    fn omitted_intervals_are_left_out() {
        let tcp = parse_tcp(include_str!("../fixtures/iperf3-tcp-omit.json")).unwrap();
        assert_eq!(tcp.intervals_bits_per_second.len(), 2);
        let udp = parse_udp(include_str!("../fixtures/iperf3-udp-omit.json")).unwrap();
        assert_eq!((udp.intervals_bits_per_second.len(), udp.loss_percent()), (2, 0.0));
    }

    #[test]
    fn udp_without_loss() {
        insta::assert_debug_snapshot!(parse_udp(UDP).unwrap(), @r#"
        Udp {
            received_bits_per_second: 10040533.078255817,
            sent: 115,
            received: 115,
            jitter_ms: Some(
                0.0677818445281882,
            ),
            intervals_bits_per_second: [
                10216311.16058669,
                9964002.611463036,
                9941340.70354044,
            ],
        }
        "#);
    }

    #[test]
    fn udp_with_loss() {
        let udp = parse_udp(UDP_LOSSY).unwrap();
        assert_eq!((udp.sent, udp.received), (626, 587));
        assert!((udp.loss_percent() - 6.230_031_948_881_79).abs() < 1e-9);
        assert!(udp.received_bits_per_second > 0.0);
        assert!(udp.jitter_ms.is_some_and(|jitter| (4.4..4.5).contains(&jitter)));
    }

    #[test]
    fn what_came_out_of_order_has_come() {
        let udp = parse_udp(include_str!("../fixtures/iperf3-udp-reverse-lossy.json")).unwrap();
        assert_eq!((udp.sent, udp.received), (634, 600));
    }

    /// iperf3 itself says "lost_percent: 0" in all of these.
    #[rstest]
    #[case(include_str!("../fixtures/iperf3-udp-all-lost.json"), 626, 1)]
    #[case(include_str!("../fixtures/iperf3-udp-tail-lost.json"), 626, 299)]
    #[case(include_str!("../fixtures/iperf3-udp-reverse-tail-lost.json"), 635, 299)]
    fn loss_up_to_the_end_is_loss(#[case] text: &str, #[case] sent: u64, #[case] received: u64) {
        let udp = parse_udp(text).unwrap();
        assert_eq!((udp.sent, udp.received), (sent, received));
        assert!(udp.loss_percent() > 50.0);
        assert_eq!(udp.jitter_ms.is_some(), received > 1);
    }

    #[rstest]
    #[case(
        include_str!("../fixtures/iperf3-error-refused.json"),
        "iperf3: unable to connect to server - server may have stopped running or use a different \
         port, firewall issue, etc.: Connection refused"
    )]
    #[case(
        include_str!("../fixtures/iperf3-error-busy.json"),
        "iperf3: the server is busy running a test. try again later"
    )]
    #[case(
        include_str!("../fixtures/iperf3-tcp-server-gone.json"),
        "iperf3: the server has terminated"
    )]
    #[case(
        include_str!("../fixtures/iperf3-truncated.json"),
        "line 116 of iperf3's output: EOF while parsing a string"
    )]
    #[case("", "iperf3's output: it is empty")]
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
        assert_eq!(error, Iperf3Error::Unexpected("it has 2 streams, not 1".into()));
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

    fn altered(text: &str, alter: impl FnOnce(&mut Value)) -> String {
        let mut value: Value = serde_json::from_str(text).unwrap();
        alter(&mut value);
        value.to_string()
    }

    /// iperf 3.16 and 3.17 (esnet/iperf issues 1688, 1716), and those that say goodbye behind the report (1143).
    #[test]
    fn a_report_printed_twice_or_with_a_line_behind_it_is_one_report() {
        let want = parse_tcp(FORWARD).unwrap();
        assert_eq!(parse_tcp(&[FORWARD, FORWARD].concat()).unwrap(), want);
        assert_eq!(parse_tcp(&[FORWARD, "iperf Done.\n"].concat()).unwrap(), want);
        assert_eq!(parse_tcp(&["warning: MSS\n", FORWARD].concat()).unwrap(), want);
        let text = [FORWARD, REVERSE].concat();
        assert!(matches!(parse_tcp(&text), Err(Iperf3Error::Unexpected(_))));
    }

    /// The test went to its end, and the exchange of figures did not (issues 751, 1735): whoever asks can
    /// tell it from a test that never began.
    #[rstest]
    #[case("error - control socket has closed unexpectedly", true)]
    #[case("error - unable to receive results", true)]
    #[case("error - unable to connect to server", false)]
    fn its_own_failure_tells_whether_the_test_had_begun(#[case] reason: &str, #[case] begun: bool) {
        let text = altered(FORWARD, |report| {
            report["error"] = reason.into();
            report["end"] = serde_json::json!({});
            if !begun {
                report["intervals"] = serde_json::json!([]);
            }
        });
        let error = parse_tcp(&text).unwrap_err();
        assert_eq!(error, Iperf3Error::Failed { reason: reason.into(), begun });
    }

    #[rstest]
    #[case::null(Value::Null)]
    #[case::negative(Value::from(-1.0))]
    #[case::beyond_any_line(Value::from(1e15))]
    #[case::text(Value::from("fast"))]
    #[case::not_that_of_its_bytes(Value::from(9e11))]
    #[case::half_of_that_of_its_bytes(Value::from(5e6))]
    fn a_bad_sample_is_left_out_and_costs_no_cell(#[case] bad: Value) {
        let text = altered(UDP, |report| {
            report["intervals"][1]["sum"]["bits_per_second"] = bad;
        });
        let udp = parse_udp(&text).unwrap();
        assert_eq!((udp.intervals_bits_per_second.len(), udp.received), (2, 115));
    }

    /// Seen as 6e8 ms (issues 364, 613).
    #[rstest]
    #[case::null(Value::Null)]
    #[case::a_week(Value::from(6.048e8))]
    #[case::negative(Value::from(-0.5))]
    fn an_absurd_jitter_is_none(#[case] bad: Value) {
        let text = altered(UDP, |report| report["end"]["sum_received"]["jitter_ms"] = bad);
        let udp = parse_udp(&text).unwrap();
        assert_eq!((udp.jitter_ms, udp.loss_percent()), (None, 0.0));
    }

    #[rstest]
    #[case::asked_for(Value::from(3.0), None)]
    #[case::unknown(Value::Null, None)]
    #[case::unknown_and_short(Value::Null, Some(120.0))]
    fn a_jitter_is_no_longer_than_the_test(#[case] duration: Value, #[case] jitter: Option<f64>) {
        let text = altered(UDP, |report| {
            report["start"]["test_start"]["duration"] = duration;
            report["end"]["sum_received"]["jitter_ms"] = jitter.unwrap_or(4000.0).into();
        });
        assert_eq!(parse_udp(&text).unwrap().jitter_ms, jitter);
    }

    #[test]
    fn more_datagrams_received_than_sent_are_no_figure() {
        let text = altered(UDP, |report| report["end"]["sum_received"]["packets"] = 116.into());
        let error = parse_udp(&text).unwrap_err().to_string();
        assert!(error.ends_with("116 datagrams received and 115 sent"), "{error}");
    }

    #[rstest]
    #[case::null(Value::Null)]
    #[case::negative(Value::from(-1.0))]
    #[case::beyond_any_line(Value::from(1e15))]
    #[case::not_that_of_its_bytes(Value::from(9e11))]
    fn a_rate_that_is_none_is_reckoned_from_the_bytes(#[case] bad: Value) {
        let want = parse_tcp(FORWARD).unwrap().goodput_bits_per_second;
        let text = altered(FORWARD, |report| {
            report["end"]["sum_received"]["bits_per_second"] = bad;
        });
        let got = parse_tcp(&text).unwrap().goodput_bits_per_second;
        assert!((got / want - 1.0).abs() < 1e-6, "{got} is not {want}");
        let text = altered(FORWARD, |report| report["end"]["sum_received"] = Value::Null);
        assert!(matches!(parse_tcp(&text), Err(Iperf3Error::Unexpected(_))));
    }

    /// Late copies are counted twice at the receiver (issue 1866).
    #[test]
    fn a_negative_loss_is_no_loss() {
        let text =
            altered(UDP, |report| report["end"]["sum_received"]["lost_packets"] = (-5).into());
        let udp = parse_udp(&text).unwrap();
        assert_eq!((udp.received, udp.loss_percent()), (115, 0.0));
    }

    /// Taken for none lost, it would be a perfect line.
    #[rstest]
    #[case::null(Value::Null)]
    #[case::more_than_there_were(Value::from(1_000_000))]
    #[case::half_of_one(Value::from(0.5))]
    fn a_number_of_the_lost_that_cannot_be_is_no_number(#[case] bad: Value) {
        let text = altered(UDP, |report| report["end"]["sum_received"]["lost_packets"] = bad);
        assert!(matches!(parse_udp(&text), Err(Iperf3Error::Unexpected(_))));
    }

    #[test]
    fn nothing_received_is_a_loss_of_100_percent_without_a_jitter() {
        let text = altered(UDP, |report| {
            report["end"]["sum_received"]["packets"] = 0.into();
            report["end"]["sum_received"]["bits_per_second"] = 0.into();
        });
        let udp = parse_udp(&text).unwrap();
        assert_eq!((udp.loss_percent(), udp.jitter_ms), (100.0, None));
        assert_eq!(udp.received_bits_per_second, 0.0);
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
