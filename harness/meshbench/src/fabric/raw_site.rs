//! `[[site]]` and `[[carrier]]` as they are written, and what they mean.

use serde::Deserialize;
use toml::Spanned;

use super::event::{Fault, check_police, known};
use super::gateway::{Gateway, NatChoice};
use super::lan::Lan;
use super::link::{Link, PROVABLE_LOSS, PROVABLE_MBIT};
use super::nat::{Firewall, Nat, PROOF_FLOWS};
use super::place::{RawForward, RawMtu, check_hole, line_mtu};
use super::scenario::{Carrier, Site};
use crate::name::{Name, unknown};

/// An interface name of Linux has at most 15 bytes, and the core's are called like the sites.
const NAME_BYTES: usize = 15;

/// Names that mean something else in the fabric.
const RESERVED: &[&str] = &["internet", "lo", "all", "default", "wan", "lan", "fabric", "host"];

/// Addresses are 5.SITE.0.0/16, and 5.255.0.0/16 is the core's own.
const MAX_SITES: usize = 200;

/// Shared carriers are numbered after the sites, and have addresses as those.
const MAX_NETWORKS: usize = 254;

/// Machines are number 10 to 99 of a site.
const MAX_SITE_MACHINES: usize = 90;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawSite {
    pub(super) name: Spanned<String>,
    pub(super) nat: Option<Spanned<NatChoice>>,
    carrier: Option<Spanned<CarrierChoice>>,
    firewall: Option<Firewall>,
    link: Option<Spanned<Link>>,
    pub(super) machines: Option<Vec<Spanned<String>>>,
    #[serde(default = "yes")]
    ipv4: bool,
    #[serde(default)]
    ipv6: bool,
    mtu_black_hole: Option<Spanned<u16>>,
    mtu: Option<Spanned<RawMtu>>,
    #[serde(default)]
    clamp_mss: bool,
    pub(super) lan: Option<Spanned<Lan>>,
    #[serde(default)]
    pub(super) forward: Vec<Spanned<RawForward>>,
    backup: Option<Spanned<SiteName>>,
    udp_rate_mbit: Option<Spanned<f64>>,
    nat64: Option<Spanned<bool>>,
    dynamic_dns: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCarrier {
    name: Spanned<String>,
    nat: Spanned<NatChoice>,
}

/// `carrier = "isp"`, which several sites may name, or the NAT of one of the site's own.
enum CarrierChoice {
    Named(String),
    Own(NatChoice),
}

impl<'de> Deserialize<'de> for CarrierChoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let own = |value| NatChoice::deserialize(value).map_err(serde::de::Error::custom);
        match &value {
            toml::Value::String(name) if super::gateway::kind(name).is_err() => {
                Ok(Self::Named(name.clone()))
            }
            _ => own(value).map(Self::Own),
        }
    }
}

/// The name of a site, where people may write down a whole one.
struct SiteName(String);

impl AsRef<str> for SiteName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SiteName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl serde::de::Visitor<'_> for Named {
            type Value = SiteName;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a site's name: its second line is that of another [[site]] with nat = \"phone\" or \"none\" and machines = []")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<SiteName, E> {
                Ok(SiteName(name.to_owned()))
            }
        }
        deserializer.deserialize_any(Named)
    }
}

fn yes() -> bool {
    true
}

/// What is a name in the fabric too is an interface name, and no number.
pub(super) fn check_place(what: &str, name: &Spanned<String>) -> Result<(), Fault> {
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

pub(super) fn site(raw: &Spanned<RawSite>, carriers: &[Carrier]) -> Result<Site, Fault> {
    let site = raw.get_ref();
    check_place("site", &site.name)?;
    let (gateway, shared_carrier) = gateway(site, carriers)?;
    if !site.ipv4 && !site.ipv6 {
        let why = format!("site `{}` has neither IPv4 nor IPv6", site.name.get_ref());
        return Err((site.name.span(), why));
    }
    if !site.ipv4 && gateway.translates() {
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
    check_one_to_one(site, &gateway, machines.len())?;
    if let Some(lan) = site.lan.as_ref().filter(|_| !gateway.translates()) {
        let why = "a site whose gateway does not translate has no `lan` of its own: the Internet sees its machines";
        return Err((lan.span(), why.to_owned()));
    }
    let nat64 = site.nat64.as_ref().filter(|nat64| *nat64.get_ref());
    if let Some(nat64) = nat64.filter(|_| site.ipv4 || !site.ipv6) {
        let why = "nat64 is for a site with ipv4 = false and ipv6 = true: others have IPv4, or nothing to translate";
        return Err((nat64.span(), why.to_owned()));
    }
    let police =
        |rate: &Spanned<f64>| check_police(*rate.get_ref()).map_err(|why| (rate.span(), why));
    let made = Site {
        name: site.name.get_ref().clone(),
        gateway,
        link: link(site.link.as_ref())?,
        machines,
        ipv4: site.ipv4,
        ipv6: site.ipv6,
        mtu_black_hole: site.mtu_black_hole.as_ref().map(|mtu| *mtu.get_ref()),
        mtu: site.mtu.as_ref().map(|mtu| line_mtu(mtu, site.ipv6)).transpose()?,
        clamp_mss: site.clamp_mss,
        lan: site.lan.as_ref().map(|lan| *lan.get_ref()),
        forward: Vec::new(),
        shared_carrier,
        backup: site.backup.as_ref().map(|backup| backup.get_ref().0.clone()),
        nat64: nat64.is_some(),
        udp_mbit: site.udp_rate_mbit.as_ref().map(police).transpose()?,
        dynamic_dns: site.dynamic_dns.as_ref().map(dynamic_dns).transpose()?,
    };
    if let Some(mtu) = &site.mtu_black_hole {
        check_hole(*mtu.get_ref(), &made).map_err(|why| (mtu.span(), why))?;
    }
    Ok(made)
}

/// Names that follow after a day would follow after any measurement.
const LONGEST_DELAY: u32 = 24 * 3600;

fn dynamic_dns(seconds: &Spanned<u32>) -> Result<u32, Fault> {
    let after = *seconds.get_ref();
    if after <= LONGEST_DELAY {
        return Ok(after);
    }
    let why = format!("dynamic-dns is {after}; names follow after 0 to {LONGEST_DELAY} seconds");
    Err((seconds.span(), why))
}

/// A line that nothing passes, or next to nothing, could not be proved.
fn link(raw: Option<&Spanned<Link>>) -> Result<Link, Fault> {
    let Some(raw) = raw else { return Ok(Link::default()) };
    let link = raw.get_ref();
    let most = link.up.loss_percent.max(link.down.loss_percent);
    if most > PROVABLE_LOSS {
        let why = format!(
            "loss-percent is {most}; of a site's own line it must be between 0 and {PROVABLE_LOSS}: an event may cut it"
        );
        return Err((raw.span(), why));
    }
    let rates = [&link.up, &link.down].into_iter().filter_map(|direction| direction.rate_mbit);
    if let Some(rate) = rates.into_iter().find(|rate| *rate < PROVABLE_MBIT) {
        let why = format!(
            "rate-mbit is {rate}; of a site's own line it must be at least {PROVABLE_MBIT}, or proving it would take minutes: an event may have less"
        );
        return Err((raw.span(), why));
    }
    Ok(link.clone())
}

pub(super) fn carriers(
    raw: &[RawCarrier],
    sites: &[Spanned<RawSite>],
) -> Result<Vec<Carrier>, Fault> {
    let mut all: Vec<Carrier> = Vec::new();
    for carrier in raw {
        let name = &carrier.name;
        check_place("carrier", name)?;
        let mut named = sites.iter().map(|site| site.get_ref().name.get_ref());
        let known = all.iter().any(|other| other.name == *name.get_ref());
        if known || named.any(|site| site == name.get_ref()) {
            let why = format!("there is another carrier or site `{}`", name.get_ref());
            return Err((name.span(), why));
        }
        if sites.len() + all.len() >= MAX_NETWORKS {
            let why = format!("there are more than {MAX_NETWORKS} sites and carriers");
            return Err((name.span(), why));
        }
        // As a name it would be taken for a kind.
        if super::gateway::kind(name.get_ref()).is_ok() {
            let why = format!("carrier name `{}` is that of a NAT kind", name.get_ref());
            return Err((name.span(), why));
        }
        let single = carrier.nat.get_ref().single();
        let nat = single.ok_or_else(|| (carrier.nat.span(), SINGLE.to_owned()))?;
        grants_nothing(&nat).map_err(|why| (carrier.nat.span(), why))?;
        room_for_customers(&nat, name.get_ref(), sites).map_err(|why| (carrier.nat.span(), why))?;
        all.push(Carrier { name: name.get_ref().clone(), nat });
    }
    Ok(all)
}

/// A carrier has no server that customers could ask for a port.
fn grants_nothing(nat: &Nat) -> Result<(), String> {
    if nat.port_mapping {
        let why = "a carrier grants no port forwards to its customers: port-mapping is for the `nat` of a site";
        return Err(why.to_owned());
    }
    Ok(())
}

/// All gateways behind a carrier are probed at once.
fn room_for_customers(nat: &Nat, name: &str, sites: &[Spanned<RawSite>]) -> Result<(), String> {
    let named = |site: &&Spanned<RawSite>| {
        let carrier = site.get_ref().carrier.as_ref().map(Spanned::get_ref);
        matches!(carrier, Some(CarrierChoice::Named(named)) if named == name)
    };
    let customers = sites.iter().filter(named).count() as u32;
    let least = PROOF_FLOWS * customers;
    match nat.flows {
        Some(flows) if flows < least => Err(format!(
            "flows is {flows}; for {customers} sites it must be at least {least}: the proof of each gateway needs {PROOF_FLOWS} itself"
        )),
        _ => Ok(()),
    }
}

/// What is said of a carrier that is none.
const SINGLE: &str =
    "a carrier is a single NAT in front of a site that has one itself, or of nat = \"phone\"";

/// The kind named by `nat`, changed by `carrier` and `firewall`, and the name of the carrier if it is shared.
fn gateway(site: &RawSite, carriers: &[Carrier]) -> Result<(Gateway, Option<String>), Fault> {
    let choice = site.nat.as_ref().map_or(&NatChoice::Kind("none"), Spanned::get_ref);
    let mut gateway = choice.gateway();
    let mut shared = None;
    if let Some(carrier) = &site.carrier {
        let nat = match carrier.get_ref() {
            CarrierChoice::Own(choice) => choice.single(),
            CarrierChoice::Named(name) => {
                let known = carriers.iter().find(|known| known.name == *name);
                let names = || carriers.iter().map(|known| known.name.as_str());
                let known = known.ok_or_else(|| (carrier.span(), no_carrier(name, names())))?;
                shared = Some(name.clone());
                Some(known.nat)
            }
        };
        let Some(nat) = nat.filter(|_| gateway.translates()) else {
            return Err((carrier.span(), SINGLE.to_owned()));
        };
        grants_nothing(&nat).map_err(|why| (carrier.span(), why))?;
        if shared.is_none() && nat.hairpin {
            let why = "nobody else is behind a site's own carrier to be reached by `hairpin`: write a [[carrier]] that sites name";
            return Err((carrier.span(), why.to_owned()));
        }
        gateway.carrier = Some(nat);
    }
    if let Some(firewall) = site.firewall {
        gateway.firewall = firewall;
    }
    Ok((gateway, shared))
}

fn no_carrier<'a>(name: &str, carriers: impl Iterator<Item = &'a str>) -> String {
    let kinds = super::gateway::KINDS.iter().map(|kind| kind.name);
    unknown("carrier or NAT kind", name, carriers.chain(kinds))
}

/// A second line is that of a site at which nobody is and which has no router of its own.
pub(super) fn check_backups(raw: &[Spanned<RawSite>], sites: &[Site]) -> Result<(), Fault> {
    let mut taken: Vec<&str> = Vec::new();
    for (raw, site) in raw.iter().zip(sites) {
        let Some(named) = &raw.get_ref().backup else { continue };
        let names: Vec<String> = sites.iter().map(|site| site.name.clone()).collect();
        let name = known("site", named, &names)?;
        let fault = |why: String| Err((named.span(), why));
        let Some(line) = sites.iter().find(|other| other.name == name && name != site.name) else {
            return fault("a site is not its own backup".to_owned());
        };
        if line.gateway.nat.is_some() || !line.machines.is_empty() || line.backup.is_some() {
            return fault(format!(
                "site `{name}` is no second line: that is a site with nat = \"phone\" or \"none\" and machines = []"
            ));
        }
        if site.gateway.nat.is_none() || site.ipv6 || !line.ipv4 {
            return fault(
                "only a router that translates, and IPv4 only, falls back to another line"
                    .to_owned(),
            );
        }
        if taken.contains(&line.name.as_str()) {
            return fault(format!("site `{name}` is the second line of another site already"));
        }
        taken.push(&line.name);
    }
    Ok(())
}

/// What has a whole address is one machine, and nothing filters: a security group in front of it is not to be had here.
fn check_one_to_one(site: &RawSite, gateway: &Gateway, machines: usize) -> Result<(), Fault> {
    if !gateway.nat.is_some_and(|nat| nat.one_to_one) {
        return Ok(());
    }
    let place = || site.nat.as_ref().map_or(0..0, Spanned::span);
    if machines != 1 {
        let why = format!("a one-to-one NAT needs exactly one machine; the site has {machines}");
        return Err((place(), why));
    }
    if gateway.firewall == Firewall::Stateful {
        let why = "a one-to-one NAT lets everything in, and firewall = \"stateful\" nothing: for a server with some open ports take nat = \"home\" and `forward`";
        return Err((place(), why.into()));
    }
    Ok(())
}

pub(super) fn check_sites(sites: &[Spanned<RawSite>]) -> Result<(), Fault> {
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

#[cfg(test)]
#[path = "raw_site_test.rs"]
mod tests;
