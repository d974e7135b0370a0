//! Whether what is sent to an overlay address passes the overlay's interface.

use std::net::IpAddr;

use super::Deployment;
use crate::cluster::{MEMBER_CARD, Member};
use crate::module::spec::{INTERNAL, Overlay};

/// Of what must have passed an interface, so much is asked for: what was measured is counted by others, in other
/// seconds.
const SHARE: f64 = 0.9;

/// What a script says where nothing leads to an address.
const NOWHERE: &str = "nowhere";

/// Bytes that the interface of an overlay has carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Carried {
    interface: String,
    /// Its number, which one that is made anew does not have.
    index: u64,
    bytes: u64,
}

/// What the interface towards an address has carried so far: `None` where no interface leads there, the reason where
/// that cannot be read.
pub(crate) type Counted = Result<Option<Carried>, String>;

impl Deployment {
    /// What the interface towards the target has carried so far.
    pub(crate) async fn carried(&self, from: &Member, target: IpAddr) -> Counted {
        let script = format!(
            "route=$(ip -json route get \"$1\" 2>/dev/null) || {{ echo {NOWHERE}; exit; }}
cd /sys/class/net/$(echo \"$route\" | jq -r '.[0].dev') && basename \"$(pwd -P)\" && cat ifindex statistics/?x_bytes"
        );
        let told = from.machine.run(&["sh", "-c", &script, "sh", &target.to_string()]).await;
        parse_carried(&told.map_err(|error| error.to_string())?.text())
    }

    /// Refuses what so many bytes of have not passed the overlay's interface since `before`: it is not the VPN's.
    /// The wire alone has no overlay.
    ///
    /// # Errors
    /// What passed it instead, or that nobody can tell.
    pub(crate) async fn check_carried(
        &self,
        (from, target): (&Member, IpAddr),
        before: Counted,
        least: f64,
    ) -> Result<(), String> {
        if self.module.name == INTERNAL {
            return Ok(());
        }
        let after = self.carried(from, target).await;
        proved(self.module.spec.overlay.as_ref(), before, after, least)
    }
}

/// So many bytes must have gone through the overlay; of an interface that was made meanwhile it is only known that it
/// carried something. Where a module does not say which interface is its own, it is at least not the machine's network
/// card.
fn proved(
    overlay: Option<&Overlay>,
    before: Counted,
    after: Counted,
    least: f64,
) -> Result<(), String> {
    let unread = |why| format!("what the overlay's interface has carried cannot be read: {why}");
    let (before, after) = (before.map_err(unread)?, after.map_err(unread)?);
    let after = after.ok_or("no interface is known to lead to the overlay's address")?;
    let Carried { interface, index, bytes } = &after;
    match overlay {
        Some(overlay) if !overlay.matches(interface) => {
            return Err(format!(
                "{interface} leads to the overlay's address, and not {} as its module.toml says",
                overlay.interface
            ));
        }
        None if [MEMBER_CARD, "lo"].contains(&interface.as_str()) => {
            return Err(format!(
                "{interface}, the machine's own card, leads to the overlay's address, and its module.toml has no [overlay]"
            ));
        }
        _ => {}
    }
    let (moved, least) = match before.filter(|before| before.index == *index) {
        Some(before) => (bytes.saturating_sub(before.bytes), least),
        None => (*bytes, 0.0),
    };
    match moved {
        0 => Err(format!(
            "nothing has passed {interface} meanwhile, the interface that leads to the overlay's address"
        )),
        moved if (moved as f64) < SHARE * least => Err(format!(
            "{moved} bytes have passed {interface} meanwhile, the interface that leads to the overlay's address, and \
             {least:.0} or more were received"
        )),
        _ => Ok(()),
    }
}

/// The name, the number, then the bytes of each direction, a line each.
fn parse_carried(text: &str) -> Counted {
    if text.trim() == NOWHERE {
        return Ok(None);
    }
    let parse = || {
        let mut lines = text.lines();
        let (interface, index) = (lines.next()?.to_owned(), lines.next()?.parse().ok()?);
        let bytes: Vec<u64> = lines.map(|line| line.parse().ok()).collect::<Option<_>>()?;
        (bytes.len() == 2).then(|| Carried { interface, index, bytes: bytes.iter().sum() })
    };
    let shown: String = text.chars().take(200).collect();
    parse().map(Some).ok_or_else(|| format!("the machine said {shown:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_what_the_overlay_did_not_carry_are_refused() {
        let before = parse_carried("wg0\n7\n100\n20\n");
        let known = Carried { interface: "wg0".into(), index: 7, bytes: 120 };
        assert_eq!(before, Ok(Some(known)));
        let overlay = Overlay { interface: "wg*".into(), mtu: 1420 };
        let fine = |before, after: &str, least| {
            proved(Some(&overlay), before, parse_carried(after), least)
        };
        let said = |after: &str, least| fine(before.clone(), after, least).unwrap_err();
        assert_eq!(fine(before.clone(), "wg0\n7\n100\n21\n", 0.0), Ok(()));
        assert_eq!(fine(before.clone(), "wg0\n7\n1100\n20\n", 1000.0), Ok(()));
        // Counted in other seconds.
        assert_eq!(fine(before.clone(), "wg0\n7\n1090\n20\n", 1000.0), Ok(()));
        // Made anew meanwhile, or only then.
        assert_eq!(fine(before.clone(), "wg0\n8\n0\n9\n", 1000.0), Ok(()));
        assert_eq!(fine(parse_carried("nowhere\n"), "wg0\n7\n0\n9\n", 1000.0), Ok(()));
        assert!(said("wg0\n8\n0\n0\n", 0.0).starts_with("nothing has passed wg0"));
        assert!(said("wg0\n7\n100\n20\n", 0.0).starts_with("nothing has passed wg0"));
        // A keepalive proves no gigabyte.
        let keepalive = said("wg0\n7\n132\n20\n", 1e9);
        assert!(keepalive.starts_with("32 bytes have passed wg0"), "{keepalive}");
        assert!(keepalive.ends_with("and 1000000000 or more were received"), "{keepalive}");
        let beside = said("eth0\n2\n900\n900\n", 0.0);
        assert!(beside.starts_with("eth0 leads to the overlay's address, and not wg*"), "{beside}");
        assert!(said("nowhere\n", 0.0).starts_with("no interface is known"));
    }

    #[test]
    fn a_module_that_does_not_say_which_interface_is_its_own_has_neither_the_card_nor_the_loopback()
    {
        let undeclared = |after: &str| proved(None, Ok(None), parse_carried(after), 0.0);
        assert_eq!(undeclared("wg0\n7\n1\n1\n"), Ok(()));
        for interface in ["eth0", "lo"] {
            let own = undeclared(&format!("{interface}\n2\n900\n900\n")).unwrap_err();
            let expected = format!("{interface}, the machine's own card");
            assert!(own.starts_with(&expected) && own.contains("[overlay]"), "{own}");
        }
    }

    #[test]
    fn a_counter_that_cannot_be_read_proves_nothing() {
        let good = || parse_carried("wg0\n7\n100\n20\n");
        for unread in ["", "wg0\nmany\n1\n1\n", "wg0\n7\n1\n"] {
            for (before, after) in
                [(parse_carried(unread), good()), (good(), parse_carried(unread))]
            {
                let said = proved(None, before, after, 0.0).unwrap_err();
                assert!(said.contains("cannot be read: the machine said"), "{unread:?}: {said}");
            }
        }
    }
}
