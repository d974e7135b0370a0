//! What a link was found to do, and whether that is what the scenario asks for.

use serde::Serialize;

use super::ProofError;
use crate::fabric::Direction;

/// Payload of the paced train, in bytes: small, so that no link's rate delays it much.
pub(super) const PACED_SIZE: u16 = 64;

/// Bytes on the wire that are not UDP payload: Ethernet, IPv4 and UDP headers.
pub(super) const HEADERS: f64 = 42.0;

/// How long a line is busy with the frame of so much payload, in µs.
pub(super) fn frame_us(line: &Direction, payload: u16) -> f64 {
    line.rate_mbit.map_or(0.0, |rate| (f64::from(payload) + HEADERS) * 8.0 / rate)
}

/// Timers of an emulated machine are late by this much now and then, in ms.
pub(super) const SLACK_MS: f64 = 4.0;

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

/// Refuses a network on which any link differs from the scenario, by what is a fault of one.
pub(super) fn check(
    measured: &[Measured],
    fault: impl Fn(&Measured) -> Option<String>,
) -> Result<(), ProofError> {
    let faults: Vec<String> = measured.iter().filter_map(fault).collect();
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
    pub(super) fn fault(&self) -> Option<String> {
        let what = self
            .delay_fault()
            .or_else(|| self.variation_fault())
            .or_else(|| self.loss_fault())
            .or_else(|| self.burst_fault())
            .or_else(|| self.order_fault())
            .or_else(|| self.rate_fault());
        self.unless_unproved(what)
    }

    /// What is wrong with its delay, which a few datagrams show.
    pub(super) fn late(&self) -> Option<String> {
        self.unless_unproved(self.delay_fault())
    }

    fn unless_unproved(&self, fault: Option<String>) -> Option<String> {
        let way = if self.up { "up" } else { "down" };
        let fault = fault.filter(|_| self.unproved.is_none())?;
        Some(format!("{} {way}: {fault}", self.site))
    }

    fn delay_fault(&self) -> Option<String> {
        let asked = &self.configured;
        let [delay, ..] = self.delay_ms;
        let frame_ms = frame_us(asked, PACED_SIZE) / 1e3;
        let mostly = if asked.reorder_percent > 50.0 { asked.reorder_ms } else { 0.0 };
        let expected = asked.delay_ms + frame_ms + mostly;
        let tolerance = asked.jitter_ms + SLACK_MS + expected * 0.1;
        let wrong = (delay - expected).abs() > tolerance;
        wrong.then(|| format!("delay {delay:.1} ms instead of {expected:.1} ± {tolerance:.1} ms"))
    }

    fn variation_fault(&self) -> Option<String> {
        let asked = &self.configured;
        let [_, early, late] = self.delay_ms;
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(check(&[link.clone()], Measured::fault).is_ok());
        spoil(&mut link);
        let text = check(&[measured(), link], Measured::fault).unwrap_err().to_string();
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
        assert!(check(std::slice::from_ref(&damaged), Measured::fault).is_ok());
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
            let text = check(&[link], Measured::fault).unwrap_err().to_string();
            assert!(text.contains(reason), "{text}");
        }
    }
}
