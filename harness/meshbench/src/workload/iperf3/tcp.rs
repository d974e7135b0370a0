//! What iperf3 tells of a TCP test.

use super::error::Iperf3Error;
use super::raw::Sum;
use super::report::{count, has_streams, missing, rate, rates, report};

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::Value;

    use super::super::report::altered;
    use super::*;

    const FORWARD: &str = include_str!("../fixtures/iperf3-tcp-forward.json");
    const REVERSE: &str = include_str!("../fixtures/iperf3-tcp-reverse.json");
    const UDP: &str = include_str!("../fixtures/iperf3-udp.json");

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

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = parse_tcp(&text);
        }
    }
}
