//! A scenario's events, made to happen while a workload runs.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::Warning;
use super::event::JobEvents;
use crate::cluster::EventError;
use crate::fabric::Event;
use crate::module::drive::Deployment;

/// Runs `work` and makes `events` happen at their seconds after its start. Those that are not due
/// when it ends do not happen; one that has begun is finished. What happens to a machine that this
/// module does without, such as a coordinator, happens to nobody. The work is given what resolves once
/// all has happened that will.
pub(super) async fn during<T, W: Future<Output = T>>(
    deployment: &Deployment,
    mut events: Vec<&Event>,
    told: &JobEvents,
    work: impl FnOnce(oneshot::Receiver<()>) -> W,
) -> (T, Result<(), EventError>) {
    let absent = |machine: &str| deployment.cluster().member(machine).is_none();
    events.retain(|event| !event.action.machine().is_some_and(absent));
    events.sort_by(|a, b| a.at.total_cmp(&b.at));
    let start = Instant::now();
    let (working, mut over) = oneshot::channel::<()>();
    let (happening, happened) = oneshot::channel();
    let happen = async {
        // Dropped, never used: also when an event cannot be made to happen.
        let _happening = happening;
        for event in events {
            let due = start + Duration::from_secs_f64(event.at);
            tokio::select! {
                () = sleep_until(due) => deployment.apply(&event.action).await?,
                // The sender is dropped, never used.
                _ = &mut over => {
                    told.warn(Warning::TooLate {
                        action: event.action.name().to_owned(),
                        at: event.at,
                        during: event.during.clone(),
                    });
                    return Ok(());
                }
            }
            told.happened(&event.action);
        }
        Ok(())
    };
    let work = async {
        let result = work(happened).await;
        drop(working);
        result
    };
    tokio::join!(work, happen)
}
