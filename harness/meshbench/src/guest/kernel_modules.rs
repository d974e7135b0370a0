use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use super::{GuestError, command};

/// Kernel modules that reach disks, network card and random numbers, and stack the root; `tun` because
/// `/dev/net/tun` exists only once it is loaded, and nothing in the guest loads it on demand. The last reach
/// layers in memory, which sealed machines have instead of disks.
pub(crate) const BOOT: &[&str] = if cfg!(target_arch = "x86_64") {
    &[
        "virtio_blk",
        "virtio_net",
        "virtio_rng",
        "erofs",
        "overlay",
        "tun",
        "libnvdimm",
        "nd_btt",
        "nd_pmem",
        "nfit",
    ]
} else {
    &["virtio_blk", "virtio_net", "virtio_rng", "erofs", "overlay", "tun"]
};

/// Puts the modules `names` and all that they need, uncompressed, into the new directory `to`, with their
/// paths in the guest in `order`. `tree` is the kernel's `/usr/lib/modules/RELEASE`.
pub(crate) fn unpack(tree: &Path, names: &[&str], to: &Path) -> Result<(), GuestError> {
    let read = |name: &str| {
        let path = tree.join(name);
        fs::read_to_string(&path).map_err(GuestError::file("read", &path))
    };
    let paths = closure(&read("modules.dep")?, &read("modules.builtin")?, names)?;
    fs::create_dir(to).map_err(GuestError::file("create", to))?;
    let mut order = String::new();
    for path in paths {
        let name = format!("{}.ko", module_name(&path));
        unpack_one(&tree.join(&path), &to.join(&name))?;
        order.push_str(&format!("/modules/{name}\n"));
    }
    let file = to.join("order");
    fs::write(&file, order).map_err(GuestError::file("write", &file))
}

fn unpack_one(from: &Path, to: &Path) -> Result<(), GuestError> {
    let program = match from.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return fs::copy(from, to).map(drop).map_err(GuestError::file("copy", from)),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return Err(GuestError::unexpected(from.display().to_string(), "unknown compression")),
    };
    let mut unpack = Command::new(program);
    let content = command::output(unpack.args(["-dc", "--"]).arg(from), "")?;
    fs::write(to, content).map_err(GuestError::file("write", to))?;
    // Kernel modules are signed: a torn file would show only when the guest boots.
    File::open(to).and_then(|file| file.sync_data()).map_err(GuestError::file("write", to))
}

/// Paths of the modules `names` and their dependencies, each after what it needs; built-in ones need none.
///
/// `dep` and `builtin` are the files of depmod, see modules.dep(5).
fn closure(dep: &str, builtin: &str, names: &[&str]) -> Result<Vec<String>, GuestError> {
    let needs: BTreeMap<String, (&str, Vec<&str>)> = dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (module_name(path), (path, needs.split_whitespace().collect())))
        .collect();
    let mut paths: Vec<String> = Vec::new();
    for name in names {
        let Some((path, dependencies)) = needs.get(&name.replace('-', "_")) else {
            if builtin.lines().any(|path| module_name(path) == *name) {
                continue;
            }
            let reason = format!("the kernel has no module {name}");
            return Err(GuestError::unexpected("modules.dep", reason));
        };
        // The file lists all dependencies, direct and not, the deepest last.
        for path in dependencies.iter().rev().chain([path]) {
            if !paths.iter().any(|known| known == path) {
                paths.push((*path).to_owned());
            }
        }
    }
    Ok(paths)
}

/// `virtio_rng` for `kernel/drivers/char/hw_random/virtio-rng.ko.xz`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko").map_or(file, |(name, _)| name).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a Debian 6.12 cloud kernel.
    const DEP: &str = "\
kernel/drivers/char/hw_random/virtio-rng.ko.xz:
kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz
kernel/drivers/net/virtio_net.ko.xz: kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz
kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
kernel/net/core/failover.ko.xz:
";
    const BUILTIN: &str = "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio_pci.ko\n";

    #[test]
    fn each_module_comes_once_and_after_what_it_needs() {
        let names = ["virtio_net", "virtio_pci", "virtio_rng", "erofs", "virtio_net"];
        let paths = closure(DEP, BUILTIN, &names).unwrap();
        let names: Vec<String> = paths.iter().map(|path| module_name(path)).collect();
        let expected =
            ["failover", "net_failover", "virtio_net", "virtio_rng", "libcrc32c", "erofs"];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_module_that_the_kernel_lacks_is_named() {
        let message = closure(DEP, BUILTIN, &["overlay"]).unwrap_err().to_string();
        assert!(message.contains("no module overlay"), "{message}");
    }

    #[test]
    fn modules_are_unpacked_with_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("kernel")).unwrap();
        fs::write(tree.join("modules.dep"), "kernel/b.ko: kernel/a.ko\nkernel/a.ko:\n").unwrap();
        fs::write(tree.join("modules.builtin"), "").unwrap();
        for name in ["a", "b"] {
            fs::write(tree.join(format!("kernel/{name}.ko")), name).unwrap();
        }
        let to = dir.path().join("out");
        unpack(&tree, &["b"], &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("order")).unwrap(), "/modules/a.ko\n/modules/b.ko\n");
        assert_eq!(fs::read_to_string(to.join("b.ko")).unwrap(), "b");
    }
}
