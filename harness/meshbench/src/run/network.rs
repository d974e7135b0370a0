//! What records say of a network.

use crate::cluster::proof::{Measured, Probed};
use crate::fabric::{Behaviour, Direction, Scenario};
use crate::results::{self, Family, Impairment, LinkRecord, LinkSetting, NatCheck, NatRecord};

/// The impaired links of a scenario, for the run's record.
pub(super) fn link_settings(scenario: &Scenario) -> Vec<LinkSetting> {
    let setting = |site: &str, direction, configured: &Direction| LinkSetting {
        site: site.to_owned(),
        direction,
        configured: impairment(configured),
    };
    let links = scenario.sites.iter().flat_map(|site| {
        [
            (setting(&site.name, results::Direction::Up, &site.link.up), site.link.up.is_clear()),
            (
                setting(&site.name, results::Direction::Down, &site.link.down),
                site.link.down.is_clear(),
            ),
        ]
    });
    links.filter(|(_, clear)| !clear).map(|(setting, _)| setting).collect()
}

/// The NATs of a scenario, for the run's record.
pub(super) fn nat_records(scenario: &Scenario) -> Vec<NatRecord> {
    let nats = scenario.sites.iter().filter_map(|site| {
        let nat = site.gateway.nat.as_ref().or(site.gateway.carrier.as_ref())?;
        Some(NatRecord {
            site: site.name.clone(),
            kind: site.gateway.kind.clone(),
            mapping: words(nat.mapping),
            filtering: words(nat.filtering),
        })
    });
    nats.collect()
}

/// In the words of RFC 4787.
fn words(behaviour: Behaviour) -> String {
    match behaviour {
        Behaviour::EndpointIndependent => "endpoint-independent",
        Behaviour::AddressDependent => "address-dependent",
        Behaviour::AddressAndPortDependent => "address-and-port-dependent",
    }
    .into()
}

/// A proved link, for a cell's record.
pub(super) fn link_record(measured: &Measured) -> LinkRecord {
    let direction = if measured.up { results::Direction::Up } else { results::Direction::Down };
    LinkRecord {
        site: measured.site.clone(),
        direction,
        configured: impairment(&measured.configured),
        measured: Impairment {
            rate_bits_per_second: measured.rate_mbit.and_then(|mbit| finite(mbit * 1e6)),
            delay_ms: finite(measured.delay_ms[0]),
            jitter_ms: finite((measured.delay_ms[2] - measured.delay_ms[1]) / 2.0),
            loss_percent: finite(measured.loss_percent),
            reorder_percent: finite(measured.reordered_percent),
            queue_packets: None,
        },
        earlier: false,
    }
}

/// A proved gateway, for a cell's record.
pub(super) fn nat_check(probed: &Probed) -> NatCheck {
    NatCheck {
        site: probed.site.clone(),
        underlay: if probed.ipv6 { Family::Ipv6 } else { Family::Ipv4 },
        configured: probed.kind.clone(),
        measured: probed.seen_kind().to_owned(),
        behaviour: probed.seen.to_string(),
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn impairment(direction: &Direction) -> Impairment {
    Impairment {
        rate_bits_per_second: direction.rate_mbit.map(|mbit| mbit * 1e6),
        delay_ms: Some(direction.delay_ms),
        jitter_ms: Some(direction.jitter_ms),
        loss_percent: Some(direction.loss_percent),
        reorder_percent: Some(direction.reorder_percent),
        queue_packets: direction.queue_frames(),
    }
}
