//! Networks that a router could not tell apart.

use std::net::Ipv4Addr;

use super::lan::Lan;
use super::scenario::Site;

/// Whether each network that a router knows is another one. The index is of the site whose `lan` is to be another.
pub(super) fn distinct(sites: &[Site]) -> Result<(), (usize, String)> {
    behind_carriers(sites)?;
    beside_second_lines(sites)
}

/// A router that falls back to another site's line is in the network there.
fn beside_second_lines(sites: &[Site]) -> Result<(), (usize, String)> {
    let numbered = || sites.iter().zip(1..).enumerate();
    for (at, (site, number)) in numbered() {
        let Some(backup) = &site.backup else { continue };
        let Some((second_at, (second, second_number))) =
            numbered().find(|(_, (other, _))| other.name == *backup)
        else {
            continue;
        };
        let (own, there) = (site.addresses(number), second.addresses(second_number));
        let line = site.gateway.carrier.map(|_| first_three(own.carrier_v4(0)));
        let Some(lan) = there.private.filter(|lan| own.private == Some(*lan) || line == Some(*lan))
        else {
            continue;
        };
        let to_blame = if second.lan.is_some() { second_at } else { at };
        let (name, lan) = (&site.name, Lan::of(lan));
        return Err((
            to_blame,
            format!(
                "the network `{lan}` of site `{backup}` is also that of site `{name}`, or of its line, and the router of `{name}` is in both: one of them needs another `lan`"
            ),
        ));
    }
    Ok(())
}

/// Whether each network behind a shared carrier is another one, as far as that routes there: the lines to its
/// customers, and the machines of those that have no router.
fn behind_carriers(sites: &[Site]) -> Result<(), (usize, String)> {
    let customers: Vec<(usize, Customer)> = sites
        .iter()
        .zip(1..)
        .enumerate()
        .filter_map(|(at, (site, number))| Some((at, Customer::of(site, number)?)))
        .collect();
    // Of two that are the same, one is written down.
    for (at, one) in customers.iter().filter(|(at, _)| sites[*at].lan.is_some()) {
        let Some(lan) = one.routed else { continue };
        let others = customers.iter().filter(|(_, other)| other.carrier == one.carrier);
        for (other_at, other) in others.filter(|(other_at, _)| other_at != at) {
            let name = &sites[*other_at].name;
            let is = match lan {
                _ if lan == other.line => format!("the line to site `{name}`"),
                _ if Some(lan) == other.routed => format!("that of site `{name}`, too"),
                _ => continue,
            };
            let why = format!(
                "the network `{}` is {is}, and the carrier `{}` cannot tell the two apart: a site without a router of its own needs another one",
                Lan::of(lan),
                one.carrier
            );
            return Err((*at, why));
        }
    }
    Ok(())
}

/// A site behind a shared carrier, as that routes to it: the first three bytes of networks.
struct Customer<'a> {
    carrier: &'a str,
    line: [u8; 3],
    /// That of its machines, where no router hides them.
    routed: Option<[u8; 3]>,
}

impl<'a> Customer<'a> {
    fn of(site: &'a Site, number: u8) -> Option<Self> {
        let carrier = site.shared_carrier.as_deref().filter(|_| site.ipv4)?;
        let own = site.addresses(number);
        let routed = own.private.filter(|_| site.gateway.nat.is_none());
        Some(Self { carrier, line: first_three(own.carrier_v4(0)), routed })
    }
}

fn first_three(address: Ipv4Addr) -> [u8; 3] {
    let [a, b, c, _] = address.octets();
    [a, b, c]
}

#[cfg(test)]
#[path = "distinct_test.rs"]
mod tests;
