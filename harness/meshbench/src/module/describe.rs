//! The cluster as a lifecycle's `configure` reads it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fabric::MemberNet;

/// The JSON for `own`. Members are numbered in this order, and so are the overlay addresses that they
/// are offered.
pub(super) fn describe<'a>(
    module: &str,
    own: &str,
    members: impl IntoIterator<Item = &'a MemberNet>,
    identities: &BTreeMap<String, Value>,
    admission: &Value,
) -> Value {
    let members: Vec<&MemberNet> = members.into_iter().collect();
    let site = members.iter().find(|net| net.name == own).map(|net| &net.site);
    let member = |(net, number): (&&MemberNet, u32)| {
        let lan: &[_] = if Some(&net.site) == site { &net.local } else { &[] };
        json!({
            "name": net.name,
            "number": number,
            "role": net.role,
            "site": net.site,
            "local": net.local,
            "lan": lan,
            "public": net.public,
            "nat": net.nat,
            "overlay": [format!("10.77.0.{number}"), format!("fd77::{number:x}")],
            "identity": identities.get(&net.name),
        })
    };
    let members: Vec<Value> = members.iter().zip(1..).map(member).collect();
    json!({ "self": own, "module": module, "admission": admission, "members": members })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{Plan, Scenario};

    /// Every lifecycle reads this.
    #[test]
    fn a_lifecycle_reads_who_is_there_where_and_how_to_be_reached() {
        let text = r#"
title = "t"
description = "d"
[[site]]
name = "house"
nat = "home"
machines = ["alice", "carol"]
[[site]]
name = "bob"
ipv6 = true
[[site]]
name = "phone"
ipv4 = false
ipv6 = true
nat = "firewall"
[[site]]
name = "hub"
ipv6 = true
"#;
        let plan = Plan::new(&Scenario::parse("s", "s.toml", text, &[]).unwrap(), 1);
        let members = plan.members();
        let identities =
            members.iter().map(|net| (net.name.clone(), json!({ "key": net.name }))).collect();
        let described =
            describe("nebula", "alice", &members, &identities, &json!({ "token": "secret" }));
        insta::assert_snapshot!(serde_json::to_string_pretty(&described).unwrap());
    }
}
