//! iperf3: a test against a server of its own.

mod document;
mod error;
mod raw;
mod report;
mod server;
mod tcp;
mod udp;

pub(super) use error::Iperf3Error;
pub(super) use server::datagrams_per_second;
pub(super) use tcp::{Tcp, parse_both, parse_streams, parse_tcp};
pub(super) use udp::{Udp, parse_udp};

use std::time::Duration;

use futures_util::future::try_join_all;

use super::tool::{self, command};
use super::{Setting, WorkloadError};
use crate::machine::{Machine, Output, PROMPT, Running};
use crate::protocol::Reply;

/// How often a test is tried that could not begin. iperf3 gives up when one packet of its own set-up is
/// lost, which on a bad link is no result: behind two links that lose 2 % one test in 13.
const ATTEMPTS: usize = 5;

/// How often one is tried that had begun when iperf3 gave up: its own connection, by which both ends exchange
/// their figures, is as easily cut at the end.
const BEGUN_ATTEMPTS: usize = 2;

/// What a test may take beside its stream: to begin, and to exchange its figures. A client of iperf3 3.18 whose server
/// has fallen silent keeps a processor busy without an end, which is slow in virtual time.
const BESIDE: Duration = Duration::from_secs(30);

/// How long the stream of a test lasts.
pub(super) fn stream_seconds(quick: bool) -> f64 {
    if quick { 3.0 } else { 10.0 }
}

/// Bytes that came at this rate in a test's stream.
pub(super) fn bytes_received(bits_per_second: f64, quick: bool) -> f64 {
    bits_per_second / 8.0 * stream_seconds(quick)
}

/// Where servers listen, unless several are needed at once.
const PORT: &str = "5201";

/// Runs one test whose stream lasts so many seconds; again when iperf3 itself gave up.
pub(super) async fn run<T>(
    setting: &Setting<'_>,
    seconds: f64,
    options: &[&str],
    parse: impl Fn(&str) -> Result<T, Iperf3Error>,
) -> Result<T, WorkloadError> {
    let test = Test { setting, port: PORT, seconds, options };
    Ok(test.run(|said| parse(&said.client.report), async || ()).await?.0)
}

/// As [`run`], of several pairs at once, each with a server at a port of its own: all anew when iperf3 gave up in one, since
/// a test that begins when the others are over has their share of the lines.
pub(super) async fn run_at_once<T>(
    pairs: &[(Setting<'_>, String)],
    seconds: f64,
    options: &[&str],
    parse: impl Fn(&str) -> Result<T, Iperf3Error>,
) -> Result<Vec<T>, WorkloadError> {
    let tests: Vec<Test<'_>> =
        pairs.iter().map(|(setting, port)| Test { setting, port, seconds, options }).collect();
    let trial = async || {
        let said = try_join_all(tests.iter().map(Test::once)).await?;
        let seen =
            tests.iter().zip(&said).map(|(test, said)| test.read(parse(&said.client.report), said));
        Ok(seen.collect())
    };
    tried(trial).await
}

/// What could not be read, and from whom.
type Unread<'a> = (&'a Machine, Iperf3Error);

/// Measures until iperf3 has not given up by itself, or has too often.
async fn tried<'a, T>(
    trial: impl AsyncFn() -> Result<Result<T, Unread<'a>>, WorkloadError>,
) -> Result<T, WorkloadError> {
    let mut attempt = 1;
    loop {
        match trial().await? {
            Err((_, error)) if is_worth_another(&error, attempt) => attempt += 1,
            Err((machine, error)) => return Err(WorkloadError::tool(machine, error)),
            Ok(seen) => return Ok(seen),
        }
    }
}

/// As [`run`], of what the server said beside what the client did.
pub(super) async fn run_of_both<T>(
    setting: &Setting<'_>,
    seconds: f64,
    options: &[&str],
    parse: impl Fn(&Said) -> Result<T, Iperf3Error>,
) -> Result<T, WorkloadError> {
    let test = Test { setting, port: PORT, seconds, options };
    Ok(test.run(parse, async || ()).await?.0)
}

/// As [`run`], with something that goes on beside it: both anew when iperf3 gave up, since a test that begins only when
/// the other is over is beside nothing.
pub(super) async fn run_beside<T, B>(
    setting: &Setting<'_>,
    seconds: f64,
    options: &[&str],
    parse: impl Fn(&str) -> Result<T, Iperf3Error>,
    beside: impl AsyncFn() -> B,
) -> Result<(T, B), WorkloadError> {
    let test = Test { setting, port: PORT, seconds, options };
    test.run(|said| parse(&said.client.report), beside).await
}

/// What the two ends of a test said.
pub(super) struct Said {
    pub(super) client: Client,
    /// On standard output.
    pub(super) server: String,
}

/// What the client said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// On standard output.
    pub(super) report: String,
    /// On standard error.
    pub(super) complaints: String,
}

/// One test between the initiator and the target.
struct Test<'a> {
    setting: &'a Setting<'a>,
    port: &'a str,
    /// How long its stream lasts.
    seconds: f64,
    options: &'a [&'a str],
}

impl<'a> Test<'a> {
    async fn run<T, B>(
        &self,
        parse: impl Fn(&Said) -> Result<T, Iperf3Error>,
        beside: impl AsyncFn() -> B,
    ) -> Result<(T, B), WorkloadError> {
        let trial = async || {
            let (said, meanwhile) = tokio::join!(self.once(), beside());
            let said = said?;
            Ok(self.read(parse(&said), &said).map(|seen| (seen, meanwhile)))
        };
        tried(trial).await
    }

    /// What was read of what it said, with what the client complained of.
    fn read<T>(&self, seen: Result<T, Iperf3Error>, said: &Said) -> Result<T, Unread<'a>> {
        let machine = &self.setting.from.machine;
        seen.map_err(|error| (machine, error.with_complaints(&said.client)))
    }

    /// What one test printed.
    async fn once(&self) -> Result<Said, WorkloadError> {
        let Self { setting, port, seconds, options } = *self;
        let target = setting.target.to_string();
        let server = serve(&setting.to.machine, &target, port).await?;
        let length = seconds.to_string();
        let mut argv =
            vec!["iperf3", "-J", "-c", &target, "-p", port, "--connect-timeout", "10000"];
        argv.extend(["-t", &length].iter().chain(options));
        let machine = &setting.from.machine;
        let deadline = Duration::from_secs_f64(seconds) + BESIDE;
        let client = machine.execute(command(&argv), None, deadline).await;
        // It ends by itself after its only test, but not when the test never reached it. The next one
        // needs its port, so its end is awaited; an error means that its machine is gone.
        let _ = server.cancel().await;
        let server = server.wait(PROMPT).await.map(|output| output.text()).unwrap_or_default();
        let client =
            said(&client?, deadline).map_err(|reason| WorkloadError::tool(machine, reason))?;
        Ok(Said { client, server })
    }
}

fn is_worth_another(error: &Iperf3Error, attempt: usize) -> bool {
    match error {
        Iperf3Error::Failed { begun: false, .. } => attempt < ATTEMPTS,
        Iperf3Error::Failed { begun: true, .. } => attempt < BEGUN_ATTEMPTS,
        _ => false,
    }
}

/// What is to be parsed, if it ended.
fn said(output: &Output, deadline: Duration) -> Result<Client, String> {
    let complaints = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if matches!(output.reply, Reply::Exited { timed_out: true, .. }) {
        let (all, beside) = (deadline.as_secs(), BESIDE.as_secs());
        let hangs = format!(
            "iperf3 was still running after {all} s, and its stream was to end {beside} s before: it never began, or hangs at the end, where it exchanges its figures"
        );
        return Err(if complaints.is_empty() { hangs } else { format!("{hangs}; {complaints}") });
    }
    Ok(Client { report: output.text(), complaints })
}

/// Starts a server for one test and waits until it listens.
async fn serve(machine: &Machine, address: &str, port: &str) -> Result<Running, WorkloadError> {
    let argv = ["iperf3", "-s", "-1", "-B", address, "-p", port, "--forceflush"];
    tool::serve(machine, command(&argv), "Server listening").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_iperf3_itself_gave_up_is_tried_again() {
        let failed = |begun| Iperf3Error::Failed { reason: "x".into(), begun };
        let tries = |error: &Iperf3Error| {
            (1..10).find(|attempt| !is_worth_another(error, *attempt)).unwrap()
        };
        assert_eq!(tries(&failed(false)), 5);
        assert_eq!(tries(&failed(true)), 2);
        assert_eq!(tries(&Iperf3Error::Unexpected("x".into())), 1);
        assert_eq!(tries(&Iperf3Error::Malformed { line: 1, reason: "x".into() }), 1);
    }

    fn output(stdout: &str, stderr: &str, timed_out: bool) -> Output {
        Output {
            stdout: stdout.into(),
            stderr: stderr.into(),
            reply: Reply::Exited { code: Some(1), signal: None, timed_out },
        }
    }

    /// Why a test has no figures that ended so.
    fn why(stdout: &str, stderr: &str) -> Iperf3Error {
        let said = said(&output(stdout, stderr, false), Duration::from_secs(40)).unwrap();
        parse_tcp(&said.report).unwrap_err().with_complaints(&said)
    }

    #[test]
    fn what_stands_on_standard_error_is_the_reason_where_a_report_is_missing_or_cut_off() {
        let failed = |reason: &str, begun| Iperf3Error::Failed { reason: reason.into(), begun };
        assert_eq!(why("\n", "iperf3: no"), failed("no", false));
        assert_eq!(why("", "sh: iperf3: not found"), failed("sh: iperf3: not found", false));
        let closed = "warning: slow\niperf3: error - control socket has closed unexpectedly\n";
        let reason = "error - control socket has closed unexpectedly";
        assert_eq!(why("{\n\t\"start\":\t{", closed), failed(reason, true));
        assert!(is_worth_another(&why("{\n\t\"start\":\t{", closed), 1));
        // What is only a remark changes nothing.
        assert!(matches!(why("{\n\t\"sta", "warning: slow"), Iperf3Error::Malformed { .. }));
        assert!(matches!(why("", ""), Iperf3Error::Unexpected(_)));
        let report = "{\"error\": \"the server has terminated\"}";
        assert_eq!(why(report, ""), failed("the server has terminated", false));
        let both = "the server has terminated; error - control socket has closed unexpectedly";
        assert_eq!(why(report, closed), failed(both, false));
        assert_eq!(why(report, "iperf3: the server has terminated"), why(report, ""));
    }

    #[test]
    fn a_test_that_hangs_at_its_end_is_said_to() {
        let said = |stderr: &str| said(&output("", stderr, true), Duration::from_secs(40));
        let hangs = said("").unwrap_err();
        assert!(
            hangs.starts_with(
                "iperf3 was still running after 40 s, and its stream was to end 30 s before"
            ),
            "{hangs}"
        );
        assert!(said("iperf3: x\n").unwrap_err().ends_with("; iperf3: x"));
    }
}
