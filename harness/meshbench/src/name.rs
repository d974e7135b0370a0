//! Names that become parts of file names, and the nearest of those that are known.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Three names and a block make a file name of results, which may have 255 bytes.
const MAX_BYTES: usize = 64;

/// The name of a module, a scenario or a workload: 1 to 64 of `a-z`, `0-9` and `-`, beginning with a letter
/// or digit, so that it can be a part of any file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name {0:?} is not 1 to 64 of a-z, 0-9 and -, or begins with -")]
#[non_exhaustive]
pub struct NameError(String);

impl Name {
    /// The text as a name.
    ///
    /// # Errors
    /// If it is none; the error says what names are.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let sound = text.len() <= MAX_BYTES
            && text.bytes().next().is_some_and(letter)
            && text.bytes().all(|byte| letter(byte) || byte == b'-');
        if sound { Ok(Self(text.to_owned())) } else { Err(NameError(text.to_owned())) }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// The known name that is most like this one, if any is near enough to be meant.
pub fn nearest<'a>(name: &str, known: &'a [impl AsRef<str>]) -> Option<&'a str> {
    let name = name.to_lowercase();
    let distance = |known: &&str| strsim::damerau_levenshtein(&name, known);
    let best = known.iter().map(AsRef::as_ref).min_by_key(distance)?;
    (distance(&best) <= 1 + best.len() / 3).then_some(best)
}

/// Says that `name` is not one of `known`, with the nearest of them when one is near.
pub(crate) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(name, &known) {
        Some(near) => format!("unknown {what} `{name}`; did you mean `{near}`?"),
        None => format!("unknown {what} `{name}`; known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("lan")]
    #[case("0-9")]
    #[case("home-dsl")]
    fn names_are_read_also_from_json(#[case] text: &str) {
        let name = Name::parse(text).unwrap();
        assert_eq!(name, text);
        assert_eq!(serde_json::to_value(&name).unwrap(), text);
        assert_eq!(serde_json::from_value::<Name>(text.into()).unwrap(), name);
    }

    #[rstest]
    #[case("")]
    #[case("-lan")]
    #[case("MyVPN")]
    #[case("../lan")]
    #[case("a b")]
    #[case("ä")]
    fn what_could_be_no_part_of_a_file_name_is_refused(#[case] text: &str) {
        let error = serde_json::from_value::<Name>(text.into()).unwrap_err().to_string();
        assert!(error.contains(&format!("{text:?}")), "{error}");
        assert!(text.parse::<Name>().is_err());
    }

    #[test]
    fn a_name_has_at_most_64_letters() {
        assert!(Name::parse(&"a".repeat(64)).is_ok());
        assert!(Name::parse(&"a".repeat(65)).is_err());
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_listed() {
        assert_eq!(
            unknown("link profile", "dls", ["lan", "dsl"]),
            "unknown link profile `dls`; did you mean `dsl`?"
        );
        assert_eq!(
            unknown("link profile", "carrier-pigeon", ["lan", "dsl"]),
            "unknown link profile `carrier-pigeon`; known: lan, dsl"
        );
        assert_eq!(nearest("WireGuard", &["tinc", "wireguard"]), Some("wireguard"));
    }
}
