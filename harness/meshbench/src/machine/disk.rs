//! State disks: sparse files without a name, so that nothing is left when their users end.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// Size of a state disk. Sparse: it occupies what guests write.
pub(super) const SIZE: u64 = 2 << 30;

/// A blank disk in `directory`.
pub(crate) fn blank(directory: &Path) -> io::Result<File> {
    let file = tempfile::tempfile_in(directory)?;
    file.set_len(SIZE)?;
    Ok(file)
}

/// A private copy of a template's disk, by reflink where the file system can.
pub(crate) fn copy(from: &File, directory: &Path) -> io::Result<File> {
    let to = blank(directory)?;
    // SAFETY: FICLONE takes a descriptor as its argument and touches no memory of ours.
    if unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) } == 0 {
        return Ok(to);
    }
    copy_data(from, &to)?;
    Ok(to)
}

/// Copies what is not a hole.
fn copy_data(from: &File, to: &File) -> io::Result<()> {
    let mut start = 0;
    loop {
        start = match lseek(from, start, Whence::SeekData) {
            Ok(offset) => offset,
            Err(Errno::ENXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = lseek(from, start, Whence::SeekHole)?;
        copy_range(from, to, start as u64, end as u64)?;
        start = end;
    }
}

fn copy_range(from: &File, to: &File, mut start: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut chunk = vec![0; 1 << 20];
    while start < end {
        let length = chunk.len().min((end - start) as usize);
        from.read_exact_at(&mut chunk[..length], start)?;
        to.write_all_at(&chunk[..length], start)?;
        start += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn a_copied_disk_holds_the_data_and_none_of_the_holes() {
        let directory = tempfile::tempdir().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        file.write_all_at(b"early", 4096).unwrap();
        file.write_all_at(b"late", SIZE - 4096).unwrap();
        let copy = copy(&file, directory.path()).unwrap();
        let mut bytes = [0; 4];
        copy.read_exact_at(&mut bytes, SIZE - 4096).unwrap();
        assert_eq!(&bytes, b"late");
        assert_eq!(copy.metadata().unwrap().len(), SIZE);
        assert!(copy.metadata().unwrap().blocks() * 512 < 16 << 20);
    }
}
