//! A scenario's events, made to happen while a workload runs.

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::Warning;
use super::event::JobEvents;
use crate::cluster::EventError;
use crate::fabric::Event;
use crate::module::drive::Deployment;
use crate::results::EventRecord;

/// What has happened, and why no more did if something could not be made to happen.
#[derive(Debug, Default)]
pub(super) struct Happened {
    pub(super) events: Vec<EventRecord>,
    pub(super) failure: Option<EventError>,
}

/// Runs `work` and makes `events` happen at their seconds after its start: all of them, also those that are not due
/// when it ends, since the next workload is to find the network that the file describes. What happens to a machine
/// that this module does without, such as a coordinator, happens to nobody. The work is given what resolves once all
/// has happened.
pub(super) async fn during<T, W: Future<Output = T>>(
    deployment: &Deployment,
    mut events: Vec<&Event>,
    told: &JobEvents,
    work: impl FnOnce(oneshot::Receiver<()>) -> W,
) -> (T, Happened) {
    let absent = |machine: &str| deployment.cluster().member(machine).is_none();
    events.retain(|event| !event.action.machine().is_some_and(absent));
    events.sort_by(|a, b| a.at.total_cmp(&b.at));
    let start = Instant::now();
    let (happening, all_happened) = oneshot::channel();
    let over = RefCell::new(false);
    let happen = async {
        // Dropped, never used: also when an event cannot be made to happen.
        let _happening: oneshot::Sender<()> = happening;
        let mut happened = Happened::default();
        for event in events {
            sleep_until(start + Duration::from_secs_f64(event.at)).await;
            let late = *over.borrow();
            if let Err(error) = deployment.apply(&event.action).await {
                happened.failure = Some(error);
                break;
            }
            let action = event.action.name().to_owned();
            if late {
                let (at, during) = (event.at, event.during.clone());
                told.warn(Warning::TooLate { action: action.clone(), at, during });
            }
            happened.events.push(EventRecord { at_seconds: event.at, action, late });
            told.happened(&event.action);
        }
        happened
    };
    let work = async {
        let result = work(all_happened).await;
        *over.borrow_mut() = true;
        result
    };
    tokio::join!(work, happen)
}
