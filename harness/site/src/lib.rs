//! The leaderboard: result sets in, a static site out.
//!
//! [`load()`] reads whatever results there are and tells what it could not read; [`Site`] makes boards of them, one for
//! each testbed, and writes the pages. Everything is computed here; the script of the pages only chooses and sorts.

pub mod board;
mod charts;
mod claims;
mod data;
mod downloads;
mod error;
pub mod load;
mod pages;
pub mod questions;
pub mod rank;
pub mod score;
pub mod serve;
pub mod testbed;
mod words;
mod write;

pub use error::WriteError;
pub use load::{Loaded, load};
pub use write::{Known, Site};
