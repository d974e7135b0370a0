//! A sealed machine's QEMU while it runs, with the files that it reads and writes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use meshbench_protocol::sealed::{Said, Task};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::command_line::{self, Files, Purpose};
use super::outcome::{Ended, Heard, SealedOutcome};
use super::{NAME, SealedSpec, cannot};
use crate::machine::health::{Health, Loss};
use crate::machine::process::Process;
use crate::machine::qemu::pair;
use crate::machine::qmp::Qmp;
use crate::machine::{EVIDENCE, MachineError};

/// How long QEMU may take to answer on its monitor.
const ANSWER: Duration = Duration::from_secs(60);

/// Between two looks at what it has said: files send no events.
const LOOK: Duration = Duration::from_millis(250);

/// Bytes that it may say, or write to its console: a hundred times what the largest cluster has to tell.
const MOST: u64 = 256 << 20;

/// Bytes of the end of its console that are looked at.
const CONSOLE: u64 = 64 << 10;

/// One that runs; killed when dropped.
pub(super) struct Running {
    process: Process,
    health: Health,
    monitor: Option<tokio::net::UnixStream>,
    started: Instant,
    output: File,
    console: File,
    /// Where its state is to be saved,
    pub(super) state: File,
    /// and the path under which QEMU finds it.
    pub(super) saved_to: String,
}

impl Running {
    /// Starts QEMU. The task and all that it writes are files without names.
    pub(super) async fn start(
        spec: &SealedSpec,
        ram: &OwnedFd,
        task: &Task,
        seed: u64,
        purpose: Purpose,
    ) -> Result<Self, MachineError> {
        let started = Self::try_start(spec, ram, task, seed, purpose).await;
        started.map_err(cannot("start QEMU"))
    }

    async fn try_start(
        spec: &SealedSpec,
        ram: &OwnedFd,
        task: &Task,
        seed: u64,
        purpose: Purpose,
    ) -> io::Result<Self> {
        let layers = spec.layers()?;
        let [task_file, output, console, state] = [(); 4].map(|()| unnamed());
        let (task_file, output, console, state) = (task_file?, output?, console?, state?);
        io::Write::write_all(&mut &task_file, &task.encode()?)?;
        let (monitor, monitor_end) = pair()?;
        let inherited: [OwnedFd; 6] = [
            ram.try_clone()?,
            task_file.into(),
            output.try_clone()?.into(),
            console.try_clone()?.into(),
            state.try_clone()?.into(),
            monitor_end,
        ];
        let files = Files {
            ram: path(&inherited[0]),
            task: path(&inherited[1]),
            output: path(&inherited[2]),
            console: path(&inherited[3]),
            monitor: inherited[5].as_raw_fd(),
        };
        let saved_to = path(&inherited[4]);
        let arguments = command_line::arguments(spec, &layers, &files, purpose, seed);
        let command = spec.qemu.command();
        let (program, first) = command.split_first().map_or(("", &[][..]), |(p, f)| (p, f));
        let words: Vec<String> = first.iter().chain(&arguments).cloned().collect();
        let health = Health::new();
        let process = Process::start(program, &words, &inherited, health.clone()).await?;
        let (monitor, started) = (Some(monitor), Instant::now());
        Ok(Self { process, health, monitor, started, output, console, state, saved_to })
    }

    /// Does something with its monitor, which can be used once.
    pub(super) async fn monitored<T>(
        &mut self,
        action: &str,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Qmp) -> io::Result<T>,
    ) -> Result<T, MachineError> {
        let stream =
            self.monitor.take().ok_or_else(|| self.failed(action, "it was used before"))?;
        let work = async {
            let mut qmp = Qmp::open(stream).await?;
            work(&mut qmp).await
        };
        let result = tokio::select! {
            result = work => result,
            loss = self.health.lost() => return Err(self.lost(action, loss)),
            () = self.process.stood_still() => return Err(self.lost(action, Loss::idle())),
            stream = self.says_too_much() => {
                let ended = Ended::SaidTooMuch { stream, mib: MOST >> 20 };
                return Err(self.failed(action, &ended.to_string()));
            }
            () = tokio::time::sleep(limit) => return Err(self.late(action, limit)),
        };
        match result {
            Ok(value) => Ok(value),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // Why it ended is known a moment later.
                let loss = tokio::time::timeout(ANSWER, self.health.lost()).await;
                Err(loss.map_or_else(
                    |_| self.failed(action, &error.to_string()),
                    |loss| self.lost(action, loss),
                ))
            }
            Err(error) => Err(self.failed(action, &error.to_string())),
        }
    }

    /// Waits until it has ended by itself, for as long as it may take in all; `tell` hears what it says meanwhile.
    pub(super) async fn finish(
        self,
        wall: Duration,
        tell: impl FnMut(&Said),
    ) -> Result<SealedOutcome, MachineError> {
        let left = wall.saturating_sub(self.started.elapsed());
        let mut ears = Ears { read: 0, tell };
        let ended = async {
            let (lost, stood_still) = (self.health.lost(), self.process.stood_still());
            tokio::pin!(lost, stood_still);
            loop {
                tokio::select! {
                    loss = &mut lost => return Some(loss),
                    // Its clock only goes on while it is busy.
                    () = &mut stood_still => return Some(Loss::idle()),
                    () = tokio::time::sleep(LOOK) => ears.listen(&self.output),
                }
                if self.excess().is_some() {
                    return None;
                }
            }
        };
        let loss = tokio::time::timeout(left, ended).await;
        self.process.end().await;
        let wall_taken = self.started.elapsed();
        ears.listen(&self.output);
        let said = self.said()?;
        let heard = Heard::of(&said);
        let (end, took) = heard.end.unzip();
        let ended = match (self.excess(), end, loss) {
            (Some(stream), ..) => Ended::SaidTooMuch { stream, mib: MOST >> 20 },
            (None, Some(end), _) => Ended::Task(end),
            (None, None, Ok(loss)) => {
                Ended::Lost(loss.map(|it| it.to_string()).unwrap_or_default())
            }
            (None, None, Err(_)) => Ended::OutOfWallTime(wall),
        };
        let (stdout, stderr, console) = (heard.stdout, heard.stderr, self.console_tail());
        Ok(SealedOutcome { ended, stdout, stderr, said, wall: wall_taken, took, console })
    }

    /// Ends it and waits until it is gone.
    pub(super) async fn end(&self) {
        self.process.end().await;
    }

    /// Waits until it has written more than it may, and on what.
    async fn says_too_much(&self) -> &'static str {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Some(stream) = self.excess() {
                return stream;
            }
        }
    }

    /// On what it has written more than it may.
    fn excess(&self) -> Option<&'static str> {
        excess([("its port", &self.output), ("its console", &self.console)])
    }

    /// All that it has said so far, of what it may say.
    pub(super) fn said(&self) -> Result<Vec<u8>, MachineError> {
        part(&self.output, 0, MOST).map_err(cannot("read what it said"))
    }

    /// The last lines of its console.
    pub(super) fn console_tail(&self) -> Vec<String> {
        let text = end_of(&self.console, CONSOLE).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let plain = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
        let lines: Vec<String> = text.lines().map(plain).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(EVIDENCE)..].to_vec()
    }

    fn failed(&self, action: &str, reason: &str) -> MachineError {
        let (machine, action, reason) = (NAME.to_owned(), action.to_owned(), reason.to_owned());
        MachineError::Monitor { machine, action, reason }
    }

    fn lost(&self, action: &str, loss: Loss) -> MachineError {
        let (machine, stage, console) = (NAME.to_owned(), action.to_owned(), self.console_tail());
        MachineError::Lost { machine, stage, loss, console }
    }

    fn late(&self, action: &str, limit: Duration) -> MachineError {
        let (machine, stage, console) = (NAME.to_owned(), action.to_owned(), self.console_tail());
        MachineError::Deadline { machine, stage, seconds: limit.as_secs_f64(), console }
    }
}

/// Whoever hears what a machine says while it runs, and how much of it was heard.
struct Ears<F> {
    read: usize,
    tell: F,
}

impl<F: FnMut(&Said)> Ears<F> {
    fn listen(&mut self, output: &File) {
        let new = part(output, self.read as u64, MOST).unwrap_or_default();
        let mut rest = &new[..];
        while let Ok(Some((said, length))) = Said::decode(rest) {
            (self.tell)(&said);
            rest = &rest[length..];
            self.read += length;
        }
    }
}

fn unnamed() -> io::Result<File> {
    Ok(File::from(memfd_create(c"meshbench", MFdFlags::MFD_CLOEXEC)?))
}

/// The path under which QEMU finds what it inherits.
pub(super) fn path(file: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// The first of these files that is longer than what may be said.
fn excess<const N: usize>(files: [(&'static str, &File); N]) -> Option<&'static str> {
    let long = |file: &File| file.metadata().is_ok_and(|found| found.len() > MOST);
    files.into_iter().find(|(_, file)| long(file)).map(|(stream, _)| stream)
}

/// What is in a file, wherever others are in it.
pub(super) fn content(file: &File) -> io::Result<Vec<u8>> {
    part(file, 0, u64::MAX)
}

/// The end of a file.
fn end_of(file: &File, most: u64) -> io::Result<Vec<u8>> {
    part(file, file.metadata()?.len().saturating_sub(most), most)
}

fn part(file: &File, start: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path(file))?;
    file.seek(SeekFrom::Start(start))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_a_machine_writes_has_a_bound_and_is_not_read_beyond_it() {
        let [output, mut console] = [(); 2].map(|()| unnamed().unwrap());
        let files = [("its port", &output), ("its console", &console)];
        assert_eq!(excess(files), None);
        console.set_len(MOST + 1).unwrap();
        let files = [("its port", &output), ("its console", &console)];
        assert_eq!(excess(files), Some("its console"));
        console.seek(SeekFrom::End(0)).unwrap();
        console.write_all(b"the end\n").unwrap();
        let end = end_of(&console, CONSOLE).unwrap();
        assert!(end.len() as u64 == CONSOLE && end.ends_with(b"\0the end\n"));
        assert_eq!(part(&console, 0, 10).unwrap().len(), 10);
        let said = Ended::SaidTooMuch { stream: "its console", mib: 256 }.to_string();
        assert_eq!(said, "it wrote more than 256 MiB on its console, and was ended");
    }
}
