//! The agent's own programs: a server on one member, a client on another.

use std::time::Duration;

use meshbench_protocol::{Exec, Reply};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::WorkloadError;
use super::tool::{self, command};
use crate::cluster::Member;
use crate::machine::{PROMPT, Running};

/// The agent, from a process that it has just made: whatever its own file is called in this guest.
const AGENT: &str = "/proc/self/exe";

/// What a server says once it can be asked.
const LISTENING: &str = "listening";

/// The agent's command line for these words.
pub(super) fn argv<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [AGENT, "traffic"].into_iter().chain(words.iter().copied()).collect()
}

/// Starts a server, and waits until it listens.
pub(super) async fn serve(member: &Member, words: &[&str]) -> Result<Running, WorkloadError> {
    tool::serve(&member.machine, command(&argv(words)), LISTENING).await
}

/// Ends a server that would serve on. An error means that its machine is gone, which the client has told.
pub(super) async fn end(server: Running) {
    let _ = server.cancel().await;
    let _ = server.wait(PROMPT).await;
}

/// Runs a client to its end; what it tells.
pub(super) async fn ask<T: DeserializeOwned>(
    member: &Member,
    words: &[&str],
    seconds: f64,
) -> Result<T, WorkloadError> {
    let deadline = Duration::from_secs_f64(3.0 * seconds) + PROMPT;
    let output = member.machine.exec(command(&argv(words)), None, deadline).await?;
    told(member, &output.text())
}

/// Has the agent make something, which tells nothing.
pub(super) async fn make(member: &Member, words: &[&str]) -> Result<(), WorkloadError> {
    member.machine.exec(command(&argv(words)), None, PROMPT).await?;
    Ok(())
}

/// How many seconds a program took that must exit with 0, and what it said.
pub(super) async fn timed(
    member: &Member,
    mut exec: Exec,
    deadline: Duration,
) -> Result<(f64, String), WorkloadError> {
    #[derive(Deserialize)]
    struct Took {
        seconds: f64,
    }
    exec.argv.splice(0..0, argv(&["timed"]).into_iter().map(str::to_owned));
    let said = member.machine.exec(exec, None, deadline).await?.text();
    let took: Took = told(member, &said)?;
    Ok((took.seconds, said))
}

/// Waits for the end of a server that ends by itself; what it tells.
pub(super) async fn finished<T: DeserializeOwned>(
    member: &Member,
    program: Running,
    deadline: Duration,
) -> Result<T, WorkloadError> {
    let output = program.wait(deadline).await?;
    if !matches!(output.reply, Reply::Exited { code: Some(0), .. }) {
        return Err(member.machine.command_failed(format!("{AGENT} traffic"), &output).into());
    }
    told(member, &output.text())
}

/// What a program tells in its last line.
pub(super) fn told<T: DeserializeOwned>(member: &Member, text: &str) -> Result<T, WorkloadError> {
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line)
        .map_err(|error| WorkloadError::tool(&member.machine, format!("{line:?}: {error}")))
}
