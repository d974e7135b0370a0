//! What servers hand out: files of noise, which no compression makes smaller, and which are the same everywhere.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The first word of an archive as `nix-store --import` reads them, the one behind each path's files, and the last.
const ANOTHER: u64 = 1;
const DESCRIBED: u64 = 0x4558_494e;
const END: u64 = 0;

/// Makes `count` files in a folder, named by their number from 0; their sizes in bytes are taken in turn.
pub(super) fn files(folder: &str, count: usize, sizes: &[usize]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for number in 0..count {
        let path = Path::new(folder).join(number.to_string());
        fs::write(path, noise(number, size(sizes, number)?))?;
    }
    Ok(())
}

/// Writes `count` store paths, each a file of noise, to an archive for `nix-store --import`. Path 0 needs 1 and 2,
/// these need 3 to 6, and so on, so that 0 has all others in its closure.
pub(super) fn closure(archive: &str, count: usize, sizes: &[usize]) -> io::Result<()> {
    let mut to = BufWriter::new(File::create(archive)?);
    // What a path needs is to be there before it.
    for number in (0..count).rev() {
        word(&mut to, ANOTHER)?;
        for text in ["nix-archive-1", "(", "type", "regular", "contents"] {
            bytes(&mut to, text.as_bytes())?;
        }
        bytes(&mut to, &noise(number, size(sizes, number)?))?;
        bytes(&mut to, b")")?;
        word(&mut to, DESCRIBED)?;
        bytes(&mut to, store_path(number).as_bytes())?;
        let needs = [2 * number + 1, 2 * number + 2].into_iter().filter(|other| *other < count);
        let needs: Vec<String> = needs.map(store_path).collect();
        word(&mut to, needs.len() as u64)?;
        for path in needs {
            bytes(&mut to, path.as_bytes())?;
        }
        // Nobody has derived it, and the archive has no signature.
        bytes(&mut to, b"")?;
        word(&mut to, 0)?;
    }
    word(&mut to, END)?;
    to.flush()
}

/// The name of a path: thirty-two digits of Nix's base 32, and a word.
fn store_path(number: usize) -> String {
    format!("/nix/store/{number:032}-meshbench-{number}")
}

fn size(sizes: &[usize], number: usize) -> io::Result<usize> {
    let sizes = Some(sizes).filter(|sizes| !sizes.is_empty());
    sizes.map(|sizes| sizes[number % sizes.len()]).ok_or_else(|| io::Error::other("no sizes"))
}

/// Bytes of xorshift64* (Vigna 2016), others for each number.
fn noise(number: usize, length: usize) -> Vec<u8> {
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut made = Vec::with_capacity(length + 8);
    while made.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        made.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    made.truncate(length);
    made
}

/// A number as Nix writes it.
fn word(to: &mut impl Write, value: u64) -> io::Result<()> {
    to.write_all(&value.to_le_bytes())
}

/// Bytes as Nix writes them: their number, they themselves, and zeros up to a multiple of eight.
fn bytes(to: &mut impl Write, text: &[u8]) -> io::Result<()> {
    word(to, text.len() as u64)?;
    to.write_all(text)?;
    to.write_all(&[0; 8][..text.len().next_multiple_of(8) - text.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_as_large_as_asked_and_no_two_alike() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("new/objects");
        files(folder.to_str().unwrap(), 3, &[100, 7]).unwrap();
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        assert_eq!([read("0").len(), read("1").len(), read("2").len()], [100, 7, 100]);
        assert_ne!(read("0"), read("2"));
        assert!(files(folder.to_str().unwrap(), 1, &[]).is_err());
    }

    #[test]
    fn noise_holds_every_byte_about_as_often() {
        let mut seen = [0u32; 256];
        noise(3, 1 << 16).iter().for_each(|byte| seen[usize::from(*byte)] += 1);
        assert!(seen.iter().all(|count| (150..=370).contains(count)), "{seen:?}");
    }

    #[test]
    fn what_a_path_needs_comes_before_it() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("archive");
        closure(file.to_str().unwrap(), 3, &[5]).unwrap();
        let bytes = fs::read(&file).unwrap();
        let at = |number: usize| {
            let path = store_path(number);
            bytes.windows(path.len()).position(|window| window == path.as_bytes()).unwrap()
        };
        assert!(at(2) < at(1) && at(1) < at(0));
        assert_eq!(bytes.len() % 8, 0);
        assert_eq!(bytes[bytes.len() - 8..], END.to_le_bytes());
    }
}
