//! How long an overlay is silent when the network changes under it.

use std::time::Duration;

use meshbench_protocol::Request;
use tokio::time::{Instant, sleep, timeout};

use super::ping::{INTERVAL_S, Ping, WAIT_S, echoed, parse};
use super::spec::{Events, Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::{command, echo_headers};
use super::{Setting, WorkloadError};
use crate::machine::{Machine, MachineError, PROMPT, Running};
use crate::results::{Better, Metric, OverlayPath, Unit, names};

pub(super) const SPEC: Spec = Spec {
    name: "recover",
    summary: "silence and loss of the overlay while the scenario's events happen, and its path after that",
    question: Question::Reliability,
    phase: Phase::Events,
    members: 2,
    software: Software::NONE,
    // Events come within half a minute.
    seconds: Seconds::always(2.0 * WATCH.as_secs() as f64),
    metrics: &[SILENCE, BEGINS, LOSS, LOST, SILENCE_LARGE, DIRECT],
    run: Run::BuiltIn(|setting, events| Box::pin(run(setting, events))),
};

const SILENCE: Measure = Measure::new(
    names::SILENCE,
    Unit::Milliseconds,
    Better::Lower,
    "ping: longest time between two answers; each sample one longer than a second",
);
const BEGINS: Measure = Measure::new(
    names::SILENCE_BEGINS,
    Unit::Milliseconds,
    Better::Neutral,
    "ping: when that began, from the first answer on; each sample the beginning of one longer than a second",
);
const LOSS: Measure =
    Measure::new("loss", Unit::Percent, Better::Lower, "ping: packets without an answer");
const LOST: Measure =
    Measure::new("lost", Unit::Count, Better::Lower, "ping: number of packets without an answer");
const SILENCE_LARGE: Measure = Measure::new(
    "silence-large",
    Unit::Milliseconds,
    Better::Lower,
    "the same of packets as large as passed whole before; to the end, if they did not come back",
)
.optional();
const DIRECT: Measure = Measure::new(
    "direct-after",
    Unit::Count,
    Better::Higher,
    "the VPN: 1 if its path is direct after all that happened, 0 if relayed",
)
.optional();

/// How long an overlay is watched after the last event has happened.
const WATCH: Duration = Duration::from_secs(30);

/// How long it may then take to come back: many send something once a minute to notice that nobody answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// No line may be longer in coming: the events before are over in less.
const LONGEST: Duration = Duration::from_secs(3600);

/// Some overlays pass 64 KiB; no more than this is sent ten times a second on a slow line.
const LARGEST_DATA: u32 = 1472;

/// An overlay that has answered none of the last packets has not come back; so many seconds of them.
const END_S: f64 = 3.0;

/// A gap between two answers that is an outage, in seconds.
const OUTAGE_S: f64 = 1.0;

/// Runs `ping` with the arguments and puts before each line when it came. `ping -D` would tell by the clock that
/// time servers and people set; this is the kernel's time since its start, in hundredths of a second. The first
/// line is the process's number.
const STAMPED: &str = r#"
sh -c 'echo $$; exec ping "$@"' ping "$@" 2>&1 | while IFS= read -r line; do
    read -r now idle </proc/uptime
    printf '[%s] %s\n' "$now" "$line"
done"#;

/// How an overlay took what happened.
#[derive(Debug, Clone, PartialEq)]
struct Recovery {
    /// The longest one. Undisturbed, it lasts about as long as it is between two packets.
    longest: Silence,
    /// Each that is longer than a second, in order.
    outages: Vec<Silence>,
}

/// From one answer until the next.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Silence {
    /// Since the first answer.
    begins_ms: f64,
    lasts_ms: f64,
}

/// Sends packets on a clock from before the first event until well after the last one: small ones, and some as large
/// as pass, which a path that became narrower loses alone.
async fn run(setting: &Setting<'_>, events: Events<'_>) -> Result<Yield, WorkloadError> {
    let machine = &setting.from.machine;
    let target = setting.target.to_string();
    let mut small = Pinging::start(machine, &[&target]).await?;
    let large =
        match setting.inner_mtu.and_then(|mtu| mtu.checked_sub(echo_headers(setting.target))) {
            // Path MTU discovery as TCP has it: cut into pieces only once somebody has said how large they may be.
            Some(data) => {
                let data = data.min(LARGEST_DATA).to_string();
                Some(Pinging::start(machine, &["-M", "want", "-s", &data, &target]).await?)
            }
            None => None,
        };
    watch(async || small.running.next_line(LONGEST).await, events).await?;
    let said = small.end().await?;
    let large = match large {
        Some(large) => Some(large.end().await?),
        None => None,
    };
    let seen = parse(&said).map_err(|error| WorkloadError::tool(machine, error))?;
    let mut metrics = measured(&seen).map_err(|reason| {
        let machine = machine.name().to_owned();
        WorkloadError::Unreached { machine, reason }
    })?;
    // Whoever answers no large packet at all did so before, too.
    let large = large.and_then(|said| parse(&said).ok());
    metrics.extend(large.and_then(|seen| silence_to_the_end(&seen)).map(|ms| SILENCE_LARGE.is(ms)));
    metrics.extend(path_after(setting).await);
    Ok(Yield::from(metrics).through(echoed(setting.target, &seen)))
}

/// Whether the path is direct now; nothing where the VPN does not tell.
async fn path_after(setting: &Setting<'_>) -> Option<Metric> {
    let path = setting.deployment.path(setting.from, setting.target).await.ok()??;
    match path {
        OverlayPath::Direct => Some(DIRECT.is(1.0)),
        OverlayPath::Relayed => Some(DIRECT.is(0.0)),
        OverlayPath::Unknown => None,
    }
}

/// Reads lines for as long as there is something to see, or until there are no more.
async fn watch<E>(
    mut next: impl AsyncFnMut() -> Result<Option<String>, E>,
    events_over: impl Future,
) -> Result<(), E> {
    let mut answered = Instant::now();
    let reading = async {
        while let Some(line) = next().await? {
            if is_answer(&line) {
                answered = Instant::now();
            }
        }
        Ok(())
    };
    let watched = async {
        events_over.await;
        sleep(WATCH).await;
    };
    tokio::select! {
        // `ping` has given up; it says why.
        ended = reading => return ended,
        () = watched => {}
    }
    if answered.elapsed().as_secs_f64() > END_S {
        // It may stay silent.
        timeout(PATIENCE - WATCH, until_answer(next)).await.unwrap_or(Ok(()))?;
    }
    Ok(())
}

async fn until_answer<E>(
    mut next: impl AsyncFnMut() -> Result<Option<String>, E>,
) -> Result<(), E> {
    while let Some(line) = next().await? {
        if is_answer(&line) {
            break;
        }
    }
    Ok(())
}

/// Others tell of errors on the way.
fn is_answer(line: &str) -> bool {
    line.contains(" bytes from ")
}

/// A `ping` under way.
struct Pinging<'a> {
    machine: &'a Machine,
    running: Running,
    process: u32,
}

impl<'a> Pinging<'a> {
    async fn start(machine: &'a Machine, options: &[&str]) -> Result<Self, WorkloadError> {
        let interval = INTERVAL_S.to_string();
        let mut argv = vec!["sh", "-c", STAMPED, "sh", "-n", "-i", &interval, "-W", WAIT_S];
        argv.extend(options);
        let mut running = machine.start(&Request::Exec(command(&argv))).await?;
        let line = running.until_line("] ", PROMPT).await?;
        let process = process(&line).ok_or_else(|| WorkloadError::tool(machine, &line))?;
        Ok(Self { machine, running, process })
    }

    /// Ends it so that it tells how many packets it has sent; returns all that it has said.
    async fn end(self) -> Result<String, MachineError> {
        let interrupt = format!("kill -INT {} 2>/dev/null || true", self.process);
        self.machine.run(&["sh", "-c", &interrupt]).await?;
        self.running.wait(PROMPT).await.map(|output| output.text())
    }
}

/// `[12.34] 1234`
fn process(line: &str) -> Option<u32> {
    line.rsplit_once("] ")?.1.trim().parse().ok()
}

fn measured(seen: &Ping) -> Result<Vec<Metric>, String> {
    let found = recovery(seen)?;
    let loss = seen.loss_percent();
    let each = |what: fn(&Silence) -> f64| found.outages.iter().map(what).collect();
    Ok(vec![
        SILENCE.of(found.longest.lasts_ms, each(|it| it.lasts_ms)),
        BEGINS.of(found.longest.begins_ms, each(|it| it.begins_ms)),
        LOSS.is(loss),
        LOST.is((f64::from(seen.sent) * loss / 100.0).round()),
    ])
}

/// From packets that were sent on a clock.
///
/// # Errors
/// A sentence: nothing was answered, or nothing at the end.
fn recovery(seen: &Ping) -> Result<Recovery, String> {
    let end = (END_S / INTERVAL_S) as u32;
    let last = seen.replies.iter().map(|reply| u32::from(reply.sequence)).max();
    let last = last.ok_or_else(|| seen.silence())?;
    if last + end < seen.sent {
        let silent = f64::from(seen.sent - last) * INTERVAL_S;
        return Err(format!("it did not come back: silent for the last {silent:.0} s"));
    }
    let silences = silences(seen);
    let longest = longest(&silences).ok_or("only one packet was answered")?;
    let outages = silences.into_iter().filter(|it| it.lasts_ms > OUTAGE_S * 1e3).collect();
    Ok(Recovery { longest, outages })
}

/// The longest time without an answer, that from the last one until nothing more was sent among them.
fn silence_to_the_end(seen: &Ping) -> Option<f64> {
    let found = longest(&silences(seen))?.lasts_ms;
    let last = seen.replies.iter().map(|reply| u32::from(reply.sequence)).max()?;
    let rest = f64::from(seen.sent.saturating_sub(last)) * INTERVAL_S * 1e3;
    Some(found.max(rest))
}

/// Each time between two answers.
fn silences(seen: &Ping) -> Vec<Silence> {
    let mut arrivals: Vec<f64> = seen.replies.iter().filter_map(|reply| reply.at_seconds).collect();
    arrivals.sort_by(f64::total_cmp);
    let first = arrivals.first().copied().unwrap_or_default();
    let between = |pair: &[f64]| Silence {
        begins_ms: (pair[0] - first) * 1e3,
        lasts_ms: (pair[1] - pair[0]) * 1e3,
    };
    arrivals.windows(2).map(between).collect()
}

fn longest(silences: &[Silence]) -> Option<Silence> {
    silences.iter().copied().max_by(|a, b| a.lasts_ms.total_cmp(&b.lasts_ms))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::process::Command;

    use super::*;

    const ANSWER: &str = "[12.34] 64 bytes from 10.77.0.2: icmp_seq=1 ttl=64 time=0.5 ms";

    /// What `ping` prints of packets of which these were answered at once.
    fn seen(sent: u32, answered: impl Iterator<Item = u32>) -> Ping {
        let mut text = String::from("[0.00] 77\n[0.01] PING 10.77.0.2 56(84) bytes of data.\n");
        let mut received = 0;
        for number in answered {
            let at = 1e3 + f64::from(number) * INTERVAL_S;
            text +=
                &format!("[{at:.2}] 64 bytes from 10.77.0.2: icmp_seq={number} ttl=64 time=1 ms\n");
            received += 1;
        }
        text += &format!("[9.99] {sent} packets transmitted, {received} received, time 1ms\n");
        parse(&text).unwrap()
    }

    #[test]
    fn an_outage_lasts_from_the_last_answer_before_to_the_first_after() {
        let found = recovery(&seen(400, (1..=50).chain(80..=200).chain(203..=399))).unwrap();
        let Silence { begins_ms, lasts_ms } = found.longest;
        assert!((lasts_ms - 3000.0).abs() < 1.0 && (begins_ms - 4900.0).abs() < 1.0, "{found:?}");
        assert_eq!(found.outages, [found.longest]);
    }

    #[test]
    fn large_packets_that_never_came_back_are_silent_to_the_end() {
        let ms = silence_to_the_end(&seen(400, 1..=300)).unwrap();
        assert!((ms - 10_000.0).abs() < 1.0, "{ms}");
        let ms = silence_to_the_end(&seen(400, (1..=100).chain(150..=400))).unwrap();
        assert!((ms - 5000.0).abs() < 1.0, "{ms}");
        assert_eq!(silence_to_the_end(&seen(400, 0..0)), None);
    }

    #[test]
    fn silence_to_the_end_is_no_recovery() {
        let error = recovery(&seen(400, 1..=300)).unwrap_err();
        assert_eq!(error, "it did not come back: silent for the last 10 s");
        assert!(recovery(&seen(400, 0..0)).is_err());
        assert!(recovery(&seen(400, 1..=380)).is_ok());
    }

    /// A `ping` that is a script, so that the host needs none.
    #[test]
    fn lines_are_stamped_by_the_kernels_own_time_and_the_first_is_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let ping = dir.path().join("ping");
        std::fs::write(&ping, "#!/bin/sh\necho \"$$ $*\"\necho oops >&2\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&ping, mode).unwrap();
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            text.split(' ').next().unwrap().parse::<f64>().unwrap()
        };
        let before = uptime();
        let output =
            Command::new("sh").args(["-c", STAMPED, "sh", "-n", "x"]).env("PATH", path).output();
        let output = String::from_utf8(output.unwrap().stdout).unwrap();
        let lines: Vec<&str> = output.lines().collect();
        let pid = process(lines[0]).unwrap();
        assert!(lines[1].ends_with(&format!("] {pid} -n x")), "{output}");
        assert!(lines[2].ends_with("] oops"), "{output}");
        let stamp: f64 = lines[1][1..].split(']').next().unwrap().parse().unwrap();
        assert!((before..=uptime()).contains(&stamp), "{output}");
        assert_eq!(process("[12.34] sh: 1: ping: not found"), None);
    }

    #[tokio::test]
    async fn a_ping_that_ends_ends_the_watch() {
        let mut lines =
            vec![ANSWER.to_owned(), "[1.0] ping: connect: Network is unreachable".into()];
        let next = async || Ok::<_, Infallible>(lines.pop());
        let watched = watch(next, std::future::pending::<()>());
        assert_eq!(timeout(Duration::from_secs(5), watched).await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_lost_machine_ends_the_watch_with_its_error() {
        let next = async || Err::<Option<String>, _>("lost");
        assert_eq!(watch(next, std::future::pending::<()>()).await, Err("lost"));
    }

    #[tokio::test]
    async fn only_an_answer_ends_the_patience() {
        let mut lines =
            vec!["rest", ANSWER, "[1.0] From 10.9.0.1 icmp_seq=1 Time to live exceeded"];
        let next = async || Ok::<_, Infallible>(lines.pop().map(str::to_owned));
        assert_eq!(until_answer(next).await, Ok(()));
        assert_eq!(lines, ["rest"]);
    }
}
