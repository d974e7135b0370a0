use std::path::{Path, PathBuf};

use super::event::{Event, EventKind, Listener, ListenerError};
use crate::results::{CellRecord, ResultSet, RunRecord, Store};

/// Writes what a run tells into a result directory: each cell at once, and with it the JUnit report of all cells, so that
/// a killed run has it, too; the tables whenever a job is over and when the run ends.
#[derive(Debug)]
pub struct Keep {
    place: Place,
    /// Those of the run before it was resumed, until its record is told.
    begun: Vec<CellRecord>,
    /// What is known so far, its cells in order, however clusters were done.
    set: Option<ResultSet>,
}

#[derive(Debug)]
enum Place {
    /// A new directory, made when the run begins.
    New(PathBuf),
    /// One that is being written.
    Open(Store),
}

impl Keep {
    /// Keeps a run in a new directory.
    pub fn new(dir: &Path) -> Self {
        Self { place: Place::New(dir.to_owned()), begun: Vec::new(), set: None }
    }

    /// Goes on in a directory, which holds these cells already.
    pub fn resumed(store: Store, cells: Vec<CellRecord>) -> Self {
        Self { place: Place::Open(store), begun: cells, set: None }
    }

    fn note(&mut self, record: &RunRecord) -> Result<(), ListenerError> {
        match &self.place {
            Place::New(dir) => self.place = Place::Open(Store::create(dir, record)?),
            Place::Open(store) => store.write_run(record)?,
        }
        match &mut self.set {
            Some(set) => set.run = record.clone(),
            None => {
                let mut cells = std::mem::take(&mut self.begun);
                cells.sort_by(|a, b| a.key.cmp(&b.key));
                self.set = Some(ResultSet { run: record.clone(), cells });
            }
        }
        Ok(())
    }

    fn take(&mut self, cell: &CellRecord) -> Result<(), ListenerError> {
        let (Place::Open(store), Some(set)) = (&self.place, &mut self.set) else {
            return Err("a cell came before its run began".into());
        };
        store.write_cell(cell)?;
        let at = set.cells.partition_point(|other| other.key < cell.key);
        set.cells.insert(at, cell.clone());
        Ok(store.report(set)?)
    }

    fn export(&self) -> Result<(), ListenerError> {
        match (&self.place, &self.set) {
            (Place::Open(store), Some(set)) => Ok(store.export(set)?),
            _ => Ok(()),
        }
    }
}

impl Listener for Keep {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        match &event.kind {
            EventKind::RunStarted { record, .. } | EventKind::RunNoted { record } => {
                self.note(record)
            }
            EventKind::CellFinished { cell, .. } => self.take(cell),
            EventKind::JobEnded { .. }
            | EventKind::RunFinished { .. }
            | EventKind::RunStopped { .. } => self.export(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::event::Stats;
    use super::*;
    use crate::results::{self, sample};

    fn hear(keep: &mut Keep, kind: EventKind) {
        keep.hear(&Event { at: Duration::ZERO, kind }).unwrap();
    }

    #[test]
    fn a_run_that_is_killed_in_its_middle_has_its_cells_and_junit_and_one_that_is_stopped_tables_too()
     {
        let dir = tempfile::tempdir().unwrap();
        let mut keep = Keep::new(&dir.path().join("run"));
        hear(&mut keep, EventKind::RunStarted { record: Box::new(sample::run()), jobs: 2 });
        let cell = Box::new(sample::cells().remove(0));
        hear(&mut keep, EventKind::CellFinished { index: 0, cell: cell.clone() });
        let set = results::load(&dir.path().join("run")).unwrap();
        assert_eq!(set.cells, [*cell]);
        let junit = std::fs::read_to_string(dir.path().join("run/junit.xml")).unwrap();
        assert!(junit.contains("tests=\"1\""), "{junit}");
        let table = dir.path().join("run/results.csv");
        assert!(!table.exists());
        hear(&mut keep, EventKind::RunStopped { stats: Stats::default() });
        assert!(table.exists());
    }
}
