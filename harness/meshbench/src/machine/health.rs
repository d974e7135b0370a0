//! Whether a machine is still there.

use std::time::Duration;

use tokio::sync::watch;

/// How a machine was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// The QEMU process ended.
    #[error("QEMU ended ({status}){}", with(stderr))]
    Ended {
        /// Its exit status, in words.
        status: Box<str>,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The guest's kernel panicked, or its initial process gave up.
    #[error("the kernel panicked: {0}")]
    Panicked(String),
    /// The agent closed its port or started anew.
    #[error("its agent vanished: {0}")]
    AgentGone(String),
    /// It is there, and does not go on.
    #[error("it hangs: {0}")]
    Hung(String),
    /// Somebody switched it off.
    #[error("its power was cut")]
    SwitchedOff,
}

/// How long a QEMU may be silent, or stand still where it must be busy. With the time between two beats it is less
/// than the 20 s within which a machine that hangs is told.
pub(super) const STILL: Duration = Duration::from_secs(12);

impl Loss {
    /// Of a QEMU that does not answer.
    pub(super) fn silent() -> Self {
        Self::Hung(format!("QEMU has not answered for {} s", STILL.as_secs()))
    }

    /// Of a QEMU that does nothing although it has something to do.
    pub(super) fn idle() -> Self {
        Self::Hung(format!("QEMU has done nothing for {} s", STILL.as_secs()))
    }
}

/// In such steps silence is counted: of a harness that does not run itself, one at most.
pub(super) const NAP: Duration = Duration::from_millis(500);

fn with(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}

/// The writing side: every watcher of a machine may report its loss, the first one counts.
#[derive(Debug, Clone)]
pub(crate) struct Health(watch::Sender<Option<Loss>>);

impl Health {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn report(&self, loss: Loss) {
        self.0.send_if_modified(|state| {
            let first = state.is_none();
            if first {
                *state = Some(loss);
            }
            first
        });
    }

    /// Resolves when the machine is lost; at once if it already is.
    pub(crate) async fn lost(&self) -> Loss {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(loss) = receiver.borrow_and_update().clone() {
                return loss;
            }
            // The sender lives in `self`, so the channel cannot close.
            let _ = receiver.changed().await;
        }
    }

    pub(crate) fn current(&self) -> Option<Loss> {
        self.0.borrow().clone()
    }
}
