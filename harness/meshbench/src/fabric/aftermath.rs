//! What events leave behind for whatever is measured after them.

use super::event::{Action, Way};
use super::scenario::Scenario;

/// What has happened and still stands, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aftermath(Vec<Action>);

impl Aftermath {
    /// Takes note of what has happened in a scenario.
    pub(crate) fn take(&mut self, scenario: &Scenario, action: &Action) {
        self.0.retain(|earlier| !ends(action, earlier));
        if stands(scenario, action) {
            self.0.push(action.clone());
        }
    }

    /// It in words, such as `roam alice to cafe`.
    pub(crate) fn words(&self) -> Vec<String> {
        self.0.iter().map(words).collect()
    }
}

/// Whether an earlier event is over with this one, or in its place.
fn ends(action: &Action, earlier: &Action) -> bool {
    use Action as A;
    match (action, earlier) {
        (
            A::Heal,
            A::LinkDown { .. }
            | A::Partition { .. }
            | A::MtuBlackHole { .. }
            | A::BlockUdp { .. }
            | A::PoliceUdp { .. },
        ) => true,
        (A::LinkUp { site: a }, A::LinkDown { site: b, .. })
        | (A::FailBack { site: a }, A::FailOver { site: b })
        | (A::Impair { site: a, .. }, A::Impair { site: b, .. })
        | (A::MtuBlackHole { site: a, .. }, A::MtuBlackHole { site: b, .. })
        | (A::PoliceUdp { site: a, .. }, A::PoliceUdp { site: b, .. })
        | (A::Roam { machine: a, .. }, A::Roam { machine: b, .. })
        | (A::Resume { machine: a }, A::Suspend { machine: b })
        | (A::DaemonStart { machine: a }, A::DaemonStop { machine: b })
        | (
            A::PowerOn { machine: a, .. } | A::Reboot { machine: a },
            A::PowerLoss { machine: b } | A::PowerOn { machine: b, .. },
        ) => a == b,
        _ => action == earlier,
    }
}

/// Whether something is otherwise from then on.
fn stands(scenario: &Scenario, action: &Action) -> bool {
    match action {
        Action::Heal
        | Action::LinkUp { .. }
        | Action::FailBack { .. }
        | Action::NatRebind { .. }
        | Action::Reboot { .. }
        | Action::Resume { .. }
        | Action::DaemonStart { .. }
        | Action::PowerOn { clock: 0, .. } => false,
        Action::Roam { machine, to } => {
            let home = scenario.machines.iter().find(|known| known.name == *machine);
            home.is_none_or(|home| home.site != *to)
        }
        _ => true,
    }
}

fn words(action: &Action) -> String {
    let name = action.name();
    let way = |direction: &Option<Way>| match direction {
        Some(Way::Up) => " up",
        Some(Way::Down) => " down",
        None => "",
    };
    match action {
        Action::LinkDown { site, direction } | Action::BlockUdp { site, direction } => {
            format!("{name} {site}{}", way(direction))
        }
        Action::Partition { between, one_way } => {
            format!("{name} {}{}", between.join(" "), if *one_way { " one way" } else { "" })
        }
        Action::MtuBlackHole { site, mtu } => format!("{name} {site} at {mtu} bytes"),
        Action::PoliceUdp { site, rate_mbit } => format!("{name} {site} to {rate_mbit} Mbit/s"),
        Action::Roam { machine, to } => format!("{name} {machine} to {to}"),
        Action::PowerOn { machine, clock } => {
            format!("{name} {machine}, its clock off by {clock} s")
        }
        Action::Impair { site, .. }
        | Action::LinkUp { site }
        | Action::NatRebind { site }
        | Action::Readdress { site }
        | Action::FailOver { site }
        | Action::FailBack { site } => format!("{name} {site}"),
        Action::PowerLoss { machine }
        | Action::Suspend { machine }
        | Action::Resume { machine }
        | Action::Reboot { machine }
        | Action::DaemonStop { machine }
        | Action::DaemonStart { machine } => format!("{name} {machine}"),
        Action::Heal => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::read;
    use super::*;

    fn left(events: &str) -> Vec<String> {
        let sites = "[[site]]\nname = \"alice\"\n[[site]]\nname = \"bob\"\n[[site]]\nname = \"cafe\"\nmachines = []\n";
        let mut text = sites.to_owned();
        for (at, event) in events.split("; ").enumerate() {
            let lines = event.replace(", ", "\n");
            text += &format!("[[event]]\nduring = \"recover\"\nat = {at}\n{lines}\n");
        }
        let scenario = read(&text);
        let mut aftermath = Aftermath::default();
        for event in &scenario.events {
            aftermath.take(&scenario, &event.action);
        }
        aftermath.words()
    }

    #[test]
    fn what_was_not_undone_is_left() {
        let roam = |to: &str| format!("do = \"roam\", machine = \"alice\", to = \"{to}\"");
        assert_eq!(left(&roam("cafe")), ["roam alice to cafe"]);
        assert_eq!(left(&format!("{}; {}", roam("cafe"), roam("alice"))), [""; 0]);
        let cut = "do = \"link-down\", site = \"bob\", direction = \"up\"";
        assert_eq!(left(cut), ["link-down bob up"]);
        assert_eq!(left(&format!("{cut}; do = \"heal\"")), [""; 0]);
        assert_eq!(left(&format!("{cut}; do = \"link-up\", site = \"bob\"")), [""; 0]);
        let link = |profile: &str| {
            format!("do = \"impair\", site = \"bob\", link = \"{profile}\"; do = \"heal\"")
        };
        assert_eq!(left(&format!("{}; {}", link("dsl"), link("lte"))), ["impair bob"]);
        let down = |machine: &str| format!("do = \"daemon-stop\", machine = \"{machine}\"");
        let up = "do = \"daemon-start\", machine = \"bob\"";
        assert_eq!(left(&format!("{}; {up}", down("bob"))), [""; 0]);
    }
}
