//! Guest images, and the providers that make them.
//!
//! An image is a directory with a `guest.json`: a kernel, an initrd and read-only root layers. Whoever
//! made it (Debian packages here, Nix elsewhere), machines boot it alike.

pub(crate) mod cache;
mod command;
pub mod debian;
mod elf;
mod error;
mod initrd;
mod install;
mod kernel_modules;
mod manifest;
mod nar;
mod preparing;
mod qemu;
mod supervisor;
pub mod tools;
mod whole;

pub use elf::{check_program, compiler};
pub use error::GuestError;
pub use install::install_missing;
#[cfg(test)]
pub(crate) use manifest::sample;
pub use manifest::{FORMAT, GuestImage, Manifest, Package, Provider, load};
pub use preparing::{Made, Prepares, Preparing};
pub use qemu::Qemu;

/// What this host's guests are, in Nix's words, such as `x86_64-linux`.
pub fn host_system() -> String {
    format!("{}-linux", std::env::consts::ARCH)
}
