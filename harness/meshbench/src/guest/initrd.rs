//! The initrd: the agent as `/init`, and the kernel modules that reach the root disks.

use std::fs;
use std::path::Path;

use super::GuestError;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DATA: u32 = 0o100_644;

/// Writes the initrd of `agent` and the kernel modules in `modules`, a directory with a file `order`.
pub(crate) fn write(path: &Path, agent: &[u8], modules: &Path) -> Result<(), GuestError> {
    let mut archive = Archive::default();
    for name in ["dev", "proc", "sys", "modules"] {
        archive.add(name, DIRECTORY, &[]);
    }
    archive.add("init", PROGRAM, agent);
    let order_file = modules.join("order");
    let order = fs::read_to_string(&order_file).map_err(GuestError::file("read", &order_file))?;
    archive.add("modules/order", DATA, order.as_bytes());
    for name in order.lines().filter_map(|line| line.strip_prefix("/modules/")) {
        let file = modules.join(name);
        let content = fs::read(&file).map_err(GuestError::file("read", &file))?;
        archive.add(&format!("modules/{name}"), DATA, &content);
    }
    fs::write(path, archive.finish()).map_err(GuestError::file("write", path))
}

/// A cpio archive of the kind "newc": <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: usize,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let (inode, size, name_size) = (self.entries, content.len(), name.len() + 1);
        // Magic; inode, mode, uid, gid, links, mtime, size, device numbers (4), name size, checksum.
        let header = format!(
            "070701{inode:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{size:08x}\
             {:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}",
            0, 0, 0, 0, 0, 0, 0, 0
        );
        self.bytes.extend(header.bytes());
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, modes and contents as a reader of the format finds them.
    fn entries(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let total = archive.len();
        let mut found = Vec::new();
        loop {
            let field = |index: usize| {
                let digits = std::str::from_utf8(&archive[6 + 8 * index..14 + 8 * index]).unwrap();
                u32::from_str_radix(digits, 16).unwrap()
            };
            assert_eq!(&archive[..6], b"070701");
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(archive[110..110 + name_size - 1].to_vec()).unwrap();
            let start = (110 + name_size).next_multiple_of(4);
            found.push((name.clone(), mode, archive[start..start + size].to_vec()));
            if name == "TRAILER!!!" {
                return found;
            }
            archive = &archive[(start + size).next_multiple_of(4)..];
            assert!(archive.len() < total);
        }
    }

    #[test]
    fn the_archive_holds_agent_and_modules_in_order() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("order"), "/modules/b.ko\n/modules/a.ko\n").unwrap();
        fs::write(dir.path().join("a.ko"), "first").unwrap();
        fs::write(dir.path().join("b.ko"), "second").unwrap();
        let path = dir.path().join("initrd");
        write(&path, b"program", dir.path()).unwrap();
        let entries = entries(&fs::read(&path).unwrap());
        let names: Vec<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        let directories = ["dev", "proc", "sys", "modules"];
        let files = ["init", "modules/order", "modules/b.ko", "modules/a.ko", "TRAILER!!!"];
        assert_eq!(names, [&directories[..], &files[..]].concat());
        assert_eq!(entries[4], ("init".to_owned(), PROGRAM, b"program".to_vec()));
        assert_eq!(entries[6].2, b"second");
    }

    #[test]
    fn a_module_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("order"), "/modules/gone.ko\n").unwrap();
        let message = write(&dir.path().join("initrd"), b"", dir.path()).unwrap_err().to_string();
        assert!(message.contains("gone.ko"), "{message}");
    }
}
