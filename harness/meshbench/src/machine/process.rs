//! Starting QEMU so that it cannot outlive the harness.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::health::{Health, Loss, NAP, STILL};

/// Bytes kept of what a process says on its standard error: the end, where it says why it ends.
const KEPT: usize = 16 << 10;

/// How long the last words of a process that has ended may take to come out of the pipe.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
            // Why it could not is known by its words alone.
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let fds: Vec<RawFd> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
        let harness = nix::unistd::getpid();
        // SAFETY: only async-signal-safe calls between fork and exec.
        unsafe { command.pre_exec(move || prepare(harness, &fds)) };
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

    /// Resolves when it has had no processor time for [`STILL`], though the harness has.
    pub(crate) async fn stood_still(&self) {
        let (mut worked, mut idle) = (self.worked(), Duration::ZERO);
        while idle < STILL {
            tokio::time::sleep(NAP).await;
            let now = self.worked();
            let same = std::mem::replace(&mut worked, now) == now;
            idle = if same { idle + NAP } else { Duration::ZERO };
        }
    }

    /// The processor time that it has had, in ticks of the host's clock.
    fn worked(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).ok()?;
        // Its name, in brackets, may hold anything (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(") ")?;
        let time = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
        time.sum::<Result<u64, _>>().ok()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Handles>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In the child: dies with the harness, keeps the given descriptors over exec.
fn prepare(harness: Pid, fds: &[RawFd]) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    // Not "is it 1?": in a container the harness may be process 1 itself.
    if nix::unistd::getppid() != harness {
        return Err(Errno::ESRCH.into());
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
    let said = Arc::new(Mutex::new(VecDeque::new()));
    let reading = tokio::spawn(keep_end(child.stderr.take(), said.clone()));
    let status = tokio::select! {
        status = child.wait() => status,
        // Dropping or using the sender both mean: end it.
        _ = killed => { let _ = child.start_kill(); child.wait().await }
    };
    let stop = reading.abort_handle();
    // What it said last may still be in the pipe; who else holds the pipe is not waited for.
    let _ = tokio::time::timeout(LAST_WORDS, reading).await;
    stop.abort();
    let signal = status.as_ref().ok().and_then(ExitStatusExt::signal);
    let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
    let said = Vec::from(std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner)));
    let stderr = String::from_utf8_lossy(&said).trim().to_owned();
    health.report(Loss::Ended { status: status.into(), signal, stderr });
}

/// Reads all that a process says, so that it never waits for a reader, and keeps the end.
async fn keep_end(pipe: Option<ChildStderr>, said: Arc<Mutex<VecDeque<u8>>>) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend(&chunk[..length]);
        let surplus = said.len().saturating_sub(KEPT);
        said.drain(..surplus);
    }
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    async fn lost(script: &str) -> Loss {
        let health = Health::new();
        let arguments = ["-c", script].map(String::from);
        let _process = Process::start("sh", &arguments, &[], health.clone()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), health.lost()).await.unwrap()
    }

    async fn said(script: &str) -> (String, String) {
        match lost(script).await {
            Loss::Ended { status, stderr, .. } => (status.into_string(), stderr),
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn what_ended_a_process_is_known_by_its_number() {
        let signal = |loss| match loss {
            Loss::Ended { signal, .. } => signal,
            other => panic!("{other}"),
        };
        assert_eq!(signal(lost("kill -9 $$").await), Some(libc::SIGKILL));
        assert_eq!(signal(lost("echo 'signal: 9'; exit 9").await), None);
    }

    #[tokio::test]
    async fn a_process_may_say_any_amount_and_its_end_is_kept() {
        let script = "head -c 300000 /dev/zero | tr '\\0' x >&2; printf '\\377 why' >&2; exit 3";
        let (status, stderr) = said(script).await;
        assert!(status.contains('3') && stderr.ends_with("\u{fffd} why"), "{status}");
        assert!(stderr.len() < KEPT + 16, "{}", stderr.len());
    }

    #[tokio::test]
    async fn who_else_holds_the_pipe_is_not_waited_for() {
        let (_, stderr) = said("sleep 60 & echo $! >&2").await;
        let pid = Pid::from_raw(stderr.parse().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }

    /// Run by the test below as process 1 of a namespace.
    #[tokio::test]
    async fn a_process_starts() {
        assert_eq!(said("echo started >&2").await.1, "started");
    }

    #[test]
    fn a_harness_that_is_process_1_starts_processes_too() {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--map-root-user", "--pid", "--fork", "--mount-proc"]);
        let allowed = unshare.arg("true").output().is_ok_and(|output| output.status.success());
        if !allowed {
            // Not by eprintln!, which the test runner swallows.
            let _ = writeln!(std::io::stderr(), "skipped: no process namespaces on this host");
            return;
        }
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]);
        unshare.arg(std::env::current_exe().unwrap());
        let inner = "machine::process::tests::a_process_starts";
        let output = unshare.args([inner, "--exact"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}
