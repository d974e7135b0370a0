//! Whether files are still what they were when they were made: a crash of the host, a full disk or a slip of the hand
//! leaves them shorter.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::GuestError;

/// Sizes of all files of a directory, by their paths in it.
const SIZES: &str = "sizes.json";

/// Where an EROFS keeps its superblock; in that are the magic number, the size of a block as a power of two, and the
/// number of blocks.
const SUPERBLOCK: u64 = 1024;
const MAGIC: [u8; 4] = 0xe0f5_e1e2_u32.to_le_bytes();
const BLOCK_BITS: usize = 12;
const BLOCKS: usize = 36;

/// Notes the sizes of all files of a directory in it.
pub(super) fn note(dir: &Path) -> Result<(), GuestError> {
    let mut sizes = BTreeMap::new();
    walk(dir, &mut |path, size| {
        sizes.insert(path.strip_prefix(dir).unwrap_or(path).to_owned(), size);
    })?;
    let file = dir.join(SIZES);
    let text = serde_json::to_vec(&sizes)
        .map_err(|error| GuestError::unexpected(file.display().to_string(), error.to_string()))?;
    fs::write(&file, text).map_err(GuestError::file("write", &file))
}

/// What is wrong with a directory whose sizes were noted, in words. One made before they were has nothing to be
/// compared with.
pub(super) fn damage(dir: &Path) -> Option<String> {
    let file = dir.join(SIZES);
    let text = match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("{}: {error}", file.display())),
        Ok(text) => text,
    };
    let Ok(sizes) = serde_json::from_slice::<BTreeMap<PathBuf, u64>>(&text) else {
        return Some(format!("{} is damaged", file.display()));
    };
    sizes.into_iter().find_map(|(name, size)| {
        let path = dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.len() == size => None,
            Ok(found) => Some(format!("{} has {} of {size} bytes", path.display(), found.len())),
            Err(error) => Some(format!("{}: {error}", path.display())),
        }
    })
}

fn walk(dir: &Path, each: &mut impl FnMut(&Path, u64)) -> Result<(), GuestError> {
    let failed = || GuestError::file("read", dir);
    for entry in fs::read_dir(dir).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let found = entry.metadata().map_err(failed())?;
        if found.is_dir() {
            walk(&entry.path(), each)?;
        } else if found.is_file() {
            each(&entry.path(), found.len());
        }
    }
    Ok(())
}

/// Refuses a root layer that is shorter than its file system says.
pub(super) fn check_layer(path: &Path) -> Result<(), GuestError> {
    let file = File::open(path).map_err(GuestError::file("open", path))?;
    let size = file.metadata().map_err(GuestError::file("open", path))?.len();
    let mut head = [0; BLOCKS + 4];
    let subject = || path.display().to_string();
    if file.read_exact_at(&mut head, SUPERBLOCK).is_err() || head[..4] != MAGIC {
        let reason = format!("{size} bytes, which are no EROFS: make the guest anew");
        return Err(GuestError::unexpected(subject(), reason));
    }
    let count = [0, 1, 2, 3].map(|index| head[BLOCKS + index]);
    let needed = u64::from(u32::from_le_bytes(count)) << u32::from(head[BLOCK_BITS]).min(31);
    if size < needed {
        let reason = format!("cut short, {size} of {needed} bytes: make the guest anew");
        return Err(GuestError::unexpected(subject(), reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_became_shorter_or_went_is_told_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        fs::create_dir(place("sub")).unwrap();
        for name in ["layer", "sub/program"] {
            fs::write(place(name), "content").unwrap();
        }
        assert_eq!(damage(dir.path()), None, "nothing was noted");
        note(dir.path()).unwrap();
        assert_eq!(damage(dir.path()), None);
        fs::write(place("sub/program"), "cont").unwrap();
        let said = damage(dir.path()).unwrap();
        assert!(said.ends_with("sub/program has 4 of 7 bytes"), "{said}");
        fs::remove_file(place("sub/program")).unwrap();
        assert!(damage(dir.path()).is_some_and(|said| said.contains("sub/program: ")));
        fs::write(place(SIZES), "{").unwrap();
        assert!(damage(dir.path()).is_some_and(|said| said.ends_with("is damaged")));
    }

    #[test]
    fn a_layer_shorter_than_its_file_system_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("base.erofs");
        let mut image = vec![0; 3 * 4096];
        image[1024..1028].copy_from_slice(&MAGIC);
        image[1024 + BLOCK_BITS] = 12;
        image[1024 + BLOCKS] = 3;
        fs::write(&path, &image).unwrap();
        check_layer(&path).unwrap();
        fs::write(&path, &image[..2 * 4096]).unwrap();
        let said = check_layer(&path).unwrap_err().to_string();
        assert!(said.contains("base.erofs: cut short, 8192 of 12288 bytes"), "{said}");
        for short in [&image[..0], &image[..1030], &[7; 4096]] {
            fs::write(&path, short).unwrap();
            assert!(check_layer(&path).unwrap_err().to_string().contains("are no EROFS"));
        }
    }
}
