//! Files to and from the machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use meshbench_protocol::{Kind, Reply};

use crate::channel::{Channel, Input};

/// Writes the channel's input to `path`.
pub(crate) fn write(path: &str, mode: u32, channel: &Channel) -> io::Result<Reply> {
    if let Some(directory) = Path::new(path).parent() {
        fs::create_dir_all(directory)?;
    }
    // A running program cannot be overwritten in place, but its name can be reused.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    loop {
        match channel.input.recv() {
            Ok(Input::Bytes(bytes)) => file.write_all(&bytes)?,
            Ok(Input::End) => return Ok(Reply::Done),
            Ok(Input::Cancel) | Err(_) => {
                fs::remove_file(path)?;
                return Ok(Reply::Failed(format!("writing {path} was cancelled")));
            }
        }
    }
}

/// Sends the file as output.
pub(crate) fn read(path: &str, channel: &Channel) -> io::Result<Reply> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; meshbench_protocol::frame::CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Reply::Done),
            n => channel.output.send(Kind::Output, &chunk[..n])?,
        }
    }
}
