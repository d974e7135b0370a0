//! What happens to the fabric while a workload runs.

use meshbench_protocol::Namespace;
use serde::Serialize;

use super::address::CORE;
use super::event::{Action, Way, check_police};
use super::kernel::{FORGET, black_hole, plug, plugged};
use super::link::Link;
use super::nat64;
use super::place::check_hole;
use super::plan::{MachineNet, Plan};
use super::ruleset::{chain, cut_table, police, policed};
use super::sites::{Seeded, SiteState};
use crate::hash::sha256;
use crate::name::unknown;

/// What is to be done so that the fabric is as the plan now says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Change {
    /// What the fabric machine is told. Empty when the fabric is not concerned.
    pub namespaces: Vec<Namespace>,
    /// Machines whose addresses are other ones now; apply them after the namespaces.
    pub readdressed: Vec<MachineNet>,
}

/// Why something cannot happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {what}: {reason}")]
#[non_exhaustive]
pub struct ChangeError {
    /// What was asked for.
    pub what: String,
    /// Why not.
    pub reason: String,
}

impl Plan {
    /// Moves the plan on, and says how to make the fabric follow. Power and daemons are not the
    /// fabric's: for those the change is empty.
    ///
    /// # Errors
    /// An unknown name, or something that this network cannot do; the plan is then unchanged.
    pub fn change(&mut self, action: &Action) -> Result<Change, ChangeError> {
        let mut next = self.clone();
        let mut change = next
            .apply(action)
            .map_err(|reason| ChangeError { what: action.name().to_owned(), reason })?;
        change.namespaces.extend(next.renamed(self));
        *self = next;
        Ok(change)
    }

    /// What plugs a machine's card in again that has been made anew, where the machine is now; and what waits, once
    /// the machine's own end is up, until packets pass.
    pub(crate) fn plugged_anew(&self, machine: &str) -> [Vec<Namespace>; 2] {
        let mut told = [Vec::new(), Vec::new()];
        for state in self.machines.iter().filter(|state| state.name == machine) {
            let (card, site) = (state.card, &self.sites[state.at].site.name);
            let [mut own, mut there] = [Namespace::default(), Namespace::new(site)];
            own.ip.push(format!("link set card{card} netns {site}"));
            there.ip.push(plug(card));
            told[0].extend([own, there]);
            let mut passes = Namespace::new(site);
            passes.commands.push(plugged(&format!("card{card}")));
            told[1].push(passes);
        }
        told
    }

    /// Whether the line of a site is down, in one direction or both.
    pub(super) fn is_cut(&self, site: &str) -> bool {
        let cut = link_tables(site);
        self.cuts.values().flatten().any(|table| cut.contains(table))
    }

    fn apply(&mut self, action: &Action) -> Result<Change, String> {
        match action {
            Action::LinkDown { site, direction } => self.link_down(site, *direction),
            Action::LinkUp { site } => {
                let name = self.site_name(site)?;
                let cut = link_tables(&name);
                Ok(self.mend(|table| cut.iter().any(|cut| cut == table)))
            }
            Action::Partition { between, one_way } => self.partition(between, *one_way),
            Action::BlockUdp { site, direction } => self.block_udp(site, *direction),
            Action::PoliceUdp { site, rate_mbit } => {
                let name = self.site_name(site)?;
                check_police(*rate_mbit)?;
                Ok(self.cut(&name, cut_table("police", &name), &policed(*rate_mbit)))
            }
            Action::FailOver { site } => self.switch(site, true),
            Action::FailBack { site } => self.switch(site, false),
            Action::MtuBlackHole { site, mtu } => self.shrink(site, *mtu),
            Action::Heal => Ok(self.heal()),
            Action::Impair { site, link } => self.impair(site, link),
            Action::NatRebind { site } => self.rebind(site),
            Action::Readdress { site } => self.readdress(site),
            Action::Roam { machine, to } => self.roam(machine, to),
            Action::Suspend { machine } => self.carrier_of(machine, false),
            Action::Resume { machine } => self.carrier_of(machine, true),
            Action::PowerLoss { machine }
            | Action::PowerOn { machine, .. }
            | Action::Reboot { machine }
            | Action::DaemonStop { machine }
            | Action::DaemonStart { machine } => {
                self.machine_index(machine).map(|_| Change::default())
            }
        }
    }

    fn site_index(&self, name: &str) -> Result<usize, String> {
        let names = || self.sites.iter().map(|state| state.site.name.as_str());
        names().position(|known| known == name).ok_or_else(|| unknown("site", name, names()))
    }

    fn site_name(&self, name: &str) -> Result<String, String> {
        self.site_index(name).map(|index| self.sites[index].site.name.clone())
    }

    fn machine_index(&self, name: &str) -> Result<usize, String> {
        let names = || self.machines.iter().map(|machine| machine.name.as_str());
        names().position(|known| known == name).ok_or_else(|| unknown("machine", name, names()))
    }

    /// Adds a table of rules of its own, so that nothing is paid for cuts that are not made.
    fn cut(&mut self, at: &str, table: String, rules: &str) -> Change {
        let nft = format!("{}table inet {table} {{\n{rules}}}\n", removed(&table));
        let tables = self.cuts.entry(at.to_owned()).or_default();
        if !tables.contains(&table) {
            tables.push(table);
        }
        change_of([Namespace { nft, ..Namespace::new(at) }])
    }

    /// Removes the tables that `which` picks, wherever they are.
    fn mend(&mut self, which: impl Fn(&str) -> bool) -> Change {
        let mut changed = Vec::new();
        for (at, tables) in &mut self.cuts {
            let nft: String =
                tables.iter().filter(|table| which(table)).map(|table| removed(table)).collect();
            tables.retain(|table| !which(table));
            changed.push(Namespace { nft, ..Namespace::new(at) });
        }
        change_of(changed)
    }

    fn link_down(&mut self, site: &str, direction: Option<Way>) -> Result<Change, String> {
        let state = &self.sites[self.site_index(site)?];
        let (name, (at, device)) = (state.site.name.clone(), state.upstream());
        let cut = |way: Way| {
            let (chained, hook, packets) = match way {
                Way::Up => ("in", "prerouting", format!("iifname \"{device}\"")),
                Way::Down => ("out", "postrouting", format!("oifname \"{device}\"")),
            };
            let hook = format!("filter hook {hook} priority raw");
            (cut_one_way("link", way, &name), chain(chained, &hook, &[format!("{packets} drop")]))
        };
        Ok(self.cut_ways(&at, direction, cut))
    }

    fn block_udp(&mut self, site: &str, direction: Option<Way>) -> Result<Change, String> {
        let name = self.site_name(site)?;
        let cut = |way: Way| {
            let from = match way {
                Way::Up => "iifname \"lan\"",
                Way::Down => "iifname \"wan*\"",
            };
            let rule = format!("{from} meta l4proto udp drop");
            let hook = "filter hook forward priority -10";
            (cut_one_way("udp", way, &name), chain("forwarded", hook, &[rule]))
        };
        Ok(self.cut_ways(&name, direction, cut))
    }

    /// Adds the table and rules that `cut` has for a direction, or for either: one that is cut stays so when the other
    /// is cut as well.
    fn cut_ways(
        &mut self,
        at: &str,
        direction: Option<Way>,
        cut: impl Fn(Way) -> (String, String),
    ) -> Change {
        let ways = direction.map_or_else(|| vec![Way::Up, Way::Down], |way| vec![way]);
        let cuts = ways.into_iter().map(|way| {
            let (table, rules) = cut(way);
            self.cut(at, table, &rules).namespaces
        });
        change_of(cuts.flatten().collect::<Vec<_>>())
    }

    fn partition(&mut self, between: &[String], one_way: bool) -> Result<Change, String> {
        let mut names = Vec::new();
        for name in between {
            let state = &self.sites[self.site_index(name)?];
            if let Some(shared) = &state.shared {
                return Err(format!(
                    "site `{name}` shares the carrier `{}`, behind which nobody can tell its packets from those of the others; cut its line by link-down",
                    shared.name
                ));
            }
            // Whoever has gone over is on the other line.
            let line = match &state.backup {
                Some(backup) if backup.active => &self.sites[backup.at].site.name,
                _ => &state.site.name,
            };
            let name = format!("\"{line}\"");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.len() < 2 {
            return Err("a partition needs at least two sites".to_owned());
        }
        let (from, to) = match one_way {
            true => (names[..1].join(", "), names[1..].join(", ")),
            false => (names.join(", "), names.join(", ")),
        };
        let hook = "filter hook forward priority filter";
        let rule = format!("iifname {{ {from} }} oifname {{ {to} }} drop");
        let rules = chain("between", hook, &[rule]);
        // Whatever their order; a name of a table cannot hold as many as there may be.
        names[usize::from(one_way)..].sort();
        let what = if one_way { "from" } else { "between" };
        let table = cut_table(what, &sha256(names.join("+").as_bytes())[..32]);
        Ok(self.cut(CORE, table, &rules))
    }

    /// Has a router use its second line, or its first one again.
    fn switch(&mut self, site: &str, over: bool) -> Result<Change, String> {
        let index = self.site_index(site)?;
        let Some(backup) = &mut self.sites[index].backup else {
            return Err(format!("site `{site}` has no `backup`"));
        };
        if backup.active == over {
            let now = if over { "already" } else { "not" };
            return Err(format!("the router of site `{site}` is {now} on its second line by then"));
        }
        backup.active = over;
        let at = backup.at;
        Ok(change_of([self.sites[index].switched(&self.sites[at])]))
    }

    /// Opens or closes the port that a machine's card is plugged into.
    fn carrier_of(&self, machine: &str, open: bool) -> Result<Change, String> {
        let state = &self.machines[self.machine_index(machine)?];
        let (card, site) = (state.card, &self.sites[state.at].site.name);
        let mut port = Namespace::new(site);
        if open {
            port.ip.push(plug(card));
            port.commands.push(plugged(&format!("card{card}")));
        } else {
            port.ip.push(format!("link set card{card} down"));
        }
        Ok(change_of([port]))
    }

    fn shrink(&mut self, site: &str, mtu: u16) -> Result<Change, String> {
        let index = self.site_index(site)?;
        let state = &mut self.sites[index];
        check_hole(mtu, &state.site)?;
        // Narrower it can become, and not wider than the scenario says that it is.
        if let Some(hole) = state.site.mtu_black_hole.filter(|hole| *hole < mtu) {
            return Err(format!(
                "site `{site}` has a black hole of {hole} bytes: one of {mtu} would swallow nothing more"
            ));
        }
        state.hole = Some(mtu);
        let (name, line) = (state.site.name.clone(), state.line());
        let table = cut_table("mtu", &name);
        let (mut silent, mut narrow) = (Vec::new(), Vec::new());
        for (at, device) in line {
            let nft = removed(&table) + &black_hole(&name);
            silent.push(Namespace { nft, ..Namespace::new(&at) });
            let ip = vec![format!("link set {device} mtu {mtu}")];
            narrow.push(Namespace { ip, ..Namespace::new(at) });
        }
        // In this order: nobody shall be told in the moment between the two.
        Ok(change_of(silent.into_iter().chain(narrow)))
    }

    /// Ends what events have done, and leaves what the scenario says of the sites themselves.
    fn heal(&mut self) -> Change {
        let policed: Vec<_> =
            self.sites.iter().filter_map(|state| self.policed_again(state)).collect();
        let mut change = self.mend(|_| true);
        change.namespaces.extend(policed);
        for state in &mut self.sites {
            if state.hole.take().is_none() {
                continue;
            }
            let name = &state.site.name;
            for (at, device) in state.line() {
                let mut namespace = Namespace::new(at);
                namespace.nft = removed(&cut_table("mtu", name));
                if state.site.mtu_black_hole.is_some() {
                    namespace.nft += &black_hole(name);
                }
                namespace.ip.push(format!("link set {device} mtu {}", state.width()));
                change.namespaces.push(namespace);
            }
        }
        change
    }

    /// What polices a site as the scenario has it, where an event has changed that.
    fn policed_again(&self, state: &SiteState) -> Option<Namespace> {
        let (name, rate) = (&state.site.name, state.site.udp_mbit?);
        let changed = self.cuts.get(name)?.contains(&cut_table("police", name));
        changed.then(|| Namespace { nft: police(name, rate), ..Namespace::new(name) })
    }

    fn impair(&mut self, site: &str, link: &Link) -> Result<Change, String> {
        let index = self.site_index(site)?;
        let before = std::mem::replace(&mut self.sites[index].site.link, link.clone());
        let (state, seed) = (&self.sites[index], self.seed);
        let (at, device) = state.upstream();
        let mut upstream = Namespace::new(at);
        upstream.tc = link.down.tc_change(&device, state.seed(seed, Seeded::Down), &before.down);
        let mut gateway = Namespace::new(&state.site.name);
        gateway.tc = link.up.tc_change("wan", state.seed(seed, Seeded::Up), &before.up);
        for (end, up, before) in
            [(&mut gateway, true, &before.up), (&mut upstream, false, &before.down)]
        {
            end.nft = state.copies(up, before.duplicate_percent > 0.0);
        }
        Ok(change_of([upstream, gateway]))
    }

    fn rebind(&mut self, site: &str) -> Result<Change, String> {
        let index = self.site_index(site)?;
        self.sites[index].restarts += 1;
        let own = &self.sites[index].site;
        if own.gateway.lifetime().is_none() && own.gateway.carrier.is_none() && !own.nat64 {
            return Err(format!("site `{site}` has no NAT and no firewall that could forget"));
        }
        if let (Some(shared), None) =
            (&self.sites[index].shared, self.sites[index].site.gateway.nat)
        {
            return Err(format!(
                "site `{site}` has no NAT of its own, and that of the carrier `{}` is not only its",
                shared.name
            ));
        }
        Ok(change_of(self.restarted(index)))
    }

    /// The gateways of a site with their present rules and no memory.
    fn restarted(&self, index: usize) -> Vec<Namespace> {
        let state = &self.sites[index];
        let mut own = state.rules(self.seed, &self.indoors(index));
        if state.site.nat64 {
            own += "add table ip nat64\ndelete table ip nat64\n";
            own += &nat64::rules(state.restarts > 0);
        }
        let mut gateways = vec![(state.site.name.clone(), own)];
        if let (Some(carrier), None) = (&state.site.gateway.carrier, &state.shared) {
            gateways.push((state.outer(), state.carrier_rules(carrier, self.seed)));
        }
        let mut namespaces = Vec::new();
        for (name, rules) in gateways.into_iter().filter(|(_, rules)| !rules.is_empty()) {
            let mut namespace = Namespace::new(name);
            namespace.nft = removed("gateway") + &rules;
            namespace.commands.push(FORGET.to_owned());
            namespaces.push(namespace);
        }
        namespaces
    }

    fn readdress(&mut self, site: &str) -> Result<Change, String> {
        let index = self.site_index(site)?;
        let before = self.sites[index].clone();
        if before.epoch >= 200 {
            return Err(format!("site `{site}` has been readdressed 200 times"));
        }
        if let Some(shared) = &before.shared {
            return Err(format!(
                "the address of site `{site}` is that of the carrier `{}`",
                shared.name
            ));
        }
        self.sites[index].epoch += 1;
        let after = &self.sites[index];
        let mut core = Namespace::new(CORE);
        core.ip.extend(before.core_routes("del"));
        core.ip.extend(after.core_routes("add"));
        // They are for the next hop, which has another address.
        core.nft = after.copies(false, false);
        let mut namespaces = after.renumbered(&before);
        namespaces.push(core);
        namespaces.extend(self.restarted(index));
        let fallen_back_to =
            |state: &&SiteState| state.backup.as_ref().is_some_and(|it| it.at == index);
        let routers = self.sites.iter().filter(fallen_back_to);
        namespaces.extend(routers.filter_map(|router| router.second_renumbered(after, &before)));
        let mut change = change_of(namespaces);
        let moved = self.machines.iter().filter(|machine| machine.at == index);
        change.readdressed = moved.map(|machine| self.machine(machine)).collect();
        if after.addresses().private.is_some() && !after.site.ipv6 {
            change.readdressed.clear();
        }
        Ok(change)
    }

    fn roam(&mut self, machine: &str, to: &str) -> Result<Change, String> {
        let (who, index) = (self.machine_index(machine)?, self.site_index(to)?);
        let old = self.machines[who].at;
        if old == index {
            return Err(format!("machine `{machine}` is at site `{to}` already"));
        }
        let for_one = self.sites[index].site.gateway.nat.is_some_and(|nat| nat.one_to_one);
        if for_one && self.machines[who].home.0 != index {
            return Err(format!("site `{to}` has a one-to-one NAT, which is for its own machine"));
        }
        self.machines[who].at = index;
        let card = self.machines[who].card;
        let (from, to) = (&self.sites[old].site.name, &self.sites[index].site.name);
        let mut leave = Namespace::new(from);
        leave.ip.push(format!("link set card{card} netns {to}"));
        let mut arrive = Namespace::new(to);
        arrive.ip.push(plug(card));
        arrive.commands.push(plugged(&format!("card{card}")));
        let mut change = change_of([leave, arrive]);
        change.readdressed.push(self.machine(&self.machines[who]));
        Ok(change)
    }
}

/// The table that cuts one direction of something of a site.
fn cut_one_way(what: &str, way: Way, site: &str) -> String {
    let way = match way {
        Way::Up => "up",
        Way::Down => "down",
    };
    cut_table(&format!("{what}{way}"), site)
}

/// The tables that cut a line, one for each direction.
fn link_tables(site: &str) -> [String; 2] {
    [Way::Up, Way::Down].map(|way| cut_one_way("link", way, site))
}

/// Removes a table whether it is there or not, in words that every nft knows.
fn removed(table: &str) -> String {
    format!("add table inet {table}\ndelete table inet {table}\n")
}

fn change_of(namespaces: impl IntoIterator<Item = Namespace>) -> Change {
    let namespaces = namespaces.into_iter().filter(|namespace| !namespace.is_empty()).collect();
    Change { namespaces, readdressed: Vec::new() }
}
