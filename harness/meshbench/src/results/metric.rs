use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{check_name, check_number};

/// Cost of real time: how much of their time the host's processors were busy with anything.
pub(crate) const HOST_BUSY: &str = "host-busy";

/// The same of the machine that is the network, which all packets pass.
pub(crate) const FABRIC_BUSY: &str = "fabric-busy";

/// Cost of real time: how much of it the host, itself a guest, was not given its processors though it had work.
pub(crate) const HOST_STOLEN: &str = "host-stolen";

/// As many samples a metric may have: a hundred times what any workload takes. They come from guests, and from files of
/// others.
pub(crate) const MOST_SAMPLES: usize = 1_000_000;

/// One thing measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name, unique in the cell.
    pub name: String,
    /// Unit of the value and the samples.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
    /// The one number of this block, on which all statistics are made.
    pub value: f64,
    /// Raw samples in the order taken; for plots, not for statistics. May be empty.
    #[serde(deserialize_with = "bounded")]
    #[schemars(with = "Vec<f64>")]
    pub samples: Vec<f64>,
}

/// Reads samples, and stops at one too many: a short text can hold more of them than there is memory for.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    struct Samples;

    impl<'de> Visitor<'de> for Samples {
        type Value = Vec<f64>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "at most {MOST_SAMPLES} numbers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Vec<f64>, A::Error> {
            let mut samples = Vec::new();
            while let Some(sample) = all.next_element()? {
                if samples.len() == MOST_SAMPLES {
                    return Err(A::Error::invalid_length(MOST_SAMPLES + 1, &self));
                }
                samples.push(sample);
            }
            Ok(samples)
        }
    }

    deserializer.deserialize_seq(Samples)
}

// Closed on purpose: a figure whose unit is not known cannot be shown, converted or compared.
/// Unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Unit {
    /// Bits a second.
    #[serde(rename = "bit/s")]
    BitsPerSecond,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Of 100.
    #[serde(rename = "%")]
    Percent,
    /// Bytes.
    #[serde(rename = "byte")]
    Bytes,
    /// A number of things.
    #[serde(rename = "count")]
    Count,
    /// A number of things a second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// A number of things a minute.
    #[serde(rename = "1/min")]
    PerMinute,
    /// So many times as much.
    #[serde(rename = "ratio")]
    Ratio,
    /// Nanoseconds of a processor for each byte; in sets of virtual time that are older than the next unit, instructions.
    #[serde(rename = "ns/byte")]
    NanosecondsPerByte,
    /// Instructions for each byte of payload: what takes a nanosecond in virtual time.
    InstructionsPerByte,
    /// Instructions for each packet on the wire.
    InstructionsPerPacket,
    /// A mean opinion score: from 1, bad, to 4.5, excellent (ITU-T P.800).
    #[serde(rename = "mos")]
    OpinionScore,
}

/// Which way a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// Neither.
    Neutral,
}

impl Unit {
    /// Refuses what nothing can be of it. Two clocks may make a time a little less than nothing.
    fn check(self, number: f64) -> Result<(), String> {
        check_number(number)?;
        let possible = match self {
            Self::Milliseconds => return Ok(()),
            Self::Percent => 0.0..=100.0,
            Self::OpinionScore => 1.0..=4.5,
            _ => 0.0..=f64::MAX,
        };
        if possible.contains(&number) {
            return Ok(());
        }
        Err(format!("{number} is no number of {}", self.symbol()))
    }

    /// The unit as written in files.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::BitsPerSecond => "bit/s",
            Self::Milliseconds => "ms",
            Self::Percent => "%",
            Self::Bytes => "byte",
            Self::Count => "count",
            Self::PerSecond => "1/s",
            Self::PerMinute => "1/min",
            Self::Ratio => "ratio",
            Self::NanosecondsPerByte => "ns/byte",
            Self::InstructionsPerByte => "instructions/byte",
            Self::InstructionsPerPacket => "instructions/packet",
            Self::OpinionScore => "mos",
        }
    }
}

impl Better {
    /// The word for it in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
            Self::Neutral => "neutral",
        }
    }
}

impl Metric {
    /// Checks its name and numbers. The error says what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        if self.samples.len() > MOST_SAMPLES {
            return Err(format!("metric {} has more than {MOST_SAMPLES} samples", self.name));
        }
        let mut numbers = self.samples.iter().chain([&self.value]);
        let numbers = numbers.try_for_each(|number| self.unit.check(*number));
        numbers.map_err(|reason| format!("metric {}: {reason}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_any_unit_are_refused() {
        let metric = |value: f64, samples: Vec<f64>| {
            let (unit, better) = (Unit::Milliseconds, Better::Lower);
            Metric { name: "rtt".into(), unit, better, value, samples }.check()
        };
        assert_eq!(metric(1.0, vec![0.5]), Ok(()));
        for (unit, number) in [
            (Unit::Percent, 900.0),
            (Unit::Percent, -5.0),
            (Unit::OpinionScore, 77.0),
            (Unit::BitsPerSecond, -1.0),
            (Unit::Count, -1.0),
        ] {
            let better = Better::Lower;
            let metric = Metric { name: "x".into(), unit, better, value: number, samples: vec![] };
            assert!(metric.check().unwrap_err().contains("is no number of"), "{number}");
        }
        for number in [f64::INFINITY, f64::NAN, 1e300, -1e19] {
            for refused in [metric(number, Vec::new()), metric(1.0, vec![number])] {
                assert!(refused.unwrap_err().starts_with("metric rtt: "), "{number}");
            }
        }
    }

    #[test]
    fn more_samples_than_anybody_takes_are_refused_while_they_are_read() {
        let read = |count: usize| {
            let samples = vec!["0"; count].join(",");
            let text = format!(
                "{{\"name\": \"rtt\", \"unit\": \"ms\", \"better\": \"lower\", \"value\": 1, \"samples\": [{samples}]}}"
            );
            serde_json::from_str::<Metric>(&text).map(|metric| metric.samples.len())
        };
        assert_eq!(read(2).unwrap(), 2);
        assert_eq!(read(MOST_SAMPLES).unwrap(), MOST_SAMPLES);
        let refused = read(MOST_SAMPLES + 1).unwrap_err().to_string();
        assert!(refused.contains("at most 1000000 numbers"), "{refused}");
    }
}
