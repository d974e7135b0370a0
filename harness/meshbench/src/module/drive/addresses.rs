//! Where members are on the overlay, and whether they really are.

use std::net::IpAddr;

use futures_util::future::try_join_all;

use super::{Deployment, DriveError};
use crate::cluster::Member;
use crate::fabric::MemberNet;
use crate::module::lifecycle::Verb;
use crate::module::spec::INTERNAL;
use crate::module::verbs;

impl Deployment {
    /// The member's overlay addresses.
    pub async fn addresses(&self, member: &Member) -> Result<Vec<IpAddr>, DriveError> {
        let text = verbs::required(member, Verb::Address, None, None).await?;
        let bad = |line| verbs::bad_output(member, Verb::Address, line, "not an address");
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(|line| line.parse().map_err(|_| bad(line))).collect()
    }

    /// The overlay address of a member that another one is to reach, of the same family as `other`.
    ///
    /// # Errors
    /// It has none, or one that is not its own on the overlay.
    pub(crate) async fn address_like(
        &self,
        asker: &Member,
        member: &Member,
        other: IpAddr,
    ) -> Result<IpAddr, DriveError> {
        let address = self.like(member, other).await?;
        self.check_placed(member, address, &[asker]).await?;
        Ok(address)
    }

    /// The overlay addresses of members that are to reach each other, of the same family as `other`.
    ///
    /// # Errors
    /// As of [`Deployment::address_like`].
    pub(crate) async fn addresses_like(
        &self,
        members: &[&Member],
        other: IpAddr,
    ) -> Result<Vec<IpAddr>, DriveError> {
        let addresses = try_join_all(members.iter().map(|member| self.like(member, other))).await?;
        let placed = members.iter().zip(&addresses);
        try_join_all(placed.map(|(member, address)| self.check_placed(member, *address, &[])))
            .await?;
        for (at, address) in addresses.iter().enumerate() {
            if addresses[..at].contains(address) && self.module.name != INTERNAL {
                let (address, reason) = (address.to_string(), "another member has the same");
                return Err(verbs::bad_output(members[at], Verb::Address, &address, reason));
            }
        }
        Ok(addresses)
    }

    async fn like(&self, member: &Member, other: IpAddr) -> Result<IpAddr, DriveError> {
        let addresses = self.addresses(member).await?;
        let alike = addresses.into_iter().find(|address| address.is_ipv4() == other.is_ipv4());
        alike.ok_or_else(|| {
            verbs::bad_output(member, Verb::Address, "", "no address of the other's family")
        })
    }

    /// Refuses an address that is not the member's own on the overlay, or is one of those that ask for it.
    pub(super) async fn check_placed(
        &self,
        member: &Member,
        address: IpAddr,
        askers: &[&Member],
    ) -> Result<(), DriveError> {
        if self.module.name == INTERNAL {
            return Ok(());
        }
        let theirs = verbs::assigned(member).await?;
        let ours = try_join_all(askers.iter().map(|asker| verbs::assigned(asker))).await?.concat();
        let nets = self.cluster.plan().members();
        misplaced(address, &nets, &theirs, &ours).map_err(|reason| {
            verbs::bad_output(member, Verb::Address, &address.to_string(), &reason)
        })
    }
}

/// Why an address cannot be that of the overlay on the answering member, if it cannot. What is measured
/// there would be no VPN.
fn misplaced(
    address: IpAddr,
    nets: &[MemberNet],
    theirs: &[IpAddr],
    ours: &[IpAddr],
) -> Result<(), String> {
    let under = |net: &&MemberNet| net.local.contains(&address) || net.public.contains(&address);
    if address.is_loopback() || address.is_unspecified() || ours.contains(&address) {
        return Err("this is an address of the machine that asks".into());
    }
    if let Some(net) = nets.iter().find(under) {
        return Err(format!("this is an address of `{}` on the underlay", net.name));
    }
    if !theirs.contains(&address) {
        return Err("the machine has no such address".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::{Plan, Scenario};

    #[test]
    fn only_an_address_on_the_overlay_of_the_answering_member_is_measured() {
        let text = "title = \"t\"\ndescription = \"d\"\n[[site]]\nname = \"alice\"\nnat = \"home\"\n[[site]]\nname = \"bob\"";
        let nets = Plan::new(&Scenario::parse("s", "s.toml", text, &[]).unwrap(), 1).members();
        let parse = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect::<Vec<_>>();
        let ours = parse(&["127.0.0.1", "192.168.1.10", "10.77.0.1"]);
        let theirs = parse(&["127.0.0.1", "5.2.1.10", "10.77.0.2", "10.77.0.1"]);
        let said = |address: &str| misplaced(address.parse().unwrap(), &nets, &theirs, &ours);
        assert_eq!(said("10.77.0.2"), Ok(()));
        for (address, why) in [
            ("127.0.0.1", "of the machine that asks"),
            ("127.9.9.9", "of the machine that asks"),
            ("0.0.0.0", "of the machine that asks"),
            ("::1", "of the machine that asks"),
            ("10.77.0.1", "of the machine that asks"),
            ("5.2.1.10", "of `bob` on the underlay"),
            ("5.1.0.2", "of `alice` on the underlay"),
            ("10.77.0.9", "has no such address"),
        ] {
            let said = said(address).unwrap_err();
            assert!(said.contains(why), "{address}: {said}");
        }
    }
}
