//! The text of a scenario, turned into a checked `Scenario`.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::distinct::distinct;
use super::event::{Fault, Names, RawEvent};
use super::place::forwards;
use super::raw_machine::{RawMachine, machines};
use super::raw_site::{RawCarrier, RawSite, carriers, check_backups, check_sites, site};
use super::scenario::{Carrier, Expect, Scenario, ScenarioError, Site};
use super::sound;
use crate::name::{Name, unknown};
use crate::position::position;

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
    carrier: Vec<RawCarrier>,
    #[serde(default)]
    machine: Vec<RawMachine>,
    #[serde(default)]
    event: Vec<RawEvent>,
    #[serde(default)]
    expect: Expect,
}

impl Scenario {
    /// Reads `checks/NAME.toml`. `workloads` are the known ones, to check names against; empty to
    /// accept any.
    ///
    /// # Errors
    /// The file cannot be read, or the first mistake in it.
    pub fn load(path: &Path, workloads: &[&str]) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        let bytes = crate::file::read(path).map_err(|error| ScenarioError::Unreadable {
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
    let raw = written(text)?;
    let carriers = carriers(&raw.carrier, &raw.site)?;
    let mut sites = places(&raw, &carriers)?;
    let machines = machines(&raw.site, &raw.machine, &sites)?;
    for (site, raw) in sites.iter_mut().zip(&raw.site) {
        let raw = raw.get_ref();
        site.forward = forwards(&raw.forward, site, &raw.name)?;
    }
    let names = Names {
        sites: &sites.iter().map(|site| site.name.clone()).collect::<Vec<_>>(),
        machines: &machines.iter().map(|machine| machine.name.clone()).collect::<Vec<_>>(),
    };
    check_workloads(&raw, workloads)?;
    let events = raw.event.iter().map(|event| event.event(&names)).collect::<Result<_, _>>()?;
    let scenario = Scenario {
        source: text.to_owned(),
        name: name.into(),
        title: raw.title.get_ref().clone(),
        description: raw.description.get_ref().trim().to_owned(),
        sites,
        carriers,
        machines,
        events,
        expect: raw.expect.clone(),
        workloads: raw.workloads.iter().map(|workload| workload.get_ref().clone()).collect(),
    };
    check_whole(&scenario, &raw, workloads)?;
    Ok(scenario)
}

/// The text as it is written, which has a head and a site.
fn written(text: &str) -> Result<RawScenario, Fault> {
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
    Ok(raw)
}

/// Its sites, each for itself and beside the others, without what they forward to machines.
fn places(raw: &RawScenario, carriers: &[Carrier]) -> Result<Vec<Site>, Fault> {
    let sites: Vec<Site> =
        raw.site.iter().map(|raw| site(raw, carriers)).collect::<Result<_, _>>()?;
    check_sites(&raw.site)?;
    check_backups(&raw.site, &sites)?;
    distinct(&sites).map_err(|(at, why)| {
        let site = raw.site[at].get_ref();
        (site.lan.as_ref().map_or_else(|| site.name.span(), Spanned::span), why)
    })?;
    Ok(sites)
}

/// Workloads are known, and what is to happen during one will.
fn check_workloads(raw: &RawScenario, workloads: &[&str]) -> Result<(), Fault> {
    let during = raw.event.iter().map(|event| &event.during);
    for workload in raw.workloads.iter().chain(during.clone()) {
        check_workload(workload, workloads)?;
    }
    during.into_iter().try_for_each(|workload| check_turn(workload, &raw.workloads))
}

/// What no part of it shows by itself.
fn check_whole(scenario: &Scenario, raw: &RawScenario, workloads: &[&str]) -> Result<(), Fault> {
    let at_site = |(at, why): (usize, String)| {
        let site = raw.site[at].get_ref();
        let place = site.nat.as_ref().map_or_else(|| site.name.span(), Spanned::span);
        (place, why)
    };
    let at_event = |(at, why): (usize, String)| (raw.event[at].place(), why);
    sound::families(scenario).map_err(at_site)?;
    sound::coordinators(scenario).map_err(at_site)?;
    sound::resolvers(scenario).map_err(at_site)?;
    sound::events(scenario, workloads).map_err(at_event)?;
    sound::families_after(scenario, workloads).map_err(at_event)?;
    match raw.workloads.first() {
        Some(measured) => sound::somebody(scenario).map_err(|why| (measured.span(), why)),
        None => Ok(()),
    }
}

fn check_workload(name: &Spanned<String>, all: &[&str]) -> Result<(), Fault> {
    if all.is_empty() || all.contains(&name.get_ref().as_str()) {
        return Ok(());
    }
    Err((name.span(), unknown("workload", name.get_ref(), all.iter().copied())))
}

/// What is to happen during a workload that the file does not measure would never happen.
fn check_turn(during: &Spanned<String>, measured: &[Spanned<String>]) -> Result<(), Fault> {
    let name = during.get_ref();
    if measured.is_empty() || measured.iter().any(|workload| workload.get_ref() == name) {
        return Ok(());
    }
    let why = format!("`{name}` is not among this file's `workloads`: this would never happen");
    Err((during.span(), why))
}

#[cfg(test)]
#[path = "reader_test.rs"]
mod tests;
