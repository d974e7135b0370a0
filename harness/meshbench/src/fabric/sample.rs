//! Scenarios of tests, without a head of their own.

use super::scenario::Scenario;

pub(super) const HEAD: &str = "title = \"t\"\ndescription = \"d\"\n";
pub(super) const WORKLOADS: &[&str] = &["ping", "tcp", "udp", "connect", "recover"];

/// What is said of a text, after the file name.
pub(super) fn said(body: &str) -> String {
    let text = format!("{HEAD}{body}");
    let error = Scenario::parse("s", "s.toml", &text, WORKLOADS).expect_err("must be refused");
    error.to_string().strip_prefix("s.toml:").unwrap().to_owned()
}

pub(super) fn read(body: &str) -> Scenario {
    Scenario::parse("s", "s.toml", &format!("{HEAD}{body}"), WORKLOADS).unwrap()
}
