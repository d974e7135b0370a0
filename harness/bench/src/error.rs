//! What the command line says when something is wrong, and with which exit code.

use crate::exit;
use meshbench::text::plain;

/// An error for people: what, why, what to do, without what a terminal would obey; and the exit code.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{message}")]
pub struct Failure {
    message: String,
    #[help]
    help: Option<String>,
    /// The process's exit code.
    pub code: u8,
}

impl Failure {
    /// An error with its exit code.
    pub fn new(code: u8, message: impl ToString) -> Self {
        Self { message: plain(&message.to_string()), help: None, code }
    }

    /// Wrong usage or input.
    pub fn usage(message: impl ToString) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// Something that had to be made ready was not.
    pub fn setup(message: impl ToString) -> Self {
        Self::new(exit::SETUP, message)
    }

    /// What to do about it.
    pub fn help(mut self, help: impl ToString) -> Self {
        self.help = Some(plain(&help.to_string()));
        self
    }
}

/// The exit code of a command that ran to its end, or what went wrong.
pub type Outcome = Result<u8, Failure>;
