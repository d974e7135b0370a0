use std::fmt::Display;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The instant in UTC as RFC 3339, whole seconds: `2026-11-22T07:12:18Z`. Before 1970: 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let instant = i64::try_from(seconds).ok().and_then(|at| Timestamp::from_second(at).ok());
    written(instant.unwrap_or(Timestamp::MAX))
}

/// The name of a run that began then (in the form of [`rfc3339`]), which sorts by time and can be a part of any file
/// name: `2026-11-22t07-12-18z-4711`. What is its `own` tells it from others of the same second.
pub fn run_id(started: &str, own: impl Display) -> String {
    format!("{}-{own}", started.to_lowercase().replace(':', "-"))
}

fn written(instant: Timestamp) -> String {
    instant.strftime("%FT%TZ").to_string()
}

/// Checks that the text is in the form of [`rfc3339`]. The error says that it is not.
pub(super) fn check(text: &str) -> Result<(), String> {
    // Many forms denote the same instant; files are compared by their text.
    if text.parse().is_ok_and(|instant| written(instant) == text) {
        return Ok(());
    }
    Err(format!("the time {text:?} is not like 2026-11-22T07:12:18Z"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// From `date -u -d @N +%FT%TZ`.
    #[rstest]
    #[case(0, "1970-01-01T00:00:00Z")]
    #[case(951_782_400, "2000-02-29T00:00:00Z")]
    #[case(1_709_251_199, "2024-02-29T23:59:59Z")]
    #[case(1_735_689_599, "2024-12-31T23:59:59Z")]
    #[case(1_795_417_938, "2026-11-23T07:12:18Z")]
    #[case(4_107_542_400, "2100-03-01T00:00:00Z")]
    fn times_are_those_of_date(#[case] seconds: u64, #[case] want: &str) {
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), want);
    }

    #[test]
    fn a_run_is_named_by_its_beginning() {
        assert_eq!(run_id("2026-11-22T07:12:18Z", 4711), "2026-11-22t07-12-18z-4711");
    }

    #[rstest]
    #[case("2026-11-23 07:12:18Z")]
    #[case("2026-13-23T07:12:18Z")]
    #[case("2026-02-29T07:12:18Z")]
    #[case("2026-11-23T24:12:18Z")]
    #[case("2026-11-23T07:12:18+01:00")]
    #[case("２026-11-23T07:12:1Z")]
    #[case("")]
    fn other_forms_are_refused(#[case] text: &str) {
        assert!(check(text).is_err(), "{text}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_accepted(seconds in 0..253_402_207_200_u64) {
            prop_assert_eq!(check(&rfc3339(UNIX_EPOCH + Duration::from_secs(seconds))), Ok(()));
        }

        #[test]
        fn any_text_is_checked_without_panic(text: String) {
            let _ = check(&text);
        }
    }
}
