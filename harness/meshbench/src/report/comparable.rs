use crate::results::CellRecord;

/// Whether two records may be laid side by side: seconds of one clock are not those of another.
pub(crate) fn comparable(a: &CellRecord, b: &CellRecord) -> bool {
    clock(a) == clock(b)
}

/// Whether two hashes tell that things are of other contents. What was not recorded is no difference.
pub(crate) fn differ(here: Option<&String>, there: Option<&String>) -> bool {
    matches!((here, there), (Some(here), Some(there)) if here != there)
}

/// The clock of a record, in the word of its file.
pub(crate) fn clock(cell: &CellRecord) -> &'static str {
    cell.clock.word()
}
