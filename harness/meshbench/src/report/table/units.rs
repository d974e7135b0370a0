use crate::results::Unit;

/// A value as people read it, to three significant digits: `38.2 Mbit/s`, `0.412 ms`, `0.25 %`.
pub fn humanise(value: f64, unit: Unit) -> String {
    let scale = Scale::of(value, unit);
    format!("{}{}", digits(value / scale.divisor), scale.suffix())
}

/// An interval in the unit that `middle` would be shown in: `37.9 – 38.4 Mbit/s`.
pub fn humanise_interval(low: f64, high: f64, middle: f64, unit: Unit) -> String {
    format!("{}{}", bare_interval(low, high, middle, unit), Scale::of(middle, unit).suffix())
}

/// The same for where `middle` stands beside it with its unit: `37.9 – 38.4`.
pub fn bare_interval(low: f64, high: f64, middle: f64, unit: Unit) -> String {
    let scale = Scale::of(middle, unit);
    let (low, high) = (digits(low / scale.divisor), digits(high / scale.divisor));
    format!("{low} – {high}")
}

struct Scale {
    divisor: f64,
    name: &'static str,
}

impl Scale {
    fn of(value: f64, unit: Unit) -> Self {
        let size = value.abs();
        let (divisor, name) = match unit {
            Unit::BitsPerSecond if size >= 1e9 => (1e9, "Gbit/s"),
            Unit::BitsPerSecond if size >= 1e6 => (1e6, "Mbit/s"),
            Unit::BitsPerSecond if size >= 1e3 => (1e3, "kbit/s"),
            Unit::BitsPerSecond => (1.0, "bit/s"),
            Unit::Milliseconds if size >= 10_000.0 => (1e3, "s"),
            Unit::Milliseconds => (1.0, "ms"),
            Unit::Percent => (1.0, "%"),
            Unit::Bytes if size >= 1e9 => (1e9, "GB"),
            Unit::Bytes if size >= 1e6 => (1e6, "MB"),
            Unit::Bytes if size >= 1e4 => (1e3, "kB"),
            Unit::Bytes => (1.0, "B"),
            Unit::Count => (1.0, ""),
            Unit::PerSecond => (1.0, "/s"),
            Unit::PerMinute => (1.0, "/min"),
            Unit::Ratio => (1.0, "×"),
            Unit::NanosecondsPerByte => (1.0, "ns/B"),
            Unit::InstructionsPerByte => (1.0, "instr/B"),
            Unit::InstructionsPerPacket => (1.0, "instr/packet"),
            Unit::OpinionScore => (1.0, "MOS"),
        };
        Self { divisor, name }
    }

    fn suffix(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!(" {}", self.name) }
    }
}

/// Three significant digits, without an exponent; at most three behind the point.
fn digits(value: f64) -> String {
    let size = value.abs();
    if size < 0.0005 {
        return "0".into();
    }
    let behind = match size {
        _ if size < 0.9995 => 3,
        _ if size < 9.995 => 2,
        _ if size < 99.95 => 1,
        _ => 0,
    };
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.behind$}") }
}

/// A ratio: two digits behind the point, three below a tenth, none from a hundred on.
pub(in crate::report) fn factor(ratio: f64) -> String {
    let behind = match ratio {
        _ if ratio == 0.0 => 0,
        _ if ratio < 0.0995 => 3,
        _ if ratio < 99.5 => 2,
        _ => 0,
    };
    format!("{ratio:.behind$}")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(38_245_678.0, Unit::BitsPerSecond, "38.2 Mbit/s")]
    #[case(999_400_000.0, Unit::BitsPerSecond, "999 Mbit/s")]
    #[case(1.2e9, Unit::BitsPerSecond, "1.20 Gbit/s")]
    #[case(0.0, Unit::BitsPerSecond, "0 bit/s")]
    #[case(0.412, Unit::Milliseconds, "0.412 ms")]
    #[case(9.996, Unit::Milliseconds, "10.0 ms")]
    #[case(1234.5, Unit::Milliseconds, "1234 ms")]
    #[case(12_345.0, Unit::Milliseconds, "12.3 s")]
    #[case(0.25, Unit::Percent, "0.250 %")]
    #[case(100.0, Unit::Percent, "100 %")]
    #[case(1420.0, Unit::Bytes, "1420 B")]
    #[case(19.0, Unit::Count, "19")]
    #[case(19.5, Unit::Count, "19.5")]
    fn three_digits_and_a_unit(#[case] value: f64, #[case] unit: Unit, #[case] want: &str) {
        assert_eq!(humanise(value, unit), want);
    }

    #[rstest]
    #[case(1.0, "1.00")]
    #[case(0.0, "0")]
    #[case(0.0123, "0.012")]
    #[case(12.345, "12.35")]
    #[case(1234.5, "1234")]
    fn ratios_line_up(#[case] ratio: f64, #[case] want: &str) {
        assert_eq!(factor(ratio), want);
    }

    #[test]
    fn both_ends_of_an_interval_are_in_the_unit_of_its_middle() {
        let got = humanise_interval(0.9e6, 1.1e6, 1.0e6, Unit::BitsPerSecond);
        assert_eq!(got, "0.900 – 1.10 Mbit/s");
    }
}
