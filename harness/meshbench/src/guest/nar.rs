use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use nix_nar::Encoder;
use sha2::{Digest, Sha256};

use super::GuestError;
use super::cache::link_or_copy;

/// NAR hash of a directory with `kernel`, `initrd` and the layers as `0.erofs`, `1.erofs`, …
///
/// The directory is made of hard links in `scratch`, which must be on the files' file system to be cheap.
pub(crate) fn of_image(
    scratch: &Path,
    kernel: &Path,
    initrd: &Path,
    layers: &[PathBuf],
) -> Result<String, GuestError> {
    sweep(scratch);
    let dir = tempfile::Builder::new().prefix(HASHED).tempdir_in(scratch);
    let dir = dir.map_err(GuestError::file("write in", scratch))?;
    // The kernel drops the lock of a process that dies.
    let lock = File::open(dir.path()).and_then(|lock| lock.lock().map(|()| lock));
    let _lock = lock.map_err(GuestError::file("lock", dir.path()))?;
    link_or_copy(kernel, &dir.path().join("kernel"))?;
    link_or_copy(initrd, &dir.path().join("initrd"))?;
    for (index, layer) in layers.iter().enumerate() {
        link_or_copy(layer, &dir.path().join(format!("{index}.erofs")))?;
    }
    let hash = of_path(dir.path())?;
    // A hard link that cannot be removed would only waste a name; say so all the same.
    let path = dir.path().to_owned();
    dir.close().map_err(GuestError::file("remove", &path))?;
    Ok(hash)
}

/// How the name of a directory begins that is hashed.
const HASHED: &str = ".hashed-";

/// Removes what a process left that was killed while it hashed. One that is empty may be somebody's who has not locked it
/// yet, and wastes nothing.
fn sweep(scratch: &Path) {
    for entry in fs::read_dir(scratch).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_hashed = entry.file_name().as_encoded_bytes().starts_with(HASHED.as_bytes());
        let lock = File::open(&path).ok().filter(|dir| is_hashed && dir.try_lock().is_ok());
        if lock.is_some() && fs::read_dir(&path).is_ok_and(|mut found| found.next().is_some()) {
            // Another one may be at it.
            let _ = fs::remove_dir_all(&path);
        }
    }
}

/// NAR hash of a file or directory, as `nix hash path` prints it.
pub(crate) fn of_path(path: &Path) -> Result<String, GuestError> {
    Ok(format!("sha256-{}", BASE64.encode(&digest(path)?)))
}

fn digest(path: &Path) -> Result<[u8; 32], GuestError> {
    // The encoder reports a missing path as a malformed archive.
    fs::symlink_metadata(path).map_err(GuestError::file("read", path))?;
    let mut encoder = Encoder::new(path)
        .map_err(|error| GuestError::unexpected(path.display().to_string(), error.to_string()))?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match encoder.read(&mut chunk).map_err(GuestError::file("read", path))? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(&chunk[..length]),
        }
    }
}

/// Whether `text` is a NAR hash: `sha256-` and 32 bytes in padded base64.
pub(crate) fn is_hash(text: &str) -> bool {
    let digits = text.strip_prefix("sha256-").map(str::as_bytes);
    digits.and_then(|digits| BASE64.decode(digits).ok()).is_some_and(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_a_dead_process_had_begun_to_hash_goes_with_the_next_hash() {
        let dir = tempfile::tempdir().unwrap();
        let [dead, living, empty] =
            ["dead", "living", "empty"].map(|it| dir.path().join(format!("{HASHED}{it}")));
        for place in [&dead, &living, &empty] {
            fs::create_dir(place).unwrap();
        }
        for place in [&dead, &living] {
            fs::write(place.join("kernel"), "").unwrap();
        }
        let lock = File::open(&living).unwrap();
        lock.lock().unwrap();
        for name in ["kernel", "initrd"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let file = |name: &str| dir.path().join(name);
        let hash = of_image(dir.path(), &file("kernel"), &file("initrd"), &[]).unwrap();
        assert!(is_hash(&hash) && !dead.exists() && living.exists() && empty.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn the_hash_of_a_file_is_that_of_its_archive() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "hello").unwrap();
        let archive: Vec<u8> = ["nix-archive-1", "(", "type", "regular", "contents", "hello", ")"]
            .iter()
            .flat_map(|word| {
                let mut bytes = (word.len() as u64).to_le_bytes().to_vec();
                bytes.extend(word.as_bytes());
                bytes.resize(bytes.len().next_multiple_of(8), 0);
                bytes
            })
            .collect();
        let expected: [u8; 32] = Sha256::digest(&archive).into();
        assert_eq!(digest(&file).unwrap(), expected);
    }

    #[test]
    fn hashes_are_those_of_nix_hash_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("nested")).unwrap();
        fs::write(dir.path().join("nested/file"), vec![7; 100_001]).unwrap();
        std::os::unix::fs::symlink("nested/file", dir.path().join("link")).unwrap();
        let mut nix = std::process::Command::new("nix");
        nix.args(["--extra-experimental-features", "nix-command", "hash", "path"]).arg(dir.path());
        let output = match nix.env("NIX_REMOTE", dir.path()).output() {
            Ok(output) => output,
            Err(error) => {
                // Not by eprintln!, which the test runner swallows.
                let _ = writeln!(std::io::stderr(), "skipped: nix: {error}");
                return;
            }
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), of_path(dir.path()).unwrap());
    }

    #[test]
    fn an_image_hash_depends_on_the_order_of_its_layers() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            path
        };
        let (kernel, initrd, a, b) = (file("k"), file("i"), file("a"), file("b"));
        let hash = |layers: &[&PathBuf]| {
            let layers: Vec<PathBuf> = layers.iter().map(|path| (*path).clone()).collect();
            of_image(dir.path(), &kernel, &initrd, &layers).unwrap()
        };
        assert!(is_hash(&hash(&[&a, &b])));
        assert_eq!(hash(&[&a, &b]), hash(&[&a, &b]));
        assert_ne!(hash(&[&a, &b]), hash(&[&b, &a]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "scratch directories remain");
    }

    #[test]
    fn a_path_that_is_not_there_is_named() {
        let message = of_path(Path::new("/no/such/image")).unwrap_err().to_string();
        assert!(message.contains("/no/such/image"), "{message}");
    }
}
