//! Whether a machine is still there.

use tokio::sync::watch;

/// How a machine was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The QEMU process ended.
    #[error("QEMU ended ({status}){}", with(stderr))]
    Ended {
        /// Its exit status.
        status: String,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The guest's kernel panicked, or its initial process gave up.
    #[error("the kernel panicked: {0}")]
    Panicked(String),
    /// The agent closed its port or started anew.
    #[error("its agent vanished: {0}")]
    AgentGone(String),
}

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
