use crate::results::CellRecord;

/// Whether two records may be laid side by side: seconds of one clock are not those of another.
pub(crate) fn comparable(a: &CellRecord, b: &CellRecord) -> bool {
    clock(a) == clock(b)
}

/// The clock of a record, in the word of its file.
pub(crate) fn clock(cell: &CellRecord) -> &'static str {
    cell.clock.word()
}
