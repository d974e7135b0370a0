//! Modules: the VPNs, each a folder with `module.toml`, `lifecycle` and `nixos.nix`.

mod describe;
pub mod drive;
mod error;
pub mod fit;
pub mod lifecycle;
pub mod spec;
pub(crate) mod unit;
pub(crate) mod usage;
mod verbs;

pub(crate) use describe::past_the_vpn;
