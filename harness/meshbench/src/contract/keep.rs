use std::path::{Path, PathBuf};

use crate::results::{self, CONTRACT, ContractRecord, Finding, Promise, StoreError};
use crate::run::{Event, EventKind, Listener, ListenerError};

/// Writes what a contract tells into a directory, each finding at once, so that a killed one has its file and its JUnit
/// report, too. What is there of other modules stays.
#[derive(Debug)]
pub struct KeepContract {
    dir: PathBuf,
    records: Vec<ContractRecord>,
}

impl KeepContract {
    /// Keeps findings in this directory, beside those that are there.
    ///
    /// # Errors
    /// What is there cannot be read.
    pub fn new(dir: &Path) -> Result<Self, StoreError> {
        let there = dir.join(CONTRACT).exists();
        let records = if there { results::load_contract(dir)? } else { Vec::new() };
        Ok(Self { dir: dir.to_owned(), records })
    }

    /// The record of a module, which is the last one from now on.
    fn anew(&mut self, record: ContractRecord) {
        self.records.retain(|other| other.module != record.module);
        self.records.push(record);
    }
}

impl Listener for KeepContract {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        match &event.kind {
            EventKind::JobStarted { job, .. } => {
                self.anew(ContractRecord::of(job.module.as_str(), vec![stopped()]));
            }
            EventKind::PromiseChecked { finding, .. } => {
                let own = self.records.last_mut().ok_or("a finding came before its module")?;
                own.findings.insert(own.findings.len().saturating_sub(1), finding.clone());
            }
            EventKind::ContractChecked { record, .. } => self.anew((**record).clone()),
            _ => return Ok(()),
        }
        Ok(results::save_contract(&self.dir, &self.records)?)
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
    use crate::run::Job;

    #[test]
    fn a_contract_that_is_killed_in_its_middle_has_its_findings_and_junit() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("out");
        let mut keep = KeepContract::new(&place).unwrap();
        let mut hear = |kind| keep.hear(&Event { at: Duration::ZERO, kind }).unwrap();
        let module = || "nebula".to_owned();
        let job = Job { block: 1, scenario: "contract".into(), module: module() };
        hear(EventKind::JobStarted { index: 0, job });
        for kept in [Some(true), Some(false)] {
            let finding = Finding { promise: Promise::ComesUp, kept, seen: "so".into() };
            hear(EventKind::PromiseChecked { module: module(), finding });
        }
        drop(keep);
        let records = results::load_contract(&place).unwrap();
        assert_eq!(records[0].findings.len(), 3);
        assert_eq!(records[0].findings[2], stopped());
        let junit = std::fs::read_to_string(place.join("junit.xml")).unwrap();
        assert!(junit.contains("tests=\"3\"") && junit.contains("failures=\"2\""), "{junit}");
        let mut again = KeepContract::new(&place).unwrap();
        let record = Box::new(ContractRecord::of("tinc", Vec::new()));
        let kind = EventKind::ContractChecked { index: 0, record };
        again.hear(&Event { at: Duration::ZERO, kind }).unwrap();
        assert_eq!(results::load_contract(&place).unwrap().len(), 2, "others stay");
    }
}
