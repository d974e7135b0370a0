//! Results for people to read. Knows `stats` and `results`, nobody else.

pub mod compare;
pub mod survey;
pub mod table;
