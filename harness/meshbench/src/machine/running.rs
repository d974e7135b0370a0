//! A request whose output is wanted while it runs.

use std::time::Duration;

use meshbench_protocol::{Kind, Reply, Request};

use super::agent::{Channel, Output};
use super::session::Session;
use super::{EVIDENCE, MachineError};
use crate::text::last_lines;

/// A request under way. Dropping it leaves it to itself: end it by [`Running::cancel`].
#[derive(Debug)]
pub struct Running {
    session: Session,
    /// For errors: what is being done.
    stage: String,
    channel: Channel,
    stdout: Stream,
    stderr: Stream,
    reply: Option<Reply>,
}

/// All of a stream, and how much of it has been handed out as lines.
#[derive(Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    taken: usize,
}

impl Running {
    pub(super) fn new(session: Session, request: &Request, channel: Channel) -> Self {
        let stage = match request {
            Request::Exec(exec) => format!("running `{}`", exec.argv.join(" ")),
            _ => "serving a request".to_owned(),
        };
        let (stdout, stderr) = (Stream::default(), Stream::default());
        Self { session, stage, channel, stdout, stderr, reply: None }
    }

    /// Sends bytes to standard input or to the file being written.
    pub async fn input(&self, bytes: &[u8]) -> Result<(), String> {
        self.channel.input(bytes).await
    }

    /// Says that no more input follows.
    pub async fn end_input(&self) -> Result<(), String> {
        self.channel.end_input().await
    }

    /// Asks the agent to stop; the reply still follows.
    pub async fn cancel(&self) -> Result<(), String> {
        self.channel.cancel().await
    }

    /// Hands on what it says as it says it, on standard output and on standard error, until it ends. It may take
    /// any time. Returns the reply, or why there is none: the machine is lost, or one of its cluster.
    ///
    /// # Errors
    /// Whatever `hear` says, which ends nothing but the listening.
    pub async fn follow<E>(
        &mut self,
        mut hear: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<Result<Reply, MachineError>, E> {
        let (session, stage) = (self.session.clone(), self.stage.clone());
        loop {
            hear(self.stdout.fresh(), self.stderr.fresh())?;
            if let Some(reply) = &self.reply {
                return Ok(Ok(reply.clone()));
            }
            if let Err(error) = session.guarded(&stage, Duration::MAX, self.listen()).await {
                return Ok(Err(error));
            }
        }
    }

    /// Waits until the output has a line with this text, and returns that line. Lines are taken once: the
    /// next call looks at what follows. A line that has not ended yet counts too, so the empty text
    /// is found in any output.
    ///
    /// # Errors
    /// If the request ends without it, which the error tells with the last that it said; if the deadline
    /// passes, or the machine is lost.
    pub async fn until_line(
        &mut self,
        text: &str,
        deadline: Duration,
    ) -> Result<String, MachineError> {
        self.until(&format!("{text:?}"), |line| line.contains(text), deadline).await
    }

    /// As [`Running::until_line`], for a line that is this one.
    pub(crate) async fn until_whole_line(
        &mut self,
        text: &str,
        deadline: Duration,
    ) -> Result<String, MachineError> {
        self.until(&format!("the line {text:?}"), |line| line.trim() == text, deadline).await
    }

    async fn until(
        &mut self,
        what: &str,
        is: impl Fn(&str) -> bool,
        deadline: Duration,
    ) -> Result<String, MachineError> {
        let stage = format!("waiting for {what} while {}", self.stage);
        let session = self.session.clone();
        let found = session.guarded(&stage, deadline, async {
            loop {
                if let Some(line) = self.taken(&is) {
                    return Ok(Ok(line));
                }
                if self.reply.is_some() {
                    return Ok(Err(self.said()));
                }
                self.listen().await?;
            }
        });
        match found.await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(said)) => Err(session.refused(&stage, format!("it ended; {said}"))),
            Err(MachineError::Deadline { seconds, .. }) => {
                let reason = format!("not within {seconds:.1} s; {}", self.said());
                Err(session.refused(&stage, reason))
            }
            Err(error) => Err(error),
        }
    }

    /// The next line of either stream as soon as there is one; `None` once the request has ended.
    ///
    /// # Errors
    /// If the deadline passes, or the machine is lost.
    pub async fn next_line(&mut self, deadline: Duration) -> Result<Option<String>, MachineError> {
        let (session, stage) = (self.session.clone(), self.stage.clone());
        let line = async {
            loop {
                if let Some(line) = self.stdout.line().or_else(|| self.stderr.line()) {
                    return Ok(Some(line));
                }
                if self.reply.is_some() {
                    return Ok(self.stdout.rest().or_else(|| self.stderr.rest()));
                }
                self.listen().await?;
            }
        };
        session.guarded(&stage, deadline, line).await
    }

    /// Waits for its end; returns all that it has said, also what was read before.
    ///
    /// # Errors
    /// If the agent could not do what it was asked, the deadline passes, or the machine is lost.
    pub async fn wait(mut self, deadline: Duration) -> Result<Output, MachineError> {
        let (session, stage) = (self.session.clone(), self.stage.clone());
        let reply = session.guarded(&stage, deadline, async {
            loop {
                if let Some(reply) = self.reply.take() {
                    return Ok(reply);
                }
                self.listen().await?;
            }
        });
        match reply.await? {
            Reply::Failed(reason) => Err(session.refused(&stage, reason)),
            reply => Ok(Output { stdout: self.stdout.bytes, stderr: self.stderr.bytes, reply }),
        }
    }

    /// Takes in one frame.
    async fn listen(&mut self) -> Result<(), String> {
        let frame = self.channel.next().await?;
        match frame.kind {
            Kind::Output => self.stdout.bytes.extend_from_slice(&frame.payload),
            Kind::ErrorOutput => self.stderr.bytes.extend_from_slice(&frame.payload),
            Kind::Reply => {
                let reply = serde_json::from_slice(&frame.payload).map_err(|e| e.to_string())?;
                self.reply = Some(reply);
            }
            _ => {}
        }
        Ok(())
    }

    /// The first line like this that has not been taken, with all lines before it.
    fn taken(&mut self, is: impl Fn(&str) -> bool) -> Option<String> {
        let streams = [&mut self.stdout, &mut self.stderr];
        streams.into_iter().find_map(|stream| {
            while let Some(line) = stream.line() {
                if is(&line) {
                    return Some(line);
                }
            }
            is(&stream.unfinished()).then(|| stream.rest()).flatten()
        })
    }

    /// The end of what it has said, in words.
    fn said(&self) -> String {
        if let Some(Reply::Failed(reason)) = &self.reply {
            return reason.clone();
        }
        let text = [&self.stdout.bytes[..], &self.stderr.bytes[..]].concat();
        let lines = last_lines(&text, EVIDENCE);
        if lines.is_empty() {
            return "it said nothing".to_owned();
        }
        format!("it said\n    {}", lines.join("\n    "))
    }
}

impl Stream {
    /// Takes the next whole line.
    fn line(&mut self) -> Option<String> {
        let rest = &self.bytes[self.taken..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.taken += end + 1;
        Some(line)
    }

    /// Takes all that has not been taken.
    fn fresh(&mut self) -> &[u8] {
        let from = std::mem::replace(&mut self.taken, self.bytes.len());
        &self.bytes[from..]
    }

    /// Takes what follows the last whole line, if there is any.
    fn rest(&mut self) -> Option<String> {
        let rest = self.unfinished();
        self.taken = self.bytes.len();
        (!rest.is_empty()).then_some(rest)
    }

    fn unfinished(&self) -> String {
        String::from_utf8_lossy(&self.bytes[self.taken..]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use meshbench_protocol::Frame;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::super::agent::AgentClient;
    use super::super::bond::Bond;
    use super::super::console::Console;
    use super::super::health::Health;
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    /// A request, and the agent's end of its port.
    async fn started() -> (Running, UnixStream) {
        let (guest, port) = UnixStream::pair().unwrap();
        let (_, serial) = UnixStream::pair().unwrap();
        let health = Health::new();
        let session = Session {
            machine: "alice".into(),
            agent: AgentClient::open(port, health.clone()),
            console: Console::follow(serial, health.clone()),
            health,
            bond: Bond::default(),
        };
        let channel = session.agent.start(&Request::Echo).await.unwrap();
        (Running::new(session, &Request::Echo, channel), guest)
    }

    async fn say(guest: &mut UnixStream, kind: Kind, text: &str) {
        let frame = Frame { channel: 1, kind, payload: text.as_bytes().to_vec() };
        guest.write_all(&frame.encode()).await.unwrap();
    }

    #[tokio::test]
    async fn a_line_is_found_in_pieces_on_either_stream_and_once() {
        let (mut running, mut guest) = started().await;
        say(&mut guest, Kind::Output, "first\nSer").await;
        say(&mut guest, Kind::Output, "ver listening on 5201\nServer listening").await;
        say(&mut guest, Kind::ErrorOutput, "tcpdump: listening on eth0\n").await;
        let line = running.until_line("Server listening", SOON).await.unwrap();
        assert_eq!(line, "Server listening on 5201");
        assert_eq!(running.until_line("Server listening", SOON).await.unwrap(), "Server listening");
        let line = running.until_line("listening on", SOON).await.unwrap();
        assert_eq!(line, "tcpdump: listening on eth0");
        say(&mut guest, Kind::Output, "x").await;
        assert_eq!(running.until_line("", SOON).await.unwrap(), "x");
        say(&mut guest, Kind::Reply, "\"done\"").await;
        let output = running.wait(SOON).await.unwrap();
        assert!(output.text().starts_with("first\nServer") && output.text().ends_with('x'));
    }

    #[tokio::test]
    async fn an_end_or_a_deadline_without_the_line_tells_what_was_said() {
        let (mut running, mut guest) = started().await;
        say(&mut guest, Kind::ErrorOutput, "bind: address in use\n").await;
        let error = running.until_line("listening", SOON).await.unwrap_err().to_string();
        assert!(error.contains("0.1 s") && error.contains("address in use"), "{error}");
        say(&mut guest, Kind::Reply, "\"done\"").await;
        let error = running.until_line("listening", SOON).await.unwrap_err().to_string();
        assert!(error.contains("alice") && error.contains("it ended; it said"), "{error}");
        assert!(error.contains("address in use"), "{error}");
    }

    #[tokio::test]
    async fn lines_end_with_the_request() {
        let (mut running, mut guest) = started().await;
        say(&mut guest, Kind::Output, "one\ntw").await;
        say(&mut guest, Kind::Output, "o\nthree").await;
        say(&mut guest, Kind::Reply, "\"done\"").await;
        let mut lines = Vec::new();
        while let Some(line) = running.next_line(SOON).await.unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn what_is_followed_comes_in_order_and_ends_with_the_reply() {
        let (mut running, mut guest) = started().await;
        say(&mut guest, Kind::Output, "one").await;
        say(&mut guest, Kind::ErrorOutput, "oh").await;
        say(&mut guest, Kind::Output, " two").await;
        say(&mut guest, Kind::Reply, "\"done\"").await;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let hear = |said: &[u8], complained: &[u8]| {
            out.extend_from_slice(said);
            err.extend_from_slice(complained);
            Ok::<_, Infallible>(())
        };
        assert_eq!(running.follow(hear).await.unwrap().unwrap(), Reply::Done);
        assert_eq!((&out[..], &err[..]), (&b"one two"[..], &b"oh"[..]));
        let (mut running, mut guest) = started().await;
        say(&mut guest, Kind::Output, "one").await;
        let full = |said: &[u8], _: &[u8]| if said.is_empty() { Ok(()) } else { Err("no space") };
        assert_eq!(running.follow(full).await.unwrap_err(), "no space");
    }

    #[tokio::test]
    async fn who_follows_a_machine_that_is_lost_is_told() {
        let (mut running, guest) = started().await;
        drop(guest);
        let followed = running.follow(|_, _| Ok::<_, Infallible>(())).await.unwrap();
        assert_eq!(followed.unwrap_err().machine(), "alice");
    }

    #[tokio::test]
    async fn what_a_guest_says_is_bounded_also_while_nobody_listens() {
        let (running, mut guest) = started().await;
        let chunk = "x".repeat(1 << 20);
        for _ in 0..80 {
            say(&mut guest, Kind::Output, &chunk).await;
        }
        let error = running.wait(Duration::from_secs(20)).await.unwrap_err().to_string();
        assert!(error.contains("more than 64 MiB on its standard output"), "{error}");
    }

    #[tokio::test]
    async fn a_refusal_is_an_error() {
        let (running, mut guest) = started().await;
        say(&mut guest, Kind::Reply, "{\"failed\":\"no such program\"}").await;
        let error = running.wait(SOON).await.unwrap_err().to_string();
        assert!(error.contains("no such program"), "{error}");
    }
}
