use crate::machine::MachineError;
use crate::results::{Finding, Promise};
use crate::run::{JobEvents, Stage};

/// What has been found of a module's promises so far, each told at once.
pub(super) struct Findings<'a> {
    pub(super) events: &'a JobEvents,
    pub(super) found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(events: &'a JobEvents) -> Self {
        Self { events, found: Vec::new() }
    }

    /// Tells that it is being checked.
    pub(super) fn begin(&self, promise: Promise) {
        self.events.stage(Stage::Promise(promise));
    }

    pub(super) fn note(&mut self, promise: Promise, kept: Option<bool>, seen: impl ToString) {
        let finding = Finding::new(promise, kept, seen);
        self.events.promise(finding.clone());
        self.found.push(finding);
    }

    /// All there are. A list without any would read as if every promise was kept.
    pub(super) fn all(mut self) -> Vec<Finding> {
        if self.found.is_empty() {
            self.note(Promise::CanBeDriven, Some(false), "nothing of it was checked");
        }
        self.found
    }

    /// A promise about reaching somebody through the overlay: who answers beside it breaks it.
    pub(super) fn through(
        &mut self,
        promise: Promise,
        reached: Result<bool, MachineError>,
        carried: Result<(), String>,
        seen: impl ToString,
    ) {
        match (reached, carried) {
            (Ok(true), Err(beside)) => {
                self.note(promise, Some(false), format!("{}: {beside}", seen.to_string()));
            }
            (reached, _) => self.reached(promise, reached, seen),
        }
    }

    /// A promise about reaching somebody. What could not be tried was not kept.
    pub(super) fn reached(
        &mut self,
        promise: Promise,
        kept: Result<bool, MachineError>,
        seen: impl ToString,
    ) {
        match kept {
            Ok(kept) => self.note(promise, Some(kept), seen),
            Err(error) => self.note(promise, Some(false), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Events;

    fn unable() -> MachineError {
        let (machine, stage) = ("alice".to_owned(), "waiting".to_owned());
        MachineError::Agent { machine, stage, reason: "EPERM".into() }
    }

    #[test]
    fn an_answer_beside_the_overlay_keeps_no_promise() {
        let beside = || Err("lo leads there".to_owned());
        for (reached, carried, kept) in [
            (Ok(true), Ok(()), true),
            (Ok(true), beside(), false),
            (Ok(false), beside(), false),
            (Err(unable()), Ok(()), false),
        ] {
            let events = Events::default().of_job(0);
            let mut findings = Findings::new(&events);
            findings.through(Promise::WorksBothWays, reached, carried, "10.77.0.1");
            assert_eq!(findings.found[0].kept, Some(kept), "{:?}", findings.found);
        }
    }

    #[test]
    fn a_contract_of_which_nothing_was_checked_is_not_kept() {
        let events = Events::default();
        let found = Findings::new(&events.of_job(0)).all();
        assert_eq!(found.iter().map(|finding| finding.kept).collect::<Vec<_>>(), [Some(false)]);
        assert_eq!(events.stats().broken, 1);
    }
}
