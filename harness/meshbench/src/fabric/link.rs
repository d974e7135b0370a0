//! Links: what a site's uplink does to packets, the named profiles, and the queueing disciplines
//! that do it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::ruleset::chain;
use crate::name::unknown;

/// The table of profiles, readable by Nix as well.
const PROFILES: &str = include_str!("profiles.toml");

/// A full-size Ethernet frame as the queueing disciplines count it, bytes.
const FRAME: f64 = 1514.0;

/// Frames that may be under way on a line. The queue bounds the rate; this only bounds memory.
const LINE_LIMIT: u32 = 20_000;

/// The largest loss of a line that can be proved; an event may cut it.
pub(super) const PROVABLE_LOSS: f64 = 90.0;

/// The longest mean run of losses, in packets.
const LONGEST_BURST: f64 = 1_000.0;

/// Fewer packets than one in a hundred thousand are none to the rules that pick some by chance.
const LEAST_PERCENT: f64 = 0.001;

/// The lowest rate of a line that can be proved, in Mbit/s: below it takes minutes. An event may have it.
pub(super) const PROVABLE_MBIT: f64 = 0.05;

fn nought(value: &f64) -> bool {
    *value == 0.0
}

/// What one direction of a link does.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Direction {
    /// Bottleneck in Mbit/s, counted on Ethernet frames; unlimited if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_mbit: Option<f64>,
    /// One-way delay of the access line in ms, without queueing.
    pub delay_ms: f64,
    /// The delay is drawn uniformly from `delay_ms` ± this; packets are never reordered.
    pub jitter_ms: f64,
    /// Mean loss in percent of packets.
    pub loss_percent: f64,
    /// Mean number of packets lost in a row (Gilbert model); 1 = independent losses. The model moves
    /// on with each packet, not with time: a lone flow that repeats ever more slowly may be silent
    /// for long, as TCP's retransmissions are that double their pause.
    pub burst: f64,
    /// Room before the bottleneck, in ms of its rate, for full-size frames.
    pub queue_ms: f64,
    /// Percent of the packets that are sent twice, each to its own fate on the line.
    #[serde(skip_serializing_if = "nought")]
    pub duplicate_percent: f64,
    /// Percent of the frames in which one bit is turned.
    #[serde(skip_serializing_if = "nought")]
    pub corrupt_percent: f64,
    /// Percent of the packets that take a longer way, so that later ones overtake them.
    #[serde(skip_serializing_if = "nought")]
    pub reorder_percent: f64,
    /// By how much that way is longer, in ms.
    #[serde(skip_serializing_if = "nought")]
    pub reorder_ms: f64,
    /// Arguments for one netem as an earlier benchmark gave them, instead of all of the above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netem: Option<String>,
}

impl Direction {
    /// Whether it leaves packets alone.
    pub(crate) fn is_clear(&self) -> bool {
        self.netem.is_none()
            && self.rate_mbit.is_none()
            && self.delay_ms == 0.0
            && self.loss_percent == 0.0
            && self.duplicate_percent == 0.0
            && self.corrupt_percent == 0.0
            && self.reorder_percent == 0.0
    }

    /// Frames that the queue before the bottleneck holds, the one being sent included.
    pub(crate) fn queue_frames(&self) -> Option<u32> {
        let rate = self.rate_mbit?;
        let bytes = rate * 1e6 / 8.0 * self.queue_ms / 1e3;
        Some((bytes / FRAME).ceil() as u32 + 1)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(rate) = self.rate_mbit {
            in_range("rate-mbit", rate, 0.01, 10_000.0)?;
            in_range("queue-ms", self.queue_ms, 1.0, 10_000.0)?;
        } else if self.queue_ms != 0.0 {
            return Err("queue-ms needs rate-mbit: without a bottleneck nothing queues".into());
        }
        in_range("delay-ms", self.delay_ms, 0.0, 5_000.0)?;
        in_range("jitter-ms", self.jitter_ms, 0.0, self.delay_ms)
            .map_err(|why| format!("{why} (delay-ms), or the delay would be negative"))?;
        for (what, percent, most) in [
            ("loss-percent", self.loss_percent, 100.0),
            ("duplicate-percent", self.duplicate_percent, 50.0),
            ("corrupt-percent", self.corrupt_percent, 50.0),
            ("reorder-percent", self.reorder_percent, 90.0),
        ] {
            in_range(what, percent, 0.0, most)?;
            if percent != 0.0 && percent < LEAST_PERCENT {
                return Err(format!(
                    "{what} is {percent}; it must be 0, or at least {LEAST_PERCENT}"
                ));
            }
        }
        if self.reorder_percent != 0.0 {
            in_range("reorder-ms", self.reorder_ms, 0.1, 1_000.0)?;
        } else if self.reorder_ms != 0.0 {
            return Err("reorder-ms needs reorder-percent".into());
        }
        self.check_burst()
    }

    /// Whether losses can come in such runs.
    fn check_burst(&self) -> Result<(), String> {
        if self.burst == 0.0 {
            return Ok(());
        }
        let loss = self.loss_percent / 100.0;
        in_range("burst", self.burst, 1.0, LONGEST_BURST)?;
        if loss == 0.0 {
            return Err("burst needs loss-percent".into());
        }
        // Between two runs at least one packet passes. The quotient of two rounded numbers is a little off.
        let least = loss / (1.0 - loss) * (1.0 - 1e-9);
        if self.burst <= 1.0 || self.burst >= least {
            return Ok(());
        }
        if least > LONGEST_BURST {
            return Err(format!(
                "with loss-percent {} there is no burst: hardly anything passes between two runs",
                self.loss_percent
            ));
        }
        let told = (least * 100.0).ceil() / 100.0;
        Err(format!(
            "burst is {}; with loss-percent {} it must be at least {told:.2} (loss / (1 - loss)), since a packet passes between two runs",
            self.burst, self.loss_percent
        ))
    }

    /// The bottleneck stage as netem arguments. What is under way on the longer way counts against its limit, too.
    fn queue_stage(&self) -> Option<String> {
        let rate = self.rate_mbit?;
        let longer = (rate * 1e3 / 8.0 * self.reorder_ms / FRAME).ceil() as u32;
        let frames = self.queue_frames()? + longer;
        Some(format!("limit {frames} rate {}bit", (rate * 1e6).round() as u64))
    }

    /// The stage of the longer way as netem arguments: what it calls reordered is sent at once, before what
    /// waits. Only the innermost can do so: such packets go past all stages within.
    fn detour_stage(&self, seed: u64) -> Option<String> {
        (self.reorder_percent > 0.0).then(|| {
            let (longer, straight) = (micros(self.reorder_ms), 100.0 - self.reorder_percent);
            let seed = seed.wrapping_add(1);
            format!("limit {LINE_LIMIT} delay {longer}us reorder {straight}% seed {seed}")
        })
    }

    /// The line stage as netem arguments. The high rate keeps packets in order: netem takes the
    /// last packet's time as the base only when a rate is given.
    fn line_stage(&self, seed: u64) -> Option<String> {
        if self.delay_ms == 0.0 && self.loss_percent == 0.0 && self.corrupt_percent == 0.0 {
            return None;
        }
        let delay = match (micros(self.delay_ms), micros(self.jitter_ms)) {
            (0, _) => String::new(),
            (delay, 0) => format!(" delay {delay}us"),
            (delay, jitter) => format!(" delay {delay}us {jitter}us rate 10gbit"),
        };
        let corrupt = match self.corrupt_percent {
            0.0 => String::new(),
            percent => format!(" corrupt {percent}%"),
        };
        Some(format!("limit {LINE_LIMIT}{delay}{}{corrupt} seed {seed}", self.loss()))
    }

    /// nftables rules that send packets twice which leave `device` for the next hops: the kernel suffers no netem
    /// that duplicates beside another one. To be loaded anew when the link changes.
    pub(super) fn copies(&self, table: &str, device: &str, hops: &[IpAddr]) -> String {
        let thousandths = (self.duplicate_percent * 1e3).round() as u32;
        let mut text = String::new();
        for hop in hops {
            let family = if hop.is_ipv4() { "ip" } else { "ip6" };
            text += &format!("add table {family} {table}\ndelete table {family} {table}\n");
            if thousandths > 0 {
                let rule = format!(
                    "oifname \"{device}\" numgen random mod 100000 < {thousandths} dup to {hop} device \"{device}\""
                );
                // Behind the translation, which the copy does not pass again.
                let hook = "filter hook postrouting priority srcnat + 20";
                text +=
                    &format!("table {family} {table} {{\n{}}}\n", chain("twice", hook, &[rule]));
            }
        }
        text
    }

    /// netem's loss model. `loss P CORRELATION` is not used: it loses far less than asked.
    fn loss(&self) -> String {
        let loss = self.loss_percent / 100.0;
        if loss == 0.0 {
            String::new()
        } else if self.burst <= 1.0 || loss == 1.0 {
            format!(" loss random {}%", self.loss_percent)
        } else {
            let leave = 1.0 / self.burst;
            let enter = leave * loss / (1.0 - loss);
            format!(" loss gemodel {:.6}% {:.6}% 100% 0%", enter * 100.0, leave * 100.0)
        }
    }

    /// `tc -batch` lines that make `device` behave so on sending; none where nothing is to be
    /// done. The line and the queue before the bottleneck are two stages, so that what is under way
    /// on a long line does not fill the queue. The queue is the inner one: the kernel counts what
    /// the inner stage holds against the outer one's limit as well.
    pub fn tc(&self, device: &str, seed: u64) -> Vec<String> {
        if let Some(netem) = &self.netem {
            return vec![stage(device, 0, netem)];
        }
        let stages = [self.line_stage(seed), self.queue_stage(), self.detour_stage(seed)];
        let stages = stages.into_iter().flatten().zip(0..);
        stages.map(|(netem, depth)| stage(device, depth, &netem)).collect()
    }

    /// As `tc`, on a device that has been `before`. The first two stages are always given, and a rate in
    /// each, because netem keeps what a change does not mention.
    pub(crate) fn tc_change(&self, device: &str, seed: u64, before: &Self) -> Vec<String> {
        let clear = || format!("limit {LINE_LIMIT}");
        let mut line = self.netem.clone().or(self.line_stage(seed)).unwrap_or_else(clear);
        let mut queue = match self.netem {
            Some(_) => clear(),
            None => self.queue_stage().unwrap_or_else(clear),
        };
        for stage in [&mut line, &mut queue] {
            if !stage.contains("rate ") {
                stage.push_str(" rate 0bit");
            }
            if !stage.contains("loss ") {
                stage.push_str(" loss random 0%");
            }
            if !stage.contains("corrupt ") {
                stage.push_str(" corrupt 0%");
            }
        }
        // With the root goes what was within: another number of stages is built anew.
        let mut lines = Vec::new();
        if before.reorder_percent > 0.0 {
            lines.push(format!("qdisc del dev {device} root"));
        }
        let stages = [Some(line), Some(queue), self.detour_stage(seed)];
        let stages = stages.into_iter().flatten().zip(0..);
        lines.extend(stages.map(|(netem, depth)| stage(device, depth, &netem)));
        lines
    }
}

fn in_range(what: &str, value: f64, low: f64, high: f64) -> Result<(), String> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(format!("{what} is {value}; it must be between {low} and {high}"))
}

/// One netem within another, the root at depth 0.
fn stage(device: &str, depth: u32, netem: &str) -> String {
    let place = match depth {
        0 => "root".to_owned(),
        _ => format!("parent {depth}:1"),
    };
    format!("qdisc replace dev {device} {place} handle {}: netem {netem}", depth + 1)
}

fn micros(ms: f64) -> u64 {
    (ms * 1e3).round() as u64
}

/// A site's uplink.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Link {
    /// Name of the profile it was made from, or `custom`.
    pub profile: String,
    /// From the site to the core.
    pub up: Direction,
    /// From the core to the site.
    pub down: Direction,
}

/// A named link.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it stands for, in a line.
    pub title: String,
    /// From the site to the core.
    #[serde(default)]
    pub up: Direction,
    /// From the core to the site.
    #[serde(default)]
    pub down: Direction,
    /// Where the numbers come from: rate, delay, loss, … → an address, with what was derived.
    pub source: BTreeMap<String, String>,
    /// What to mind when reading figures measured over it.
    #[serde(default)]
    pub note: Option<String>,
}

static TABLE: LazyLock<BTreeMap<String, Profile>> = LazyLock::new(|| {
    toml::from_str(PROFILES).unwrap_or_else(|error| panic!("profiles.toml: {error}"))
});

/// All named profiles.
pub fn profiles() -> &'static BTreeMap<String, Profile> {
    &TABLE
}

/// The link of that profile.
///
/// # Errors
/// A sentence with the nearest known name.
pub fn profile(name: &str) -> Result<Link, String> {
    match TABLE.get(name) {
        Some(found) => {
            Ok(Link { profile: name.to_owned(), up: found.up.clone(), down: found.down.clone() })
        }
        None => Err(unknown("link profile", name, TABLE.keys().map(String::as_str))),
    }
}

impl Default for Link {
    fn default() -> Self {
        Self { profile: "none".to_owned(), up: Direction::default(), down: Direction::default() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Custom {
    up: Direction,
    down: Direction,
}

impl<'de> Deserialize<'de> for Link {
    /// `"dsl"` or `{ up = { rate-mbit = 10, … }, down = { … } }`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;
        impl<'de> Visitor<'de> for Choice {
            type Value = Link;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("the name of a link profile, or a table with `up` and `down`")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Link, E> {
                profile(name).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Link, A::Error> {
                let Custom { up, down } = Custom::deserialize(MapAccessDeserializer::new(map))?;
                for (name, direction) in [("up", &up), ("down", &down)] {
                    direction.check().map_err(|why| A::Error::custom(format!("{name}: {why}")))?;
                    if direction.netem.is_some() {
                        return Err(A::Error::custom("netem is for the profiles of the table"));
                    }
                }
                Ok(Link { profile: "custom".to_owned(), up, down })
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

#[cfg(test)]
#[path = "link_test.rs"]
mod tests;
