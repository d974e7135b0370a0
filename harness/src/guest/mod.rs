//! Guest images, and the providers that make them.
//!
//! An image is a directory with a `guest.json`: a kernel, an initrd and read-only root layers. Whoever
//! made it (Debian packages here, Nix elsewhere), machines boot it alike.

mod cache;
mod command;
pub mod debian;
mod elf;
mod error;
mod initrd;
mod kernel_modules;
mod manifest;
mod nar;
pub mod tools;

pub use cache::free_mib;
pub use elf::check_program;
pub use error::GuestError;
pub use manifest::{FORMAT, GuestImage, Manifest, Package, Provider, load};

/// What this host's guests are, in Nix's words, such as `x86_64-linux`.
pub fn host_system() -> String {
    format!("{}-linux", std::env::consts::ARCH)
}
