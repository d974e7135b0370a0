//! Statistics on one number per block. Pure: no I/O, no clock, all randomness from a given seed.

mod power;
mod ranks;
pub(crate) mod rng;
mod sides;
pub mod simulation;
mod summary;
mod tiers;
mod together;
mod verdict;

pub(crate) use power::blocks_needed_of_shares;
pub use power::{MOST_BLOCKS, blocks_needed};
pub use sides::{Effect, Ratio, Sides, ratio_to};
pub use summary::{
    Interval, MIN_INTERVAL_SAMPLES, fairness, mean, median, median_interval, quantile,
};
pub use tiers::{Place, places};
pub use together::{Comparison, Judged, alpha_of_look, next_look, together};
pub use verdict::{DEFAULT_MARGIN, DEFAULT_NOISE_FLOOR, Rules, SIGNIFICANT, Test, Verdict};
