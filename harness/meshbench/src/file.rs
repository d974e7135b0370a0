//! Files that somebody else has put there.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

/// A larger file is none of ours: an hour of samples is some megabytes.
const LARGEST: u64 = 256 << 20;

/// All of a plain file; whatever else has its name is refused at once rather than waited for, or read without end.
///
/// # Errors
/// Of the kind [`ErrorKind::InvalidInput`] if it is no plain file, [`ErrorKind::FileTooLarge`] if it is none of ours.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    // Not to wait for whoever writes into a pipe.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        let reason = "this is no plain file: move it away";
        return Err(Error::new(ErrorKind::InvalidInput, reason));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let reason = format!("it is larger than {} MiB", LARGEST >> 20);
        return Err(Error::new(ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// As [`read`], for text.
///
/// # Errors
/// As those of [`read`], and of the kind [`ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::new(ErrorKind::InvalidData, format!("line {line} is not UTF-8 text"))
    })
}

/// Whether a path, of something below a folder, leads nowhere out of it.
pub(crate) fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_waited_for_by_nobody_and_a_line_that_is_no_text_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&pipe, Path::new("/dev/zero"), dir.path()] {
            assert_eq!(read(path).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let text = dir.path().join("text");
        std::fs::write(&text, b"title = \"a\"\nsummary = \"\xff\"\n").unwrap();
        let error = read_text(&text).unwrap_err().to_string();
        assert_eq!(error, "line 2 is not UTF-8 text");
        std::fs::File::create(&text).unwrap().set_len(LARGEST + 1).unwrap();
        assert_eq!(read(&text).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
}
