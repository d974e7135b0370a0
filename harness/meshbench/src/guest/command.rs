use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, Stdio};

use super::{GuestError, supervisor, tools};

const TAIL_LINES: usize = 15;

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
    supervisor::supervise(command);
    let status = match command.status() {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let program = command.get_program().to_string_lossy();
            return Err(tools::missing_error(&[program.as_ref()]));
        }
        Err(error) => return Err(failed_start(command)(error)),
    };
    if status.success() {
        return Ok(());
    }
    let mut output = Vec::new();
    log.rewind().and_then(|()| log.read_to_end(&mut output)).map_err(failed_start(command))?;
    Err(GuestError::Command {
        command: shown(command),
        status: status.to_string(),
        tail: tail(&String::from_utf8_lossy(&output)),
        advice: advice.to_owned(),
    })
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
    let start = lines.len().saturating_sub(TAIL_LINES);
    lines[start..].iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
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
