use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::guest::command;
use crate::guest::{GuestError, tools};

/// Directories of the root that are links into `/usr` in the base: a directory of that name in a layer
/// would hide all of the base's.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64"];

/// What a layer does not need, or must not do at boot.
const UNWANTED: &[&str] = &[
    "etc/init.d",
    "etc/rc2.d",
    "usr/lib/systemd/system-generators",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "var/log",
];

/// Makes an unpacked tree of packages fit to lie over the base.
pub(crate) fn tidy(root: &Path) -> Result<(), GuestError> {
    for name in MERGED {
        let from = root.join(name);
        if from.is_dir() {
            merge(&from, &root.join("usr").join(name))?;
            fs::remove_dir(&from).map_err(GuestError::file("remove", &from))?;
        }
    }
    for name in UNWANTED {
        crate::guest::cache::remove(&root.join(name))?;
    }
    Ok(())
}

/// Moves the content of one directory into another.
fn merge(from: &Path, to: &Path) -> Result<(), GuestError> {
    create_directories(to)?;
    for entry in fs::read_dir(from).map_err(GuestError::file("read", from))? {
        let entry = entry.map_err(GuestError::file("read", from))?;
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(GuestError::file("read", &old))?;
        if kind.is_dir() && new.is_dir() {
            merge(&old, &new)?;
            fs::remove_dir(&old).map_err(GuestError::file("remove", &old))?;
        } else {
            fs::rename(&old, &new).map_err(GuestError::file("move to", &new))?;
        }
    }
    Ok(())
}

/// Copies a program into a tree, executable for all.
pub(crate) fn place(program: &Path, root: &Path, target: &Path) -> Result<(), GuestError> {
    let bytes = fs::read(program).map_err(GuestError::file("read", program))?;
    write(root, target, &bytes, 0o755)
}

/// Writes a file, and the directories above it, into a tree.
pub(crate) fn write(root: &Path, target: &Path, bytes: &[u8], mode: u32) -> Result<(), GuestError> {
    let path = root.join(target);
    path.parent().map_or(Ok(()), create_directories)?;
    fs::write(&path, bytes).map_err(GuestError::file("write", &path))?;
    set_mode(&path, mode)
}

/// Creates a directory and those above it, open to all: the topmost layer that has a directory decides its
/// mode in the guest, so the user's umask must not.
fn create_directories(path: &Path) -> Result<(), GuestError> {
    if path.is_dir() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), create_directories)?;
    fs::create_dir(path).map_err(GuestError::file("create", path))?;
    set_mode(path, 0o755)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), GuestError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(GuestError::file("change the mode of", path))
}

/// File names of the shared libraries in a tree.
pub(crate) fn libraries(root: &Path) -> Result<BTreeSet<String>, GuestError> {
    let mut names = BTreeSet::new();
    let mut directories = vec![root.join("usr/lib")];
    while let Some(directory) = directories.pop() {
        if !directory.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&directory).map_err(GuestError::file("read", &directory))? {
            let entry = entry.map_err(GuestError::file("read", &directory))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            } else if name.contains(".so") {
                names.insert(name);
            }
        }
    }
    Ok(names)
}

/// Images are padded to this many bytes, as a sealed machine has them as memory.
const IMAGE_UNIT: u64 = 2 << 20;

/// Packs a tree, owned by root and without dates: the same content gives the same bytes.
pub(crate) fn pack(root: &Path, image: &Path) -> Result<(), GuestError> {
    // The top directory becomes the guest's `/`.
    set_mode(root, 0o755)?;
    let mut command = tools::command("mkfs.erofs")?;
    command.args([
        "-x-1",
        "-T1",
        "-U00000000-0000-0000-0000-000000000000",
        "--all-root",
        "--quiet",
    ]);
    command::run(command.arg(image).arg(root), "")?;
    let file = fs::OpenOptions::new().write(true).open(image);
    let padded =
        file.and_then(|file| file.set_len(file.metadata()?.len().next_multiple_of(IMAGE_UNIT)));
    padded.map_err(GuestError::file("write", image))
}

#[cfg(test)]
mod tests {
    use nix::sched::{CloneFlags, unshare};
    use nix::sys::stat::{Mode, umask};

    use super::*;

    #[test]
    fn a_tidied_tree_hides_nothing_of_a_merged_base() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["lib/udev/rules.d/9.rules", "usr/lib/udev/rules.d/8.rules", "sbin/vpn"] {
            write(root, Path::new(name), b"", 0o755).unwrap();
        }
        write(root, Path::new("usr/share/man/man8/vpn.8"), b"", 0o644).unwrap();
        tidy(root).unwrap();
        for name in ["usr/lib/udev/rules.d/9.rules", "usr/lib/udev/rules.d/8.rules", "usr/sbin/vpn"]
        {
            assert!(root.join(name).is_file(), "{name}");
        }
        for name in ["lib", "sbin", "usr/share/man"] {
            assert!(!root.join(name).exists(), "{name}");
        }
    }

    #[test]
    fn the_users_umask_does_not_reach_the_guest() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // From here on this thread has a umask of its own: other tests run beside it.
                unshare(CloneFlags::CLONE_FS).unwrap();
                umask(Mode::from_bits_truncate(0o077));
                write(&root, Path::new("usr/lib/vpn/vpnd"), b"", 0o755).unwrap();
            });
        });
        for name in ["usr", "usr/lib", "usr/lib/vpn", "usr/lib/vpn/vpnd"] {
            let mode = fs::metadata(root.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755, "{name}");
        }
    }

    #[test]
    fn libraries_are_found_by_name() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), Path::new("usr/lib/x/libvpn.so.1"), b"", 0o644).unwrap();
        write(dir.path(), Path::new("usr/lib/x/notes"), b"", 0o644).unwrap();
        assert_eq!(libraries(dir.path()).unwrap(), ["libvpn.so.1".to_owned()].into());
    }
}
