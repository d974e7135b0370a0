//! What an overlay is like just before it is measured: its path and its MTU.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::inner_mtu::inner_mtu;
use crate::cluster::{MEMBER_CARD, Member};
use crate::module::drive::{Deployment, DriveError};
use crate::module::spec::{self, Module, NatTraversal};
use crate::results::OverlayPath;

/// How long a VPN that punches holes may take to leave its relay before what it has is measured.
pub(super) const SETTLING: Duration = Duration::from_secs(15);

/// Between two looks at a path that may become direct.
const INTERVAL: Duration = Duration::from_secs(1);

/// Echo requests in that time. Nebula, for one, looks for a better path only once it has carried a thousand
/// packets.
const PACKETS: u32 = 200;

/// What is known about a connected overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overlay {
    pub(crate) path: OverlayPath,
    /// The largest packet that passes whole, in bytes; unknown without an answer.
    pub(crate) inner_mtu: Option<u32>,
}

impl Overlay {
    /// Nothing is known.
    pub(crate) const UNKNOWN: Self = Self { path: OverlayPath::Unknown, inner_mtu: None };
}

/// Probes the way from a member to an overlay address; `known` is what an earlier probe saw. A module that
/// looks for a direct path gets `patience` to find it: who measures while the path changes measures neither.
pub(super) async fn inspect(
    deployment: &Deployment,
    module: &Module,
    from: &Member,
    target: IpAddr,
    known: Option<Overlay>,
    patience: Duration,
) -> Result<Overlay, DriveError> {
    let begun = Instant::now();
    let look = async |known: Option<Overlay>| {
        let inner_mtu = inner_mtu(from, target, known.and_then(|known| known.inner_mtu)).await;
        let told = deployment.path(from, target).await?;
        let overlay = Overlay { path: told.unwrap_or(OverlayPath::Unknown), inner_mtu };
        // Who cannot tell will not tell later.
        Ok::<_, DriveError>((overlay, told.is_some() && may_improve(module, overlay.path)))
    };
    let (mut overlay, mut hopeful) = look(known).await?;
    while hopeful && begun.elapsed() < patience {
        let pause = tokio::time::sleep(INTERVAL);
        let (seen, (), ()) = tokio::join!(look(Some(overlay)), traffic(from, target), pause);
        (overlay, hopeful) = seen?;
    }
    Ok(overlay)
}

/// What a user would send, without which some do not look for a better path.
async fn traffic(from: &Member, target: IpAddr) {
    let pause = INTERVAL.as_secs_f64() / f64::from(PACKETS);
    let (count, pause, end) =
        (PACKETS.to_string(), format!("{pause:.3}"), INTERVAL.as_secs().to_string());
    let argv = ["ping", "-q", "-n", "-c", &count, "-i", &pause, "-w", &end, &target.to_string()];
    // Whether they are answered is for the measurements to say.
    let _ = from.machine.run(&argv).await;
}

fn may_improve(module: &Module, path: OverlayPath) -> bool {
    path != OverlayPath::Direct && module.spec.claims.nat_traversal != NatTraversal::None
}

/// Of what must have passed an interface, so much is asked for: what was measured is counted by others, in other
/// seconds.
const SHARE: f64 = 0.9;

/// Bytes that the interface of an overlay has carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carried {
    interface: String,
    /// Its number, which one that is made anew does not have.
    index: u64,
    bytes: u64,
}

/// What the interface towards the target has carried so far; unknown where the machine cannot tell.
pub(super) async fn carried(from: &Member, target: IpAddr) -> Option<Carried> {
    let script = "cd /sys/class/net/$(ip -json route get \"$1\" | jq -r '.[0].dev') && \
                  basename \"$(pwd -P)\" && cat ifindex statistics/?x_bytes";
    let told = from.machine.run(&["sh", "-c", script, "sh", &target.to_string()]).await.ok()?;
    parse_carried(&told.text())
}

/// Refuses figures of what did not go through the overlay: they are not the VPN's. So many bytes must have; of an
/// interface that was made anew meanwhile it is only known that it carried something. Where a module does not say which
/// interface is its own, it is at least not the machine's network card.
pub(super) fn proved(
    overlay: Option<&spec::Overlay>,
    before: Option<Carried>,
    after: Option<Carried>,
    least: f64,
) -> Result<(), String> {
    let after = after.ok_or("no interface is known to lead to the overlay's address")?;
    let Carried { interface, index, bytes } = &after;
    match overlay {
        Some(overlay) if !overlay.matches(interface) => {
            return Err(format!(
                "{interface} leads to the overlay's address, and not {} as its module.toml says",
                overlay.interface
            ));
        }
        None if interface == MEMBER_CARD => {
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
fn parse_carried(text: &str) -> Option<Carried> {
    let mut lines = text.lines();
    let (interface, index) = (lines.next()?.to_owned(), lines.next()?.parse().ok()?);
    let bytes: Vec<u64> = lines.map(|line| line.parse().ok()).collect::<Option<_>>()?;
    (bytes.len() == 2).then(|| Carried { interface, index, bytes: bytes.iter().sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_what_the_overlay_did_not_carry_are_refused() {
        let before = parse_carried("wg0\n7\n100\n20\n");
        assert_eq!(before, Some(Carried { interface: "wg0".into(), index: 7, bytes: 120 }));
        let overlay = spec::Overlay { interface: "wg*".into(), mtu: 1420 };
        let said = |after: &str, least| {
            proved(Some(&overlay), before.clone(), parse_carried(after), least).unwrap_err()
        };
        let fine = |before, after: &str, least| {
            proved(Some(&overlay), before, parse_carried(after), least)
        };
        assert_eq!(fine(before.clone(), "wg0\n7\n100\n21\n", 0.0), Ok(()));
        assert_eq!(fine(before.clone(), "wg0\n7\n1100\n20\n", 1000.0), Ok(()));
        // Counted in other seconds.
        assert_eq!(fine(before.clone(), "wg0\n7\n1090\n20\n", 1000.0), Ok(()));
        // Made anew meanwhile, or only then.
        assert_eq!(fine(before.clone(), "wg0\n8\n0\n9\n", 1000.0), Ok(()));
        assert_eq!(fine(None, "wg0\n7\n0\n9\n", 1000.0), Ok(()));
        assert!(said("wg0\n8\n0\n0\n", 0.0).starts_with("nothing has passed wg0"));
        assert!(said("wg0\n7\n100\n20\n", 0.0).starts_with("nothing has passed wg0"));
        // A keepalive proves no gigabyte.
        let keepalive = said("wg0\n7\n132\n20\n", 1e9);
        assert!(keepalive.starts_with("32 bytes have passed wg0"), "{keepalive}");
        assert!(keepalive.ends_with("and 1000000000 or more were received"), "{keepalive}");
        let beside = said("eth0\n2\n900\n900\n", 0.0);
        assert!(beside.starts_with("eth0 leads to the overlay's address, and not wg*"), "{beside}");
        let undeclared = |after: &str| proved(None, None, parse_carried(after), 0.0);
        assert_eq!(undeclared("wg0\n7\n1\n1\n"), Ok(()));
        let own = undeclared("eth0\n2\n900\n900\n").unwrap_err();
        assert!(
            own.starts_with("eth0, the machine's own card") && own.contains("[overlay]"),
            "{own}"
        );
        for unknown in ["", "wg0\nmany\n1\n1\n", "wg0\n7\n1\n"] {
            assert!(said(unknown, 0.0).starts_with("no interface is known"), "{unknown:?}");
        }
    }
}
