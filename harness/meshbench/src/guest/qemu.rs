//! The QEMU of sealed clusters, a value: its version decides their numbers.

use std::process::Command;

use super::{GuestError, command};

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
    /// A program that cannot be run, or that is no QEMU.
    pub fn new(command: Vec<String>) -> Result<Self, GuestError> {
        let (program, first) = command.split_first().map_or(("", &[][..]), |(p, f)| (p, f));
        let said = command::text(Command::new(program).args(first).arg("--version"), "")?;
        let version = said.lines().next().unwrap_or_default();
        if !version.starts_with("QEMU emulator") {
            return Err(GuestError::unexpected(
                program,
                format!("is no QEMU: it says {version:?}"),
            ));
        }
        Ok(Self { version: version.to_owned(), command })
    }

    /// The program and its first arguments.
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// The line that it says of itself: part of a result's identity.
    pub fn version(&self) -> &str {
        &self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_no_qemu_is_refused() {
        let command = ["sh", "-c", "echo QEMU emulator version 1.2", "--"];
        let qemu = Qemu::new(command.map(str::to_owned).to_vec()).unwrap();
        assert_eq!(qemu.version(), "QEMU emulator version 1.2");
        let error = Qemu::new(vec!["true".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("true: is no QEMU"), "{error}");
    }
}
