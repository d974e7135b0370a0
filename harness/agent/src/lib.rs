//! The frames and messages that the harness and the agent in a machine exchange.
//!
//! One virtio-serial port carries every conversation with a machine. Each frame belongs to a channel;
//! the harness opens a channel with one [`Request`] and the agent closes it with one [`Reply`].
//! Between the two, either side may send data frames.

pub mod frame;
pub mod message;
pub mod namespace;

pub use frame::{Frame, FrameError, Kind};
pub use message::*;
pub use namespace::Namespace;

/// Version of frames and messages; both sides must agree.
pub const PROTOCOL: u32 = 3;

/// Name of the virtio-serial port on which the agent listens.
pub const PORT_NAME: &str = "org.meshbench.agent";
