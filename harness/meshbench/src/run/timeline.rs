//! A scenario's events, made to happen while a workload runs.

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::Warning;
use super::event::JobEvents;
use crate::cluster::EventError;
use crate::fabric::{Action, Event};
use crate::module::drive::Deployment;
use crate::results::EventRecord;

/// What has happened, and what could not be made to happen.
#[derive(Debug, Default)]
pub(super) struct Happened {
    pub(super) events: Vec<EventRecord>,
    /// The same as what was done.
    pub(super) actions: Vec<Action>,
    /// The first that could not.
    pub(super) failure: Option<Unhappened>,
}

/// An event that could not be made to happen.
#[derive(Debug)]
pub(super) struct Unhappened {
    /// As scenarios call it.
    pub(super) action: &'static str,
    /// When it was due, in seconds after the workload began.
    pub(super) at: f64,
    pub(super) error: EventError,
}

/// Runs `work` and makes `events` happen at their seconds after its start: all of them, also those that are not due
/// when it ends, since the next workload is to find the network that the file describes, and those after one that could
/// not be made to happen, since they may be what ends an outage. What is due at its start has happened before it starts.
/// What does not concern this module passes, so that all are measured for as long. The work is given what resolves once
/// all has happened.
pub(super) async fn during<T, W: Future<Output = T>>(
    deployment: &Deployment,
    events: Vec<&Event>,
    told: &JobEvents,
    work: impl FnOnce(oneshot::Receiver<()>) -> W,
) -> (T, Happened) {
    let concerns = |action: &Action| deployment.concerns(action);
    play(events, concerns, async |action| deployment.apply(action).await, told, work).await
}

/// As [`during`], on whatever says what concerns it and makes an action happen.
async fn play<T, W: Future<Output = T>>(
    mut events: Vec<&Event>,
    concerns: impl Fn(&Action) -> bool,
    apply: impl AsyncFn(&Action) -> Result<(), EventError>,
    told: &JobEvents,
    work: impl FnOnce(oneshot::Receiver<()>) -> W,
) -> (T, Happened) {
    events.sort_by(|a, b| a.at.total_cmp(&b.at));
    // Both are dropped, never used.
    let (happening, all_happened) = oneshot::channel::<()>();
    let (beginning, begun) = oneshot::channel::<()>();
    let over = RefCell::new(false);
    let happen = async {
        let _happening = happening;
        let mut beginning = Some(beginning);
        let mut start = Instant::now();
        let mut happened = Happened::default();
        for event in events {
            if event.at > 0.0 && beginning.take().is_some() {
                start = Instant::now();
            }
            sleep_until(start + Duration::from_secs_f64(event.at)).await;
            if !concerns(&event.action) {
                continue;
            }
            let late = *over.borrow();
            if let Err(error) = apply(&event.action).await {
                let (action, at) = (event.action.name(), event.at);
                happened.failure.get_or_insert(Unhappened { action, at, error });
                continue;
            }
            let action = event.action.name().to_owned();
            if late {
                let (at, during) = (event.at, event.during.clone());
                told.warn(Warning::TooLate { action: action.clone(), at, during });
            }
            let happened_seconds = belated(event.at, start.elapsed());
            happened.events.push(EventRecord {
                at_seconds: event.at,
                action,
                late,
                happened_seconds,
            });
            told.happened(&event.action);
            happened.actions.push(event.action.clone());
        }
        happened
    };
    let work = async {
        let _ = begun.await;
        let result = work(all_happened).await;
        *over.borrow_mut() = true;
        result
    };
    tokio::join!(work, happen)
}

/// When an event had happened, where that is another time than when it was due. What is due at the start is waited for
/// by the work.
fn belated(due: f64, after: Duration) -> Option<f64> {
    let after = (after.as_secs_f64() * 1e3).round() / 1e3;
    (due > 0.0 && after - due >= BELATED_S).then_some(after)
}

/// What an event may take, in seconds, without that being told.
const BELATED_S: f64 = 0.1;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::cluster::NoMember;
    use crate::run::{self, EventKind, Events, Listener, ListenerError};

    /// What listeners were told.
    #[derive(Debug, Clone, Default)]
    struct Heard(Arc<Mutex<Vec<EventKind>>>);

    impl Listener for Heard {
        fn hear(&mut self, event: &run::Event) -> Result<(), ListenerError> {
            self.0.lock().unwrap().push(event.kind.clone());
            Ok(())
        }
    }

    fn rebind(site: &str, at: f64) -> Event {
        let action = Action::NatRebind { site: site.into() };
        Event { during: "recover".into(), at, action }
    }

    fn reboot(machine: &str, at: f64) -> Event {
        let action = Action::Reboot { machine: machine.into() };
        Event { during: "recover".into(), at, action }
    }

    /// What became of the events, to whom they happened and when, and what was told.
    #[derive(Debug)]
    struct Played<T> {
        result: T,
        happened: Happened,
        applied: Vec<(String, f64)>,
        heard: Vec<EventKind>,
    }

    /// Makes events happen, in time that passes at once. The site `broken` cannot do anything, and the machine
    /// `hub` is not there.
    async fn played<T, W: Future<Output = T>>(
        events: &[Event],
        work: impl FnOnce(oneshot::Receiver<()>) -> W,
    ) -> Played<T> {
        let (heard, start, applied) = (Heard::default(), Instant::now(), RefCell::default());
        let apply = async |action: &Action| {
            let (Action::NatRebind { site: whom } | Action::Reboot { machine: whom }) = action
            else {
                panic!("no event of these tests: {action:?}");
            };
            if whom == "broken" {
                return Err(NoMember { name: whom.clone(), members: Vec::new() }.into());
            }
            let applied: &RefCell<Vec<_>> = &applied;
            applied.borrow_mut().push((whom.clone(), start.elapsed().as_secs_f64().round()));
            Ok(())
        };
        let told = Events::default().with(heard.clone()).of_job(0);
        let concerns = |action: &Action| action.machine() != Some("hub");
        let (result, happened) = play(events.iter().collect(), concerns, apply, &told, work).await;
        let heard = std::mem::take(&mut *heard.0.lock().unwrap());
        Played { result, happened, applied: applied.into_inner(), heard }
    }

    /// Works until the timeline is through; for how many seconds that was.
    async fn until_all(all_happened: oneshot::Receiver<()>) -> f64 {
        let start = Instant::now();
        // Nothing is ever sent: it is the end that counts.
        all_happened.await.unwrap_err();
        start.elapsed().as_secs_f64().round()
    }

    #[tokio::test(start_paused = true)]
    async fn events_happen_in_the_order_of_their_times_and_the_work_hears_that_all_have() {
        let events = [rebind("alice", 30.0), reboot("bob", 10.0), rebind("carol", 20.0)];
        let played = played(&events, until_all).await;
        let expected = [("bob", 10.0), ("carol", 20.0), ("alice", 30.0)];
        assert_eq!(played.applied, expected.map(|(whom, at)| (whom.to_owned(), at)));
        assert_eq!(played.result, 30.0);
        assert!(played.happened.failure.is_none());
        let records = played.happened.events.iter();
        let records: Vec<_> =
            records.map(|it| (it.at_seconds, it.action.as_str(), it.late)).collect();
        assert_eq!(
            records,
            [(10.0, "reboot", false), (20.0, "nat-rebind", false), (30.0, "nat-rebind", false)]
        );
        let told = |event: &Event| EventKind::Happened {
            index: 0,
            action: Box::new(event.action.clone()),
        };
        assert_eq!(played.heard, [&events[1], &events[2], &events[0]].map(told));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_at_the_start_of_the_work_has_happened_before_it_starts() {
        let events = [rebind("bob", 10.0), rebind("alice", 0.0), rebind("broken", 20.0)];
        let started = RefCell::new(None);
        let work = async |all_happened: oneshot::Receiver<()>| {
            *started.borrow_mut() = Some(Instant::now());
            until_all(all_happened).await
        };
        let begun = Instant::now();
        let (played, happened) = play_slowly(&events, work).await;
        assert_eq!(started.borrow().map(|at| (at - begun).as_secs()), Some(7));
        assert_eq!(played, 20.0, "and all else is counted from its start");
        let happened: Vec<_> = happened.events.iter().map(|it| it.happened_seconds).collect();
        assert_eq!(happened, [None, Some(17.0)], "and when it had really happened is told");
    }

    /// Makes events happen of which each takes seven seconds; `broken` cannot.
    async fn play_slowly<T, W: Future<Output = T>>(
        events: &[Event],
        work: impl FnOnce(oneshot::Receiver<()>) -> W,
    ) -> (T, Happened) {
        let apply = async |action: &Action| {
            if matches!(action, Action::NatRebind { site } if site == "broken") {
                return Err(NoMember { name: "broken".into(), members: Vec::new() }.into());
            }
            tokio::time::sleep(Duration::from_secs(7)).await;
            Ok(())
        };
        let told = Events::default().of_job(0);
        play(events.iter().collect(), |_| true, apply, &told, work).await
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_after_the_end_of_the_work_happens_all_the_same_and_is_told_as_too_late() {
        let events = [rebind("alice", 10.0), rebind("bob", 30.0)];
        let work = async |_| tokio::time::sleep(Duration::from_secs(20)).await;
        let played = played(&events, work).await;
        assert_eq!(played.applied.last(), Some(&("bob".to_owned(), 30.0)));
        let late: Vec<_> = played.happened.events.iter().map(|event| event.late).collect();
        assert_eq!(late, [false, true]);
        let (action, during) = ("nat-rebind".to_owned(), "recover".to_owned());
        let warning = Warning::TooLate { action, at: 30.0, during };
        assert_eq!(played.heard[1], EventKind::Warned { warning });
        assert_eq!(played.heard.len(), 3, "{:?}", played.heard);
    }

    #[tokio::test(start_paused = true)]
    async fn after_what_cannot_be_made_to_happen_all_else_does_and_the_first_of_these_is_kept() {
        let events = [
            rebind("alice", 10.0),
            rebind("broken", 20.0),
            rebind("bob", 30.0),
            rebind("broken", 40.0),
        ];
        let played = played(&events, until_all).await;
        assert_eq!(played.result, 40.0);
        let Unhappened { action, at, error } = played.happened.failure.unwrap();
        assert!(matches!(error, EventError::NoMember(_)), "{error:?}");
        assert_eq!((action, at), ("nat-rebind", 20.0));
        assert_eq!(played.applied, [("alice".to_owned(), 10.0), ("bob".to_owned(), 30.0)]);
        assert_eq!((played.happened.events.len(), played.heard.len()), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_to_a_machine_that_is_not_there_happens_to_nobody() {
        let events = [reboot("hub", 3600.0), rebind("hub", 10.0)];
        let played = played(&events, until_all).await;
        assert_eq!(played.result, 3600.0, "all modules are measured for as long");
        assert_eq!(played.applied, [("hub".to_owned(), 10.0)], "a site of that name is no machine");
        assert_eq!((played.happened.events.len(), played.heard.len()), (1, 1));
    }
}
