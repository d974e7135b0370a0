//! Running programs.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use meshbench_protocol::frame::CHUNK;
use meshbench_protocol::{Exec, Kind, Reply};
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::channel::{Cancel, Channel, Input, Output, timeout};
use crate::spawn::Started;

/// Runs a program, streaming its output over the channel.
pub(crate) fn stream(exec: &Exec, channel: Channel) -> io::Result<Reply> {
    let (output, to_output) = io::pipe()?;
    let (errors, to_errors) = io::pipe()?;
    let (from_input, input) = input(exec)?;
    let program = Started::new(exec, [from_input, to_output.into(), to_errors.into()])?;
    let Channel { output: to, input: sent, cancel } = channel;
    if let Some(pipe) = input {
        feed(pipe, sent)?;
    }
    let deadline =
        (exec.timeout_ms > 0).then(|| Instant::now() + Duration::from_millis(exec.timeout_ms));
    let timed_out = pump(&program, [output, errors], deadline, &cancel, &to)?;
    let status = program.wait()?;
    Ok(Reply::Exited { code: status.code(), signal: status.signal(), timed_out })
}

/// Runs a program to its end, discarding its output; `None` if it was killed since the deadline passed or
/// the channel was cancelled.
pub(crate) fn quiet(
    exec: &Exec,
    deadline: Instant,
    cancel: &Cancel,
) -> io::Result<Option<ExitStatus>> {
    within(exec, Stdio::null(), deadline, cancel)
}

/// Runs a program to its end; what it prints, or nothing if it was killed as by [`quiet`].
pub(crate) fn output(exec: &Exec, deadline: Instant, cancel: &Cancel) -> io::Result<String> {
    let said = File::from(memfd_create(c"said", MFdFlags::MFD_CLOEXEC)?);
    let ended = within(exec, said.try_clone()?.into(), deadline, cancel)?;
    let text = all_said(said)?;
    Ok(ended.map_or_else(String::new, |_| text))
}

/// All that a program has written there, whatever is no text put into signs: one bad byte shall not hide the rest.
fn all_said(mut said: impl Read + Seek) -> io::Result<String> {
    let mut bytes = Vec::new();
    said.rewind()?;
    said.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn within(
    exec: &Exec,
    output: Stdio,
    deadline: Instant,
    cancel: &Cancel,
) -> io::Result<Option<ExitStatus>> {
    let program = Started::new(exec, [Stdio::null(), output, Stdio::null()])?;
    let fds = [program.ended.as_fd(), cancel.as_fd()];
    let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    poll(&mut fds, remaining(Some(deadline)))?;
    let ended = fds[0].any().unwrap_or(false);
    if !ended {
        program.kill()?;
    }
    let status = program.wait()?;
    Ok(ended.then_some(status))
}

/// Runs a program with `input`; an error with what it said unless it exits with 0. Daemons that it
/// leaves behind do not delay the end.
pub(crate) fn checked(argv: &[&str], input: &str) -> io::Result<()> {
    let exec = Exec { argv: argv.iter().map(ToString::to_string).collect(), ..Exec::default() };
    let said = File::from(memfd_create(c"said", MFdFlags::MFD_CLOEXEC)?);
    let mut asked = File::from(memfd_create(c"asked", MFdFlags::MFD_CLOEXEC)?);
    asked.write_all(input.as_bytes())?;
    asked.rewind()?;
    let errors = said.try_clone()?.into();
    let status = Started::new(&exec, [asked.into(), Stdio::null(), errors])?.wait()?;
    if status.success() {
        return Ok(());
    }
    let text = all_said(said)?;
    Err(io::Error::other(format!("{}: {status}: {}", argv.join(" "), text.trim())))
}

/// The program's standard input, and a pipe to it if there will be any.
fn input(exec: &Exec) -> io::Result<(Stdio, Option<PipeWriter>)> {
    Ok(if exec.stdin {
        let (from, to) = io::pipe()?;
        (from.into(), Some(to))
    } else {
        (Stdio::null(), None)
    })
}

/// Hands the channel's input to the program until either ends.
fn feed(mut pipe: PipeWriter, input: Receiver<Input>) -> io::Result<()> {
    thread::Builder::new().stack_size(128 << 10).spawn(move || {
        for item in input {
            let Input::Bytes(bytes) = item else { return };
            if pipe.write_all(&bytes).is_err() {
                // A program may end without reading all of its input.
                return;
            }
        }
    })?;
    Ok(())
}

/// Forwards output until the program has ended and what its pipes then held is sent; whether it was killed at
/// its deadline.
///
/// Pipes that a surviving grandchild keeps open do not delay the end, nor what it writes: a daemon may
/// inherit them.
fn pump(
    program: &Started,
    [output, errors]: [PipeReader; 2],
    deadline: Option<Instant>,
    cancel: &Cancel,
    to: &Output,
) -> io::Result<bool> {
    let mut pipes = [(Some(output), Kind::Output), (Some(errors), Kind::ErrorOutput)];
    let (mut chunk, mut killed, mut timed_out) = (Vec::new(), false, false);
    loop {
        let open = pipes.iter().flat_map(|(pipe, _)| pipe).map(AsFd::as_fd);
        let fds = [program.ended.as_fd(), cancel.as_fd()].into_iter().chain(open);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if killed {
            fds[1].set_events(PollFlags::empty());
        }
        poll(&mut fds, remaining(deadline.filter(|_| !killed)))?;
        let seen: Vec<_> =
            fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        let (ended, cancelled) = (!seen[0].is_empty(), !seen[1].is_empty());
        let mut seen = seen[2..].iter();
        for (slot, kind) in &mut pipes {
            let Some(pipe) = slot else { continue };
            let Some(events) = seen.next() else { continue };
            if events.contains(PollFlags::POLLIN) {
                let most = if ended { capacity(pipe)? } else { CHUNK };
                forward(pipe, *kind, &mut chunk, to, most)?;
            } else if !events.is_empty() {
                *slot = None;
            }
        }
        if ended {
            return Ok(timed_out);
        }
        // Not by what poll says: a program that never stops talking has a deadline, too.
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if !killed && (late || cancelled) {
            (killed, timed_out) = (true, late);
            program.kill()?;
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
    deadline.map_or(PollTimeout::NONE, |deadline| {
        timeout(deadline.saturating_duration_since(Instant::now()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_hides_nothing_of_what_a_program_said() {
        let mut said = tempfile::tempfile().unwrap();
        said.write_all(b"bad \xff byte\n").unwrap();
        assert_eq!(all_said(said).unwrap(), "bad \u{fffd} byte\n");
    }
}
