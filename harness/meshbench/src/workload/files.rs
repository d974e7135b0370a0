//! A backup: many small files, and a large one.

use std::net::SocketAddr;
use std::time::Duration;

use meshbench_protocol::Condition;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::{self, command, make_folder, remove_folder};
use super::{Setting, WorkloadError, traffic};
use crate::machine::PROMPT;
use crate::results::{Better, Unit, names};

pub(super) const SPEC: Spec = Spec {
    name: "files",
    summary: "1,000 files of 1 to 9 KiB, then one of 16 MiB (4 in quick runs), to an rsync server",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software { debian: &["rsync"], nixpkgs: &["rsync"] },
    seconds: Seconds { full: 25.0, quick: 12.0 },
    metrics: &[TIME_SMALL, RATE_SMALL, TIME_LARGE, RATE_LARGE],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const TIME: &str =
    "the agent around rsync: from its start to its end, whose statistics tell of all files";
const RATE: &str = "what was carried, by that time";
const TIME_SMALL: Measure = Measure::new("time-small", Unit::Milliseconds, Better::Lower, TIME);
const RATE_SMALL: Measure = Measure::new("files-small", Unit::PerSecond, Better::Higher, RATE);
const TIME_LARGE: Measure = Measure::new("time-large", Unit::Milliseconds, Better::Lower, TIME);
const RATE_LARGE: Measure =
    Measure::new(names::GOODPUT_LARGE, Unit::BitsPerSecond, Better::Higher, RATE);

const PORT: u16 = 7004;
const FOLDER: &str = "/run/meshbench-files";

const SMALL: u64 = 1000;
const SMALL_KIB: [u64; 4] = [1, 2, 4, 9];
const LARGE_MIB: u64 = 16;
const QUICK_LARGE_MIB: u64 = 4;

/// What the server says when it is about to listen.
const READY: &str = "starting, listening on port";

/// How long either part may take: the large file at a quarter of a Mbit/s.
const DEADLINE: Duration = Duration::from_secs(600);

/// Of one user, whoever asks: a guest's packages are unpacked, and make no users.
const CONFIGURATION: &str = "use chroot = no\nuid = root\ngid = root\nreverse lookup = no\n\
                             [store]\npath = /run/meshbench-files/store\nread only = no\n";

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let copied = serve_and_copy(setting).await;
    for member in [setting.from, setting.to] {
        remove_folder(&member.machine, FOLDER).await;
    }
    copied
}

async fn serve_and_copy(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let Setting { from, to, .. } = setting;
    make_folder(&from.machine, FOLDER).await?;
    make_folder(&to.machine, &format!("{FOLDER}/store")).await?;
    let mib = if setting.quick { QUICK_LARGE_MIB } else { LARGE_MIB };
    let small = SMALL_KIB.map(|kib| (kib << 10).to_string()).join(",");
    traffic::make(from, &["files", &format!("{FOLDER}/small"), &SMALL.to_string(), &small]).await?;
    let large = (mib << 20).to_string();
    traffic::make(from, &["files", &format!("{FOLDER}/large"), "1", &large]).await?;
    let path = format!("{FOLDER}/rsyncd.conf");
    to.machine.write_file(&path, 0o644, CONFIGURATION.as_bytes()).await?;
    let (config, address) = (format!("--config={path}"), format!("--address={}", setting.target));
    let port = format!("--port={PORT}");
    let argv =
        ["rsync", "--daemon", "--no-detach", "--log-file=/dev/stderr", &config, &address, &port];
    let server = tool::serve(&to.machine, command(&argv), READY).await?;
    let copied = match listens(setting).await {
        Ok(()) => copy(setting, mib << 20).await,
        Err(error) => Err(error),
    };
    traffic::end(server).await;
    copied
}

/// Waits until the server answers on its own machine: it says that it listens before it does.
async fn listens(setting: &Setting<'_>) -> Result<(), WorkloadError> {
    let address = format!("rsync://{}/", SocketAddr::new(setting.target, PORT));
    let answers = Condition::Succeeds(command(&["rsync", &address]));
    setting.to.machine.wait(answers, PROMPT).await?;
    Ok(())
}

async fn copy(setting: &Setting<'_>, large_bytes: u64) -> Result<Yield, WorkloadError> {
    let small_bytes = (0..).zip(SMALL_KIB.iter().cycle()).take_while(|(number, _)| *number < SMALL);
    let small_bytes: u64 = small_bytes.map(|(_, kib)| kib << 10).sum();
    let small_ms = send(setting, "small", SMALL, small_bytes).await?;
    let large_ms = send(setting, "large", 1, large_bytes).await?;
    let metrics = vec![
        TIME_SMALL.is(small_ms),
        RATE_SMALL.is(1e3 * SMALL as f64 / small_ms),
        TIME_LARGE.is(large_ms),
        RATE_LARGE.is(8e3 * large_bytes as f64 / large_ms),
    ];
    Ok(Yield::carried(metrics, (small_bytes + large_bytes) as f64))
}

/// Sends a folder to the server, which has nothing of it; the milliseconds that it took.
async fn send(
    setting: &Setting<'_>,
    folder: &str,
    files: u64,
    bytes: u64,
) -> Result<f64, WorkloadError> {
    let server = SocketAddr::new(setting.target, PORT);
    let (own, theirs) =
        (format!("{FOLDER}/{folder}/"), format!("rsync://{server}/store/{folder}/"));
    let argv = ["rsync", "--recursive", "--times", "--whole-file", "--stats", &own, &theirs];
    let (seconds, said) = traffic::timed(setting.from, command(&argv), DEADLINE).await?;
    let sent = sent(&said).map_err(|reason| WorkloadError::tool(&setting.from.machine, reason))?;
    if sent != (files, bytes) {
        let (sent, held) = sent;
        let reason = format!("rsync sent {sent} files of {held} bytes, not {files} of {bytes}");
        return Err(WorkloadError::tool(&setting.from.machine, reason));
    }
    Ok(1e3 * seconds)
}

/// How many files rsync says it has sent, and how many bytes were in them.
///
/// # Errors
/// A sentence, if it does not say.
fn sent(said: &str) -> Result<(u64, u64), String> {
    let number = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|rest| rest.split_whitespace().next());
        let number = word.and_then(|word| word.replace(',', "").parse().ok());
        number.ok_or_else(|| format!("rsync told no {name:?} in its statistics: {said:?}"))
    };
    Ok((number("Number of regular files transferred:")?, number("Total transferred file size:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = include_str!("fixtures/rsync-stats.txt");

    #[test]
    fn statistics_tell_what_was_sent() {
        assert_eq!(sent(SAID), Ok((1000, 4_096_000)));
    }

    #[test]
    fn what_tells_nothing_has_sent_nothing() {
        for said in ["", "{\"seconds\":0.1}", "Number of regular files transferred: NaN"] {
            let reason = sent(said).unwrap_err();
            assert!(reason.starts_with("rsync told no \"Number of regular"), "{reason}");
        }
        let cut = SAID.split("Total transferred").next().unwrap();
        assert!(sent(cut).unwrap_err().contains("Total transferred"));
    }
}
