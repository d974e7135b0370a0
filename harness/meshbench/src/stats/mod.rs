//! Statistics on one number per block. Pure: no I/O, no clock, all randomness from a given seed.

mod bootstrap;
mod compare;
pub(crate) mod rng;
mod summary;

pub use bootstrap::{Ratio, bootstrap_median, ratio_of_medians, ratio_to};
pub use compare::{
    Comparison, DEFAULT_NOISE_FLOOR, PAIRED_FROM, SIGNIFICANT, Test, Verdict, compare,
    compare_groups, holm, mann_whitney, noise_floor, sign_flip,
};
pub use summary::{Interval, MIN_INTERVAL_SAMPLES, median, order_statistic_interval, quantile};
