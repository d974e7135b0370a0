//! Checks of single values. Each runs while its value is read, so that an error carries its line and column.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, de};

pub(crate) fn checked<'de, D: Deserializer<'de>, E: Display>(
    deserializer: D,
    check: impl Fn(&str) -> Result<(), E>,
) -> Result<String, D::Error> {
    let value = String::deserialize(deserializer)?;
    check(&value).map_err(de::Error::custom)?;
    Ok(value)
}

fn all_checked<'de, D: Deserializer<'de>, E: Display>(
    deserializer: D,
    check: impl Fn(&str) -> Result<(), E>,
) -> Result<Vec<String>, D::Error> {
    let values = Vec::<String>::deserialize(deserializer)?;
    for value in &values {
        check(value).map_err(de::Error::custom)?;
    }
    Ok(values)
}

/// A line of text that says something.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |value| {
        let good = !value.trim().is_empty() && !value.contains('\n');
        good.then_some(()).ok_or("expected one line of text")
    })
}

/// A Debian package name, as Debian Policy 5.6.7 defines it.
fn check_package(value: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    let good = value.len() > 1
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.chars().all(allowed);
    good.then_some(()).ok_or_else(|| format!("`{value}` is not a Debian package name"))
}

/// Debian package names.
pub(crate) fn package_names<'de, D>(deserializer: D) -> Result<Vec<String>, D::Error>
where
    D: Deserializer<'de>,
{
    all_checked(deserializer, check_package)
}

/// A name without a directory, so that it can neither leave its folder nor pass for an option.
pub(crate) fn check_plain(value: &str) -> Result<(), String> {
    let good = value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c));
    good.then_some(()).ok_or_else(|| {
        format!("`{value}` is not a plain name (letters, digits, `+`, `-`, `.`, `_`)")
    })
}

/// A program, crate or kernel module.
pub(crate) fn program_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, check_plain)
}

/// Programs or kernel modules.
pub(crate) fn program_names<'de, D>(deserializer: D) -> Result<Vec<String>, D::Error>
where
    D: Deserializer<'de>,
{
    all_checked(deserializer, check_plain)
}

fn check_version(value: &str) -> Result<(), String> {
    let core = value.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let number = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let good = numbers.len() == 3 && numbers.iter().all(number);
    good.then_some(()).ok_or_else(|| format!("`{value}` is not an exact version like `1.2.3`"))
}

/// An exact version, such as `1.2.3`.
pub(crate) fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, check_version)
}

/// An exact Go module version, such as `v1.2.3`.
pub(crate) fn go_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |value| match value.strip_prefix('v') {
        Some(rest) => check_version(rest),
        None => Err(format!("`{value}` is not an exact Go version like `v1.2.3`")),
    })
}
