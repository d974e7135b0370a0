//! Running a lifecycle's verbs on a member, and watching its daemon meanwhile.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use meshbench_protocol::{Exec, Reply, Request};
use serde::Deserialize;
use serde_json::Value;

use super::error::DriveError;
use super::lifecycle::{ENDED, LOG, UNIT, UNSUPPORTED, Verb};
use crate::cluster::Member;
use crate::machine::{Machine, MachineError, PROMPT, Running};
use crate::text::last_lines;

/// From when on a daemon that shall become ready is watched. A fast one never is: the watch takes time
/// from it.
const WATCHED_AFTER: Duration = Duration::from_secs(2);

/// Lines of the daemon's log that are shown with an error.
const LOG_LINES: usize = 40;

/// Bytes of it that are looked at for them: a line may have no end.
const LOG_BYTES: usize = 64 << 10;

/// Bytes that a verb may print.
const MOST_BYTES: usize = 1 << 20;

/// Runs a verb that every module has.
pub(super) async fn required(
    member: &Member,
    verb: Verb,
    argument: Option<&str>,
    input: Option<&[u8]>,
) -> Result<String, DriveError> {
    let text = run(member, verb, argument, input).await?;
    text.ok_or_else(|| bad_output(member, verb, "", "the verb is not supported"))
}

/// Runs a verb; `None` when the module does not support it.
pub(super) async fn run(
    member: &Member,
    verb: Verb,
    argument: Option<&str>,
    input: Option<&[u8]>,
) -> Result<Option<String>, DriveError> {
    let exec = Exec { stdin: input.is_some(), ..verb.exec(argument) };
    let command = format!("lifecycle {}", exec.argv[1..].join(" "));
    let result = member.machine.execute(exec, input, PROMPT).await;
    let output = with_log(member, verb.into(), result).await?;
    match output.reply {
        Reply::Exited { code: Some(0), .. } => {
            check_length(&member.net.name, verb, output.stdout.len())?;
            Ok(Some(output.text()))
        }
        Reply::Exited { code: Some(UNSUPPORTED), .. } => Ok(None),
        // One that was killed has said nothing.
        Reply::Exited { code: Some(_), .. } if verb == Verb::Configure => {
            Err(DriveError::Refused {
                machine: member.net.name.clone(),
                source: Box::new(member.machine.command_failed(command, &output)),
                log: log_tail(&member.machine).await,
            })
        }
        _ => {
            let error = member.machine.command_failed(command, &output);
            with_log(member, verb.into(), Err(error)).await
        }
    }
}

/// Refuses more than anybody has to say by a verb whose words are parsed: as JSON, it would take a hundred times as much.
fn check_length(machine: &str, verb: Verb, bytes: usize) -> Result<(), DriveError> {
    if bytes <= MOST_BYTES || !verb.is_heard() {
        return Ok(());
    }
    let verb = <&str>::from(verb).to_owned();
    Err(DriveError::TooLong { machine: machine.to_owned(), verb, bytes, most: MOST_BYTES })
}

/// Awaits `work` unless the member's daemon, just started, ends by itself first.
pub(super) async fn while_alive<T>(
    member: &Member,
    stage: &str,
    work: impl Future<Output = Result<T, MachineError>>,
) -> Result<T, DriveError> {
    let mut watch = None;
    let result = tokio::select! {
        biased;
        result = work => with_log(member, stage, result).await,
        status = ended(&member.machine, &mut watch) => Err(DriveError::Ended {
            machine: member.net.name.clone(),
            stage: stage.to_owned(),
            status,
            log: log_tail(&member.machine).await,
        }),
    };
    if let Some(watch) = watch {
        // A machine that is gone has no watch either.
        let _ = watch.cancel().await;
    }
    result
}

/// Resolves when the daemon no longer runs; with how it ended.
async fn ended(machine: &Machine, watch: &mut Option<Running>) -> String {
    tokio::time::sleep(WATCHED_AFTER).await;
    // The pipe is open before the state is asked for, so that no end falls between the two.
    let script = format!(
        "test -p {ENDED} || mkfifo {ENDED}; exec 3<>{ENDED}
         case $(systemctl show -P ActiveState {UNIT}) in
         active|activating|reloading) read -r how <&3; echo $how;;
         *) systemctl show {UNIT} -p ActiveState,Result,ExecMainStatus;;
         esac"
    );
    let argv = ["sh", "-c", &script].map(str::to_owned).into();
    // A machine that is lost is for those to tell who wait for it.
    let Ok(running) = machine.start(&Request::Exec(Exec { argv, ..Exec::default() })).await else {
        return std::future::pending().await;
    };
    let running = watch.insert(running);
    let mut told = Vec::new();
    let hear = |said: &[u8], _: &[u8]| {
        told.extend_from_slice(said);
        Ok::<_, Infallible>(())
    };
    let reply = running.follow(hear).await;
    if told.is_empty() || !matches!(reply, Ok(Ok(_))) {
        return std::future::pending().await;
    }
    let told = String::from_utf8_lossy(&told);
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Addresses on the member's interfaces.
pub(super) async fn assigned(member: &Member) -> Result<Vec<IpAddr>, DriveError> {
    let listed = member.machine.run(&["ip", "-json", "address"]).await;
    let text = with_log(member, "address", listed).await?.text();
    let bad =
        |error: serde_json::Error| bad_output(member, Verb::Address, &text, &error.to_string());
    let interfaces: Vec<Interface> = serde_json::from_str(&text).map_err(bad)?;
    Ok(interfaces.into_iter().flat_map(|one| one.addr_info).filter_map(|one| one.local).collect())
}

/// As `ip -json address` shows it.
#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    addr_info: Vec<Assigned>,
}

#[derive(Deserialize)]
struct Assigned {
    local: Option<IpAddr>,
}

/// Adds the end of the daemon's log to an error.
pub(super) async fn with_log<T>(
    member: &Member,
    stage: &str,
    result: Result<T, MachineError>,
) -> Result<T, DriveError> {
    let source = match result {
        Ok(value) => return Ok(value),
        Err(source) => Box::new(source),
    };
    Err(DriveError::Machine {
        stage: stage.to_owned(),
        machine: source.machine().to_owned(),
        source,
        log: log_tail(&member.machine).await,
    })
}

/// The end of the daemon's log. A machine that is gone has none to give.
async fn log_tail(machine: &Machine) -> String {
    let tail = machine.run(&["tail", "-c", &LOG_BYTES.to_string(), LOG]).await;
    tail.map(|output| last_lines(&output.stdout, LOG_LINES).join("\n")).unwrap_or_default()
}

pub(super) fn json(member: &Member, verb: Verb, text: &str) -> Result<Value, DriveError> {
    serde_json::from_str(text).map_err(|error| bad_output(member, verb, text, &error.to_string()))
}

pub(super) fn bad_output(member: &Member, verb: Verb, text: &str, reason: &str) -> DriveError {
    DriveError::Output {
        machine: member.net.name.clone(),
        verb: <&str>::from(verb).to_owned(),
        text: text.chars().take(200).collect(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_that_prints_more_than_anybody_has_to_say_is_named_with_its_machine_and_the_limit() {
        for verb in [Verb::Identity, Verb::Admit, Verb::Address, Verb::Path, Verb::Version] {
            assert!(check_length("alice", verb, MOST_BYTES).is_ok());
            let error = check_length("alice", verb, 64 << 20).unwrap_err();
            assert_eq!(error.machine(), Some("alice"));
            let said = error.to_string();
            for part in ["alice", <&str>::from(verb), "1048576 bytes"] {
                assert!(said.contains(part), "{said}");
            }
        }
        assert!(check_length("alice", Verb::Configure, 64 << 20).is_ok(), "nobody reads it");
    }
}
