use std::path::{Path, PathBuf};

use super::event::{Event, EventKind, Listener, ListenerError};
use crate::results::{CellRecord, ResultSet, RunRecord, Store};

/// Writes what a run tells into a result directory: each cell at once, and with it the tables and the JUnit report made
/// of all cells, so that a killed run has them, too.
#[derive(Debug)]
pub struct Keep {
    place: Place,
    run: Option<RunRecord>,
    cells: Vec<CellRecord>,
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
        Self { place: Place::New(dir.to_owned()), run: None, cells: Vec::new() }
    }

    /// Goes on in a directory, which holds these cells already.
    pub fn resumed(store: Store, cells: Vec<CellRecord>) -> Self {
        Self { place: Place::Open(store), run: None, cells }
    }

    fn note(&mut self, record: &RunRecord) -> Result<(), ListenerError> {
        match &self.place {
            Place::New(dir) => self.place = Place::Open(Store::create(dir, record)?),
            Place::Open(store) => store.write_run(record)?,
        }
        self.run = Some(record.clone());
        Ok(())
    }

    fn store(&self) -> Result<&Store, ListenerError> {
        match &self.place {
            Place::Open(store) => Ok(store),
            Place::New(_) => Err("a cell came before its run began".into()),
        }
    }

    fn export(&self) -> Result<(), ListenerError> {
        let Some(run) = &self.run else { return Ok(()) };
        let mut cells = self.cells.clone();
        // In whatever order clusters were done.
        cells.sort_by(|a, b| a.key.cmp(&b.key));
        let set = ResultSet { run: run.clone(), cells };
        Ok(self.store()?.export(&set)?)
    }
}

impl Listener for Keep {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        match &event.kind {
            EventKind::RunStarted { record, .. } | EventKind::RunNoted { record } => {
                self.note(record)
            }
            EventKind::CellFinished { cell, .. } => {
                self.store()?.write_cell(cell)?;
                self.cells.push((**cell).clone());
                self.export()
            }
            EventKind::RunFinished { .. } => self.export(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::results::{self, sample};

    fn hear(keep: &mut Keep, kind: EventKind) {
        keep.hear(&Event { at: Duration::ZERO, kind }).unwrap();
    }

    #[test]
    fn a_run_that_ends_in_its_middle_has_its_cells_tables_and_junit() {
        let dir = tempfile::tempdir().unwrap();
        let mut keep = Keep::new(&dir.path().join("run"));
        hear(&mut keep, EventKind::RunStarted { record: Box::new(sample::run()), jobs: 2 });
        let cell = Box::new(sample::cells().remove(0));
        hear(&mut keep, EventKind::CellFinished { index: 0, cell: cell.clone() });
        drop(keep);
        let set = results::load(&dir.path().join("run")).unwrap();
        assert_eq!(set.cells, [*cell]);
        let junit = std::fs::read_to_string(dir.path().join("run/junit.xml")).unwrap();
        assert!(junit.contains("tests=\"1\""), "{junit}");
    }
}
