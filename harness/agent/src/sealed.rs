//! A sealed machine's own life: it does the task that it finds, says what comes of it, and switches itself off.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use meshbench_protocol::Exec;
use meshbench_protocol::sealed::{AGENT_VARIABLE, End, Said, TASK_FILE, Task, Then};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::clock::monotonic_ns;
use crate::firmware::{self, Board};
use crate::identity;
use crate::spawn::Started;

/// The kernel option that makes a machine a sealed one.
pub(crate) const OPTION: &str = "meshbench.sealed";

/// Between two looks whether the system is up: systemd tells when it is, but not before it listens.
const LOOK: Duration = Duration::from_millis(50);

/// Bytes of a program's output that are said at once.
const CHUNK: usize = 64 << 10;

/// Whether this machine is one.
pub(crate) fn asked() -> bool {
    let options = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    options.split_whitespace().any(|option| option == OPTION)
}

/// Does what the machine is for, once its system is up if it has one; returns only with an error.
pub(crate) fn run(system: bool) -> io::Result<Infallible> {
    let board = Board::open()?;
    if system {
        wait_until_up();
    }
    loop {
        let start = monotonic_ns();
        let done = board.file(TASK_FILE).and_then(|bytes| {
            let task = Task::decode(&bytes).map_err(io::Error::other)?;
            Ok((carry_out(&task, &board)?, task.then))
        });
        let (how, then) = done.unwrap_or_else(|error| {
            (End::Failed(format!("the task cannot be done: {error}")), Then::PowerOff)
        });
        if then == Then::PowerOff || how != End::Exited(0) {
            board.say(&Said::End { how, took_ns: monotonic_ns() - start })?;
            return power_off();
        }
        board.stop()?;
        // Here each fork begins, with a seed of its own.
        identity::stir(&firmware::random()?)?;
    }
}

fn wait_until_up() {
    let state = || Command::new("systemctl").args(["is-system-running", "--wait"]).output();
    let up = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        !["", "offline", "initializing", "starting"].contains(&text.trim())
    };
    while !state().is_ok_and(|output| up(&output.stdout)) {
        sleep(LOOK);
    }
}

fn carry_out(task: &Task, board: &Board) -> io::Result<End> {
    for file in &task.files {
        let path = Path::new(&file.path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, &file.content)?;
        fs::set_permissions(path, Permissions::from_mode(file.mode))?;
    }
    if task.argv.is_empty() {
        return Ok(End::Exited(0));
    }
    let deadline = Instant::now() + Duration::from_secs(task.limit_s);
    let mut pipes = [Pipe::new()?, Pipe::new()?];
    let writers =
        pipes.each_mut().map(|pipe| pipe.writer.take().map_or(Stdio::null(), Stdio::from));
    let [output, errors] = writers;
    let own = std::env::current_exe()?.to_string_lossy().into_owned();
    let env = [(AGENT_VARIABLE.to_owned(), own)].into();
    let exec = Exec { argv: task.argv.clone(), env, ..Exec::default() };
    let program = Started::new(&exec, [Stdio::null(), output, errors])?;
    let in_time = follow(&program, &mut pipes, deadline, board)?;
    if !in_time {
        program.kill()?;
    }
    let status = program.wait()?;
    // What it has started may still hold them open.
    pipes.iter_mut().zip(KINDS).try_for_each(|(pipe, kind)| pipe.say(kind, board))?;
    Ok(if in_time { ended(status) } else { End::OutOfTime })
}

fn ended(status: ExitStatus) -> End {
    match status.code() {
        Some(code) => End::Exited(code),
        None => End::Killed(status.signal().unwrap_or_default()),
    }
}

type Kind = fn(Vec<u8>) -> Said;
const KINDS: [Kind; 2] = [Said::Stdout, Said::Stderr];

/// Says what a program writes until it ends; whether it did before the deadline.
fn follow(
    program: &Started,
    pipes: &mut [Pipe; 2],
    deadline: Instant,
    board: &Board,
) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: a poll that returns too early would be repeated until the time has come.
        let left =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let [ended, ready @ ..] = {
            let [out, err] = pipes.each_ref().map(Pipe::as_fd);
            let mut fds =
                [program.ended.as_fd(), out, err].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            poll(&mut fds, left)?;
            fds.map(|fd| fd.any().unwrap_or(false))
        };
        for ((pipe, kind), ready) in pipes.iter_mut().zip(KINDS).zip(ready) {
            if ready {
                pipe.say(kind, board)?;
            }
        }
        if ended || Instant::now() >= deadline {
            return Ok(ended);
        }
    }
}

/// A program's output.
struct Pipe {
    reader: io::PipeReader,
    writer: Option<io::PipeWriter>,
    /// Whether all writers have closed it: it would otherwise always be ready.
    over: bool,
    /// What stands in for it then: never ready.
    idle: nix::sys::eventfd::EventFd,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let idle = nix::sys::eventfd::EventFd::new()?;
        Ok(Self { reader, writer: Some(writer), over: false, idle })
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.over { self.idle.as_fd() } else { self.reader.as_fd() }
    }

    /// Says what is in it now.
    fn say(&mut self, kind: Kind, board: &Board) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        while !self.over {
            match self.reader.read(&mut chunk) {
                Ok(0) => self.over = true,
                Ok(length) => board.say(&kind(chunk[..length].to_vec()))?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Nothing is saved: whoever forks the machine has its disk in memory.
fn power_off() -> io::Result<Infallible> {
    // SAFETY: ends the machine.
    unsafe { libc::reboot(libc::RB_POWER_OFF) };
    Err(io::Error::last_os_error())
}
