//! Modules: the VPNs, each a folder with `module.toml`, `lifecycle` and `nixos.nix`.

pub mod drive;
pub mod spec;
