use std::time::{SystemTime, UNIX_EPOCH};

/// The instant in UTC as RFC 3339, whole seconds: `2026-11-22T07:12:18Z`. Before 1970: 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Gregorian date of a day counted from 1970-01-01, reckoned in years that begin in March, so that
/// the leap day is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const ERA: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Checks that the text is in the form of [`rfc3339`]. The error says that it is not.
pub(super) fn check(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 20
        && bytes.iter().zip(b"0000-00-00T00:00:00Z").all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == shape,
        });
    let field = |at: usize| text.get(at..at + 2).and_then(|two| two.parse::<u32>().ok());
    let within = |at: usize, low: u32, high: u32| {
        field(at).is_some_and(|value| (low..=high).contains(&value))
    };
    let sound = shape
        && within(5, 1, 12)
        && within(8, 1, 31)
        && within(11, 0, 23)
        && within(14, 0, 59)
        && within(17, 0, 60);
    if sound { Ok(()) } else { Err(format!("the time {text:?} is not like 2026-11-22T07:12:18Z")) }
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

    #[rstest]
    #[case("2026-11-23 07:12:18Z")]
    #[case("2026-13-23T07:12:18Z")]
    #[case("2026-11-23T24:12:18Z")]
    #[case("2026-11-23T07:12:18+01:00")]
    #[case("２026-11-23T07:12:1Z")]
    #[case("")]
    fn other_forms_are_refused(#[case] text: &str) {
        assert!(check(text).is_err(), "{text}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_accepted(seconds in 0..253_402_300_800_u64) {
            prop_assert_eq!(check(&rfc3339(UNIX_EPOCH + Duration::from_secs(seconds))), Ok(()));
        }

        #[test]
        fn any_text_is_checked_without_panic(text: String) {
            let _ = check(&text);
        }
    }
}
