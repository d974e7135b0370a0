//! The line that a router falls back to: that of another site, on whose LAN it has a card.

use meshbench_protocol::Namespace;

use super::address::cidr4;
use super::sites::{ROUTER, SiteState, plugged, up};

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

    fn second_device(&self) -> String {
        format!("line{}", self.number)
    }
}
