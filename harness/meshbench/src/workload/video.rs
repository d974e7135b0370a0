//! Live video: what a receiver can show of it, with packets sent again while there is time (RIST, VSF TR-06-2).

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::{self, command};
use super::{Setting, WorkloadError, traffic};
use crate::machine::{PROMPT, Running};
use crate::results::{Better, Metric, Unit};

pub(super) const SPEC: Spec = Spec {
    name: "video",
    summary: "a live stream of 4 Mbit/s with a buffer of a second: packets lost, recovered, late (RIST)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software { debian: &["rist-tools"], nixpkgs: &["librist"] },
    seconds: Seconds { full: 36.0, quick: 14.0 },
    metrics: &[LOST, RECOVERED, LATE, BREAKS],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const LOST: Measure = Measure::new(
    "lost",
    Unit::Percent,
    Better::Lower,
    "the agent behind ristreceiver: packets of the transport stream that never came, of those sent",
);
const RECOVERED: Measure = Measure::new(
    "recovered",
    Unit::Percent,
    Better::Neutral,
    "ristreceiver: packets that came only when they were sent again, of those that came",
);
const LATE: Measure = Measure::new(
    "late",
    Unit::Percent,
    Better::Lower,
    "the agent behind ristreceiver: packets more than 50 ms behind the quickest, of those sent",
);
const BREAKS: Measure = Measure::new(
    "breaks",
    Unit::Count,
    Better::Lower,
    "the agent behind ristreceiver: continuity counters that do not follow the one before",
);

const RATE_MBIT: f64 = 4.0;

/// Where RIST is received, and the ends of the stream on either member.
const PORT: u16 = 7006;
const SOURCE: &str = "127.0.0.1:7007";
const SCREEN: &str = "127.0.0.1:7008";

/// Beside the stream: before it, RIST's greeting; after it, what is still in buffers, and the last statistics.
const AROUND: f64 = 6.0;
const AFTER: Duration = Duration::from_secs(2);

/// What RIST's ends say once the one listens and the other has found it.
const LISTENS: &str = "Starting receiver protocol loop";
const FOUND: &str = "peer connected count is 1";

/// What the sender tells.
#[derive(Debug, Deserialize)]
struct Sent {
    sent: f64,
}

/// What the receiver tells.
#[derive(Debug, Deserialize)]
struct Seen {
    received: f64,
    late: f64,
    breaks: f64,
    strange: f64,
}

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let Setting { from, to, .. } = setting;
    let address = SocketAddr::new(setting.target, PORT);
    let (listen, call) = (format!("rist://@{address}"), format!("rist://{address}"));
    let (source, screen) = (format!("udp://@{SOURCE}"), format!("udp://{SCREEN}"));
    let argv = ["ristreceiver", "-i", &listen, "-o", &screen, "-S", "1000"];
    let receiver = tool::serve(&to.machine, command(&argv), LISTENS).await?;
    let argv = ["ristsender", "-i", &source, "-o", &call, "-S", "0"];
    let sender = tool::serve(&from.machine, command(&argv), FOUND).await;
    let streamed = match sender {
        Ok(sender) => {
            let streamed = stream(setting).await;
            traffic::end(sender).await;
            streamed
        }
        Err(error) => Err(error),
    };
    let said = ended(receiver).await;
    let (sent, seen) = streamed?;
    let metrics = measured(&sent, &seen, &said?);
    let metrics = metrics.map_err(|reason| WorkloadError::tool(&to.machine, reason))?;
    Ok(Yield::carried(metrics, 188.0 * seen.received))
}

/// Sends a stream from the one's encoder to the other's screen.
async fn stream(setting: &Setting<'_>) -> Result<(Sent, Seen), WorkloadError> {
    let seconds = SPEC.seconds.of(setting.quick) - AROUND;
    let mbit = setting.bottleneck_mbit.map_or(RATE_MBIT, |mbit| RATE_MBIT.min(mbit / 2.0));
    let (rate, length) = ((1e6 * mbit).to_string(), seconds.to_string());
    let screen = ["ts", "receive", SCREEN, &rate, &length];
    let screen = traffic::serve(setting.to, &screen).await?;
    let words = ["ts", "send", SOURCE, &rate, &length];
    let sent = match traffic::ask(setting.from, &words, seconds).await {
        Ok(sent) => sent,
        Err(error) => {
            traffic::end(screen).await;
            return Err(error);
        }
    };
    let seen = traffic::finished(setting.to, screen, PROMPT + PROMPT).await?;
    sleep(AFTER).await;
    Ok((sent, seen))
}

/// Ends a program; all that it has said.
async fn ended(program: Running) -> Result<String, WorkloadError> {
    // An error means that the machine is gone, which waiting tells.
    let _ = program.cancel().await;
    let output = program.wait(PROMPT).await?;
    Ok(output.text() + &String::from_utf8_lossy(&output.stderr))
}

/// # Errors
/// A sentence: nothing came, or RIST has told no statistics.
fn measured(sent: &Sent, seen: &Seen, said: &str) -> Result<Vec<Metric>, String> {
    if seen.received <= 0.0 || sent.sent <= 0.0 {
        return Err(format!("{} packets came of {} sent", seen.received, sent.sent));
    }
    if seen.strange > 0.0 {
        return Err(format!("{} packets came that were none of the stream", seen.strange));
    }
    let [received, recovered] = totals(said)?;
    Ok(vec![
        LOST.is((100.0 * (1.0 - seen.received / sent.sent)).max(0.0)),
        RECOVERED.is(100.0 * recovered / received),
        LATE.is(100.0 * seen.late / sent.sent),
        BREAKS.is(seen.breaks),
    ])
}

/// Datagrams that ristreceiver has received in all, and those of them that it has recovered: the last such line of
/// its log, as version 0.2.11 writes it.
///
/// # Errors
/// A sentence, if there is none.
fn totals(said: &str) -> Result<[f64; 2], String> {
    #[derive(Deserialize)]
    struct Line {
        flow_cumulative_stats: Totals,
    }
    #[derive(Deserialize)]
    struct Totals {
        received: f64,
        recovered: f64,
    }
    let lines = said.lines().rev().filter_map(|line| line.split_once("{\"flow_cumulative_stats\""));
    let last = lines.map(|(_, rest)| format!("{{\"flow_cumulative_stats\"{rest}")).next();
    let last = last.ok_or("ristreceiver told no statistics")?;
    let Line { flow_cumulative_stats: Totals { received, recovered } } =
        serde_json::from_str(&last)
            .map_err(|error| format!("ristreceiver's statistics {last:?}: {error}"))?;
    if received <= 0.0 {
        return Err("ristreceiver has received nothing".into());
    }
    Ok([received, recovered])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = include_str!("fixtures/ristreceiver.txt");

    #[test]
    fn the_last_statistics_count() {
        let [received, recovered] = totals(SAID).unwrap();
        assert!(received > 1000.0 && recovered > 0.0 && recovered < received);
    }

    #[test]
    fn what_came_is_told_of_what_was_sent() {
        let (sent, seen) =
            (Sent { sent: 1000.0 }, Seen { received: 990.0, late: 5.0, breaks: 2.0, strange: 0.0 });
        let told = measured(&sent, &seen, SAID).unwrap();
        let value = |name| told.iter().find(|metric| metric.name == name).unwrap().value;
        assert!((value("lost") - 1.0).abs() < 1e-9 && (value("late") - 0.5).abs() < 1e-9);
        assert_eq!(value("breaks"), 2.0);
    }

    #[test]
    fn a_stream_of_which_nothing_is_told_is_no_number() {
        assert_eq!(totals("").unwrap_err(), "ristreceiver told no statistics");
        let cut = SAID.trim_end().strip_suffix("}}").unwrap();
        assert!(totals(cut).unwrap_err().starts_with("ristreceiver's statistics "));
        let none =
            "{\"flow_cumulative_stats\":{\"flow_id\":1,\"received\":0,\"recovered\":0,\"lost\":0}}";
        assert_eq!(totals(none).unwrap_err(), "ristreceiver has received nothing");
        let seen = |received, strange| Seen { received, late: 0.0, breaks: 0.0, strange };
        let sent = Sent { sent: 700.0 };
        assert_eq!(
            measured(&sent, &seen(0.0, 0.0), SAID).unwrap_err(),
            "0 packets came of 700 sent"
        );
        assert!(
            measured(&sent, &seen(700.0, 1.0), SAID).unwrap_err().contains("none of the stream")
        );
    }
}
