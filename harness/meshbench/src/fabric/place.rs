//! What a site has beside its line and its NAT, as it is written: what its gateway lets in, what its line carries.

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use super::address::MTU;
use super::event::{Fault, check_mtu, known};
use super::nat::Firewall;
use super::scenario::{Forward, LineMtu, Site};

/// The smallest packet that every line of IPv4 carries (RFC 791: hosts take in 576 bytes).
const LEAST_IPV4: u16 = 576;

/// The smallest packet that every line of IPv6 carries (RFC 8200).
const LEAST_IPV6: u16 = 1280;

/// `mtu = 1492`, or `mtu = { ipv4 = 1460 }`.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawMtu {
    ipv4: Option<u16>,
    ipv6: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Families {
    ipv4: Option<u16>,
    ipv6: Option<u16>,
}

impl<'de> Deserialize<'de> for RawMtu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawMtu;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("bytes, or a table with `ipv4` and `ipv6`")
            }
            fn visit_i64<E: Error>(self, bytes: i64) -> Result<RawMtu, E> {
                let bytes = u16::try_from(bytes)
                    .map_err(|_| E::custom(format!("{bytes} bytes are no MTU")))?;
                Ok(RawMtu { ipv4: Some(bytes), ipv6: Some(bytes) })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawMtu, A::Error> {
                let Families { ipv4, ipv6 } =
                    Families::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawMtu { ipv4, ipv6 })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// What the line carries, once that can be. The network card of a line of both families cannot be narrower than IPv6
/// allows.
pub(super) fn line_mtu(raw: &Spanned<RawMtu>, ipv6: bool) -> Result<LineMtu, Fault> {
    let mtu = LineMtu {
        ipv4: raw.get_ref().ipv4.unwrap_or(MTU),
        ipv6: raw.get_ref().ipv6.unwrap_or(MTU),
    };
    for (family, value, least) in [("IPv4", mtu.ipv4, LEAST_IPV4), ("IPv6", mtu.ipv6, LEAST_IPV6)] {
        let least = if mtu.ipv4 == mtu.ipv6 && !ipv6 { LEAST_IPV4 } else { least };
        if !(least..=MTU).contains(&value) {
            let why = format!(
                "the MTU of the line is {value} for {family}; it must be between {least} and {MTU}"
            );
            return Err((raw.span(), why));
        }
    }
    Ok(mtu)
}

/// Whether something larger than a black hole comes to it, over the line as it is.
pub(super) fn check_hole(mtu: u16, site: &Site) -> Result<(), String> {
    check_mtu(mtu)?;
    let carried = site.carries();
    if mtu < carried {
        return Ok(());
    }
    Err(format!(
        "the line of site `{}` carries {carried} bytes and says so: a black hole of {mtu} would swallow nothing, it must be below that",
        site.name
    ))
}

/// `{ machine = "hub", udp = 4242, tcp = [80, 443] }`; without a port, everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawForward {
    machine: Spanned<String>,
    #[serde(default)]
    udp: Ports,
    #[serde(default)]
    tcp: Ports,
}

#[derive(Debug, Default)]
struct Ports(Vec<u16>);

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Ports;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a port, or a list of ports")
            }
            fn visit_i64<E: Error>(self, port: i64) -> Result<Ports, E> {
                let port = u16::try_from(port).ok().filter(|port| *port > 0);
                port.map(|port| Ports(vec![port])).ok_or_else(|| E::custom("a port is 1 to 65535"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Ports, A::Error> {
                let mut ports = Vec::new();
                while let Some(port) = all.next_element::<u16>()? {
                    ports.push(port);
                }
                if ports.is_empty() || ports.contains(&0) {
                    return Err(A::Error::custom(
                        "name the ports, 1 to 65535; or none of `udp` and `tcp` for all",
                    ));
                }
                Ok(Ports(ports))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// What the site's gateway lets in, once it can.
pub(super) fn forwards(
    raw: &[Spanned<RawForward>],
    site: &Site,
    name: &Spanned<String>,
) -> Result<Vec<Forward>, Fault> {
    let Some(first) = raw.first() else { return Ok(Vec::new()) };
    let one_to_one = site.gateway.nat.is_some_and(|nat| nat.one_to_one);
    if one_to_one || (site.gateway.nat.is_none() && site.gateway.firewall == Firewall::None) {
        let why = format!("the gateway of site `{}` lets everything in as it is", name.get_ref());
        return Err((first.span(), why));
    }
    let mut all: Vec<Forward> = Vec::new();
    for one in raw {
        let RawForward { machine, udp, tcp } = one.get_ref();
        let forward = Forward {
            machine: known("machine", machine, &site.machines)?,
            udp: udp.0.clone(),
            tcp: tcp.0.clone(),
        };
        let both = |one: &Forward, other: &Forward| {
            let shared = |a: &[u16], b: &[u16]| a.iter().any(|port| b.contains(port));
            (one.is_everything() && other.is_everything())
                || shared(&one.udp, &other.udp)
                || shared(&one.tcp, &other.tcp)
        };
        if let Some(other) = all.iter().find(|other| both(other, &forward)) {
            let why = format!("`{}` has what `{}` is to get", other.machine, forward.machine);
            return Err((one.span(), why));
        }
        all.push(forward);
    }
    Ok(all)
}
