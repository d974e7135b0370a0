//! Starting QEMU so that it cannot outlive the harness.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::health::{Health, Loss};

/// A running QEMU; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    running: Mutex<Option<Handles>>,
}

/// What holds a process that has not been ended.
#[derive(Debug)]
struct Handles {
    pid: Option<u32>,
    kill: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

impl Process {
    /// Starts `program`. The descriptors of `inherited` are open in it under the same numbers.
    pub(crate) async fn start(
        program: &str,
        arguments: &[String],
        inherited: &[OwnedFd],
        health: Health,
    ) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let fds: Vec<RawFd> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
        // SAFETY: only async-signal-safe calls between fork and exec.
        unsafe { command.pre_exec(move || prepare(&fds)) };
        let child = spawn(command).await?;
        let pid = child.id();
        let (kill, killed) = oneshot::channel();
        let ended = tokio::spawn(watch(child, killed, health));
        Ok(Self { running: Mutex::new(Some(Handles { pid, kill, ended })) })
    }

    /// Ends the process and waits until the host has reaped it.
    pub(crate) async fn end(&self) {
        let running = self.lock().take();
        if let Some(Handles { kill, ended, .. }) = running {
            drop(kill);
            // The watching task neither panics nor is it aborted.
            let _ = ended.await;
        }
    }

    /// Its process id until it was ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.lock().as_ref().and_then(|running| running.pid)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Handles>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In the child: dies with the harness, keeps the given descriptors over exec.
fn prepare(fds: &[RawFd]) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    if nix::unistd::getppid().as_raw() == 1 && std::process::id() != 1 {
        return Err(io::Error::other("the harness is gone"));
    }
    for fd in fds {
        // SAFETY: clears one flag of a descriptor that the parent holds open across the fork.
        if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

async fn watch(mut child: Child, killed: oneshot::Receiver<()>, health: Health) {
    let mut stderr = child.stderr.take();
    let read = async {
        let mut text = String::new();
        if let Some(pipe) = &mut stderr {
            let _ = pipe.take(16 << 10).read_to_string(&mut text).await;
        }
        text
    };
    let wait = async {
        tokio::select! {
            status = child.wait() => status,
            // Dropping or using the sender both mean: end it.
            _ = killed => { let _ = child.start_kill(); child.wait().await }
        }
    };
    let (stderr, status) = tokio::join!(read, wait);
    let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
    health.report(Loss::Ended { status, stderr: stderr.trim().to_owned() });
}

type Job = (Command, Handle, oneshot::Sender<io::Result<Child>>);

/// Starts the command from one thread that lives as long as the harness: the parent-death signal
/// is tied to the *thread* that forked, and pool threads come and go.
async fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, handle, reply) in receiver {
                let _runtime = handle.enter();
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = oneshot::channel();
    spawner
        .send((command, Handle::current(), reply))
        .map_err(|_| io::Error::other("no spawner"))?;
    answer.await.map_err(io::Error::other)?
}
