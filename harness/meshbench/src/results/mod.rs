//! What a run leaves behind: stable types and the directory that holds them. Knows no other module.

mod cell;
mod contract;
mod contract_store;
mod export;
mod external;
mod file;
mod link;
mod lock;
mod metric;
pub mod names;
mod noise;
mod packed;
mod read;
mod run;
#[cfg(test)]
pub(crate) mod sample;
mod schema;
mod store;
mod thesis;
mod time;

use crate::name::Name;

pub use cell::{
    After, CellKey, CellRecord, Clock, EventRecord, Family, NatCheck, Outcome, OverlayPath, Sealed,
};
pub use contract::{
    CONTRACT, ContractContents, ContractRecord, Finding, Promise, SealedContract, load_contract,
};
pub(crate) use contract_store::ContractStore;
pub use external::{
    ExternalFigure, ExternalMetric, ExternalNetwork, ExternalRow, ExternalSet, load_external,
    save_external,
};
pub use file::StoreError;
pub use link::{Direction, Impairment, LinkRecord};
pub use metric::{Better, Metric, Unit};
pub(crate) use metric::{FABRIC_BUSY, HOST_BUSY, HOST_STOLEN, MOST_SAMPLES};
pub use noise::{NOISE, NoiseFloor, NoiseRecord, load_noise, save_noise};
pub use packed::{PACKED, Published, load_packed, open, packed_text, save_packed};
pub use read::{ResultSet, load, salvage};
pub use run::{
    Accelerator, BinaryRecord, Environment, GuestRecord, LinkSetting, ModuleRecord, NatRecord,
    OwnWorkload, PackageRecord, RunRecord, ScenarioRecord, Start,
};
pub use schema::schema;
pub use store::Store;
pub use thesis::import_thesis;
pub use time::{rfc3339, run_id};

/// Version of the result format. Raised when a reader of the old format would misread the new one.
pub const FORMAT: u32 = 1;

/// The pseudo-module without a VPN, measured in every block: its cells are the wire itself.
pub const INTERNAL: &str = "internal";

/// As many blocks may be asked for: the last of them adds nothing any more.
pub const MOST_BLOCKS: u32 = 1000;

/// No figure is larger, whatever its unit.
const LARGEST: f64 = 1e18;

/// Checks the block of a record, or how many there shall be. The error says what is wrong.
fn check_blocks(blocks: u32) -> Result<(), String> {
    if (1..=MOST_BLOCKS).contains(&blocks) {
        return Ok(());
    }
    Err(format!("blocks are counted from 1 to {MOST_BLOCKS}, and not {blocks}"))
}

/// Checks a figure. The error says what is wrong.
fn check_number(number: f64) -> Result<(), String> {
    // JSON has no word for what is not finite: it would be written as null and never read again.
    if number.is_finite() && number.abs() <= LARGEST {
        return Ok(());
    }
    Err(format!("{number} is not a number of anything that can be measured"))
}

/// Checks a name that becomes part of a file name. The error says what is wrong.
fn check_name(name: &str) -> Result<(), String> {
    Name::parse(name).map(drop).map_err(|error| error.to_string())
}

fn check_format(format: u32) -> Result<(), String> {
    if format == FORMAT {
        Ok(())
    } else {
        Err(format!("its format is {format}, this program reads format {FORMAT}"))
    }
}
