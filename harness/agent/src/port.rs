//! Finding the virtio-serial port.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

const DRIVER_DEADLINE: Duration = Duration::from_secs(30);

/// Opens the agent's port; its driver may still be starting.
pub(crate) fn open() -> io::Result<File> {
    let start = Instant::now();
    loop {
        if let Some(name) = find()? {
            return OpenOptions::new().read(true).write(true).open(format!("/dev/{name}"));
        }
        if start.elapsed() > DRIVER_DEADLINE {
            return Err(io::Error::other(format!("no virtio-serial port {}", agent::PORT_NAME)));
        }
        // sysfs has no change notification for class directories.
        sleep(Duration::from_millis(20));
    }
}

fn find() -> io::Result<Option<String>> {
    let Ok(ports) = fs::read_dir("/sys/class/virtio-ports") else { return Ok(None) };
    for port in ports {
        let port = port?;
        let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        if name.trim() == agent::PORT_NAME {
            return Ok(Some(port.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}
