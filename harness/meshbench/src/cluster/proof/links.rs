//! Proof that the links are what the scenario says, measured inside the fabric before a VPN is.
//!
//! Numbered datagrams travel each direction of each uplink between the site's gateway and the core.
//! Both ends are stamped by one clock, so delays are one-way.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use meshbench_protocol::{Arrival, Datagram, End, Reply, Request, Train};

use super::ProofError;
use super::measured::{HEADERS, Measured, PACED_SIZE, SLACK_MS, Unproved, check, frame_us};
use crate::cluster::Cluster;
use crate::fabric::{CORE, Direction, Plan, SiteState};
use crate::machine::{Machine, MachineError, PROMPT};
use crate::stats;

/// Datagrams whose arrivals fit into one frame of the agent's, at 30 bytes each.
const REPLY_DATAGRAMS: u32 = 30_000;

/// UDP port of the trains.
const PORT: u16 = 9;

/// Payload of the train that fills the link: a full frame of 1514 bytes.
const FULL_SIZE: u16 = 1472;

/// A paced train takes no longer than this, in µs: on a slow line it has fewer datagrams.
const LONGEST_US: u64 = 20_000_000;

/// Frames of a paced train that may wait one behind the other, as after a late timer of the sender's.
const HEAP: u32 = 8;

/// How thoroughly to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Datagrams of the paced train.
    pub count: u32,
    /// Microseconds between two of them.
    pub interval_us: u64,
}

impl Effort {
    /// A tenth of a second: finds a link that is not what it was.
    const GLANCE: Self = Self { count: 20, interval_us: 5_000 };
    /// Two seconds: finds wrong delays and rates, and gross loss.
    pub const QUICK: Self = Self { count: 400, interval_us: 5_000 };
    /// Ten seconds: loss to about half a percent.
    pub(crate) const FULL: Self = Self { count: 2_500, interval_us: 4_000 };
}

/// One direction of a site's uplink.
type Way<'a> = (&'a SiteState, bool);

fn ways(plan: &Plan) -> Vec<Way<'_>> {
    plan.sites.iter().flat_map(|site| [(site, true), (site, false)]).collect()
}

/// Measures the paced trains at once, then the full ones one after the other: together they would
/// measure the fabric's processor.
async fn measure(
    fabric: &Machine,
    ways: &[Way<'_>],
    effort: Effort,
) -> Result<Vec<Measured>, MachineError> {
    let paced = ways.iter().map(|(site, up)| paced(site, *up, effort)).collect();
    let paced = ride(fabric, paced).await?;
    let mut measured = Vec::new();
    for ((site, up), arrival) in ways.iter().zip(paced) {
        let rate = match direction(site, *up).rate_mbit {
            Some(_) => ride(fabric, vec![full(site, *up)]).await?.first().and_then(rate_mbit),
            None => None,
        };
        measured.push(summarise(site, *up, &arrival, rate));
    }
    Ok(measured)
}

/// Attempts before a link is refused. Its settings cannot differ from one to the next; a host that
/// was busy for a moment can.
const ATTEMPTS: usize = 5;

impl Cluster {
    /// Measures all links, and again those that are not what the plan says.
    pub async fn prove_links(&self, effort: Effort) -> (Vec<Measured>, Result<(), ProofError>) {
        let (fabric, plan) = (self.fabric(), self.plan());
        let ways = ways(&plan);
        let mut measured = match measure(fabric, &ways, effort).await {
            Ok(measured) => measured,
            Err(error) => return (Vec::new(), Err(error.into())),
        };
        for _ in 1..ATTEMPTS {
            let wrong: Vec<usize> =
                (0..ways.len()).filter(|way| measured[*way].fault().is_some()).collect();
            if wrong.is_empty() {
                break;
            }
            let faults: Vec<_> = wrong.iter().filter_map(|way| measured[*way].fault()).collect();
            tracing::info!(?faults, "the network differs from the scenario");
            let again: Vec<Way<'_>> = wrong.iter().map(|way| ways[*way]).collect();
            match measure(fabric, &again, effort).await {
                Ok(again) => {
                    wrong.into_iter().zip(again).for_each(|(way, seen)| measured[way] = seen);
                }
                Err(error) => return (measured, Err(error.into())),
            }
        }
        let verdict = check(&measured, Measured::fault);
        (measured, verdict)
    }

    /// Whether packets take as long on each link as they should: of a network that was proved before.
    ///
    /// # Errors
    /// A link is late, or the fabric does not answer.
    pub async fn glance_at_links(&self) -> Result<(), ProofError> {
        let (fabric, plan) = (self.fabric(), self.plan());
        let ways = ways(&plan);
        let trains = ways.iter().map(|(site, up)| paced(site, *up, Effort::GLANCE)).collect();
        let arrivals = ride(fabric, trains).await?;
        let seen = ways.iter().zip(&arrivals);
        let seen: Vec<_> =
            seen.map(|((site, up), arrival)| summarise(site, *up, arrival, None)).collect();
        check(&seen, Measured::late)
    }
}

/// Rides all trains, as many at once as their arrivals fit into a reply.
async fn ride(fabric: &Machine, trains: Vec<Train>) -> Result<Vec<Arrival>, MachineError> {
    let longest = trains.iter().map(|train| train.count).max().unwrap_or(1);
    let at_once = (REPLY_DATAGRAMS / longest.max(1)).max(1) as usize;
    let mut arrivals = Vec::new();
    for trains in trains.chunks(at_once) {
        arrivals.extend(ride_at_once(fabric, trains.to_vec()).await?);
    }
    Ok(arrivals)
}

async fn ride_at_once(fabric: &Machine, trains: Vec<Train>) -> Result<Vec<Arrival>, MachineError> {
    let longest = trains
        .iter()
        .map(|t| {
            Duration::from_micros(t.interval_us * u64::from(t.count))
                + Duration::from_millis(t.patience_ms) * 2
        })
        .max();
    let deadline = PROMPT * 2 + longest.unwrap_or_default();
    let output =
        fabric.request("proving the links", &Request::Trains(trains), None, deadline).await?;
    match output.reply {
        Reply::Trains(arrivals) => Ok(arrivals),
        reply => Err(MachineError::Agent {
            machine: fabric.name().to_owned(),
            stage: "proving the links".into(),
            reason: format!("unexpected reply: {reply}"),
        }),
    }
}

fn direction(site: &SiteState, up: bool) -> &Direction {
    site.direction(up)
}

/// Each frame has left before the next one comes, also on a slow line; that is sent fewer for it.
fn paced(site: &SiteState, up: bool, effort: Effort) -> Train {
    let frame = frame_us(direction(site, up), PACED_SIZE).ceil() as u64;
    let interval_us = effort.interval_us.max(2 * frame);
    let count = effort.count.min((LONGEST_US / interval_us) as u32);
    train(site, up, count, PACED_SIZE, interval_us)
}

/// About 300 ms of the link's rate, but no more than its queue holds.
fn full(site: &SiteState, up: bool) -> Train {
    let direction = direction(site, up);
    let rate = direction.rate_mbit.unwrap_or(1.0);
    let frames = (rate * 1e6 * 0.3 / 8.0 / (f64::from(FULL_SIZE) + HEADERS)) as u32;
    let queue = direction.queue_frames().unwrap_or(1000);
    train(site, up, frames.clamp(8, 1000).min(queue.max(8)), FULL_SIZE, 0)
}

fn train(site: &SiteState, up: bool, count: u32, size: u16, interval_us: u64) -> Train {
    let addresses = site.addresses();
    let (upstream, _) = site.upstream();
    let shared = upstream != CORE;
    let (own, core): (IpAddr, IpAddr) = match (site.site.ipv4, shared) {
        (true, true) => (uplink_v4(site).into(), addresses.carrier_v4(1).into()),
        (true, false) => (uplink_v4(site).into(), addresses.core_v4().into()),
        (false, true) => (addresses.carrier_v6(2).into(), addresses.carrier_v6(1).into()),
        (false, false) => (addresses.wan_v6().into(), addresses.core_v6().into()),
    };
    let gateway = End { namespace: site.site.name.clone(), address: own };
    let core = End { namespace: upstream, address: core };
    let (from, to) = if up { (gateway, core) } else { (core, gateway) };
    let port = PORT + u16::from(site.number) * 2 + u16::from(up) + 9000;
    let direction = direction(site, up);
    let waiting = if interval_us == 0 { count } else { count.min(HEAP) };
    let sending_ms = f64::from(waiting) * frame_us(direction, size) / 1e3;
    let patience_ms =
        (direction.delay_ms + direction.jitter_ms * 2.0 + direction.queue_ms + sending_ms) as u64
            + 500;
    Train { from, to, port, count, size, interval_us, patience_ms }
}

/// The gateway's own address on its uplink: towards the carrier, where there is one.
fn uplink_v4(site: &SiteState) -> std::net::Ipv4Addr {
    let addresses = site.addresses();
    if site.site.gateway.carrier.is_some() { addresses.carrier_v4(2) } else { addresses.wan_v4() }
}

fn summarise(site: &SiteState, up: bool, arrival: &Arrival, rate_mbit: Option<f64>) -> Measured {
    let (first, copies) = without_copies(&arrival.received);
    let delays: Vec<f64> = first.iter().map(|datagram| datagram.delay_us as f64 / 1e3).collect();
    let quantile = |q| stats::quantile(&delays, q).unwrap_or(f64::INFINITY);
    let mut latest = 0;
    let mut overtaken = 0_u32;
    for datagram in &first {
        overtaken += u32::from(datagram.number < latest);
        latest = latest.max(datagram.number);
    }
    let (bursts, lost) = bursts(arrival);
    let sent = f64::from(arrival.sent.max(1));
    Measured {
        site: site.site.name.clone(),
        up,
        configured: direction(site, up).clone(),
        sent: arrival.sent,
        delay_ms: [quantile(0.5), quantile(0.05), quantile(0.95)],
        loss_percent: 100.0 * (sent - first.len() as f64) / sent,
        bursts,
        mean_burst: (bursts > 0).then(|| f64::from(lost) / f64::from(bursts)),
        reordered_percent: 100.0 * f64::from(overtaken) / sent,
        duplicate_percent: 100.0 * copies as f64 / sent,
        detour_percent: detour_percent(direction(site, up), &delays),
        rate_mbit,
        unproved: direction(site, up).netem.as_ref().map(|_| Unproved::OwnNetem),
    }
}

/// What came of each datagram first, in order of arrival, and how many copies came after.
fn without_copies(received: &[Datagram]) -> (Vec<Datagram>, usize) {
    let mut known = BTreeSet::new();
    let (first, copies): (Vec<Datagram>, Vec<Datagram>) =
        received.iter().partition(|datagram| known.insert(datagram.number));
    (first, copies.len())
}

/// The part that took the longer way, where its delay cannot be mistaken for that of a late timer.
fn detour_percent(asked: &Direction, delays: &[f64]) -> Option<f64> {
    let told_apart = asked.reorder_ms >= 2.0 * (SLACK_MS + asked.jitter_ms);
    if asked.reorder_percent == 0.0 || !told_apart || delays.is_empty() {
        return None;
    }
    let between = asked.delay_ms + asked.reorder_ms / 2.0;
    let longer = delays.iter().filter(|delay| **delay > between).count();
    Some(100.0 * longer as f64 / delays.len() as f64)
}

/// How many runs of datagrams are missing between two that arrived, and how many datagrams these are.
fn bursts(arrival: &Arrival) -> (u32, u32) {
    let mut numbers: Vec<u32> = arrival.received.iter().map(|datagram| datagram.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let gaps = numbers.windows(2).filter_map(|pair| (pair[1] - pair[0]).checked_sub(1));
    gaps.filter(|gap| *gap > 0).fold((0, 0), |(runs, lost), gap| (runs + 1, lost + gap))
}

/// The rate at which frames came out of the link: the median over pairs half a train apart, which a
/// host that stalls for a moment does not move. (What was lost on the way has used the link as well.)
fn rate_mbit(arrival: &Arrival) -> Option<f64> {
    let half = arrival.received.len() / 2;
    let pairs = arrival.received.iter().zip(arrival.received.iter().skip(half));
    let rates: Vec<f64> = pairs
        .filter(|(a, b)| b.number > a.number && b.arrived_us > a.arrived_us)
        .map(|(a, b)| {
            let bits = f64::from(b.number - a.number) * (f64::from(FULL_SIZE) + HEADERS) * 8.0;
            bits / (b.arrived_us - a.arrived_us) as f64
        })
        .collect();
    stats::median(&rates)
}

#[cfg(test)]
mod tests {
    use crate::fabric::Scenario;

    use super::*;

    fn arrival(times_us: impl Iterator<Item = u64>) -> Arrival {
        let datagram = |(number, arrived_us)| Datagram { number, delay_us: 0, arrived_us };
        let received: Vec<Datagram> = (0..).zip(times_us).map(datagram).collect();
        Arrival { sent: received.len() as u32, received }
    }

    #[test]
    fn the_rate_is_that_of_the_frames_after_the_first() {
        // 1514 bytes each 1211.2 µs are 10 Mbit/s.
        let rate = rate_mbit(&arrival((0..100).map(|n| n * 12_112 / 10))).unwrap();
        assert!((rate - 10.0).abs() < 0.01, "{rate}");
    }

    #[test]
    fn a_stall_of_the_host_does_not_change_the_rate() {
        // For 30 ms nothing is delivered, then all that was due by then at once.
        let stalled = |n: u64| if (40..65).contains(&n) { 65 * 1211 } else { n * 1211 };
        let rate = rate_mbit(&arrival((0..200).map(stalled))).unwrap();
        assert!((rate - 10.0).abs() < 0.1, "{rate}");
    }

    #[test]
    fn losses_in_a_row_are_one_burst_also_when_packets_are_out_of_order() {
        let received =
            [0, 1, 5, 4, 9, 7].map(|number| Datagram { number, delay_us: 0, arrived_us: 0 });
        assert_eq!(bursts(&Arrival { sent: 12, received: received.into() }), (3, 4));
    }

    #[test]
    fn nothing_that_arrives_has_no_rate() {
        assert_eq!(rate_mbit(&arrival(std::iter::empty())), None);
    }

    #[test]
    fn a_copy_is_no_arrival_and_the_longer_way_is_seen_in_the_delay() {
        let datagram = |(number, delay_ms): (u32, u64)| Datagram {
            number,
            delay_us: delay_ms * 1000,
            arrived_us: 0,
        };
        let received: Vec<Datagram> =
            [(0, 10), (2, 10), (2, 10), (1, 18), (3, 10)].map(datagram).into();
        let (first, copies) = without_copies(&received);
        assert_eq!((first.len(), copies), (4, 1));
        assert_eq!(bursts(&Arrival { sent: 4, received }), (0, 0));
        let asked: Direction =
            toml::from_str("delay-ms = 10\nreorder-percent = 25\nreorder-ms = 8").unwrap();
        let delays = [10.0, 10.0, 18.0, 10.0];
        assert_eq!(detour_percent(&asked, &delays), Some(25.0));
        let close: Direction =
            toml::from_str("delay-ms = 10\nreorder-percent = 25\nreorder-ms = 2").unwrap();
        assert_eq!(detour_percent(&close, &delays), None, "a late timer looks the same");
    }

    /// The trains of alice's line: that on a clock, and the one without pauses.
    fn trains(rate_mbit: f64, effort: Effort) -> [Train; 2] {
        let line = format!("{{ rate-mbit = {rate_mbit}, queue-ms = 1000 }}");
        let text = format!(
            "title = \"t\"\ndescription = \"d\"\n[[site]]\nname = \"alice\"\nlink = {{ up = {line}, down = {line} }}\n[[site]]\nname = \"bob\""
        );
        let plan = Plan::new(&Scenario::parse("s", "s.toml", &text, &[]).unwrap(), 1);
        [paced(&plan.sites[0], true, effort), full(&plan.sites[0], true)]
    }

    #[test]
    fn a_slow_line_is_given_the_time_that_it_needs() {
        for effort in [Effort::QUICK, Effort::FULL] {
            for rate in [0.05, 0.064, 0.25, 0.768] {
                let [paced, full] = trains(rate, effort);
                let bits = (f64::from(PACED_SIZE) + HEADERS) * 8.0;
                let load = bits / paced.interval_us as f64 / rate;
                assert!(load <= 0.51, "{rate} Mbit/s: {paced:?}");
                assert!(paced.interval_us * u64::from(paced.count) <= LONGEST_US, "{paced:?}");
                assert!(paced.count >= 300, "{paced:?}");
                let whole_ms = f64::from(full.count) * 1514.0 * 8.0 / rate / 1e3;
                assert!(full.patience_ms as f64 >= whole_ms + 500.0, "{rate} Mbit/s: {full:?}");
            }
        }
        let [paced, _] = trains(10.0, Effort::FULL);
        assert_eq!((paced.count, paced.interval_us), (2_500, 4_000), "others as ever");
    }

    #[test]
    fn a_link_with_a_netem_line_of_its_own_is_told_to_be_unproved() {
        let profiles = crate::fabric::profiles();
        let own = profiles.iter().find(|(_, profile)| profile.up.netem.is_some()).unwrap().0;
        let text = format!(
            "title = \"t\"\ndescription = \"d\"\n[[site]]\nname = \"alice\"\nlink = \"{own}\"\n[[site]]\nname = \"bob\""
        );
        let plan = Plan::new(&Scenario::parse("s", "s.toml", &text, &[]).unwrap(), 1);
        let measured: Vec<Measured> = ways(&plan)
            .into_iter()
            .map(|(site, up)| summarise(site, up, &arrival([0, 1].into_iter()), None))
            .collect();
        let unproved: Vec<bool> = measured.iter().map(|link| link.unproved.is_some()).collect();
        assert_eq!(unproved, [true, profiles[own].down.netem.is_some(), false, false]);
        assert!(measured[0].unproved.unwrap().to_string().contains("netem"));
    }
}
