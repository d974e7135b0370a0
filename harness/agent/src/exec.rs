//! Running programs.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use agent::frame::CHUNK;
use agent::{Exec, Kind, Reply};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::clock::monotonic_ns;
use crate::serve::{Channel, Input, Output};

/// Runs a program, streaming its output over the channel.
pub(crate) fn stream(exec: &Exec, channel: Channel) -> io::Result<Reply> {
    let started_ns = monotonic_ns();
    let mut child =
        spawn(command(exec)?.stdin(input(exec)).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let group = child.id() as i32;
    channel.group.store(group, Ordering::SeqCst);
    match child.stdin.take() {
        Some(stdin) => feed(stdin, Pid::from_raw(group), channel.input)?,
        // Whoever cancels from now on finds the group.
        None if channel.input.try_iter().any(|input| matches!(input, Input::Cancel)) => {
            killpg(Pid::from_raw(group), Signal::SIGKILL)?;
        }
        None => {}
    }
    wait_in_line();
    let timed_out = pump(exec, &mut child, &channel.output)?;
    // Once its status is taken, the number may be another's.
    channel.group.store(0, Ordering::SeqCst);
    let status = child.wait()?;
    Ok(Reply::Exited {
        code: status.code(),
        signal: status.signal(),
        timed_out,
        started_ns,
        ended_ns: monotonic_ns(),
    })
}

/// Runs a program to its end, discarding its output.
pub(crate) fn quiet(exec: &Exec) -> io::Result<ExitStatus> {
    let mut command = command(exec)?;
    spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?.wait()
}

/// Lets this thread be woken without stopping what runs: a program that ends closes one pipe after the
/// other, and would be interrupted at each.
fn wait_in_line() {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: reads one structure; 0 means this thread. A kernel that refuses is only slower.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &none) };
}

/// Lets nothing of the machine run before what this thread does; what it starts is not so favoured.
pub(crate) fn before_all_others() {
    let highest = libc::sched_param { sched_priority: 50 };
    // SAFETY: reads one structure; 0 means this thread. A kernel that refuses is only slower.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &highest) };
}

/// Runs a program with `input`; an error with what it said unless it exits with 0. Daemons that it
/// leaves behind do not delay the end.
pub(crate) fn checked(argv: &[&str], input: &str) -> io::Result<()> {
    let exec = Exec { argv: argv.iter().map(ToString::to_string).collect(), ..Exec::default() };
    let mut said = File::from(memfd_create(c"said", MFdFlags::MFD_CLOEXEC)?);
    let mut command = command(&exec)?;
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(said.try_clone()?);
    let mut child = spawn(&mut command)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program may end without reading all of its input; its status tells why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    said.rewind()?;
    said.read_to_string(&mut text)?;
    Err(io::Error::other(format!("{}: {status}: {}", argv.join(" "), text.trim())))
}

fn command(exec: &Exec) -> io::Result<Command> {
    let (program, arguments) =
        exec.argv.split_first().ok_or_else(|| io::Error::other("no program to run"))?;
    let mut command = Command::new(program);
    command.args(arguments).envs(&exec.env).process_group(0);
    // A program that inherits the agent's folder, which is the root, is started by posix_spawn(3), without
    // a copy of the agent's memory map.
    if !exec.cwd.is_empty() {
        command.current_dir(&exec.cwd);
    }
    Ok(command)
}

fn spawn(command: &mut Command) -> io::Result<Child> {
    command.spawn().map_err(|error| {
        let program = command.get_program().to_string_lossy();
        io::Error::new(error.kind(), format!("cannot run {program}: {error}"))
    })
}

fn input(exec: &Exec) -> Stdio {
    if exec.stdin { Stdio::piped() } else { Stdio::null() }
}

/// Hands the channel's input to the program until the channel closes.
fn feed(stdin: ChildStdin, group: Pid, input: Receiver<Input>) -> io::Result<()> {
    let mut stdin = Some(stdin);
    thread::Builder::new().stack_size(128 << 10).spawn(move || {
        for item in input {
            match (item, &mut stdin) {
                // A program may end without reading all of its input.
                (Input::Bytes(bytes), Some(pipe)) => drop(pipe.write_all(&bytes)),
                (Input::Bytes(_), None) => {}
                (Input::End, _) => stdin = None,
                (Input::Cancel, _) => drop(killpg(group, Signal::SIGKILL)),
            }
        }
    })?;
    Ok(())
}

/// Forwards output until the program has exited and its pipes hold nothing more.
///
/// Pipes that a surviving grandchild keeps open do not delay the end: a daemon may inherit them.
fn pump(exec: &Exec, child: &mut Child, channel: &Output) -> io::Result<bool> {
    let deadline =
        (exec.timeout_ms > 0).then(|| Instant::now() + Duration::from_millis(exec.timeout_ms));
    let exit = pidfd(child.id())?;
    let mut streams = [
        (child.stdout.take().map(OwnedFd::from), Kind::Output),
        (child.stderr.take().map(OwnedFd::from), Kind::ErrorOutput),
    ];
    for fd in streams.iter().filter_map(|(fd, _)| fd.as_ref()) {
        fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    let mut timed_out = false;
    let mut chunk = vec![0; CHUNK];
    loop {
        let mut fds = vec![PollFd::new(exit.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            streams
                .iter()
                .flat_map(|(fd, _)| fd)
                .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
        );
        let ready = poll(&mut fds, remaining(deadline.filter(|_| !timed_out)))?;
        let ended = fds[0].any().unwrap_or(false);
        for (stream, kind) in &mut streams {
            if let Some(fd) = stream.take() {
                *stream = forward(fd, *kind, channel, &mut chunk)?;
            }
        }
        if ended {
            return Ok(timed_out);
        }
        if ready == 0 {
            timed_out = true;
            killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL)?;
        }
    }
}

/// Sends what the pipe holds; gives the pipe back unless it has ended.
fn forward(
    fd: OwnedFd,
    kind: Kind,
    channel: &Output,
    chunk: &mut [u8],
) -> io::Result<Option<OwnedFd>> {
    let mut file = File::from(fd);
    loop {
        match file.read(chunk) {
            Ok(0) => return Ok(None),
            Ok(n) => channel.send(kind, &chunk[..n])?,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Some(file.into())),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn remaining(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX)
}

fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
