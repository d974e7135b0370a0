//! What `iperf3 --json` tells on the client's side of a test, as version 3.18 prints it.
//!
//! iperf3 is not ours and adds fields, so unknown ones are let pass.

use super::document::document;
use super::error::Iperf3Error;
use super::raw::{Report, Sum, TestStart};

/// Nothing that a virtual machine sends is faster, in bits a second: such a rate is a division by almost nothing.
const FASTEST: f64 = 1e12;

/// By so much of it may a rate differ from that of its bytes: the seconds beside them are those of another clock.
const UNEVEN: f64 = 0.1;

/// Looks for iperf3's own error and for the protocol first: a failed test lacks the rest.
pub(super) fn report(text: &str, want: &str) -> Result<(Report, TestStart), Iperf3Error> {
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
pub(super) fn has_streams(
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

pub(super) fn missing(what: &str) -> Iperf3Error {
    Iperf3Error::Unexpected(format!("it tells no {what}"))
}

pub(super) fn count(number: f64) -> Option<u64> {
    (number >= 0.0 && number.fract() == 0.0 && number < u64::MAX as f64).then_some(number as u64)
}

/// Bits a second, reckoned from the bytes where iperf3 could not.
pub(super) fn rate(sum: &Sum) -> Option<f64> {
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

/// Without the omitted ones, without what is no rate or not that of its bytes, and without a remainder at the end shorter
/// than half an interval, whose rate means nothing.
pub(super) fn rates(report: &Report, test: &TestStart) -> Vec<f64> {
    let shortest = test.interval.unwrap_or(0.0) / 2.0;
    let whole = |sum: &Sum| !sum.omitted && sum.seconds.is_some_and(|seconds| seconds >= shortest);
    report.intervals().filter(whole).filter_map(|sum| given_rate(&sum)).collect()
}

/// The report with something else in it.
#[cfg(test)]
pub(super) fn altered(text: &str, alter: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
    alter(&mut value);
    value.to_string()
}
