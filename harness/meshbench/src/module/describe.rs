//! The cluster as a lifecycle's `configure` reads it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::fabric::{MemberNet, OVERLAY, beyond};

/// The JSON for `own`. Members are numbered in this order, and so are the overlay addresses that they
/// are offered.
pub(super) fn describe<'a>(
    module: &str,
    own: &str,
    members: impl IntoIterator<Item = &'a MemberNet>,
    identities: &BTreeMap<String, Value>,
    admission: &Value,
) -> Value {
    let [a, b, c] = OVERLAY;
    let members: Vec<&MemberNet> = members.into_iter().collect();
    let this = members.iter().find(|net| net.name == own).copied();
    let member = |(net, number): (&&MemberNet, u32)| {
        let reach = this.map(|this| reach(this, net)).unwrap_or_default();
        let neighbours = this.is_some_and(|this| this.site == net.site);
        let closed = this.is_none_or(|this| this.nat);
        let (open, found) = (!net.nat, !reach.is_empty());
        json!({
            "name": net.name,
            "number": number,
            "role": net.role,
            "site": net.site,
            "local": net.local,
            "public": net.public,
            "nat": net.nat,
            "reach": told(net, reach, neighbours),
            "hosts": this.map(|this| hosts(this, net)).unwrap_or_default(),
            "reachable": found && (neighbours || open),
            "reaches": found && (neighbours || !closed),
            "overlay": [format!("{a}.{b}.{c}.{number}"), format!("fd77::{number:x}")],
            "identity": identities.get(&net.name),
        })
    };
    let members: Vec<Value> = members.iter().zip(1..).map(member).collect();
    json!({ "self": own, "module": module, "admission": admission, "members": members })
}

/// Where one member reaches another, in families that it has itself: a neighbour on their LAN, others as the Internet
/// sees them, by a translator if they have nothing else in common.
fn reach(from: &MemberNet, to: &MemberNet) -> Vec<IpAddr> {
    let there = if from.site == to.site { &to.local } else { &to.public };
    in_common(from, there)
}

/// Of these addresses those of families that a member has itself; by a translator, if it has none of them.
fn in_common(from: &MemberNet, there: &[IpAddr]) -> Vec<IpAddr> {
    let family = |to: &IpAddr| from.local.iter().any(|own| own.is_ipv4() == to.is_ipv4());
    let common: Vec<IpAddr> = there.iter().copied().filter(family).collect();
    if !common.is_empty() || !from.nat64 {
        return common;
    }
    let translated = |address: &IpAddr| match address {
        IpAddr::V4(address) => Some(beyond(*address)),
        IpAddr::V6(_) => None,
    };
    there.iter().filter_map(translated).collect()
}

/// Where one member would send what is for another one past a VPN, out of its house.
pub(crate) fn past_the_vpn(from: &MemberNet, to: &MemberNet) -> Option<IpAddr> {
    in_common(from, &to.public).first().copied()
}

/// What a name for a member can stand for at another one: where that reaches it, then as the Internet sees it, for who
/// moves out of its house; in families that it has.
fn hosts(from: &MemberNet, to: &MemberNet) -> Vec<IpAddr> {
    let mut all = reach(from, to);
    for address in &to.public {
        let own = from.local.iter().any(|own| own.is_ipv4() == address.is_ipv4());
        if own && !all.contains(address) {
            all.push(*address);
        }
    }
    all
}

/// What one member is told to reach another by: its name, if it has one that stands for an address it can reach.
fn told(to: &MemberNet, reach: Vec<IpAddr>, neighbours: bool) -> Vec<String> {
    match &to.internet_name {
        Some(name) if !neighbours && !reach.is_empty() => vec![name.clone()],
        _ => reach.iter().map(IpAddr::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{Plan, Scenario};

    #[test]
    fn who_has_only_ipv6_reaches_ipv4_by_its_providers_translator() {
        let text = "title = \"t\"\ndescription = \"d\"\n[[site]]\nname = \"alice\"\nipv4 = false\nipv6 = true\nnat64 = true\n\
                    [[site]]\nname = \"bob\"\n[[site]]\nname = \"hub\"\nipv6 = true";
        let members = Plan::new(&Scenario::parse("s", "s.toml", text, &[]).unwrap(), 1).members();
        let at = |from: usize, to: usize| -> Vec<String> {
            reach(&members[from], &members[to]).iter().map(IpAddr::to_string).collect()
        };
        assert_eq!(at(0, 1), ["64:ff9b::502:10a"]);
        assert_eq!(at(0, 2), ["2a0e:3:1::10"], "no detour where there is a straight way");
        assert!(at(1, 0).is_empty(), "nobody finds the way back unasked");
    }

    #[test]
    fn a_name_stands_for_where_a_member_is_reached_and_then_for_where_the_internet_sees_it() {
        let text = "title = \"t\"\ndescription = \"d\"\n[[site]]\nname = \"six\"\nipv4 = false\nipv6 = true\nnat64 = true\n\
                    [[site]]\nname = \"bob\"\nnat = \"home\"\ndynamic-dns = 60\nmachines = [\"bob\", \"carol\"]\n\
                    [[site]]\nname = \"hub\"";
        let members = Plan::new(&Scenario::parse("s", "s.toml", text, &[]).unwrap(), 1).members();
        let at = |from: &str, to: &str| -> Vec<String> {
            let of = |name: &str| members.iter().find(|net| net.name == name).unwrap();
            hosts(of(from), of(to)).iter().map(IpAddr::to_string).collect()
        };
        assert_eq!(at("bob", "carol"), ["192.168.2.11", "5.2.0.2"], "at home, then out of it");
        assert_eq!(at("six", "hub"), ["64:ff9b::503:10a"]);
        assert_eq!(at("bob", "hub"), ["5.3.1.10"]);
        assert_eq!(at("hub", "bob"), ["5.2.0.2"], "an address, whatever its name is");
    }

    #[test]
    fn who_has_a_name_is_told_by_it_to_all_who_can_reach_it_but_its_neighbours() {
        let text = "title = \"t\"\ndescription = \"d\"\n[[site]]\nname = \"alice\"\n\
                    [[site]]\nname = \"bob\"\nnat = \"home\"\ndynamic-dns = 60\nmachines = [\"bob\", \"carol\"]\n\
                    [[site]]\nname = \"six\"\nipv4 = false\nipv6 = true\n[[site]]\nname = \"hub\"\nipv6 = true";
        let plan = Plan::new(&Scenario::parse("s", "s.toml", text, &[]).unwrap(), 1);
        let members = plan.members();
        let of = |own: &str, other: usize| -> Vec<String> {
            let described = describe("m", own, &members, &BTreeMap::new(), &Value::Null);
            serde_json::from_value(described["members"][other]["reach"].clone()).unwrap()
        };
        assert_eq!(of("alice", 1), ["bob.test"]);
        assert_eq!(of("bob", 2), ["192.168.2.11"], "a neighbour's address is known at home");
        assert!(of("six", 1).is_empty(), "it stands for nothing that IPv6 alone reaches");
        assert_eq!(of("bob", 0), ["5.1.1.10"]);
    }

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
lan = "192.168.178.0/24"
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
        // Another crate of the workspace may have serde_json keep keys in another order.
        insta::with_settings!({ sort_maps => true }, { insta::assert_json_snapshot!(described) });
    }
}
