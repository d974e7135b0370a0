use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::export::{JUNIT, contract_junit};
use super::lock::lock;
use super::{CONTRACT, ContractRecord, StoreError, file, load_contract};

/// A directory that findings of contracts are written into, with a JUnit report of them. It has one writer: it is
/// locked as long as this lives.
#[derive(Debug)]
pub(crate) struct ContractStore {
    dir: PathBuf,
    #[expect(dead_code, reason = "the lock ends with it")]
    lock: File,
}

impl ContractStore {
    /// Opens a directory, which is made if it is missing; with the findings that are there.
    ///
    /// # Errors
    /// Somebody else writes there, it is that of a run, or what is there cannot be read.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<ContractRecord>), StoreError> {
        fs::create_dir_all(dir).map_err(file::io("make the directory", dir))?;
        let lock = lock(dir)?;
        if dir.join(file::RUN).exists() {
            return Err(StoreError::OfRun { path: dir.into() });
        }
        let there = dir.join(CONTRACT).exists();
        let records = if there { load_contract(dir)? } else { Vec::new() };
        Ok((Self { dir: dir.into(), lock }, records))
    }

    /// Writes these findings, in place of all earlier ones.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn save(&self, records: &[ContractRecord]) -> Result<(), StoreError> {
        let unsound = |reason| StoreError::Unsound { what: JUNIT.into(), reason };
        let junit = contract_junit(records).map_err(unsound)?;
        file::write_json(&self.dir.join(CONTRACT), &records)?;
        file::write_file(&self.dir.join(JUNIT), &junit)
    }
}
