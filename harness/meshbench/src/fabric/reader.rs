//! The text of a scenario, turned into a checked `Scenario`.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::name::{Name, unknown};
use crate::position::position;

use super::event::{Fault, Names, RawEvent, check_mtu, known};
use super::gateway::{Gateway, NatChoice};
use super::link::Link;
use super::nat::Firewall;
use super::scenario::{Expect, Machine, Role, Scenario, ScenarioError, Site};
use super::sound;

/// An interface name of Linux has at most 15 bytes, and the core's are called like the sites.
const NAME_BYTES: usize = 15;

/// Names that mean something else in the fabric.
const RESERVED: &[&str] = &["internet", "lo", "all", "default", "wan", "lan", "fabric", "host"];

/// Addresses are 5.SITE.0.0/16, and 5.255.0.0/16 is the core's own.
const MAX_SITES: usize = 200;

/// Visitors of a site have the numbers from 100, by card; a host number is below 255.
const MAX_MACHINES: usize = 110;

/// Machines are number 10 to 99 of a site.
const MAX_SITE_MACHINES: usize = 90;

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

impl Scenario {
    /// Reads `checks/NAME.toml`. `workloads` are the known ones, to check names against; empty to
    /// accept any.
    ///
    /// # Errors
    /// The file cannot be read, or the first mistake in it.
    pub fn load(path: &Path, workloads: &[&str]) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| ScenarioError::Unreadable {
            file: file.clone(),
            reason: error.to_string(),
        })?;
        let invalid = |(line, column), reason| ScenarioError::Invalid {
            file: file.clone(),
            line,
            column,
            reason,
        };
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            invalid(position(&before, before.len()), "this is not UTF-8".to_owned())
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let scenario = Self::parse(&name, &file, text, workloads)?;
        // Who parses a text may want a network and no measurement; a file is there to be measured.
        sound::somebody(&scenario).map_err(|why| invalid((1, 1), why))?;
        Ok(scenario)
    }

    /// Reads the text of a scenario called `name`; `file` is only for messages.
    ///
    /// # Errors
    /// The first mistake in the text.
    pub fn parse(
        name: &str,
        file: &str,
        text: &str,
        workloads: &[&str],
    ) -> Result<Self, ScenarioError> {
        read(name, text, workloads).map_err(|(span, reason)| {
            let (line, column) = position(text, span.start);
            ScenarioError::Invalid { file: file.to_owned(), line, column, reason }
        })
    }
}

/// Reads and checks a scenario; the span of a mistake is in bytes of `text`.
fn read(name: &str, text: &str, workloads: &[&str]) -> Result<Scenario, Fault> {
    let name = Name::parse(name).map_err(|error| (0..0, error.to_string()))?;
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
    let places: Vec<_> = raw.event.iter().map(RawEvent::place).collect();
    let at_site = |(at, why): (usize, String)| {
        let site = raw.site[at].get_ref();
        let place = site.nat.as_ref().map_or_else(|| site.name.span(), Spanned::span);
        (place, why)
    };
    sound::families(&sites).map_err(at_site)?;
    let measured = raw.workloads.first().map(Spanned::span);
    let scenario = Scenario {
        source: text.to_owned(),
        name: name.into(),
        title: raw.title.get_ref().clone(),
        description: raw.description.get_ref().trim().to_owned(),
        sites,
        machines,
        events,
        expect: raw.expect,
        workloads: raw.workloads.iter().map(|workload| workload.get_ref().clone()).collect(),
    };
    sound::coordinators(&scenario).map_err(at_site)?;
    sound::events(&scenario, workloads).map_err(|(at, why)| (places[at].clone(), why))?;
    if let Some(measured) = measured {
        sound::somebody(&scenario).map_err(|why| (measured, why))?;
    }
    Ok(scenario)
}

fn check_workload(name: &Spanned<String>, all: &[&str]) -> Result<(), Fault> {
    if all.is_empty() || all.contains(&name.get_ref().as_str()) {
        return Ok(());
    }
    Err((name.span(), unknown("workload", name.get_ref(), all.iter().copied())))
}

/// What is a name in the fabric too is an interface name, and no number.
fn check_place(what: &str, name: &Spanned<String>) -> Result<(), Fault> {
    let text = name.get_ref().as_str();
    let first = text.starts_with(|c: char| c.is_ascii_lowercase());
    if Name::parse(text).is_err() || !first || text.len() > NAME_BYTES {
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
    check_place("site", &site.name)?;
    let gateway = gateway(site)?;
    if !site.ipv4 && !site.ipv6 {
        let why = format!("site `{}` has neither IPv4 nor IPv6", site.name.get_ref());
        return Err((site.name.span(), why));
    }
    if !site.ipv4 && gateway.nat.is_some() {
        let why = "a site without IPv4 has nothing to translate; use nat = \"firewall\"";
        return Err((site.nat.as_ref().map_or(0..0, Spanned::span), why.to_owned()));
    }
    let machines: Vec<String> = match &site.machines {
        Some(named) => named.iter().map(|name| name.get_ref().clone()).collect(),
        None => vec![site.name.get_ref().clone()],
    };
    if machines.len() > MAX_SITE_MACHINES {
        let why =
            format!("a site has room for {MAX_SITE_MACHINES} machines, not {}", machines.len());
        return Err((site.name.span(), why));
    }
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
            check_place("machine", name)?;
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
