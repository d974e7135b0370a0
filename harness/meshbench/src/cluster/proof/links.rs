//! Proof that the links are what the scenario says, measured inside the fabric before a VPN is.
//!
//! Numbered datagrams travel each direction of each uplink between the site's gateway and the core.
//! Both ends are stamped by one clock, so delays are one-way.

use std::collections::BTreeSet;
use std::net::IpAddr;

use meshbench_protocol::{Arrival, Datagram, End, Reply, Request, Train};
use serde::Serialize;

use super::ProofError;
use crate::cluster::Cluster;
use crate::fabric::{CORE, Direction, Plan, SiteState};
use crate::machine::{Machine, MachineError, PROMPT};
use crate::stats;

/// Datagrams whose arrivals fit into one frame of the agent's, at 30 bytes each.
const REPLY_DATAGRAMS: u32 = 30_000;

/// UDP port of the trains.
const PORT: u16 = 9;

/// Payload of the paced train, in bytes: small, so that no link's rate delays it much.
const PACED_SIZE: u16 = 64;

/// Payload of the train that fills the link: a full frame of 1514 bytes.
const FULL_SIZE: u16 = 1472;

/// Bytes on the wire that are not UDP payload: Ethernet, IPv4 and UDP headers.
const HEADERS: f64 = 42.0;

/// Timers of an emulated machine are late by this much now and then, in ms.
const SLACK_MS: f64 = 4.0;

/// Both directions of one site's uplink, as measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The site.
    pub site: String,
    /// Whether packets went from the site to the core.
    pub up: bool,
    /// As the scenario says.
    pub configured: Direction,
    /// Datagrams sent on a clock.
    pub sent: u32,
    /// One-way delay in ms: median, 5th and 95th percentile.
    pub delay_ms: [f64; 3],
    /// Percent of the datagrams that did not arrive.
    pub loss_percent: f64,
    /// Runs of datagrams that did not arrive, each between two that did.
    pub bursts: u32,
    /// Their mean length in datagrams; absent where nothing was lost.
    pub mean_burst: Option<f64>,
    /// Percent of the datagrams that arrived after a later one.
    pub reordered_percent: f64,
    /// Percent of the datagrams of which a copy arrived as well.
    pub duplicate_percent: f64,
    /// Percent of those that arrived which took the longer way; absent where that is too short to be told.
    pub detour_percent: Option<f64>,
    /// Mbit/s of Ethernet frames that a train without pauses got through; only where a rate is configured.
    pub rate_mbit: Option<f64>,
    /// Why what was measured says nothing on whether the link is as configured; absent where it does.
    pub unproved: Option<Unproved>,
}

/// Why a link was measured and yet not proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unproved {
    /// The profile hands a netem line of its own to the kernel.
    #[error(
        "its netem line goes to the kernel as it is written, so that nothing is there to compare with"
    )]
    OwnNetem,
}

/// How thoroughly to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Datagrams of the paced train.
    pub count: u32,
    /// Microseconds between two of them.
    pub interval_us: u64,
}

impl Effort {
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
        let verdict = check(&measured);
        (measured, verdict)
    }
}

/// Refuses a network on which any link differs from the scenario.
fn check(measured: &[Measured]) -> Result<(), ProofError> {
    let faults: Vec<String> = measured.iter().filter_map(Measured::fault).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(ProofError::Differs(format!(
        "the network is not what the scenario says: {}",
        faults.join("; ")
    )))
}

impl Measured {
    /// What is wrong with it, if anything is.
    fn fault(&self) -> Option<String> {
        if self.unproved.is_some() {
            return None;
        }
        let way = if self.up { "up" } else { "down" };
        let what = self
            .delay_fault()
            .or_else(|| self.loss_fault())
            .or_else(|| self.burst_fault())
            .or_else(|| self.order_fault())
            .or_else(|| self.rate_fault())?;
        Some(format!("{} {way}: {what}", self.site))
    }

    fn delay_fault(&self) -> Option<String> {
        let asked = &self.configured;
        let [delay, early, late] = self.delay_ms;
        let frame_ms = asked
            .rate_mbit
            .map_or(0.0, |rate| (f64::from(PACED_SIZE) + HEADERS) * 8.0 / rate / 1e3);
        let mostly = if asked.reorder_percent > 50.0 { asked.reorder_ms } else { 0.0 };
        let expected = asked.delay_ms + frame_ms + mostly;
        let tolerance = asked.jitter_ms + SLACK_MS + expected * 0.1;
        if (delay - expected).abs() > tolerance {
            return Some(format!(
                "delay {delay:.1} ms instead of {expected:.1} ± {tolerance:.1} ms"
            ));
        }
        // Packets that wait for a late one before them even the delays out; stalls do the opposite.
        let varies = (late - early) / 2.0;
        (varies < asked.jitter_ms * 0.4).then(|| {
            format!("delay varies by ± {varies:.1} ms instead of ± {} ms", asked.jitter_ms)
        })
    }

    fn loss_fault(&self) -> Option<String> {
        let asked = &self.configured;
        let lost = asked.loss_percent + asked.corrupt_percent * NOTICED;
        let allowed = loss_tolerance(asked, self.sent);
        if (self.loss_percent - lost).abs() > allowed {
            return Some(format!(
                "loss {:.2} % instead of {lost:.2} ± {allowed:.2} %",
                self.loss_percent
            ));
        }
        // Long bursts make the tolerance wide enough for no loss at all, their number does not.
        let runs = self.expected_runs();
        (f64::from(self.bursts) < runs - 4.0 * runs.sqrt()).then(|| {
            format!(
                "loss in {} runs instead of about {runs:.0}, {:.2} % instead of {} %",
                self.bursts, self.loss_percent, asked.loss_percent
            )
        })
    }

    /// What is wrong with the order of packets, with copies of them and with ways around.
    fn order_fault(&self) -> Option<String> {
        let asked = &self.configured;
        if asked.reorder_percent == 0.0 && self.reordered_percent > 0.5 {
            return Some(format!("{:.1} % of packets out of order", self.reordered_percent));
        }
        let near =
            |seen: f64, wanted: f64| (seen - wanted).abs() <= share_tolerance(wanted, self.sent);
        let copies = asked.duplicate_percent * (1.0 - asked.loss_percent / 100.0);
        if !near(self.duplicate_percent, copies) {
            return Some(format!(
                "{:.1} % of packets twice instead of {copies:.1} %",
                self.duplicate_percent
            ));
        }
        let seen = self.detour_percent.filter(|seen| !near(*seen, asked.reorder_percent))?;
        Some(format!(
            "{seen:.1} % of packets took the longer way instead of {} %",
            asked.reorder_percent
        ))
    }

    fn rate_fault(&self) -> Option<String> {
        match (self.configured.rate_mbit, self.rate_mbit) {
            (Some(rate), Some(seen)) if rate <= FAST_MBIT && (seen / rate - 1.0).abs() > 0.15 => {
                Some(format!("rate {seen:.2} Mbit/s instead of {rate} ± 15 %"))
            }
            (Some(rate), Some(seen)) if seen > rate * 1.4 => {
                Some(format!("rate {seen:.2} Mbit/s instead of at most {:.0}", rate * 1.4))
            }
            (Some(_), None) => Some("nothing of the full train arrived".into()),
            _ => None,
        }
    }

    /// Runs of losses among the datagrams sent; their number is about that of a Poisson process.
    fn expected_runs(&self) -> f64 {
        let loss = self.configured.loss_percent / 100.0;
        f64::from(self.sent) * loss / self.configured.burst.max(1.0 / (1.0 - loss))
    }

    /// Runs of losses are geometric in length: of mean m, their variance is m (m - 1). Four standard
    /// deviations of the mean are allowed, and half a packet.
    fn burst_fault(&self) -> Option<String> {
        let loss = self.configured.loss_percent / 100.0;
        let seen = self.mean_burst.filter(|_| loss > 0.0 && self.bursts >= FEW_BURSTS)?;
        let expected = self.configured.burst.max(1.0 / (1.0 - loss));
        let deviation = (expected * (expected - 1.0) / f64::from(self.bursts)).sqrt();
        let allowed = 4.0 * deviation + 0.5;
        let wrong = (seen - expected).abs() > allowed;
        wrong.then(|| {
            format!("{seen:.1} packets lost in a row instead of {expected:.1} ± {allowed:.1}")
        })
    }
}

/// The part of the damaged datagrams that do not arrive: a wrong bit of the sender's own Ethernet address, 6 bytes of
/// 106, is noticed by nobody.
const NOTICED: f64 = 0.94;

/// Four standard deviations of a share of `sent` packets, and what a busy host does, in percent.
fn share_tolerance(percent: f64, sent: u32) -> f64 {
    let p = percent / 100.0;
    400.0 * (p * (1.0 - p) / f64::from(sent.max(1))).sqrt() + percent * 0.1 + 0.5
}

/// Runs of losses below which their mean length says nothing.
const FEW_BURSTS: u32 = 10;

/// Above this rate an emulated sender cannot fill the link, and what arrives is stamped late and in heaps (100 Mbit/s
/// were seen as 115): only that a link is far too fast would show.
const FAST_MBIT: f64 = 60.0;

/// Four standard deviations of the loss of `sent` packets, wider by the mean burst, in percent.
fn loss_tolerance(asked: &Direction, sent: u32) -> f64 {
    let p = (asked.loss_percent + asked.corrupt_percent) / 100.0;
    let variance = p * (1.0 - p) * asked.burst.max(1.0) * 2.0 / f64::from(sent.max(1));
    400.0 * variance.sqrt() + 100.0 / f64::from(sent.max(1))
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
    let longest = trains.iter().map(|t| t.interval_us * u64::from(t.count) / 1_000_000).max();
    let deadline = PROMPT * 2 + std::time::Duration::from_secs(longest.unwrap_or(0));
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

fn paced(site: &SiteState, up: bool, effort: Effort) -> Train {
    train(site, up, effort.count, PACED_SIZE, effort.interval_us)
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
    let patience_ms =
        (direction.delay_ms + direction.jitter_ms * 2.0 + direction.queue_ms) as u64 + 500;
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

    /// A link as it should be, measured as configured.
    fn measured() -> Measured {
        let text = "rate-mbit = 20\ndelay-ms = 20\njitter-ms = 3\nloss-percent = 2\nburst = 3\nqueue-ms = 100";
        Measured {
            site: "alice".into(),
            up: true,
            configured: toml::from_str(text).unwrap(),
            sent: 2500,
            delay_ms: [20.5, 17.6, 23.2],
            loss_percent: 1.9,
            bursts: 17,
            mean_burst: Some(2.8),
            reordered_percent: 0.0,
            duplicate_percent: 0.0,
            detour_percent: None,
            rate_mbit: Some(19.9),
            unproved: None,
        }
    }

    #[rstest::rstest]
    #[case::late(|link: &mut Measured| link.delay_ms[0] = 40.0, "delay 40.0 ms instead of")]
    #[case::early(|link: &mut Measured| link.delay_ms[0] = 2.0, "delay 2.0 ms instead of")]
    #[case::steady(|link: &mut Measured| link.delay_ms = [20.5; 3], "delay varies by ± 0.0 ms")]
    #[case::lossless(|link: &mut Measured| {
        (link.loss_percent, link.bursts, link.mean_burst) = (0.0, 0, None);
    }, "loss in 0 runs instead of about 17")]
    #[case::lossier(|link: &mut Measured| link.loss_percent = 6.0, "loss 6.00 % instead of 2")]
    #[case::scattered(|link: &mut Measured| {
        (link.bursts, link.mean_burst) = (80, Some(1.0));
    }, "1.0 packets lost in a row instead of 3.0")]
    #[case::repeating(|link: &mut Measured| link.duplicate_percent = 3.0, "3.0 % of packets twice instead of 0.0 %")]
    #[case::disordered(|link: &mut Measured| link.reordered_percent = 1.0, "out of order")]
    #[case::slow(|link: &mut Measured| link.rate_mbit = Some(15.0), "rate 15.00 Mbit/s instead of 20")]
    #[case::fast(|link: &mut Measured| link.rate_mbit = Some(25.0), "rate 25.00 Mbit/s instead of 20")]
    #[case::cut(|link: &mut Measured| link.rate_mbit = None, "nothing of the full train arrived")]
    fn a_link_outside_its_tolerance_is_refused(
        #[case] spoil: fn(&mut Measured),
        #[case] reason: &str,
    ) {
        let mut link = measured();
        assert!(check(&[link.clone()]).is_ok());
        spoil(&mut link);
        let text = check(&[measured(), link]).unwrap_err().to_string();
        assert!(text.contains("alice up: ") && text.contains(reason), "{text}");
    }

    #[test]
    fn what_a_damaged_line_does_is_told_from_what_it_should() {
        let text = "delay-ms = 10\ncorrupt-percent = 5\nduplicate-percent = 20\nreorder-percent = 25\nreorder-ms = 8";
        let damaged = Measured {
            configured: toml::from_str(text).unwrap(),
            sent: 2500,
            delay_ms: [10.1, 10.0, 18.2],
            loss_percent: 4.7,
            reordered_percent: 19.0,
            duplicate_percent: 20.3,
            detour_percent: Some(24.8),
            bursts: 110,
            mean_burst: Some(1.05),
            rate_mbit: None,
            ..measured()
        };
        assert!(check(std::slice::from_ref(&damaged)).is_ok());
        type Spoil = fn(&mut Measured);
        let spoilt: [(Spoil, &str); 3] = [
            (|link| link.loss_percent = 0.0, "loss 0.00 % instead of 4.70 ±"),
            (|link| link.duplicate_percent = 0.0, "0.0 % of packets twice instead of 20.0 %"),
            (
                |link| link.detour_percent = Some(75.0),
                "75.0 % of packets took the longer way instead of 25 %",
            ),
        ];
        for (spoil, reason) in spoilt {
            let mut link = damaged.clone();
            spoil(&mut link);
            let text = check(&[link]).unwrap_err().to_string();
            assert!(text.contains(reason), "{text}");
        }
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
