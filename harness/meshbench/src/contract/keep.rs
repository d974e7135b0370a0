use std::collections::BTreeMap;
use std::path::Path;

use crate::results::{ContractRecord, ContractStore, Finding, Promise, StoreError};
use crate::run::{Event, EventKind, Listener, ListenerError};

/// Writes what a contract tells into a directory, each finding at once, so that a killed one has its file and its JUnit
/// report, too. What is there of other modules stays, and what is there of this one until it is checked anew to its
/// end.
#[derive(Debug)]
pub struct KeepContract {
    store: ContractStore,
    records: Vec<ContractRecord>,
    /// By their jobs, the modules of which no record stood when they were begun.
    begun: BTreeMap<usize, String>,
}

impl KeepContract {
    /// Keeps findings in this directory, beside those that are there. Nobody else may write there meanwhile.
    ///
    /// # Errors
    /// Somebody else writes there, it is the directory of a run, or what is there cannot be read.
    pub fn new(dir: &Path) -> Result<Self, StoreError> {
        let (store, records) = ContractStore::open(dir)?;
        Ok(Self { store, records, begun: BTreeMap::new() })
    }

    fn of(&mut self, module: &str) -> Option<&mut ContractRecord> {
        self.records.iter_mut().find(|record| record.module == module)
    }

    /// Takes note of a module that is begun; says whether there is anything to write.
    fn begin(&mut self, index: usize, module: &str) -> bool {
        if self.of(module).is_some() {
            return false;
        }
        self.begun.insert(index, module.to_owned());
        self.records.push(ContractRecord::of(module, vec![stopped()]));
        true
    }

    /// Adds a finding of a module that was begun here.
    fn add(&mut self, index: usize, finding: &Finding) -> bool {
        let Some(module) = self.begun.get(&index).cloned() else { return false };
        let Some(record) = self.of(&module) else { return false };
        let end = record.findings.len().saturating_sub(1);
        record.findings.insert(end, finding.clone());
        true
    }

    /// Keeps a whole record, in place of the one that stood.
    fn finish(&mut self, index: usize, record: &ContractRecord) -> bool {
        self.begun.remove(&index);
        match self.of(&record.module) {
            Some(stood) => *stood = record.clone(),
            None => self.records.push(record.clone()),
        }
        true
    }
}

impl Listener for KeepContract {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        let is_new = match &event.kind {
            EventKind::JobStarted { index, job } => self.begin(*index, &job.module),
            EventKind::PromiseChecked { index, finding } => self.add(*index, finding),
            EventKind::ContractChecked { index, record } => self.finish(*index, record),
            _ => false,
        };
        if is_new { Ok(self.store.save(&self.records)?) } else { Ok(()) }
    }
}

/// What stays the last finding of a contract that is killed in its middle: what was found until then would read as all.
fn stopped() -> Finding {
    let (promise, seen) = (Promise::IsCheckedToItsEnd, "it was stopped before".into());
    Finding { promise, kept: Some(false), seen }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::results::{self, Store, sample};
    use crate::run::Job;

    fn hear(keep: &mut KeepContract, kind: EventKind) {
        keep.hear(&Event { at: Duration::ZERO, kind }).unwrap();
    }

    fn begin(keep: &mut KeepContract, index: usize, module: &str) {
        let job = Job { block: 1, scenario: "contract".into(), module: module.into() };
        hear(keep, EventKind::JobStarted { index, job });
    }

    fn find(keep: &mut KeepContract, index: usize, kept: Option<bool>) {
        let finding = Finding { promise: Promise::ComesUp, kept, seen: "so".into() };
        hear(keep, EventKind::PromiseChecked { index, finding });
    }

    fn finish(keep: &mut KeepContract, index: usize, record: ContractRecord) {
        hear(keep, EventKind::ContractChecked { index, record: Box::new(record) });
    }

    #[test]
    fn a_contract_that_is_killed_in_its_middle_has_its_findings_and_junit() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("out");
        let mut keep = KeepContract::new(&place).unwrap();
        begin(&mut keep, 0, "nebula");
        for kept in [Some(true), Some(false)] {
            find(&mut keep, 0, kept);
        }
        drop(keep);
        let records = results::load_contract(&place).unwrap();
        assert_eq!(records[0].findings.len(), 3);
        assert_eq!(records[0].findings[2], stopped());
        let junit = std::fs::read_to_string(place.join("junit.xml")).unwrap();
        assert!(junit.contains("tests=\"3\"") && junit.contains("failures=\"2\""), "{junit}");
        let mut again = KeepContract::new(&place).unwrap();
        finish(&mut again, 0, ContractRecord::of("tinc", Vec::new()));
        assert_eq!(results::load_contract(&place).unwrap().len(), 2, "others stay");
    }

    #[test]
    fn a_record_stands_until_its_module_is_checked_anew_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut keep = KeepContract::new(dir.path()).unwrap();
        let ok = Finding { promise: Promise::ComesUp, kept: Some(true), seen: "1 ms".into() };
        let whole = ContractRecord::of("nebula", vec![ok]);
        finish(&mut keep, 0, whole.clone());
        drop(keep);
        let mut keep = KeepContract::new(dir.path()).unwrap();
        begin(&mut keep, 0, "nebula");
        find(&mut keep, 0, Some(false));
        assert_eq!(results::load_contract(dir.path()).unwrap(), [whole]);
        let other = ContractRecord::of("nebula", vec![stopped()]);
        finish(&mut keep, 0, other.clone());
        assert_eq!(results::load_contract(dir.path()).unwrap(), [other]);
    }

    #[test]
    fn findings_of_modules_side_by_side_are_each_ones_own() {
        let dir = tempfile::tempdir().unwrap();
        let mut keep = KeepContract::new(dir.path()).unwrap();
        begin(&mut keep, 0, "nebula");
        begin(&mut keep, 1, "tinc");
        find(&mut keep, 0, Some(true));
        find(&mut keep, 1, Some(false));
        let kept = |at: usize| {
            let record = results::load_contract(dir.path()).unwrap().remove(at);
            (record.module, record.findings[0].kept)
        };
        assert_eq!(kept(0), ("nebula".into(), Some(true)));
        assert_eq!(kept(1), ("tinc".into(), Some(false)));
    }

    #[test]
    fn a_directory_of_findings_has_one_writer() {
        let dir = tempfile::tempdir().unwrap();
        let keep = KeepContract::new(dir.path()).unwrap();
        let busy = KeepContract::new(dir.path()).unwrap_err();
        assert!(matches!(busy, StoreError::Busy { .. }), "{busy}");
        drop(keep);
        KeepContract::new(dir.path()).unwrap();
    }

    #[test]
    fn findings_do_not_replace_the_report_of_a_run() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::create(dir.path(), &sample::run()).unwrap());
        let refused = KeepContract::new(dir.path()).unwrap_err();
        assert!(matches!(refused, StoreError::OfRun { .. }), "{refused}");
        assert!(refused.to_string().contains("choose another directory"), "{refused}");
    }
}
