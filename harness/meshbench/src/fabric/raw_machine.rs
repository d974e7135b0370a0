//! `[[machine]]` as it is written, and the machines of all sites.

use serde::Deserialize;
use toml::Spanned;

use super::event::{Fault, known};
use super::raw_site::{RawSite, check_place};
use super::scenario::{Machine, Role, Site};

/// Machines are numbered from here in each network; below are gateways and probes.
const FIRST_HOST: u8 = 10;

/// The last number of a machine that lives at a site; visitors follow.
const LAST_HOST: u8 = 99;

/// Visitors of a site have the numbers from 100, by card; a host number is below 255.
const MAX_MACHINES: usize = 110;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMachine {
    name: Spanned<String>,
    role: Option<Role>,
    host: Option<Spanned<u8>>,
}

/// All machines site by site, with the roles that `[[machine]]` gives them.
pub(super) fn machines(
    raw_sites: &[Spanned<RawSite>],
    raw: &[RawMachine],
    sites: &[Site],
) -> Result<Vec<Machine>, Fault> {
    let mut all: Vec<Machine> = Vec::new();
    for (site, written) in sites.iter().zip(raw_sites) {
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
                host: 0,
            });
        }
    }
    let names: Vec<String> = all.iter().map(|machine| machine.name.clone()).collect();
    for machine in raw {
        let name = known("machine", &machine.name, &names)?;
        for found in all.iter_mut().filter(|found| found.name == name) {
            found.role = machine.role.unwrap_or(found.role);
            if let Some(host) = &machine.host {
                found.host = host_number(host)?;
            }
        }
    }
    number(&mut all, raw)?;
    Ok(all)
}

fn host_number(host: &Spanned<u8>) -> Result<u8, Fault> {
    let number = *host.get_ref();
    if (FIRST_HOST..=LAST_HOST).contains(&number) {
        return Ok(number);
    }
    let why = format!("host is {number}; it must be between {FIRST_HOST} and {LAST_HOST}");
    Err((host.span(), why))
}

/// Numbers those that have asked for none, in each site from the first number that is free.
fn number(all: &mut [Machine], raw: &[RawMachine]) -> Result<(), Fault> {
    for at in 0..all.len() {
        let taken = |host: u8, others: &[Machine]| {
            others.iter().filter(|other| other.site == all[at].site && other.host == host).count()
        };
        let own = all[at].host;
        if own == 0 {
            let free = (FIRST_HOST..=LAST_HOST).find(|host| taken(*host, all) == 0);
            // There are no more machines than numbers.
            all[at].host = free.unwrap_or(LAST_HOST);
        } else if taken(own, &all[..at]) > 0 {
            let span = raw.iter().rev().find(|machine| machine.name.get_ref() == &all[at].name);
            let span = span.and_then(|machine| machine.host.as_ref()).map_or(0..0, Spanned::span);
            return Err((
                span,
                format!("two machines of site `{}` have the number {own}", all[at].site),
            ));
        }
    }
    Ok(())
}
