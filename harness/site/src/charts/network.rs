//! A network, drawn: sites with what stands before them, their links, and what happens.

use meshbench::fabric::{self, Action, Scenario, Way};
use meshbench::report::table::humanise;
use meshbench::results::{Direction, Impairment, ScenarioRecord, Unit};

use super::Svg;

/// What is drawn.
#[derive(Debug)]
pub(crate) struct Network {
    sites: Vec<Site>,
    events: Vec<String>,
}

#[derive(Debug)]
struct Site {
    name: String,
    machines: Vec<String>,
    gateway: String,
    link: Vec<String>,
    families: &'static str,
}

const BOX: (f64, f64) = (190.0, 74.0);
const GAP: f64 = 26.0;
/// Right of the Internet, lines are level and have room for their words.
const BEND: f64 = 190.0;
/// A letter of a label.
const LETTER: f64 = 6.4;

impl Network {
    /// From the record of a run, and from the scenario's file where that is known.
    pub(crate) fn of(record: &ScenarioRecord, known: Option<&Scenario>) -> Self {
        let mut sites: Vec<Site> = match known {
            Some(known) => known.sites.iter().map(site).collect(),
            None => recorded(record),
        };
        for site in &mut sites {
            site.link = link(record, &site.name);
            if let Some(nat) = record.nats.iter().find(|nat| nat.site == site.name) {
                site.gateway.clone_from(&nat.kind);
            }
        }
        let events = known.map(|known| known.events.iter().map(event).collect());
        Self { sites, events: events.unwrap_or_default() }
    }

    /// What happens, in order.
    pub(crate) fn events(&self) -> Vec<String> {
        self.events.clone()
    }

    /// The network in words.
    pub(crate) fn words(&self) -> String {
        let site = |site: &Site| {
            let machines = match site.machines.as_slice() {
                [] => "nobody at first".to_owned(),
                all => all.join(", "),
            };
            let gateway = match site.gateway.as_str() {
                "" => "public".to_owned(),
                kind => format!("behind {kind}"),
            };
            let link = match site.link.as_slice() {
                [] => "a clear line".to_owned(),
                all => all.join("; "),
            };
            format!("{}: {machines}, {gateway}, {link}", site.name)
        };
        self.sites.iter().map(site).collect::<Vec<_>>().join(". ")
    }

    /// The drawing: the Internet in the middle, a line to every site. Nothing where no site is known.
    pub(crate) fn svg(&self) -> String {
        if self.sites.is_empty() {
            return String::new();
        }
        let height = (self.sites.len() as f64 * (BOX.1 + GAP) + GAP).max(140.0);
        let words = self.sites.iter().flat_map(|site| &site.link);
        let longest = words.map(|text| text.chars().count()).max().unwrap_or(0);
        let left = BEND + 30.0 + LETTER * longest.max(12) as f64;
        let mut svg = Svg::new(left + BOX.0 + 20.0, height);
        let core = (90.0, height / 2.0);
        for (at, site) in self.sites.iter().enumerate() {
            let top = GAP + at as f64 * (BOX.1 + GAP);
            let middle = top + BOX.1 / 2.0;
            svg.line("wire", core, (BEND, middle));
            svg.line("wire", (BEND, middle), (left, middle));
            for (line, text) in site.link.iter().enumerate() {
                let up = site.link.len() as f64 * 13.0 - line as f64 * 13.0;
                svg.text("label end", (left - 12.0, middle - up + 6.0), text);
            }
            site.draw(&mut svg, (left, top));
        }
        svg.dot("core", core, 60.0);
        svg.text("name mid", (core.0, core.1 + 4.0), "Internet");
        svg.finish(&self.words())
    }
}

impl Site {
    fn draw(&self, svg: &mut Svg, (left, top): (f64, f64)) {
        let class = if self.gateway.is_empty() { "site" } else { "site walled" };
        svg.rect(class, (left, top), BOX);
        svg.text("name", (left + 12.0, top + 20.0), &self.name);
        let gateway = match self.gateway.as_str() {
            "" => format!("public{}", self.families),
            kind => format!("{kind}{}", self.families),
        };
        svg.text("label", (left + 12.0, top + 38.0), &gateway);
        let machines = match self.machines.as_slice() {
            [] => "nobody at first".to_owned(),
            // More do not fit; the words below name them all.
            [first, second, third, rest @ ..] if !rest.is_empty() => {
                format!("{first}, {second}, {third} and {} more", rest.len())
            }
            all => all.join(", "),
        };
        svg.text("label", (left + 12.0, top + 58.0), &format!("▪ {machines}"));
    }
}

fn site(site: &fabric::Site) -> Site {
    Site {
        name: site.name.clone(),
        machines: site.machines.clone(),
        gateway: String::new(),
        link: Vec::new(),
        families: match (site.ipv4, site.ipv6) {
            (true, true) => ", IPv4 and IPv6",
            (false, true) => ", IPv6 only",
            _ => "",
        },
    }
}

/// The sites that a record knows of: those with links or NATs.
fn recorded(record: &ScenarioRecord) -> Vec<Site> {
    let links = record.links.iter().map(|link| &link.site);
    let mut names: Vec<&String> = links.chain(record.nats.iter().map(|nat| &nat.site)).collect();
    names.sort_unstable();
    names.dedup();
    let site = |name: &&String| Site {
        name: (*name).clone(),
        machines: vec![(*name).clone()],
        gateway: String::new(),
        link: Vec::new(),
        families: "",
    };
    names.iter().map(site).collect()
}

/// What a link does, a line for each direction, or one for both.
fn link(record: &ScenarioRecord, site: &str) -> Vec<String> {
    let of = |direction: Direction| {
        let mut links = record.links.iter();
        let own = links.find(|link| link.site == site && link.direction == direction);
        own.map(|link| impairment(&link.configured)).filter(|text| !text.is_empty())
    };
    match (of(Direction::Up), of(Direction::Down)) {
        (Some(up), Some(down)) if up == down => vec![format!("⇅ {up}")],
        (up, down) => {
            let up = up.map(|text| format!("↑ {text}"));
            up.into_iter().chain(down.map(|text| format!("↓ {text}"))).collect()
        }
    }
}

fn impairment(link: &Impairment) -> String {
    // Nothing is done by a zero, and nothing is said of it.
    let some = |value: Option<f64>| value.filter(|it| *it > 0.0);
    let parts = [
        some(link.rate_bits_per_second).map(|it| humanise(it, Unit::BitsPerSecond)),
        some(link.delay_ms).map(|delay| match some(link.jitter_ms) {
            Some(jitter) => format!("{delay:.0} ± {jitter:.0} ms"),
            None => humanise(delay, Unit::Milliseconds),
        }),
        some(link.loss_percent).map(|it| format!("{} lost", humanise(it, Unit::Percent))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// An event in words.
fn event(event: &fabric::Event) -> String {
    let what = match &event.action {
        Action::LinkDown { site, direction: None } => format!("the line of {site} is cut"),
        Action::LinkDown { site, direction: Some(Way::Up) } => {
            format!("nothing that {site} sends gets out any more")
        }
        Action::LinkDown { site, direction: Some(Way::Down) } => {
            format!("nothing comes in to {site} any more")
        }
        Action::LinkUp { site } => format!("the line of {site} works again"),
        Action::Impair { site, .. } => format!("the line of {site} becomes another"),
        Action::NatRebind { site } => format!("the router of {site} forgets all flows"),
        Action::Roam { machine, to } => format!("{machine} moves to {to}"),
        Action::Readdress { site } => format!("{site} gets another address"),
        Action::Partition { between, one_way: true } => {
            let (from, to) = between.split_at(between.len().min(1));
            format!("what {} sends to {} is lost", from.concat(), to.join(" and "))
        }
        Action::Partition { between, .. } => format!("{} lose each other", between.join(" and ")),
        Action::MtuBlackHole { site, mtu } => {
            format!("the line of {site} swallows packets above {mtu} bytes")
        }
        Action::BlockUdp { site, .. } => format!("{site} lets no UDP through"),
        Action::PoliceUdp { site, rate_mbit } => {
            format!("{site} lets {rate_mbit} Mbit/s of UDP through, and drops the rest")
        }
        Action::FailOver { site } => format!("the router of {site} goes over to its second line"),
        Action::FailBack { site } => format!("the router of {site} comes back to its first line"),
        action => {
            let whom = action.machine().map(|machine| format!(" of {machine}")).unwrap_or_default();
            format!("{}{whom}", action.name())
        }
    };
    format!("After {} s of {}: {what}.", event.at, event.during)
}
