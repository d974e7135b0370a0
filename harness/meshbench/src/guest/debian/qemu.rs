//! One QEMU for everyone: unpacked from the guests' release, whatever the host runs.

use std::env;
use std::path::Path;

use super::base::{Base, SUITE};
use super::{apt, read};
use crate::guest::cache::{Cache, Key, Want};
use crate::guest::{GuestError, Preparing, Qemu};

/// QEMU, its firmware, and the C library with the loader that starts it.
const PACKAGES: &[&str] = &["qemu-system-x86", "qemu-system-data", "seabios", "ipxe-qemu", "libc6"];

const SPACE_MIB: u64 = 300;

/// The release that the guests' archive brings, and the project's figures are of. An archive that has moved on brings
/// another one, which whoever repeats a figure has to know: see [`Qemu::is_pinned`].
const PINNED: &str = "10.0.13";

impl Qemu {
    /// Whether it is of the release that the project's figures are of.
    pub fn is_pinned(&self) -> bool {
        self.release() == PINNED
    }

    /// The release that this version of the library is pinned to.
    pub fn pinned() -> &'static str {
        PINNED
    }
}

/// The pinned QEMU, unpacked if it is not there.
pub(crate) fn get(
    cache: &Cache,
    base: &Base,
    refresh: bool,
    tell: &dyn Fn(&Preparing),
) -> Result<Qemu, GuestError> {
    let key = Key::of([SUITE, env::consts::ARCH].into_iter().chain(PACKAGES.iter().copied()));
    let words = "the pinned QEMU from Debian packages (half a minute)";
    let want = Want { refresh, ..Want::once("qemu", words, &key, SPACE_MIB) };
    let dir = cache.get(&want, tell, |dir| {
        let (root, scratch) = (dir.join("root"), dir.join("scratch"));
        let packages: Vec<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
        let installed = apt::install_whole(base, &packages, &scratch, &root)?;
        let list: String =
            installed.iter().map(|p| format!("{}\t{}\n", p.name, p.version)).collect();
        let file = dir.join("packages");
        std::fs::write(&file, list).map_err(GuestError::file("write", &file))?;
        crate::guest::cache::remove(&scratch)?;
        Qemu::new(command(&root)).map(drop)
    })?;
    let packages = read(&dir.join("packages"))?;
    tracing::debug!(packages, "the pinned QEMU");
    Qemu::new(command(&dir.join("root")))
}

/// Its own loader and libraries start it: those of the host may be older.
fn command(root: &Path) -> Vec<String> {
    let place = |path: &str| root.join(path).to_string_lossy().into_owned();
    let libraries = place("usr/lib/x86_64-linux-gnu");
    vec![
        format!("{libraries}/ld-linux-x86-64.so.2"),
        "--library-path".to_owned(),
        libraries,
        place("usr/bin/qemu-system-x86_64"),
        "-L".to_owned(),
        place("usr/share/qemu"),
        "-L".to_owned(),
        place("usr/share/seabios"),
    ]
}
