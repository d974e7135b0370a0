//! A QEMU, a value: of sealed clusters its version decides their numbers.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::GuestError;
use crate::file;
use crate::hash::sha256;

/// How long it may take to say its version, which takes an idle host a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(12);

/// In such steps patience is counted: of a harness that does not run itself, one at most.
const STEP: Duration = Duration::from_millis(500);

/// A QEMU program and how it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    command: Vec<String>,
    version: String,
}

impl Qemu {
    /// The QEMU that is started by these words, a program and its first arguments; it is asked for its version.
    ///
    /// # Errors
    /// A program that cannot be run, that does not answer, or that is no QEMU.
    pub fn new(command: Vec<String>) -> Result<Self, GuestError> {
        Self::within(command, PATIENCE)
    }

    /// A QEMU of the user's own. Of these several may tell the same version: it is told with the program's hash.
    ///
    /// # Errors
    /// As [`Qemu::new`].
    pub fn own(program: &Path) -> Result<Self, GuestError> {
        let mut qemu = Self::new(vec![program.to_string_lossy().into_owned()])?;
        let bytes = file::read(program).map_err(|error| {
            GuestError::unexpected(program.to_string_lossy(), error.to_string())
        })?;
        qemu.version += &format!(" (sha256 {}…)", &sha256(&bytes)[..16]);
        Ok(qemu)
    }

    fn within(command: Vec<String>, patience: Duration) -> Result<Self, GuestError> {
        let (program, first) = command.split_first().map_or(("", &[][..]), |(p, f)| (p, f));
        let unexpected = |reason: String| GuestError::unexpected(program, reason);
        let output = answer(Command::new(program).args(first).arg("--version"), patience);
        let output = output.map_err(|error| unexpected(error.to_string()))?;
        if !output.status.success() {
            return Err(unexpected(format!("--version: {}", output.status)));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let version = said.lines().next().unwrap_or_default().to_owned();
        if !version.starts_with("QEMU emulator") {
            return Err(unexpected(format!("is no QEMU: it says {version:?}")));
        }
        Ok(Self { version, command })
    }

    /// The program and its first arguments.
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// The line that it says of itself: part of a result's identity.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The number in it, such as `10.0.13`.
    pub fn release(&self) -> &str {
        let number = self.version.strip_prefix("QEMU emulator version ").unwrap_or_default();
        number.split_whitespace().next().unwrap_or_default()
    }
}

/// What a program says until its end, which may hang or be killed like any other.
fn answer(command: &mut Command, patience: Duration) -> io::Result<Output> {
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let id = Pid::from_raw(child.id().cast_signed());
    let (tell, told) = mpsc::channel();
    thread::Builder::new()
        .name("version".into())
        .spawn(move || tell.send(child.wait_with_output()))?;
    let steps = 0..patience.as_millis() / STEP.as_millis();
    if let Some(output) = steps.into_iter().find_map(|_| told.recv_timeout(STEP).ok()) {
        return output;
    }
    // Nothing was told, so that the number is its own, but for the moment between its end and the telling.
    let _ = kill(id, Signal::SIGKILL);
    let silent = format!("it has not answered for {} s", patience.as_secs());
    Err(io::Error::new(io::ErrorKind::TimedOut, silent))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn qemu(script: &str) -> Result<Qemu, String> {
        let command = ["sh", "-c", script, "--"].map(str::to_owned).to_vec();
        Qemu::within(command, Duration::from_secs(1)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_qemu_is_known_by_its_version_and_what_is_none_is_refused() {
        let qemu_1 = qemu("echo QEMU emulator version 1.2").unwrap();
        assert_eq!(qemu_1.version(), "QEMU emulator version 1.2");
        assert_eq!(qemu_1.release(), "1.2");
        assert!(!qemu_1.is_pinned());
        let pinned = format!("echo 'QEMU emulator version {} (Debian 1:x)'", Qemu::pinned());
        assert!(qemu(&pinned).unwrap().is_pinned());
        let error = Qemu::new(vec!["true".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("true: is no QEMU"), "{error}");
        let error = Qemu::new(vec!["/nowhere/qemu".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/qemu"), "{error}");
    }

    #[test]
    fn of_ones_own_qemus_two_of_a_version_are_two() {
        let dir = tempfile::tempdir().unwrap();
        let own = |name: &str, more: &str| {
            let path = dir.path().join(name);
            let script = format!("#!/bin/sh\necho QEMU emulator version 10.0.1\n{more}\n");
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            Qemu::own(&path).unwrap()
        };
        let [one, again, other] = [own("one", ""), own("again", ""), own("other", "# patched")];
        assert_eq!(one.version(), again.version());
        assert_ne!(one.version(), other.version());
        assert_eq!(other.release(), "10.0.1");
    }

    #[test]
    fn a_qemu_that_hangs_or_is_killed_over_its_version_is_told() {
        for (script, told) in [
            ("exec sleep 60", "has not answered for 1 s"),
            ("kill -STOP $$", "has not answered for 1 s"),
            ("kill -KILL $$", "signal: 9"),
        ] {
            let error = qemu(script).unwrap_err();
            assert!(error.contains(told), "{script}: {error}");
        }
    }
}
