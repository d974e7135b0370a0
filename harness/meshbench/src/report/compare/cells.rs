use std::collections::BTreeMap;

use crate::results::{CellRecord, ResultSet};

/// A cell of either side, over all blocks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) scenario: String,
    pub(super) workload: String,
    pub(super) module: String,
}

/// The records of a cell by block, and how many blocks the run was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks<'a> {
    pub(super) asked: u32,
    pub(super) records: BTreeMap<u32, &'a CellRecord>,
}

/// The cells of one side.
pub(super) struct Cells<'a> {
    asked: u32,
    cells: BTreeMap<Cell, BTreeMap<u32, &'a CellRecord>>,
}

impl<'a> Cells<'a> {
    pub(super) fn of(set: &'a ResultSet, keep: impl Fn(&CellRecord) -> bool) -> Self {
        let mut cells: BTreeMap<Cell, BTreeMap<u32, &CellRecord>> = BTreeMap::new();
        for record in set.cells.iter().filter(|record| keep(record)) {
            let key = record.key.clone();
            let cell = Cell { scenario: key.scenario, workload: key.workload, module: key.module };
            cells.entry(cell).or_default().insert(key.block, record);
        }
        Self { asked: set.run.blocks, cells }
    }

    /// The same under another module's name, to stand beside that one's.
    pub(super) fn renamed(self, module: &str) -> Self {
        let rename = |(cell, blocks)| (Cell { module: module.into(), ..cell }, blocks);
        Self { asked: self.asked, cells: self.cells.into_iter().map(rename).collect() }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Cell> {
        self.cells.keys()
    }

    pub(super) fn has(&self, cell: &Cell) -> bool {
        self.cells.contains_key(cell)
    }

    pub(super) fn blocks(&self, cell: &Cell) -> Blocks<'a> {
        let records = self.cells.get(cell).cloned().unwrap_or_default();
        Blocks { asked: self.asked, records }
    }
}
