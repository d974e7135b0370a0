//! Containers of this machine: the members of a sealed cluster, as the agent outside of them sees them.

use std::fs::{self, File};
use std::io::{self, Error, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use meshbench_protocol::{CONTAINER_DIR, Container, Kind, Reply};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::gettid;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::{control_group, ip};

/// The agent's first argument as the first process of a container.
pub(crate) const FIRST_PROCESS: &str = "--container";

/// What the first process is told, as the agent's second argument.
#[derive(Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) container: Container,
    /// Its control group.
    pub(crate) group: PathBuf,
    /// A thread in the machine's network namespace.
    pub(crate) outside: i32,
}

/// Whether this agent runs in a container.
pub(crate) fn inside() -> bool {
    Path::new(CONTAINER_DIR).exists()
}

/// Runs a container until its first process ends or the channel is cancelled.
pub(crate) fn run(container: &Container, channel: &Channel) -> io::Result<Reply> {
    disk(container)?;
    let group = control_group::make(&container.name)?;
    let outside = gettid().as_raw();
    let ended =
        live(&Start { container: container.clone(), group: group.clone(), outside }, channel);
    if ended.is_err() {
        let _ = control_group::remove(&group);
    }
    let status = ended?;
    Ok(Reply::Exited { code: status.code(), signal: status.signal(), timed_out: false })
}

/// The directory of what the container changes, in memory.
fn disk(container: &Container) -> io::Result<()> {
    let state = Path::new(&container.state);
    let upper = state.join("upper");
    if !upper.exists() {
        fs::create_dir_all(state)?;
        mount(Some("state"), state, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    } else if container.fresh {
        fs::remove_dir_all(&upper)?;
    }
    // An overlay that is mounted anew wants its work directory empty.
    let work = state.join("work");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    // A socket of an earlier life must not be taken for that of this one.
    let shared = PathBuf::from(container.shared());
    if shared.exists() {
        fs::remove_dir_all(&shared)?;
    }
    [upper, work, shared, state.join("root")].iter().try_for_each(fs::create_dir_all)
}

/// Its whole life: from the first process to the end of the last one.
fn live(start: &Start, channel: &Channel) -> io::Result<ExitStatus> {
    let (mut told, tells) = io::pipe()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(FIRST_PROCESS).arg(serde_json::to_string(start)?).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(tells);
    // Of this thread's children only; it starts no others.
    unshare(CloneFlags::CLONE_NEWPID)?;
    let mut first = command.spawn()?;
    drop(command);
    let network = watch(&mut first, &mut told, channel);
    // Its end is that of all processes of its namespace, and waits for them.
    first.kill()?;
    let status = first.wait()?;
    // Whoever sees the card gone may begin the next life, whose group has the same name.
    control_group::remove(&start.group)?;
    // The kernel takes a network namespace down when it likes: the next life's card may have the same name.
    setns(network?, CloneFlags::CLONE_NEWNET)?;
    // Whoever is root in it, or in the machine, may have taken it away.
    let _ = ip::batch(["link del eth0"]);
    Ok(status)
}

/// Returns when the first process has ended or shall; with its network namespace.
fn watch(first: &mut Child, told: &mut impl Read, channel: &Channel) -> io::Result<File> {
    let mut failure = Vec::new();
    told.read_to_end(&mut failure)?;
    if !failure.is_empty() {
        return Err(Error::other(String::from_utf8_lossy(&failure).trim()));
    }
    let network = File::open(format!("/proc/{}/ns/net", first.id()))?;
    channel.output.send(Kind::Output, b"\n")?;
    let ended = pidfd_open(Pid::from_child(first), PidfdFlags::empty())?;
    let fds = [ended.as_fd(), channel.cancel.as_fd()];
    poll(&mut fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)), PollTimeout::NONE)?;
    Ok(network)
}
