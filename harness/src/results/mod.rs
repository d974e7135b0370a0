//! What a run leaves behind: stable types and the directory that holds them. Knows no other module.

mod cell;
mod contract;
pub mod exit;
mod export;
mod read;
mod run;
#[cfg(test)]
pub(crate) mod sample;
mod schema;
mod store;
mod time;

pub use cell::{
    Better, CellKey, CellRecord, Direction, Family, LinkRecord, Metric, NatCheck, Outcome, Path,
    Unit,
};
pub use contract::{CONTRACT, ContractRecord, Finding, load_contract};
pub use read::{ResultSet, load};
pub use run::{
    Accelerator, BinaryRecord, Environment, GuestRecord, Impairment, LinkSetting, ModuleRecord,
    NatRecord, PackageRecord, RunRecord, ScenarioRecord, Start,
};
pub use schema::schema;
pub use store::{Store, StoreError};
pub use time::rfc3339;

/// Version of the result format. Raised when a reader of the old format would misread the new one.
pub const FORMAT: u32 = 1;

/// The module whose cells are the wire without a VPN.
pub const INTERNAL: &str = "internal";

/// Checks a name that becomes part of a file name: `a-z`, `0-9` and `-`, beginning with a letter or
/// digit, at most 64 bytes. The error says what is wrong.
pub fn check_name(name: &str) -> Result<(), String> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let sound = name.len() <= 64
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || byte == b'-');
    if sound {
        Ok(())
    } else {
        Err(format!("the name {name:?} is not 1 to 64 of a-z, 0-9 and -, or begins with -"))
    }
}

fn check_format(format: u32) -> Result<(), String> {
    if format == FORMAT {
        Ok(())
    } else {
        Err(format!("its format is {format}, this program reads format {FORMAT}"))
    }
}
