//! The report among what iperf3 prints.
//!
//! 3.16 and 3.17 may print it twice, warnings stand before or behind it, whatever these hold, and where a number is
//! none it says `-nan`, which is not JSON.

use std::cell::LazyCell;

use serde_json::{Deserializer, Value};

use super::error::Iperf3Error;
use crate::position::without_position;

/// Bytes of the longest text that is looked into: a report of a minute has some tens of thousands.
const MOST: usize = 8 << 20;

/// Lines at which a report is looked for.
const TRIES: usize = 16;

/// The one report in the text.
pub(super) fn document(text: &str) -> Result<Value, Iperf3Error> {
    if text.len() > MOST {
        return Err(Iperf3Error::Unexpected(format!("it is longer than {} MiB", MOST >> 20)));
    }
    let nulls = LazyCell::new(|| with_nulls(text));
    let mut first = None;
    for begin in beginnings(text).take(TRIES) {
        match read(text, begin).or_else(|error| read(&nulls, begin).map_err(|_| error)) {
            // A message may begin like a report.
            Err(error @ Iperf3Error::Malformed { .. }) => _ = first.get_or_insert(error),
            found => return found,
        }
    }
    Err(first.unwrap_or_else(|| no_report(text)))
}

/// Where a report may begin: with a line.
fn beginnings(text: &str) -> impl Iterator<Item = usize> {
    let braces = text.match_indices('{').map(|(at, _)| at);
    braces.filter(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n')
}

/// What it said in place of a report.
fn no_report(text: &str) -> Iperf3Error {
    let said = text.lines().map(str::trim).find(|line| !line.is_empty());
    match said {
        Some(said) => {
            let reason = said.strip_prefix("iperf3: ").unwrap_or(said);
            Iperf3Error::Failed { reason: reason.to_owned(), begun: false }
        }
        None => Iperf3Error::Unexpected("it is empty".into()),
    }
}

fn read(text: &str, begin: usize) -> Result<Value, Iperf3Error> {
    let mut documents = Deserializer::from_str(&text[begin..]).into_iter::<Value>();
    let first = match documents.next() {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(malformed(&text[..begin], &error)),
        None => return Err(no_report(text)),
    };
    // What follows and is no JSON is a message, which does not change what was measured.
    match documents.next() {
        Some(Ok(second)) if second.is_object() && second != first => {
            Err(Iperf3Error::Unexpected("it is two different reports".into()))
        }
        _ => Ok(first),
    }
}

fn malformed(before: &str, error: &serde_json::Error) -> Iperf3Error {
    let line = before.matches('\n').count() + error.line();
    Iperf3Error::Malformed { line, reason: without_position(error) }
}

/// With JSON's word for what is no number. As long as before, so that positions stay.
fn with_nulls(text: &str) -> String {
    let mut text = text.to_owned();
    for none in ["-nan", "nan", "-inf", "inf"] {
        for space in ["", " ", "\t"] {
            text = text.replace(&format!(":{space}{none}"), &format!(":{space}null"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const REPORT: &str = "{\n\"a\": 1\n}\n";

    #[rstest]
    #[case::alone(REPORT.to_owned())]
    #[case::twice([REPORT, REPORT].concat())]
    #[case::line_after([REPORT, "iperf3: interrupt - the client has terminated\n"].concat())]
    #[case::line_before(["warning: UDP block size\n", REPORT].concat())]
    #[case::bracket_before(["warning: [fd77::2] is slow\n", REPORT].concat())]
    #[case::brace_before(["warning: {a} is no block size\n", REPORT].concat())]
    #[case::line_before_that_begins_alike(["{warning}\n", REPORT].concat())]
    fn the_report_is_found(#[case] text: String) {
        assert_eq!(document(&text).unwrap()["a"], 1);
    }

    #[test]
    fn two_different_reports_are_none() {
        let error = document(&[REPORT, "{\"a\": 2}"].concat()).unwrap_err();
        assert_eq!(error, Iperf3Error::Unexpected("it is two different reports".into()));
    }

    #[test]
    fn what_is_no_number_is_null() {
        for none in ["-nan", "nan", "inf", "-inf", "null"] {
            let text = format!("{{\"a\": 1, \"jitter_ms\":\t{none}}}");
            assert_eq!(document(&text).unwrap()["jitter_ms"], Value::Null, "{none}");
        }
    }

    #[test]
    fn a_message_in_place_of_a_report_is_the_reason() {
        let error = document("\niperf3: error - unable to send cookie\n").unwrap_err();
        let reason = "error - unable to send cookie".into();
        assert_eq!(error, Iperf3Error::Failed { reason, begun: false });
        assert_eq!(document(" \n").unwrap_err().to_string(), "iperf3's output: it is empty");
    }

    #[test]
    fn a_report_that_is_cut_off_is_refused_with_its_line() {
        let error = document("warning\n{\n\"a\": \"x").unwrap_err();
        assert!(matches!(error, Iperf3Error::Malformed { line: 3, .. }), "{error}");
    }
}
