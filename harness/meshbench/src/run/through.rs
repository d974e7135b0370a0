//! Whether what was measured has gone through the overlay.

use std::net::IpAddr;

use super::cell::Failure;
use super::work::Deployed;
use super::{Stage, underlay};
use crate::module::drive::Counted;
use crate::results::Family;
use crate::workload::echo_requests;

/// Echo requests that prove where packets go.
const PACKETS: u32 = 5;

/// Refuses what so many bytes of have not passed the overlay's interface since then.
pub(super) async fn proved(
    deployed: &Deployed<'_>,
    stage: Stage,
    (target, before): (IpAddr, Counted),
    least: f64,
) -> Result<(), Failure> {
    let Deployed { deployment, from, .. } = deployed;
    let carried = deployment.check_carried((from, target), before, least).await;
    carried.map_err(|why| Failure::new(stage, Some(&from.net.name), why))
}

/// Proves on a few packets that an overlay over which nothing else is measured carries them, and says which family of
/// the underlay did.
pub(crate) async fn prove_carried(
    deployed: &Deployed<'_>,
    target: IpAddr,
    stage: Stage,
) -> Result<Option<Family>, Failure> {
    let Deployed { deployment, from, .. } = deployed;
    let fabric = deployment.cluster().fabric();
    let on_the_wire = underlay::carried(fabric).await;
    let before = deployment.carried(from, target).await;
    let (count, target_text) = (PACKETS.to_string(), target.to_string());
    let argv = ["ping", "-q", "-n", "-c", &count, "-i", "0.2", "-W", "2", &target_text];
    // Whether they are answered is what was measured before: the counters tell that they were sent.
    let _ = from.machine.run(&argv).await;
    proved(deployed, stage, (target, before), echo_requests(target, PACKETS)).await?;
    Ok(underlay::since(fabric, on_the_wire).await)
}
