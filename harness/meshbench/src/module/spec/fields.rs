//! Checks of single values. Each runs while its value is read, so that an error carries its line and column.

use serde::{Deserialize, Deserializer, de};

use super::{Debian, Part, Ports};
use crate::fabric::Role;
use crate::guest::debian::fields::{check_plain, checked};
pub(super) use crate::guest::debian::fields::{package_names, program_names, text};

/// A web address.
pub(super) fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |value| {
        let host = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
        let good =
            host.is_some_and(|host| host.contains('.') && !host.contains(char::is_whitespace));
        good.then_some(()).ok_or_else(|| format!("`{value}` is not a web address (https://…)"))
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

/// Roles in start order: `peer`, or `coordinator` then `peer`.
pub(super) fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Part>, D::Error> {
    let roles = Vec::<Part>::deserialize(deserializer)?;
    let names: Vec<Role> = roles.iter().map(|part| part.name).collect();
    let asks = |part: &Part| part.name == Role::Peer && part.ports != Ports::default();
    match names.as_slice() {
        [Role::Peer] | [Role::Coordinator, Role::Peer] if roles.iter().any(asks) => {
            Err(de::Error::custom("only a `coordinator` has `ports`"))
        }
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
