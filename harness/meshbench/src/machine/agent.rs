//! The harness's side of the conversation with an agent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meshbench_protocol::{Frame, Hello, Kind, PROTOCOL, Reply, Request, frame::CHUNK};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

use super::health::{Health, Loss};

/// Between the end of the port and its report: QEMU closes it before it frees the guest's memory and ends.
const GRACE: Duration = Duration::from_secs(1);

/// What a guest may send on one stream of one request. Whatever is more is a fault of the guest's, and
/// must not become one of the host's memory.
const LIMIT: usize = 64 << 20;

type Channels = Arc<Mutex<HashMap<u32, Receiver>>>;

/// Who takes what arrives on a channel, and how much that has been, by stream.
#[derive(Debug)]
struct Receiver {
    frames: mpsc::UnboundedSender<Result<Frame, String>>,
    output: usize,
    errors: usize,
}

/// A connection to one machine's agent. Clones share it; any number of requests run at once.
#[derive(Debug, Clone)]
pub(super) struct AgentClient {
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    channels: Channels,
    next: Arc<AtomicU32>,
    hello: watch::Sender<Option<Hello>>,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Channel {
    agent: AgentClient,
    channel: u32,
    frames: mpsc::UnboundedReceiver<Result<Frame, String>>,
}

/// What a finished request has sent.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output, or a file's bytes.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The reply that closed the channel.
    pub reply: Reply,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl AgentClient {
    /// Speaks over a connected port; the loss of the port is reported to `health`.
    pub(super) fn open(port: UnixStream, health: Health) -> Self {
        let (reader, writer) = port.into_split();
        let client = Self {
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
            channels: Channels::default(),
            next: Arc::new(AtomicU32::new(1)),
            hello: watch::Sender::new(None),
        };
        let (channels, hello) = (client.channels.clone(), client.hello.clone());
        tokio::spawn(async move {
            let reason = read(reader, &channels, &hello).await;
            // When QEMU has ended, how it ended says more than that its ports closed.
            tokio::time::sleep(GRACE).await;
            health.report(Loss::AgentGone(reason));
            lock(&channels).clear();
        });
        client
    }

    /// Resolves when the agent has said hello.
    pub(super) async fn greeted(&self) -> Result<Hello, String> {
        let mut hello = self.hello.subscribe();
        let hello = hello.wait_for(Option::is_some).await.map_err(|e| e.to_string())?;
        match &*hello {
            Some(hello) if hello.protocol == PROTOCOL => Ok(hello.clone()),
            Some(hello) => Err(format!(
                "the guest's agent speaks protocol {}, this harness {PROTOCOL}: rebuild the guest",
                hello.protocol
            )),
            None => Err("no hello".into()),
        }
    }

    /// Opens a channel with a request.
    pub(super) async fn start(&self, request: &Request) -> Result<Channel, String> {
        let channel = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, frames) = mpsc::unbounded_channel();
        lock(&self.channels).insert(channel, Receiver { frames: sender, output: 0, errors: 0 });
        let running = Channel { agent: self.clone(), channel, frames };
        let frame = Frame::json(channel, Kind::Request, request).map_err(|e| e.to_string())?;
        self.send(&frame).await?;
        Ok(running)
    }

    /// Makes a request and collects all that it sends.
    pub(super) async fn call(
        &self,
        request: &Request,
        input: Option<&[u8]>,
    ) -> Result<Output, String> {
        let running = self.start(request).await?;
        if let Some(input) = input {
            running.input(input).await?;
            running.end_input().await?;
        }
        running.finish().await
    }

    async fn send(&self, frame: &Frame) -> Result<(), String> {
        self.writer.lock().await.write_all(&frame.encode()).await.map_err(|e| e.to_string())
    }
}

impl Channel {
    /// Sends bytes to standard input or to the file being written.
    pub(super) async fn input(&self, bytes: &[u8]) -> Result<(), String> {
        for chunk in bytes.chunks(CHUNK) {
            self.send(Kind::Input, chunk).await?;
        }
        Ok(())
    }

    /// Says that no more input follows.
    pub(super) async fn end_input(&self) -> Result<(), String> {
        self.send(Kind::InputEnd, &[]).await
    }

    /// Asks the agent to stop; the reply still follows.
    pub(super) async fn cancel(&self) -> Result<(), String> {
        self.send(Kind::Cancel, &[]).await
    }

    /// The next data or reply; an error when the agent is gone, or has sent more than [`LIMIT`].
    pub(super) async fn next(&mut self) -> Result<Frame, String> {
        match self.frames.recv().await {
            Some(Ok(frame)) => Ok(frame),
            Some(Err(excess)) => {
                // Nobody will take the rest.
                let _ = self.cancel().await;
                Err(excess)
            }
            None => Err("the agent is gone".into()),
        }
    }

    /// Collects everything up to the reply.
    pub(super) async fn finish(mut self) -> Result<Output, String> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let frame = self.next().await?;
            match frame.kind {
                Kind::Output => stdout.extend_from_slice(&frame.payload),
                Kind::ErrorOutput => stderr.extend_from_slice(&frame.payload),
                Kind::Reply => {
                    let reply =
                        serde_json::from_slice(&frame.payload).map_err(|e| e.to_string())?;
                    return Ok(Output { stdout, stderr, reply });
                }
                _ => {}
            }
        }
    }

    async fn send(&self, kind: Kind, payload: &[u8]) -> Result<(), String> {
        self.agent.send(&Frame { channel: self.channel, kind, payload: payload.to_vec() }).await
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        lock(&self.agent.channels).remove(&self.channel);
    }
}

/// Hands frames to their channels until the port ends; returns why it did.
async fn read(
    mut reader: OwnedReadHalf,
    channels: &Channels,
    hello: &watch::Sender<Option<Hello>>,
) -> String {
    let mut buffer = Vec::with_capacity(2 * CHUNK);
    // The agent of a fork said its hello to whoever made the template.
    let mut known = false;
    loop {
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return "its port closed".into(),
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
        loop {
            match Frame::take(&mut buffer) {
                Ok(Some(frame)) if frame.kind == Kind::Hello => {
                    if std::mem::replace(&mut known, true) {
                        return "it started anew".into();
                    }
                    hello.send_replace(serde_json::from_slice(&frame.payload).ok());
                }
                Ok(Some(frame)) => {
                    known = true;
                    dispatch(channels, frame);
                }
                Ok(None) => break,
                Err(error) => return error.to_string(),
            }
        }
    }
}

fn dispatch(channels: &Channels, frame: Frame) {
    let mut channels = lock(channels);
    // A request that nobody waits for any more may still be answered.
    let Some(receiver) = channels.get_mut(&frame.channel) else { return };
    let (said, stream) = match frame.kind {
        Kind::ErrorOutput => (&mut receiver.errors, "standard error"),
        _ => (&mut receiver.output, "standard output"),
    };
    *said += frame.payload.len();
    if *said <= LIMIT {
        let _ = receiver.frames.send(Ok(frame));
        return;
    }
    let excess = format!("it sent more than {} MiB on its {stream}", LIMIT >> 20);
    let _ = receiver.frames.send(Err(excess));
    channels.remove(&frame.channel);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
