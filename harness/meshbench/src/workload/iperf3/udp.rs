//! What iperf3 tells of a UDP test.

use super::error::Iperf3Error;
use super::raw::{Sum, TestStart};
use super::report::{count, has_streams, missing, rate, rates, report};

/// A UDP test.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::workload) struct Udp {
    /// Rate received, in bits a second of payload: what arrived of the rate sent.
    ///
    /// Not iperf3's own figure: its receiver counts seconds from before the first datagram is sent until it
    /// has heard of the end, which on a line with a delay is longer by a round trip.
    pub(in crate::workload) received_bits_per_second: f64,
    /// Rate sent, in bits a second of payload.
    pub(in crate::workload) sent_bits_per_second: f64,
    /// Datagrams sent.
    pub(in crate::workload) sent: u64,
    /// Datagrams received.
    pub(in crate::workload) received: u64,
    /// Jitter of RFC 3550 in milliseconds; `None` with fewer than two datagrams received, or where what is told cannot be.
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
        sent_bits_per_second,
        sent,
        received,
        jitter_ms: received_sum
            .jitter_ms
            .filter(|ms| received > 1 && possible_jitter(*ms, &test, sent_sum)),
        intervals_bits_per_second: rates(&report, &test),
    })
}

/// A datagram cannot be later than the test is long; more is a clock that was set, or an old iperf3's overflow.
fn possible_jitter(milliseconds: f64, test: &TestStart, sent: &Sum) -> bool {
    let seconds = test.duration.or(sent.seconds);
    seconds.is_some_and(|most| (0.0..=most * 1e3).contains(&milliseconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::Value;

    use super::super::report::altered;
    use super::*;

    const UDP: &str = include_str!("../fixtures/iperf3-udp.json");
    const UDP_LOSSY: &str = include_str!("../fixtures/iperf3-udp-lossy.json");

    #[test]
    fn udp_without_loss() {
        insta::assert_debug_snapshot!(parse_udp(UDP).unwrap(), @r#"
        Udp {
            received_bits_per_second: 10040533.078255817,
            sent_bits_per_second: 10040533.078255817,
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
    fn omitted_intervals_are_left_out() {
        let udp = parse_udp(include_str!("../fixtures/iperf3-udp-omit.json")).unwrap();
        assert_eq!((udp.intervals_bits_per_second.len(), udp.loss_percent()), (2, 0.0));
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
            let _ = parse_udp(&text);
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
