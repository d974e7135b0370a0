//! Running programs.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Seek, Write};
use std::iter;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, fence};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use agent::frame::CHUNK;
use agent::{Exec, Kind, Reply};
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::clock::monotonic_ns;
use crate::serve::{Channel, Input, Output};
use crate::spawn::Started;

/// Runs a program, streaming its output over the channel.
pub(crate) fn stream(exec: &Exec, channel: Channel) -> io::Result<Reply> {
    let started_ns = monotonic_ns();
    let (output, to_output) = io::pipe()?;
    let (errors, to_errors) = io::pipe()?;
    let (from_input, input) = input(exec)?;
    let stdin = from_input.as_ref().map_or(null()?, |pipe| pipe.as_fd());
    let program = Started::new(exec, [stdin, to_output.as_fd(), to_errors.as_fd()])?;
    drop((from_input, to_output, to_errors));
    let group = program.group;
    channel.group.store(group.as_raw(), Ordering::SeqCst);
    fence(Ordering::SeqCst);
    match input {
        Some(pipe) => feed(pipe, group, channel.input)?,
        // Whoever cancels from now on finds the group.
        None if channel.input.try_iter().any(|input| matches!(input, Input::Cancel)) => {
            killpg(group, Signal::SIGKILL)?;
        }
        None => {}
    }
    let timed_out = pump(exec, &program, [output, errors], &channel.output)?;
    // Once its status is taken, the number may be another's.
    channel.group.store(0, Ordering::SeqCst);
    let status = program.wait()?;
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
    Started::new(exec, [null()?; 3])?.wait()
}

/// Runs a program with `input`; an error with what it said unless it exits with 0. Daemons that it
/// leaves behind do not delay the end.
pub(crate) fn checked(argv: &[&str], input: &str) -> io::Result<()> {
    let exec = Exec { argv: argv.iter().map(ToString::to_string).collect(), ..Exec::default() };
    let mut said = File::from(memfd_create(c"said", MFdFlags::MFD_CLOEXEC)?);
    let mut asked = File::from(memfd_create(c"asked", MFdFlags::MFD_CLOEXEC)?);
    asked.write_all(input.as_bytes())?;
    asked.rewind()?;
    let status = Started::new(&exec, [asked.as_fd(), null()?, said.as_fd()])?.wait()?;
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    said.rewind()?;
    said.read_to_string(&mut text)?;
    Err(io::Error::other(format!("{}: {status}: {}", argv.join(" "), text.trim())))
}

/// A pipe to the program's standard input, if there will be any.
fn input(exec: &Exec) -> io::Result<(Option<PipeReader>, Option<PipeWriter>)> {
    Ok(if exec.stdin { io::pipe().map(|(from, to)| (Some(from), Some(to)))? } else { (None, None) })
}

/// What is always empty and takes everything, opened once.
fn null() -> io::Result<BorrowedFd<'static>> {
    static NULL: OnceLock<File> = OnceLock::new();
    if let Some(file) = NULL.get() {
        return Ok(file.as_fd());
    }
    let file = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    Ok(NULL.get_or_init(|| file).as_fd())
}

/// Hands the channel's input to the program until the channel closes.
fn feed(pipe: PipeWriter, group: Pid, input: Receiver<Input>) -> io::Result<()> {
    let mut stdin = Some(pipe);
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

/// Forwards output until the program has ended and what its pipes then held is sent.
///
/// Pipes that a surviving grandchild keeps open do not delay the end, nor what it writes: a daemon may
/// inherit them.
fn pump(
    exec: &Exec,
    program: &Started,
    [output, errors]: [PipeReader; 2],
    channel: &Output,
) -> io::Result<bool> {
    let deadline =
        (exec.timeout_ms > 0).then(|| Instant::now() + Duration::from_millis(exec.timeout_ms));
    let mut pipes = [(Some(output), Kind::Output), (Some(errors), Kind::ErrorOutput)];
    let (mut chunk, mut timed_out) = (Vec::new(), false);
    loop {
        let open = pipes.iter().flat_map(|(pipe, _)| pipe).map(AsFd::as_fd);
        let fds = iter::once(program.ended.as_fd()).chain(open);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let ready = poll(&mut fds, remaining(deadline.filter(|_| !timed_out)))?;
        let seen: Vec<_> =
            fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        let (ended, mut seen) = (!seen[0].is_empty(), seen[1..].iter());
        for (slot, kind) in &mut pipes {
            let Some(pipe) = slot else { continue };
            let Some(events) = seen.next() else { continue };
            if events.contains(PollFlags::POLLIN) {
                let most = if ended { capacity(pipe)? } else { CHUNK };
                forward(pipe, *kind, &mut chunk, channel, most)?;
            } else if !events.is_empty() {
                *slot = None;
            }
        }
        if ended {
            return Ok(timed_out);
        }
        if ready == 0 {
            timed_out = true;
            killpg(program.group, Signal::SIGKILL)?;
        }
    }
}

/// Sends what the pipe holds, of which there is some, but not much more than `most` bytes.
fn forward(
    pipe: &mut PipeReader,
    kind: Kind,
    chunk: &mut Vec<u8>,
    channel: &Output,
    most: usize,
) -> io::Result<()> {
    chunk.resize(CHUNK, 0);
    let mut sent = 0;
    loop {
        let length = pipe.read(chunk)?;
        channel.send(kind, &chunk[..length])?;
        sent += length;
        // A pipe gives less than it was asked for when it is empty.
        if length < CHUNK || sent >= most || !holds_more(pipe)? {
            return Ok(());
        }
    }
}

/// The most bytes that a pipe can hold.
fn capacity(pipe: &PipeReader) -> io::Result<usize> {
    Ok(fcntl(pipe, FcntlArg::F_GETPIPE_SZ)? as usize)
}

fn holds_more(pipe: &PipeReader) -> io::Result<bool> {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
}

fn remaining(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX)
}
