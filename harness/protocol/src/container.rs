//! A container beside others in one machine: a member of a sealed cluster.

use serde::{Deserialize, Serialize};

/// A container, which has network, mount, process, host-name, IPC and control-group namespaces of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its host name, until it is given another identity; also the name of its control group.
    pub name: String,
    /// Absolute paths of the directories that its root is laid over, the uppermost first.
    pub lower: Vec<String>,
    /// Absolute path of a directory of the machine for what the container changes, kept in memory and from one
    /// start to the next: its disk. Made if it is missing.
    pub state: String,
    /// Whether what it has changed before is thrown away.
    pub fresh: bool,
    /// Its first process: an absolute path in it, and arguments.
    pub init: Vec<String>,
    /// Name of the card in the machine's network namespace whose other end is the container's `eth0`. It is new
    /// at each start, and gone with the container, wherever it has been moved to.
    pub card: String,
}

impl Container {
    /// Where the agent in the container listens, as a path of the machine: a unix socket.
    pub fn socket(&self) -> String {
        format!("{}/{}", self.shared(), crate::SOCKET_NAME)
    }

    /// The directory that the container sees as [`crate::CONTAINER_DIR`].
    pub fn shared(&self) -> String {
        format!("{}/shared", self.state)
    }
}
