//! The line that a router falls back to: that of another site, on whose LAN it has a card.

use std::net::Ipv4Addr;

use meshbench_protocol::Namespace;

use super::address::cidr4;
use super::kernel::{FORGET, plugged, up};
use super::sites::{ROUTER, SiteState};

impl SiteState {
    /// Joins the router to the site whose line it may fall back to.
    pub(super) fn second_line(&self, backup: &Self, router: &mut Namespace) {
        router.ip.push(up("wan2"));
        router
            .ip
            .push(format!("address add {} dev wan2", cidr4(backup.addresses().lan_v4(ROUTER))));
    }

    /// The end of the second line at the site that it is the line of.
    pub(super) fn at_backup(&self, there: &mut Namespace) {
        let device = self.second_device();
        there.ip.push(format!("link set {device} addrgenmode none master lan up"));
        there.commands.push(plugged(&device));
    }

    /// The wire of the second line.
    pub(super) fn second_wire(&self, backup: &Self) -> String {
        format!(
            "link add {} netns {} address {} gso_max_segs 1 type veth peer name wan2 netns {} address {} gso_max_segs 1",
            self.second_device(),
            backup.site.name,
            self.mac(5),
            self.site.name,
            self.mac(6)
        )
    }

    /// What the router is told to go over to its second line, or to come back to its first one.
    pub(super) fn switched(&self, backup: &Self) -> Namespace {
        let own = self.addresses();
        let next = match (self.is_over(), self.site.gateway.carrier.is_some()) {
            (true, _) => backup.addresses().lan_v4(1),
            (false, true) => own.carrier_v4(1),
            (false, false) => own.core_v4(),
        };
        // With a carrier of its own, the line is the one between that and the core.
        let [mtu4, _] = match self.is_over() || self.has_own_carrier() {
            true => Default::default(),
            false => self.route_mtus(),
        };
        let mut router = Namespace::new(&self.site.name);
        router.ip.push(format!("route replace default via {next}{mtu4}"));
        router.commands.push(FORGET.to_owned());
        router
    }

    /// What the router is told when the site whose line it may fall back to has other addresses than before.
    pub(super) fn second_renumbered(&self, backup: &Self, before: &Self) -> Option<Namespace> {
        let [new, old] = [backup, before].map(|state| state.addresses());
        if new.lan_v4(ROUTER) == old.lan_v4(ROUTER) {
            return None;
        }
        let mut router = match self.is_over() {
            true => self.switched(backup),
            false => Namespace::new(&self.site.name),
        };
        router.ip.insert(0, format!("address add {} dev wan2", cidr4(new.lan_v4(ROUTER))));
        router.ip.push(format!("address del {} dev wan2", cidr4(old.lan_v4(ROUTER))));
        Some(router)
    }

    /// The IPv4 address as which the Internet sees a router that uses this line.
    pub(super) fn second_public_v4(&self) -> Ipv4Addr {
        let own = self.addresses();
        if own.private.is_some() { self.public_v4() } else { own.lan_v4(ROUTER) }
    }

    fn second_device(&self) -> String {
        format!("line{}", self.number)
    }
}
