use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Something that takes time before a machine can start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Preparing {
    /// Debian packages are installed on the host.
    Installing {
        /// Their names.
        packages: Vec<String>,
    },
    /// A part of a guest image is built.
    Building {
        /// Which, in words.
        part: String,
    },
    /// It is built.
    Built {
        /// Which, in words.
        part: String,
        /// How long that took.
        seconds: f64,
    },
    /// Another harness makes the same: what it makes will be taken.
    Waiting {
        /// What it makes.
        what: Made,
    },
    /// What was there cannot be used, and is made anew.
    Remaking {
        /// What.
        what: Made,
        /// Why.
        reason: String,
    },
}

/// What harnesses make and share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Made {
    /// A guest image, or the part of it that these words say.
    Image(Option<String>),
    /// A machine that has booted, to be forked.
    Template,
}

/// Is told of each thing that takes time.
pub type Prepares = Arc<dyn Fn(&Preparing) + Send + Sync>;

impl fmt::Display for Preparing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installing { packages } => write!(formatter, "installing {}", packages.join(" ")),
            Self::Building { part } => write!(formatter, "guest image: building {part}"),
            Self::Built { part, seconds } => {
                write!(formatter, "guest image: {part} took {seconds:.1} s")
            }
            Self::Waiting { what: Made::Template } => {
                formatter.write_str("templates: waiting for another harness that makes one")
            }
            Self::Waiting { what: Made::Image(part) } => {
                let part = part.as_deref().unwrap_or("one");
                write!(formatter, "guest image: waiting for another harness that builds {part}")
            }
            Self::Remaking { what: Made::Template, reason } => {
                write!(formatter, "a template is made anew, since a fork failed: {reason}")
            }
            Self::Remaking { what: Made::Image(part), reason } => {
                let part = part.as_ref().map(|part| format!("{part} ")).unwrap_or_default();
                write!(formatter, "guest image: {part}made anew, since {reason}")
            }
        }
    }
}
