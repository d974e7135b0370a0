//! What happens to a cluster while a workload runs, as scenarios write it.

use serde::{Deserialize, Serialize};
use strum::{EnumDiscriminants, EnumString, IntoStaticStr, VariantNames};
use toml::Spanned;

use super::link::Link;
use crate::name::unknown;

/// Something that happens at a moment of a workload.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// The workload during which it happens.
    pub during: String,
    /// Seconds after that workload started.
    pub at: f64,
    /// What happens.
    pub action: Action,
}

/// One direction of a line, as its site sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Way {
    /// What the site sends.
    Up,
    /// What comes to it.
    Down,
}

/// What can happen. Names are of sites and machines of the scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, EnumDiscriminants, IntoStaticStr)]
#[serde(tag = "do", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[strum_discriminants(
    name(Kind),
    vis(pub(self)),
    derive(EnumString, VariantNames),
    strum(serialize_all = "kebab-case")
)]
#[expect(clippy::large_enum_variant, reason = "a scenario has a handful of them")]
#[non_exhaustive]
pub enum Action {
    /// Nothing crosses the site's uplink any more; neither side is told.
    LinkDown {
        /// Whose uplink.
        site: String,
        /// The only direction that is cut.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        direction: Option<Way>,
    },
    /// The uplink works again.
    LinkUp {
        /// Whose uplink.
        site: String,
    },
    /// The uplink becomes another one; frames under way stay under way.
    Impair {
        /// Whose uplink.
        site: String,
        /// What it becomes.
        link: Link,
    },
    /// The site's gateways forget all flows and choose other external ports, as after a restart.
    NatRebind {
        /// Whose gateways.
        site: String,
    },
    /// A machine leaves its site for another, and has other addresses there.
    Roam {
        /// Who moves.
        machine: String,
        /// The site it comes to.
        to: String,
    },
    /// The provider gives the uplink another IPv4 address, and another IPv6 prefix.
    Readdress {
        /// Whose uplink.
        site: String,
    },
    /// No two of these sites reach each other; everyone else is reached as before.
    Partition {
        /// The sites, at least two.
        between: Vec<String>,
        /// Only what the first sends to the others is lost; it hears them as before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        one_way: bool,
    },
    /// Ends every partition, black hole, block and police of UDP, and link that is down; what the scenario says of a
    /// site itself stays.
    Heal,
    /// The uplink carries only packets up to `mtu`, and nobody is told of those that are too big.
    MtuBlackHole {
        /// Whose uplink.
        site: String,
        /// Bytes of the largest IP packet that passes.
        mtu: u16,
    },
    /// The site's gateway lets no UDP through from now on.
    BlockUdp {
        /// Whose gateway.
        site: String,
        /// The only direction that is blocked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        direction: Option<Way>,
    },
    /// UDP beyond a rate is dropped at the site's gateway, in each direction, without a queue; TCP gets the whole line.
    PoliceUdp {
        /// Whose gateway.
        site: String,
        /// What passes, in Mbit/s of IP packets.
        rate_mbit: f64,
    },
    /// The site's router goes over to its second line, and forgets all flows.
    FailOver {
        /// Whose router.
        site: String,
    },
    /// The site's router comes back to its first line, and forgets all flows.
    FailBack {
        /// Whose router.
        site: String,
    },
    /// A machine stops as if its plug was pulled.
    PowerLoss {
        /// Who.
        machine: String,
    },
    /// A machine that lost its power boots.
    PowerOn {
        /// Who.
        machine: String,
        /// By how many seconds its clock is wrong then, as without a battery: less than nothing is the past.
        #[serde(default, skip_serializing_if = "is_nought")]
        clock: i64,
    },
    /// A machine stops between two instructions, as a laptop whose lid is closed, and is off its network.
    Suspend {
        /// Who.
        machine: String,
    },
    /// A machine that was suspended goes on.
    Resume {
        /// Who.
        machine: String,
    },
    /// A machine ends all of its programs and boots again, with all that it has written; over when it has booted.
    Reboot {
        /// Who.
        machine: String,
    },
    /// The VPN's daemon on a machine stops: a coordinator or relay dies.
    DaemonStop {
        /// Where.
        machine: String,
    },
    /// The VPN's daemon on a machine starts again.
    DaemonStart {
        /// Where.
        machine: String,
    },
}

impl Action {
    /// Its name, as written after `do =`.
    pub fn name(&self) -> &'static str {
        self.into()
    }

    /// The machine that it happens to, where it happens to one.
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::Roam { machine, .. }
            | Self::PowerLoss { machine }
            | Self::PowerOn { machine, .. }
            | Self::Reboot { machine }
            | Self::Suspend { machine }
            | Self::Resume { machine }
            | Self::DaemonStop { machine }
            | Self::DaemonStart { machine } => Some(machine),
            _ => None,
        }
    }

    /// Whether it happens also where no VPN is and hence no gateway: there nothing forgets, and nobody chooses
    /// between lines.
    pub(crate) fn happens_on_the_wire(&self) -> bool {
        !matches!(self, Self::NatRebind { .. } | Self::FailOver { .. } | Self::FailBack { .. })
    }
}

fn is_nought(value: &i64) -> bool {
    *value == 0
}

/// `[[event]]` as written. All parameters are optional here, so that a mistake is reported where
/// it stands and not for the table as a whole.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawEvent {
    pub(super) during: Spanned<String>,
    at: Spanned<f64>,
    r#do: Spanned<String>,
    site: Option<Spanned<String>>,
    machine: Option<Spanned<String>>,
    to: Option<Spanned<String>>,
    between: Option<Spanned<Vec<Spanned<String>>>>,
    link: Option<Spanned<Link>>,
    mtu: Option<Spanned<u16>>,
    direction: Option<Spanned<Way>>,
    one_way: Option<Spanned<bool>>,
    rate_mbit: Option<Spanned<f64>>,
    clock: Option<Spanned<i64>>,
}

/// A mistake and where it stands in the text.
pub(super) type Fault = (std::ops::Range<usize>, String);

/// The names that an event may use.
pub(super) struct Names<'a> {
    pub(super) sites: &'a [String],
    pub(super) machines: &'a [String],
}

impl Names<'_> {
    fn site(&self, name: &Spanned<String>) -> Result<String, Fault> {
        known("site", name, self.sites)
    }

    fn machine(&self, name: &Spanned<String>) -> Result<String, Fault> {
        known("machine", name, self.machines)
    }
}

pub(super) fn known<T: AsRef<str>>(
    what: &str,
    name: &Spanned<T>,
    all: &[String],
) -> Result<String, Fault> {
    let named = name.get_ref().as_ref();
    if all.iter().any(|known| known == named) {
        return Ok(named.to_owned());
    }
    Err((name.span(), unknown(what, named, all.iter().map(String::as_str))))
}

impl RawEvent {
    /// Where to point when it cannot happen.
    pub(super) fn place(&self) -> std::ops::Range<usize> {
        let given = [&self.to, &self.site, &self.machine].into_iter().flatten().next();
        given.unwrap_or(&self.r#do).span()
    }

    /// The event, once its parameters are those of its action.
    pub(super) fn event(&self, names: &Names) -> Result<Event, Fault> {
        if !(0.0..=3600.0).contains(self.at.get_ref()) {
            return Err((self.at.span(), "at must be 0 to 3600 seconds".to_owned()));
        }
        let action = self.action(names)?;
        self.refuse_others(&action)?;
        Ok(Event { during: self.during.get_ref().clone(), at: *self.at.get_ref(), action })
    }

    fn action(&self, names: &Names) -> Result<Action, Fault> {
        let site = || names.site(self.need(&self.site, "site")?);
        let machine = || names.machine(self.need(&self.machine, "machine")?);
        Ok(match self.kind()? {
            Kind::LinkDown => Action::LinkDown { site: site()?, direction: self.way() },
            Kind::LinkUp => Action::LinkUp { site: site()? },
            Kind::Impair => Action::Impair {
                site: site()?,
                link: self.need(&self.link, "link")?.get_ref().clone(),
            },
            Kind::NatRebind => Action::NatRebind { site: site()? },
            Kind::Roam => {
                Action::Roam { machine: machine()?, to: names.site(self.need(&self.to, "to")?)? }
            }
            Kind::Readdress => Action::Readdress { site: site()? },
            Kind::Partition => Action::Partition {
                between: self.groups(names)?,
                one_way: self.one_way.as_ref().is_some_and(|one_way| *one_way.get_ref()),
            },
            Kind::Heal => Action::Heal,
            Kind::MtuBlackHole => Action::MtuBlackHole { site: site()?, mtu: self.black_hole()? },
            Kind::BlockUdp => Action::BlockUdp { site: site()?, direction: self.way() },
            Kind::PoliceUdp => Action::PoliceUdp { site: site()?, rate_mbit: self.police()? },
            Kind::FailOver => Action::FailOver { site: site()? },
            Kind::FailBack => Action::FailBack { site: site()? },
            Kind::PowerLoss => Action::PowerLoss { machine: machine()? },
            Kind::PowerOn => Action::PowerOn { machine: machine()?, clock: self.clock()? },
            Kind::Suspend => Action::Suspend { machine: machine()? },
            Kind::Resume => Action::Resume { machine: machine()? },
            Kind::Reboot => Action::Reboot { machine: machine()? },
            Kind::DaemonStop => Action::DaemonStop { machine: machine()? },
            Kind::DaemonStart => Action::DaemonStart { machine: machine()? },
        })
    }

    fn kind(&self) -> Result<Kind, Fault> {
        let name = self.r#do.get_ref();
        let unknown = |_| unknown("event", name, Kind::VARIANTS.iter().copied());
        name.parse().map_err(|error| (self.r#do.span(), unknown(error)))
    }

    fn need<'a, T>(
        &self,
        value: &'a Option<Spanned<T>>,
        key: &str,
    ) -> Result<&'a Spanned<T>, Fault> {
        value
            .as_ref()
            .ok_or_else(|| (self.r#do.span(), format!("`{}` needs `{key}`", self.r#do.get_ref())))
    }

    fn groups(&self, names: &Names) -> Result<Vec<String>, Fault> {
        let between = self.need(&self.between, "between")?;
        let sites: Vec<String> =
            between.get_ref().iter().map(|name| names.site(name)).collect::<Result<_, _>>()?;
        if sites.len() < 2 {
            return Err((between.span(), "a partition needs at least two sites".to_owned()));
        }
        Ok(sites)
    }

    fn way(&self) -> Option<Way> {
        self.direction.as_ref().map(|direction| *direction.get_ref())
    }

    fn clock(&self) -> Result<i64, Fault> {
        let Some(clock) = &self.clock else { return Ok(0) };
        check_clock(*clock.get_ref()).map_err(|why| (clock.span(), why))
    }

    fn police(&self) -> Result<f64, Fault> {
        let rate = self.need(&self.rate_mbit, "rate-mbit")?;
        check_police(*rate.get_ref()).map_err(|why| (rate.span(), why))
    }

    fn black_hole(&self) -> Result<u16, Fault> {
        let mtu = self.need(&self.mtu, "mtu")?;
        check_mtu(*mtu.get_ref()).map_err(|why| (mtu.span(), why))
    }

    /// A parameter that the action does not take is a mistake, not a wish to be ignored.
    fn refuse_others(&self, action: &Action) -> Result<(), Fault> {
        let takes: &[&str] = match action {
            Action::Roam { .. } => &["machine", "to"],
            Action::Impair { .. } => &["site", "link"],
            Action::MtuBlackHole { .. } => &["site", "mtu"],
            Action::Partition { .. } => &["between", "one-way"],
            Action::LinkDown { .. } | Action::BlockUdp { .. } => &["site", "direction"],
            Action::PoliceUdp { .. } => &["site", "rate-mbit"],
            Action::Heal => &[],
            Action::PowerOn { .. } => &["machine", "clock"],
            Action::PowerLoss { .. }
            | Action::Suspend { .. }
            | Action::Resume { .. }
            | Action::Reboot { .. }
            | Action::DaemonStop { .. }
            | Action::DaemonStart { .. } => &["machine"],
            _ => &["site"],
        };
        let given = [
            ("site", self.site.as_ref().map(Spanned::span)),
            ("machine", self.machine.as_ref().map(Spanned::span)),
            ("to", self.to.as_ref().map(Spanned::span)),
            ("between", self.between.as_ref().map(Spanned::span)),
            ("link", self.link.as_ref().map(Spanned::span)),
            ("mtu", self.mtu.as_ref().map(Spanned::span)),
            ("direction", self.direction.as_ref().map(Spanned::span)),
            ("one-way", self.one_way.as_ref().map(Spanned::span)),
            ("rate-mbit", self.rate_mbit.as_ref().map(Spanned::span)),
            ("clock", self.clock.as_ref().map(Spanned::span)),
        ];
        for (key, span) in given {
            if let Some(span) = span.filter(|_| !takes.contains(&key)) {
                return Err((span, format!("`{}` takes no `{key}`", self.r#do.get_ref())));
            }
        }
        Ok(())
    }
}

/// How wrong a clock without a battery may be: half a century, in seconds. Before 1970 no clock of Linux can be.
const WRONGEST_S: i64 = 50 * 366 * 86_400;

fn check_clock(seconds: i64) -> Result<i64, String> {
    if (-WRONGEST_S..=WRONGEST_S).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(format!("clock is {seconds}; a clock is wrong by {WRONGEST_S} seconds at most"))
    }
}

/// A rate to which a provider polices.
pub(super) fn check_police(rate_mbit: f64) -> Result<f64, String> {
    if (0.05..=10_000.0).contains(&rate_mbit) {
        Ok(rate_mbit)
    } else {
        Err(format!("UDP is policed to {rate_mbit} Mbit/s; it must be between 0.05 and 10000"))
    }
}

/// A black hole that lets IPv6 live (RFC 8200 wants 1280) and that a full frame does not fit.
pub(super) fn check_mtu(mtu: u16) -> Result<u16, String> {
    if (1280..1500).contains(&mtu) {
        Ok(mtu)
    } else {
        Err(format!("the MTU of a black hole is {mtu}; it must be between 1280 and 1499"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_scenarios_and_in_json() {
        let (site, machine) = (|| "alice".to_owned(), || "alice".to_owned());
        let actions = [
            Action::LinkDown { site: site(), direction: Some(Way::Down) },
            Action::MtuBlackHole { site: site(), mtu: 1300 },
            Action::BlockUdp { site: site(), direction: None },
            Action::PoliceUdp { site: site(), rate_mbit: 1.0 },
            Action::Heal,
            Action::DaemonStart { machine: machine() },
        ];
        for action in actions {
            let json = serde_json::to_value(&action).unwrap();
            assert_eq!(json["do"], action.name());
            assert_eq!(action.name().parse(), Ok(Kind::from(&action)));
        }
    }
}
