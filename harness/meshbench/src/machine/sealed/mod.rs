//! A machine in virtual time: its clock counts its instructions, and nothing of the host reaches it while it
//! runs. What it says is a function of its image, its task, its seed and its QEMU.
//!
//! It is booted once and saved as a template, from which forks go on, each with a task and a seed of its own:
//!
//! ```no_run
//! # async fn example(image: std::sync::Arc<meshbench::guest::GuestImage>, qemu: meshbench::guest::Qemu)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! use meshbench::machine::sealed::{Bounds, SealedSpec, SealedTemplate};
//! use meshbench::protocol::sealed::Task;
//!
//! let spec = SealedSpec::new(qemu, image, 1024);
//! let template = SealedTemplate::get(&spec, &Task::default(), "cache".as_ref()).await?;
//! let outcome = template.fork(&Task::of(&["uname", "-r"], 60), 7, Bounds::default()).await?;
//! println!("{}", String::from_utf8_lossy(&outcome.stdout));
//! # Ok(())
//! # }
//! ```

mod command_line;
mod frozen;
mod outcome;
mod running;
mod state;
mod template;

use std::sync::Arc;
use std::time::Duration;

pub use self::outcome::{Ended, SealedOutcome};
pub use self::template::{SealedTemplate, boot};

use self::command_line::{LAYER_UNIT, Layer};
use crate::guest::{GuestImage, Qemu};

/// What a sealed machine is made of.
#[derive(Debug, Clone)]
pub struct SealedSpec {
    qemu: Qemu,
    image: Arc<GuestImage>,
    memory_mib: u32,
    bare: bool,
    racing: bool,
}

impl SealedSpec {
    /// A machine of this QEMU, image and memory in MiB.
    pub fn new(qemu: Qemu, image: Arc<GuestImage>, memory_mib: u32) -> Self {
        Self { qemu, image, memory_mib, bare: false, racing: false }
    }

    /// Without the image's layers: its kernel, and the agent as the only program, at `/init`.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// With the race of QEMU's threads for the clock that a sealed machine is kept from: what it says does not
    /// repeat. For showing that a comparison could fail.
    pub fn racing(mut self) -> Self {
        self.racing = true;
        self
    }

    /// Its QEMU.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    fn layers(&self) -> std::io::Result<Vec<Layer>> {
        if !self.bare {
            self.image.check_layers().map_err(std::io::Error::other)?;
        }
        let paths = if self.bare { Vec::new() } else { self.image.layers() };
        let layer = |path: std::path::PathBuf| {
            let size = path.metadata()?.len();
            if size == 0 || size % LAYER_UNIT != 0 {
                let reason = format!(
                    "{} is no multiple of {LAYER_UNIT} bytes: build the guest anew",
                    path.display()
                );
                return Err(std::io::Error::other(reason));
            }
            Ok(Layer { path, size })
        };
        paths.into_iter().map(layer).collect()
    }
}

/// How long a sealed machine may run on the host. Its task has a bound in its own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The host's time; a machine that does not come to an end within it is killed.
    pub wall: Duration,
}

impl Default for Bounds {
    /// Ten minutes.
    fn default() -> Self {
        Self { wall: Duration::from_secs(600) }
    }
}

/// What errors call it.
const NAME: &str = "sealed machine";

fn cannot(action: &str) -> impl FnOnce(std::io::Error) -> super::MachineError + use<> {
    let action = action.to_owned();
    move |source| super::MachineError::Host { machine: NAME.to_owned(), action, source }
}
