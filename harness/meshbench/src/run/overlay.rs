//! What an overlay is like just before it is measured: its path and its MTU.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::inner_mtu::inner_mtu;
use crate::cluster::Member;
use crate::module::drive::{Deployment, DriveError};
use crate::module::spec::{Module, NatTraversal};
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
