//! Results for people to read. Knows `stats` and `results`, nobody else.

pub mod compare;
mod metric;
pub mod survey;
pub mod table;
