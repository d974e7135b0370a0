use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{GuestError, supervisor, tools};
use crate::text::last_lines;

const TAIL_LINES: usize = 15;

/// How long a builder may stand still of which a process is stopped, in looks.
const STILL: u32 = 20;

/// How long one may stand still otherwise, in looks: it waits for what does not come, such as a lock of somebody who is
/// stopped, or a server that says nothing. A download that goes on is written somewhere, however slow it is.
const BLOCKED: u32 = 900;

/// Processor time, in ticks of a hundredth of a second, that is no work: who waits looks around now and then.
const IDLE: u64 = 4;

/// Between two looks at that.
const LOOK: Duration = Duration::from_secs(1);

/// Runs a program to its end, its output kept for the error. `advice` says what to do when it fails.
pub(crate) fn run(command: &mut Command, advice: &str) -> Result<(), GuestError> {
    let mut log = log_file(command)?;
    let copy = log.try_clone().map_err(failed_start(command))?;
    command.stdout(copy);
    finish(command, &mut log, advice)
}

/// Runs a program to its end and returns its standard output.
pub(crate) fn output(command: &mut Command, advice: &str) -> Result<Vec<u8>, GuestError> {
    let mut log = log_file(command)?;
    let mut output = tempfile::tempfile().map_err(failed_start(command))?;
    let copy = output.try_clone().map_err(failed_start(command))?;
    command.stdout(copy);
    finish(command, &mut log, advice)?;
    let mut bytes = Vec::new();
    output.rewind().and_then(|()| output.read_to_end(&mut bytes)).map_err(failed_start(command))?;
    Ok(bytes)
}

/// As [`output`], for text.
pub(crate) fn text(command: &mut Command, advice: &str) -> Result<String, GuestError> {
    Ok(String::from_utf8_lossy(&output(command, advice)?).into_owned())
}

fn log_file(command: &mut Command) -> Result<File, GuestError> {
    let log = tempfile::tempfile().map_err(failed_start(command))?;
    let copy = log.try_clone().map_err(failed_start(command))?;
    command.stdin(Stdio::null()).stderr(copy);
    Ok(log)
}

fn finish(command: &mut Command, log: &mut File, advice: &str) -> Result<(), GuestError> {
    // A full disk is known by a builder's words alone: these are in the language of the user otherwise.
    command.env("LC_ALL", "C");
    supervisor::supervise(command);
    let ended = command.spawn().and_then(|child| ended(child, LOOK));
    let (status, stopped) = match ended {
        Ok(ended) => ended,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let program = command.get_program().to_string_lossy();
            return Err(tools::missing_error(&[program.as_ref()]));
        }
        Err(error) => return Err(failed_start(command)(error)),
    };
    if status.success() && stopped.is_none() {
        return Ok(());
    }
    let mut output = Vec::new();
    log.rewind().and_then(|()| log.read_to_end(&mut output)).map_err(failed_start(command))?;
    Err(GuestError::Command {
        command: shown(command),
        status: stopped.unwrap_or_else(|| status.to_string()),
        tail: tail(&String::from_utf8_lossy(&output)),
        advice: advice.to_owned(),
    })
}

/// Waits until it has ended. What is stopped (SIGSTOP), or waits for somebody who is, may do so for ever: then it is
/// ended, and why is told.
fn ended(mut child: Child, look: Duration) -> io::Result<(ExitStatus, Option<String>)> {
    let (pid, (tell, told)) = (child.id(), mpsc::channel());
    thread::Builder::new().name("builder".into()).spawn(move || tell.send(child.wait()))?;
    let (mut since, mut looks) = (Vec::new(), 0);
    // All that were ever seen: whose parent has ended is no more of the family, and may live on.
    let mut seen = BTreeSet::new();
    loop {
        if let Ok(status) = told.recv_timeout(look) {
            let status = status?;
            // Nobody is left to end what a supervisor watched that was killed itself.
            if status.signal() == Some(Signal::SIGKILL as i32) {
                seen.iter().for_each(end_whoever_is_left);
            }
            return Ok((status, None));
        }
        let now = family(pid);
        // However long it waits, looking around is no work.
        if has_gone_on(&since, &now, IDLE + u64::from(looks) / 10) {
            seen.extend(now.iter().map(|it| (it.pid, it.began)));
            (since, looks) = (now, 0);
            continue;
        }
        looks += 1;
        let why = match now.iter().find(|process| process.state == 'T') {
            Some(Process { pid, name, .. }) if looks >= STILL => {
                format!("its process {pid} ({name}) is stopped")
            }
            None if looks >= BLOCKED => {
                let names: Vec<&str> = now.iter().map(|it| it.name.as_str()).collect();
                format!("all of it waits ({})", names.join(", "))
            }
            _ => continue,
        };
        let seconds = (look * looks).as_secs_f64();
        let reason = format!("ended, since nothing has gone on for {seconds:.0} s: {why}");
        // The supervisor ends all of them, once it runs itself.
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
        return Ok((told.recv().map_err(io::Error::other)??, Some(reason)));
    }
}

/// Ends a process and all that descend from it, if it is still the one that was known.
fn end_whoever_is_left((pid, began): &(u32, u64)) {
    if process(*pid).is_some_and(|now| now.began == *began) {
        for Process { pid, .. } in family(*pid) {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }
}

/// Whether since then somebody has begun, ended, written something, or worked for more than so many ticks.
fn has_gone_on(then: &[Process], now: &[Process], idle: u64) -> bool {
    let pids = |family: &[Process]| family.iter().map(|it| it.pid).collect::<Vec<_>>();
    let sum = |family: &[Process], what: fn(&Process) -> u64| family.iter().map(what).sum::<u64>();
    let [worked, wrote]: [fn(&Process) -> u64; 2] = [|it| it.worked, |it| it.wrote];
    pids(then) != pids(now)
        || sum(now, wrote) != sum(then, wrote)
        || sum(now, worked) > sum(then, worked) + idle
}

/// What is known of a process from outside.
#[derive(Debug)]
struct Process {
    pid: u32,
    parent: u32,
    name: String,
    state: char,
    /// When it began, in ticks since the host did: its id may be another one's later.
    began: u64,
    /// The processor time that it has had, in ticks.
    worked: u64,
    /// Bytes that it has written; 0 of another user's.
    wrote: u64,
}

/// A process and all that descend from it, by their ids.
fn family(root: u32) -> Vec<Process> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut others: Vec<Process> = pids.filter_map(process).collect();
    let mut family: Vec<Process> = others.extract_if(.., |process| process.pid == root).collect();
    let mut at = 0;
    while at < family.len() {
        let parent = family[at].pid;
        family.extend(others.extract_if(.., |process| process.parent == parent));
        at += 1;
    }
    family.sort_by_key(|process| process.pid);
    family
}

/// As `/proc/PID/stat` tells it (proc_pid_stat(5)); the name, in brackets, may hold anything.
fn process(pid: u32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = text.rsplit_once(") ")?;
    let name = head.split_once(" (")?.1.to_owned();
    let fields: Vec<&str> = tail.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let parent = u32::try_from(number(1)?).ok()?;
    let state = fields.first()?.chars().next()?;
    let (began, worked) = (number(19)?, number(11)? + number(12)?);
    Some(Process { pid, parent, name, state, began, worked, wrote: written(pid).unwrap_or(0) })
}

/// As `/proc/PID/io` tells it (proc_pid_io(5)).
fn written(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("wchar: "))?.parse().ok()
}

fn failed_start(command: &Command) -> impl Fn(io::Error) -> GuestError + use<> {
    let command = shown(command);
    move |error| GuestError::Command {
        command: command.clone(),
        status: error.to_string(),
        tail: String::new(),
        advice: String::new(),
    }
}

/// The command for people: a script among the arguments is cut to its first line.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| {
        let word = word.to_string_lossy();
        match word.split_once('\n') {
            Some((first, _)) => format!("{first}…"),
            None => word.into_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = last_lines(lines.join("\n").as_bytes(), TAIL_LINES);
    shown.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_tells_command_status_last_lines_and_advice() {
        let script = "seq 1 40; echo broken >&2; exit 3";
        let message = run(&mut shell(script), "mend it").unwrap_err().to_string();
        assert!(message.starts_with("sh -c seq 1 40;"), "{message}");
        assert!(message.contains("exit status: 3; mend it"), "{message}");
        assert!(message.ends_with("  40\n  broken") && !message.contains("  26\n"), "{message}");
    }

    /// What becomes of a builder that may stand still for a second.
    fn watched(script: &str) -> (ExitStatus, Option<String>) {
        looked_at(script, LOOK / STILL)
    }

    fn looked_at(script: &str, look: Duration) -> (ExitStatus, Option<String>) {
        let mut command = shell(script);
        supervisor::supervise(&mut command);
        ended(command.spawn().unwrap(), look).unwrap()
    }

    #[test]
    fn whoever_writes_goes_on_and_whoever_looks_around_does_not() {
        let own = |wrote: u64, worked: u64| {
            let (pid, parent, name, state, began) = (7, 1, "apt".to_owned(), 'S', 5);
            [Process { pid, parent, name, state, began, worked, wrote }]
        };
        assert!(has_gone_on(&own(100, 50), &own(101, 50), IDLE));
        assert!(has_gone_on(&own(100, 50), &own(100, 51 + IDLE), IDLE));
        assert!(!has_gone_on(&own(100, 50), &own(100, 50 + IDLE), IDLE));
        let written = || process(std::process::id()).unwrap().wrote;
        let before = written();
        fs::write("/dev/null", [0; 4096]).unwrap();
        assert!(written() >= before + 4096);
    }

    #[test]
    fn what_a_supervisor_leaves_that_is_killed_is_ended_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        // Seen at some looks before.
        let script =
            format!("sleep 600 & echo $! >{}; sleep 1; kill -KILL $PPID; wait", file.display());
        let (status, reason) = looked_at(&script, LOOK / STILL);
        assert_eq!((status.signal(), reason), (Some(Signal::SIGKILL as i32), None));
        let pid = fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let is_alive = || process(pid).is_some_and(|it| it.name == "sleep" && it.state != 'Z');
        let start = std::time::Instant::now();
        while is_alive() && start.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(!is_alive());
    }

    #[test]
    fn a_builder_that_waits_for_what_does_not_come_is_ended_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        let own = File::create(&lock).unwrap();
        own.lock().unwrap();
        let script = format!("flock {} true", lock.display());
        let (status, reason) = looked_at(&script, Duration::from_millis(1));
        let reason = reason.unwrap_or_else(|| panic!("{status}"));
        assert!(reason.contains("all of it waits (") && reason.contains("flock"), "{reason}");
    }

    #[test]
    fn a_builder_that_is_stopped_is_ended_and_told() {
        // Itself; one that it waits for; the one that would end it.
        for (script, name) in [
            ("kill -STOP $$", "(sh)"),
            ("bash -c 'kill -STOP $$; exit 0' & wait", "(bash)"),
            ("kill -STOP $PPID; exit 0", ""),
        ] {
            let (status, reason) = watched(script);
            let reason = reason.unwrap_or_else(|| panic!("{script}: {status}"));
            assert!(reason.starts_with("ended, since nothing has gone on for 1 s: "), "{reason}");
            assert!(reason.ends_with(&format!("{name} is stopped")), "{reason}");
        }
    }

    #[test]
    fn a_builder_that_goes_on_beside_a_stopped_one_is_left_alone() {
        let work = "n=0; while [ $n -lt 2000000 ]; do n=$((n + 1)); done";
        let (status, reason) = watched(&format!("bash -c 'kill -STOP $$' & {work}; kill -KILL $!"));
        assert!(status.success() && reason.is_none(), "{status} {reason:?}");
    }

    #[test]
    fn builders_speak_the_language_that_their_words_are_looked_for_in() {
        let mut command = shell("echo $LC_ALL");
        assert_eq!(text(command.env("LC_ALL", "de_DE.UTF-8"), "").unwrap(), "C\n");
    }

    #[test]
    fn output_is_apart_from_complaints() {
        assert_eq!(text(&mut shell("echo out; echo err >&2"), "").unwrap(), "out\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_what_installs_it() {
        let message = run(&mut Command::new("mkfs.nothing"), "").unwrap_err().to_string();
        assert!(message.contains("not installed: mkfs.nothing"), "{message}");
    }
}
