//! Proof that every gateway is what the scenario says: probed from a machine behind it, against
//! servers in the core, before a VPN is measured.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use meshbench_protocol::{Dependence, NatProbe, NatSeen, Reply, Request};

use super::ProofError;
use super::measured::frame_us;
use crate::cluster::{Cluster, applied};
use crate::fabric::{
    Behaviour, CORE, CORE_V4, CORE_V6, Direction, Facts, KINDS, SiteState, UdpFacts, V4_PREFIX,
};
use crate::machine::{Machine, MachineError, PROMPT, Running};

/// The two UDP ports of the probe's servers.
const PORTS: [u16; 2] = [7001, 7002];

/// Host number, free in every site, of the second machine that a probe plays.
const SECOND: u8 = 9;

/// Time that emulated machines need to answer, beyond the delay of the links, in ms.
const SLACK_MS: f64 = 350.0;

/// Questions that a probe asks one after the other without a pause.
const AT_ONCE: f64 = 5.0;

/// Payload of a question and of an answer, at most, in bytes.
const QUESTION_SIZE: u16 = 120;

/// Attempts before a gateway is refused: a busy host makes answers late.
const ATTEMPTS: usize = 3;

/// One gateway, as asked for and as seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The site.
    pub site: String,
    /// Whether over IPv6.
    pub ipv6: bool,
    /// Name of the kind asked for, or `custom`.
    pub kind: String,
    /// What the scenario says.
    pub asked: Facts,
    /// What the probe found.
    pub seen: Facts,
    /// Whether a mapping was alive after half of its lifetime and after all of it; where tested.
    pub lifetime: Option<(bool, bool)>,
    /// The probe's own words.
    pub raw: NatSeen,
}

/// Which gateways to probe, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probing {
    /// Also those that neither translate nor filter.
    pub plain: bool,
    /// Also how long mappings live, where that is at most so many seconds.
    pub lifetime_s: u32,
}

impl Probing {
    /// What is probed before a measurement.
    pub const MEASURING: Self = Self { plain: false, lifetime_s: 0 };
}

impl Cluster {
    /// Probes all gateways with a machine behind them, side by side.
    ///
    /// # Errors
    /// A machine that does not answer.
    pub async fn probe_gateways(&self, probing: Probing) -> Result<Vec<Probed>, MachineError> {
        self.probe_those(probing, |_, _| true).await
    }

    /// Probes until every gateway is what the plan says, or has been something else too often.
    pub async fn prove_gateways(&self, probing: Probing) -> (Vec<Probed>, Result<(), ProofError>) {
        let (mut probed, mut verdict) = (Vec::<Probed>::new(), Ok(()));
        for _ in 0..ATTEMPTS {
            // Those that were right are left in peace, and make less of a load for the others.
            let right = |site: &str, ipv6| {
                let mut known = probed.iter().filter(|known| known.is_of(site, ipv6));
                known.any(|known| known.fault().is_none())
            };
            verdict = match self.probe_those(probing, |site, ipv6| !right(site, ipv6)).await {
                Ok(again) => {
                    again.into_iter().for_each(|one| replace(&mut probed, one));
                    check(&probed)
                }
                Err(error) => Err(error.into()),
            };
            // Where there is room for few, a probe's own flows keep out those of the next one, and of the VPN.
            let emptied = self.empty_gateways().await;
            verdict = verdict.and(emptied.map_err(Into::into));
            if verdict.is_ok() {
                break;
            }
            tracing::info!(?verdict, "a gateway differs from the scenario");
        }
        (probed, verdict)
    }

    async fn empty_gateways(&self) -> Result<(), MachineError> {
        match self.plan().emptied() {
            crowded if crowded.is_empty() => Ok(()),
            crowded => applied(self.fabric(), crowded).await,
        }
    }

    /// Probes the gateways of sites and families (IPv6 or not) that are `wanted`.
    async fn probe_those(
        &self,
        probing: Probing,
        wanted: impl Fn(&str, bool) -> bool,
    ) -> Result<Vec<Probed>, MachineError> {
        let plan = self.plan();
        let mut jobs = Vec::new();
        for (at, state) in plan.sites.iter().enumerate() {
            // Behind one that gets everything, a gateway looks open.
            let mut here: Vec<_> =
                plan.machines.iter().filter(|machine| machine.at == at).collect();
            here.sort_by_key(|machine| plan.is_exposed(machine));
            let prober = here.into_iter().find_map(|here| Some((self.member(&here.name)?, here)));
            let Some((prober, here)) = prober else { continue };
            let (host, exposed) = (here.host(), plan.is_exposed(here));
            let others = || plan.machines.iter().filter(|it| it.at == at && it.name != here.name);
            let beside = !exposed && others().any(|other| plan.is_exposed(other));
            for ipv6 in [false, true] {
                let exists = if ipv6 { state.site.ipv6 } else { state.site.ipv4 };
                let asked = match state.facts(ipv6).exposed(exposed) {
                    // IPv6 is not translated: everybody has ports of their own.
                    facts if beside && !ipv6 => facts.beside_exposed(),
                    facts => facts,
                };
                let wanted = exists && wanted(&state.site.name, ipv6);
                if wanted && (probing.plain || asked != Facts::PLAIN) {
                    let probe = request(state, host, ipv6, probing);
                    jobs.push((&prober.machine, state, ipv6, asked, probe));
                }
            }
        }
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let servers = serve(self.fabric()).await?;
        let probes = jobs.into_iter().map(|(prober, state, ipv6, asked, probe)| async move {
            let raw = ask(prober, probe).await?;
            Ok::<_, MachineError>(Probed {
                site: state.site.name.clone(),
                ipv6,
                kind: state.site.gateway.kind.clone(),
                asked,
                seen: facts(&raw),
                lifetime: raw.udp.as_ref().and_then(|udp| udp.lifetime),
                raw,
            })
        });
        // Also after an error: a probe that nobody waits for would disturb the next one.
        let probed = join_all(probes).await;
        // Their ports are free for the next probe once they have ended; an error means that the fabric has.
        let _ = servers.cancel().await;
        let _ = servers.wait(PROMPT).await;
        probed.into_iter().collect()
    }
}

/// Puts what was seen last of a gateway in the place of what was seen before.
fn replace(probed: &mut Vec<Probed>, one: Probed) {
    match probed.iter_mut().find(|known| known.is_of(&one.site, one.ipv6)) {
        Some(known) => *known = one,
        None => probed.push(one),
    }
}

/// Refuses a network on which any gateway differs from the scenario.
fn check(probed: &[Probed]) -> Result<(), ProofError> {
    let faults: Vec<String> = probed.iter().filter_map(Probed::fault).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(ProofError::Differs(format!(
        "a gateway is not what the scenario says: {}",
        faults.join("; ")
    )))
}

impl Probed {
    /// The name of the kind that it behaves like; its own, where that is one of several.
    pub(crate) fn seen_kind(&self) -> &str {
        if self.seen == self.asked {
            return &self.kind;
        }
        let like = KINDS.iter().find(|kind| kind.gateway().facts() == self.seen);
        like.map_or("unknown", |kind| kind.name)
    }

    fn is_of(&self, site: &str, ipv6: bool) -> bool {
        self.site == site && self.ipv6 == ipv6
    }

    fn fault(&self) -> Option<String> {
        let family = if self.ipv6 { "IPv6" } else { "IPv4" };
        let Self { site, kind, asked, seen, .. } = self;
        if seen != asked {
            return Some(format!("{site} ({kind}, {family}): asked {asked}; seen {seen}"));
        }
        let (half, whole) = self.lifetime?;
        let wrong = !half || whole;
        wrong.then(|| {
            format!("{site} ({kind}): alive after half of the lifetime: {half}, after all: {whole}")
        })
    }
}

/// The facts of an observation.
fn facts(seen: &NatSeen) -> Facts {
    let udp = seen.udp.as_ref().map(|udp| {
        let ports: Vec<u16> = udp.mapped.iter().map(|at| at.port()).collect();
        let steps = ports.windows(2).filter(|pair| pair[0].checked_add(1) == Some(pair[1])).count();
        UdpFacts {
            translated: udp.mapped.iter().any(|at| at.ip() != udp.own.ip()),
            mapping: behaviour(udp.mapping),
            filtering: behaviour(udp.filtering),
            preserved: ports.iter().all(|port| *port == udp.own.port()),
            // One step back is where counting starts again.
            sequential: steps + 2 >= ports.len(),
            hairpin: udp.hairpin == Some(true),
            clash_held: udp.clash_held,
            overloads: udp.overloads,
        }
    });
    Facts { udp, tcp_443: seen.tcp_443, tcp_80: seen.tcp_80 }
}

fn behaviour(dependence: Dependence) -> Behaviour {
    match dependence {
        Dependence::Endpoint => Behaviour::EndpointIndependent,
        Dependence::Address => Behaviour::AddressDependent,
        Dependence::AddressAndPort => Behaviour::AddressAndPortDependent,
    }
}

fn endpoints(ipv6: bool) -> Vec<SocketAddr> {
    let addresses: Vec<IpAddr> =
        if ipv6 { CORE_V6.map(IpAddr::V6).into() } else { CORE_V4.map(IpAddr::V4).into() };
    addresses.iter().flat_map(|ip| PORTS.map(|port| SocketAddr::new(*ip, port))).collect()
}

fn request(state: &SiteState, host: u8, ipv6: bool, probing: Probing) -> NatProbe {
    let addresses = state.addresses();
    let own: IpAddr =
        if ipv6 { addresses.lan_v6(host).into() } else { addresses.lan_v4(host).into() };
    let directions = [&state.site.link.up, &state.site.link.down];
    let delay = |d: &Direction| {
        let asking_ms = AT_ONCE * frame_us(d, QUESTION_SIZE) / 1e3;
        d.delay_ms + 2.0 * d.jitter_ms + d.reorder_ms + asking_ms
    };
    let delay: f64 = directions.iter().map(|d| delay(d)).sum();
    let loss = directions.iter().map(|d| d.loss_percent).sum::<f64>();
    let damaged = |d: &Direction| d.netem.is_some() || d.corrupt_percent > 0.0;
    let lossy = loss > 0.0 || directions.iter().any(|d| damaged(d));
    let lifetime = state.site.gateway.carrier.or(state.site.gateway.nat).map(|nat| nat.lifetime);
    NatProbe {
        servers: endpoints(ipv6),
        own,
        second: (!ipv6).then(|| format!("{}/{V4_PREFIX}", addresses.lan_v4(SECOND))),
        attempts: if lossy { 8 } else { 2 },
        patience_ms: (delay * 1.2 + SLACK_MS) as u64,
        lifetime_s: lifetime.filter(|seconds| !ipv6 && *seconds <= probing.lifetime_s),
    }
}

/// Starts the servers and waits until they listen.
async fn serve(fabric: &Machine) -> Result<Running, MachineError> {
    let endpoints = [endpoints(false), endpoints(true)].concat();
    let request = Request::NatServers { namespace: CORE.to_owned(), endpoints };
    let mut servers = fabric.start(&request).await?;
    servers.until_line("", PROMPT).await?;
    Ok(servers)
}

async fn ask(prober: &Machine, probe: NatProbe) -> Result<NatSeen, MachineError> {
    // Every exchange may use up all of its attempts, and some follow each other.
    let exchanges = probe.patience_ms * u64::from(probe.attempts) * 6;
    let lifetime = u64::from(probe.lifetime_s.unwrap_or(0)) * 2;
    let deadline = PROMPT + Duration::from_millis(exchanges) + Duration::from_secs(lifetime);
    let output =
        prober.request("probing its NAT", &Request::NatProbe(probe), None, deadline).await?;
    match output.reply {
        Reply::Nat(seen) => Ok(seen),
        reply => Err(failed(prober, format!("unexpected reply: {reply}"))),
    }
}

fn failed(machine: &Machine, reason: String) -> MachineError {
    let stage = "probing the NATs".to_owned();
    MachineError::Agent { machine: machine.name().to_owned(), stage, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_is_recognised_over_its_end_and_not_in_hashed_ports() {
        let at = |port: u16| SocketAddr::from(([5, 1, 0, 2], port));
        let seen = |ports: [u16; 5]| {
            let udp = meshbench_protocol::UdpSeen {
                mapped: ports.map(at).into(),
                own: "192.168.1.10:4000".parse().unwrap(),
                mapping: Dependence::AddressAndPort,
                filtering: Dependence::AddressAndPort,
                hairpin: None,
                clash_held: None,
                overloads: Some(false),
                lifetime: None,
            };
            facts(&NatSeen { udp: Some(udp), tcp_443: true, tcp_80: true }).udp.unwrap().sequential
        };
        assert!(seen([20, 21, 22, 23, 24]));
        assert!(seen([127, 128, 1, 2, 3]));
        assert!(!seen([20, 21, 7, 8, 30]));
        assert!(!seen([20, 20, 20, 20, 20]));
    }
}
