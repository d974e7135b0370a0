//! The text of a scenario, turned into a checked `Scenario`.

use serde::Deserialize;
use toml::Spanned;

use super::event::{Fault, Names, RawEvent, check_mtu, known};
use super::gateway::{Gateway, NatChoice};
use super::link::Link;
use super::nat::Firewall;
use super::nearest::unknown;
use super::scenario::{Expect, Machine, Role, Scenario, Site};

/// An interface name of Linux has at most 15 bytes, and the core's are called like the sites.
const NAME_BYTES: usize = 15;

/// Names that mean something else in the fabric.
const RESERVED: &[&str] = &["internet", "lo", "all", "default", "wan", "lan"];

/// Addresses are 5.SITE.0.0/16, and 5.255.0.0/16 is the core's own.
const MAX_SITES: usize = 200;

/// Machines are number 10 to 99 of a site; visitors follow, by card.
const MAX_MACHINES: usize = 90;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawScenario {
    title: Spanned<String>,
    description: Spanned<String>,
    #[serde(default)]
    workloads: Vec<Spanned<String>>,
    #[serde(default)]
    site: Vec<Spanned<RawSite>>,
    #[serde(default)]
    machine: Vec<RawMachine>,
    #[serde(default)]
    event: Vec<RawEvent>,
    #[serde(default)]
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawSite {
    name: Spanned<String>,
    nat: Option<Spanned<NatChoice>>,
    carrier: Option<Spanned<NatChoice>>,
    firewall: Option<Firewall>,
    #[serde(default)]
    link: Link,
    machines: Option<Vec<Spanned<String>>>,
    #[serde(default = "yes")]
    ipv4: bool,
    #[serde(default)]
    ipv6: bool,
    mtu_black_hole: Option<Spanned<u16>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMachine {
    name: Spanned<String>,
    role: Role,
}

fn yes() -> bool {
    true
}

/// Reads and checks a scenario; the span of a mistake is in bytes of `text`.
pub(super) fn read(name: &str, text: &str, workloads: &[&str]) -> Result<Scenario, Fault> {
    let raw: RawScenario = toml::from_str(text)
        .map_err(|error| (error.span().unwrap_or(0..0), error.message().to_owned()))?;
    for (key, value) in [("title", &raw.title), ("description", &raw.description)] {
        if value.get_ref().trim().is_empty() {
            return Err((value.span(), format!("the {key} is empty")));
        }
    }
    if raw.site.is_empty() {
        return Err((0..0, "there is no [[site]]".to_owned()));
    }
    let sites: Vec<Site> = raw.site.iter().map(site).collect::<Result<_, _>>()?;
    check_sites(&raw.site)?;
    let machines = machines(&raw, &sites)?;
    let names = Names {
        sites: &sites.iter().map(|site| site.name.clone()).collect::<Vec<_>>(),
        machines: &machines.iter().map(|machine| machine.name.clone()).collect::<Vec<_>>(),
    };
    let during = raw.event.iter().map(|event| &event.during);
    for workload in raw.workloads.iter().chain(during) {
        check_workload(workload, workloads)?;
    }
    let events = raw.event.iter().map(|event| event.event(&names)).collect::<Result<_, _>>()?;
    Ok(Scenario {
        name: name.to_owned(),
        title: raw.title.into_inner(),
        description: raw.description.into_inner().trim().to_owned(),
        sites,
        machines,
        events,
        expect: raw.expect,
        workloads: raw.workloads.into_iter().map(Spanned::into_inner).collect(),
    })
}

fn check_workload(name: &Spanned<String>, all: &[&str]) -> Result<(), Fault> {
    if all.is_empty() || all.contains(&name.get_ref().as_str()) {
        return Ok(());
    }
    Err((name.span(), unknown("workload", name.get_ref(), all.iter().copied())))
}

fn check_name(what: &str, name: &Spanned<String>) -> Result<(), Fault> {
    let text = name.get_ref().as_str();
    let letters = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase());
    if !letters || !first || text.len() > NAME_BYTES {
        let why = format!(
            "{what} name `{text}` must be 1 to {NAME_BYTES} of a-z, 0-9 and -, a letter first"
        );
        return Err((name.span(), why));
    }
    if RESERVED.contains(&text) || text.ends_with("-carrier") {
        return Err((name.span(), format!("{what} name `{text}` is reserved")));
    }
    Ok(())
}

fn site(raw: &Spanned<RawSite>) -> Result<Site, Fault> {
    let site = raw.get_ref();
    check_name("site", &site.name)?;
    let gateway = gateway(site)?;
    if !site.ipv4 && !site.ipv6 {
        let why = format!("site `{}` has neither IPv4 nor IPv6", site.name.get_ref());
        return Err((site.name.span(), why));
    }
    if !site.ipv4 && gateway.nat.is_some() {
        let why = "a site without IPv4 has nothing to translate; use nat = \"firewall\"";
        return Err((site.nat.as_ref().map_or(0..0, Spanned::span), why.to_owned()));
    }
    let machines = match &site.machines {
        Some(named) => named.iter().map(|name| name.get_ref().clone()).collect(),
        None => vec![site.name.get_ref().clone()],
    };
    one_to_one_has_one(site, &gateway, machines.len())?;
    let mtu_black_hole = match &site.mtu_black_hole {
        Some(mtu) => Some(check_mtu(*mtu.get_ref()).map_err(|why| (mtu.span(), why))?),
        None => None,
    };
    Ok(Site {
        name: site.name.get_ref().clone(),
        gateway,
        link: site.link.clone(),
        machines,
        ipv4: site.ipv4,
        ipv6: site.ipv6,
        mtu_black_hole,
    })
}

/// The kind named by `nat`, changed by `carrier` and `firewall`.
fn gateway(site: &RawSite) -> Result<Gateway, Fault> {
    let choice = site.nat.as_ref().map_or(&NatChoice::Kind("none"), Spanned::get_ref);
    let mut gateway = choice.gateway();
    if let Some(carrier) = &site.carrier {
        let made = carrier.get_ref().gateway();
        let simple = made.carrier.is_none() && made.nat.is_some_and(|nat| !nat.one_to_one);
        if !simple || gateway.nat.is_none() {
            let why = "a carrier is a single NAT in front of a site that has one itself";
            return Err((carrier.span(), why.to_owned()));
        }
        gateway.carrier = made.nat;
    }
    if let Some(firewall) = site.firewall {
        gateway.firewall = firewall;
    }
    Ok(gateway)
}

fn one_to_one_has_one(site: &RawSite, gateway: &Gateway, machines: usize) -> Result<(), Fault> {
    if gateway.nat.is_some_and(|nat| nat.one_to_one) && machines != 1 {
        let why = format!("a one-to-one NAT needs exactly one machine; the site has {machines}");
        return Err((site.nat.as_ref().map_or(0..0, Spanned::span), why));
    }
    Ok(())
}

fn check_sites(sites: &[Spanned<RawSite>]) -> Result<(), Fault> {
    for (index, site) in sites.iter().enumerate() {
        let name = &site.get_ref().name;
        if sites[..index].iter().any(|other| other.get_ref().name.get_ref() == name.get_ref()) {
            return Err((name.span(), format!("there are two sites `{}`", name.get_ref())));
        }
        if index >= MAX_SITES {
            return Err((name.span(), format!("there are more than {MAX_SITES} sites")));
        }
    }
    Ok(())
}

/// All machines site by site, with the roles that `[[machine]]` gives them.
fn machines(raw: &RawScenario, sites: &[Site]) -> Result<Vec<Machine>, Fault> {
    let mut all: Vec<Machine> = Vec::new();
    for (site, written) in sites.iter().zip(&raw.site) {
        let written = written.get_ref();
        let own = std::slice::from_ref(&written.name);
        for name in written.machines.as_deref().unwrap_or(own) {
            check_name("machine", name)?;
            if all.iter().any(|machine| machine.name == *name.get_ref()) {
                return Err((name.span(), format!("there are two machines `{}`", name.get_ref())));
            }
            if all.len() >= MAX_MACHINES {
                return Err((name.span(), format!("there are more than {MAX_MACHINES} machines")));
            }
            all.push(Machine {
                name: name.get_ref().clone(),
                site: site.name.clone(),
                role: if name.get_ref() == "hub" { Role::Coordinator } else { Role::Peer },
            });
        }
    }
    let names: Vec<String> = all.iter().map(|machine| machine.name.clone()).collect();
    for machine in &raw.machine {
        let name = known("machine", &machine.name, &names)?;
        for found in all.iter_mut().filter(|found| found.name == name) {
            found.role = machine.role;
        }
    }
    Ok(all)
}

#[cfg(test)]
#[path = "reader_test.rs"]
mod tests;
