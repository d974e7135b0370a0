//! The machine that this program runs in, and containers in it: what a sealed cluster is made of.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use meshbench_protocol::{Container, Request};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::agent::AgentClient;
use super::bond::Bond;
use super::console::Console;
use super::health::Health;
use super::running::Running;
use super::session::Session;
use super::{BOOT_DEADLINE, MachineError, PROMPT};

/// The machine that this program runs in, asked by an agent that listens on a unix socket.
#[derive(Debug, Clone)]
pub(crate) struct Around(pub(super) Session);

/// A container, and its life while it has one.
#[derive(Debug)]
pub(super) struct Contained {
    around: Session,
    container: Container,
    life: Mutex<Option<Running>>,
}

impl Around {
    /// Waits until an agent listens on `socket`, and calls its machine `name`.
    ///
    /// # Errors
    /// No agent, or one of another version.
    pub(crate) async fn by(socket: &Path, name: &str) -> Result<Self, MachineError> {
        let session = connected(socket, name).await?;
        session.guarded("greeting its agent", PROMPT, session.agent.greeted()).await?;
        Ok(Self(session))
    }
}

impl Contained {
    /// Starts a container of the machine that is asked by `around`.
    pub(super) async fn new(
        around: &Around,
        container: Container,
    ) -> Result<(Self, Session), MachineError> {
        let own = Self { around: around.0.clone(), container, life: Mutex::default() };
        let session = own.start_as(&own.container.name, &own.container).await?;
        Ok((own, session))
    }

    /// Ends all of its processes, and waits until nothing of it is left but its disk.
    pub(super) async fn end(&self) {
        if let Some(life) = self.life.lock().await.take() {
            // An agent that is gone took its containers with it.
            let _ = life.cancel().await;
            let _ = life.wait(PROMPT).await;
        }
    }

    /// Starts it with what it had on its disk.
    pub(super) async fn start_again(&self, name: &str) -> Result<Session, MachineError> {
        self.start_as(name, &Container { fresh: false, ..self.container.clone() }).await
    }

    async fn start_as(&self, name: &str, container: &Container) -> Result<Session, MachineError> {
        let around = &self.around;
        let request = Request::Container(container.clone());
        let channel = around.agent.start(&request);
        let channel = around.guarded("starting a container", PROMPT, channel).await?;
        let mut life = Running::new(around.clone(), &request, channel);
        life.until_line("", PROMPT).await.map_err(|error| called(error, name))?;
        *self.life.lock().await = Some(life);
        connected(Path::new(&container.socket()), name).await
    }
}

/// The error of a container is told as its own, not as that of the machine around it.
fn called(error: MachineError, name: &str) -> MachineError {
    match error {
        MachineError::Agent { stage, reason, .. } => {
            MachineError::Agent { machine: name.to_owned(), stage, reason }
        }
        other => other,
    }
}

async fn connected(socket: &Path, name: &str) -> Result<Session, MachineError> {
    let machine: Arc<str> = name.into();
    let failed = |source| MachineError::Host {
        machine: name.to_owned(),
        action: format!("reach its agent at {}", socket.display()),
        source,
    };
    let port = tokio::time::timeout(BOOT_DEADLINE, appeared(socket)).await;
    let late = |_| MachineError::Deadline {
        machine: name.to_owned(),
        stage: "starting its agent".into(),
        seconds: BOOT_DEADLINE.as_secs_f64(),
        console: Vec::new(),
    };
    let port = port.map_err(late)?.map_err(failed)?;
    let health = Health::new();
    // Its lines are among those of the machine around it.
    let (console, _) = UnixStream::pair().map_err(failed)?;
    let console = Console::follow(console, health.clone());
    let (agent, bond) = (AgentClient::open(port, health.clone()), Bond::default());
    Ok(Session { machine, agent, console, health, bond })
}

/// Connects to a socket as soon as it is there; it listens from then on.
async fn appeared(socket: &Path) -> io::Result<UnixStream> {
    let folder = socket.parent().unwrap_or(Path::new("/"));
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    watch.add_watch(folder, AddWatchFlags::IN_MOVED_TO)?;
    // SAFETY: it is open for as long as it is registered, since the registration owns it.
    let readable = unsafe { AsyncFd::register(watch.as_fd().try_clone_to_owned()?) }?;
    let name = socket.file_name().map(OsStr::to_owned);
    while !socket.exists() {
        let mut ready = readable.readable().await?;
        let moved = watch.read_events();
        ready.clear_ready();
        if moved.is_ok_and(|moved| moved.iter().any(|event| event.name == name)) {
            break;
        }
    }
    UnixStream::connect(socket).await
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_found_as_soon_as_it_listens() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let mut found = std::pin::pin!(appeared(&socket));
        assert!(found.as_mut().now_or_never().is_none(), "it is not there");
        let _listener = std::os::unix::net::UnixListener::bind(folder.path().join("new")).unwrap();
        std::fs::write(folder.path().join("other"), "").unwrap();
        std::fs::rename(folder.path().join("new"), &socket).unwrap();
        found.await.unwrap();
        appeared(&socket).await.unwrap();
    }
}
