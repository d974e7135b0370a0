//! Checks of single values. Each runs while its value is read, so that an error carries its line and column.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, de};

use super::Debian;
use crate::fabric::Role;

fn checked<'de, D: Deserializer<'de>, E: Display>(
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
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |value| {
        let good = !value.trim().is_empty() && !value.contains('\n');
        good.then_some(()).ok_or("expected one line of text")
    })
}

/// A web address.
pub(super) fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |value| {
        let host = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
        let good =
            host.is_some_and(|host| host.contains('.') && !host.contains(char::is_whitespace));
        good.then_some(()).ok_or_else(|| format!("`{value}` is not a web address (https://…)"))
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
pub(super) fn package_names<'de, D>(deserializer: D) -> Result<Vec<String>, D::Error>
where
    D: Deserializer<'de>,
{
    all_checked(deserializer, check_package)
}

/// A name without a directory, so that it can neither leave its folder nor pass for an option.
fn check_plain(value: &str) -> Result<(), String> {
    let good = value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c));
    good.then_some(()).ok_or_else(|| {
        format!("`{value}` is not a plain name (letters, digits, `+`, `-`, `.`, `_`)")
    })
}

/// A program, crate or kernel module.
pub(super) fn program_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, check_plain)
}

/// Programs or kernel modules.
pub(super) fn program_names<'de, D>(deserializer: D) -> Result<Vec<String>, D::Error>
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
pub(super) fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, check_version)
}

/// An exact Go module version, such as `v1.2.3`.
pub(super) fn go_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |value| match value.strip_prefix('v') {
        Some(rest) => check_version(rest),
        None => Err(format!("`{value}` is not an exact Go version like `v1.2.3`")),
    })
}

/// An interface name of at most 15 characters (IFNAMSIZ), or its beginning and `*`.
pub(super) fn interface<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |value| {
        check_plain(value.strip_suffix('*').unwrap_or(value))?;
        let good = value.len() <= 15;
        good.then_some(()).ok_or_else(|| format!("`{value}` is longer than 15 characters"))
    })
}

/// `[[role]]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRole {
    name: Role,
}

/// Roles in start order: `peer`, or `coordinator` then `peer`.
pub(super) fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Role>, D::Error> {
    let roles: Vec<Role> =
        Vec::<RawRole>::deserialize(deserializer)?.iter().map(|role| role.name).collect();
    match roles.as_slice() {
        [Role::Peer] | [Role::Coordinator, Role::Peer] => Ok(roles),
        _ => Err(de::Error::custom("the roles must be `peer`, or `coordinator` and then `peer`")),
    }
}

/// The Debian software, with the rules that concern more than one of its keys.
pub(super) fn debian<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Debian, D::Error> {
    let debian = Debian::deserialize(deserializer)?;
    if !debian.cargo.is_empty() && !debian.go.is_empty() {
        return Err(de::Error::custom("fill `cargo` or `go`, not both"));
    }
    let unlisted = debian.compiled().find(|program| !debian.binaries.contains(program));
    match unlisted {
        Some(program) => Err(de::Error::custom(format!(
            "`binaries` lacks `{program}`, which is compiled here: every compiled program can be replaced"
        ))),
        None => Ok(debian),
    }
}
