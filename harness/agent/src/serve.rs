//! The agent's loop: one thread reads frames, each channel has a thread of its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicI32, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use agent::{Frame, Hello, Identity, Kind, PROTOCOL, Reply, Request};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::workers::Workers;
use crate::{
    clock, connect, exec, files, identity, nat, nat_server, network, schedule, train, wait,
};

/// What the harness sends on an open channel.
pub(crate) enum Input {
    Bytes(Vec<u8>),
    End,
    Cancel,
}

/// One open channel, as the thread that serves it sees it.
pub(crate) struct Channel {
    pub(crate) output: Output,
    pub(crate) input: Receiver<Input>,
    /// The process group that a cancellation ends, while there is one; otherwise 0.
    pub(crate) group: Arc<AtomicI32>,
}

/// One open channel, as the thread that reads frames sees it.
struct Open {
    input: Sender<Input>,
    group: Arc<AtomicI32>,
}

impl Open {
    fn take(&self, input: Input) {
        let cancels = matches!(input, Input::Cancel);
        // A channel that has just ended gets late input: nobody is left to take it.
        let _ = self.input.send(input);
        if !cancels {
            return;
        }
        // Sent first: whoever starts a program names its group first and looks for a cancellation then.
        fence(Ordering::SeqCst);
        let group = self.group.load(Ordering::SeqCst);
        if group != 0 {
            // It may have ended by itself.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

type Channels = Arc<Mutex<HashMap<u32, Open>>>;

/// Where a channel's data goes.
pub(crate) struct Output {
    id: u32,
    port: Arc<Mutex<File>>,
}

impl Output {
    /// Sends bytes on the channel.
    pub(crate) fn send(&self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        send(&self.port, &Frame { channel: self.id, kind, payload: bytes.to_vec() })
    }
}

/// Serves requests until the port breaks.
pub(crate) fn serve(port: &File) -> io::Result<()> {
    let writer = Arc::new(Mutex::new(port.try_clone()?));
    let mut reader = BufReader::new(port.try_clone()?);
    let channels = Channels::default();
    let workers = Workers::default();
    let hello = Hello { protocol: PROTOCOL, uptime_ns: clock::uptime_ns() };
    send(&writer, &Frame::json(0, Kind::Hello, &hello)?)?;
    loop {
        let frame = read(&mut reader)?;
        if frame.kind == Kind::Request {
            open(&writer, &channels, &workers, frame)?;
            continue;
        }
        let input = match frame.kind {
            Kind::Input => Input::Bytes(frame.payload),
            Kind::InputEnd => Input::End,
            Kind::Cancel => Input::Cancel,
            _ => continue,
        };
        if let Some(open) = lock(&channels).get(&frame.channel) {
            open.take(input);
        }
    }
}

/// Reads a frame; while no harness is connected the port reads as ended.
fn read(reader: &mut impl Read) -> io::Result<Frame> {
    loop {
        match Frame::read(reader) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                thread::sleep(std::time::Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

fn open(
    port: &Arc<Mutex<File>>,
    channels: &Channels,
    workers: &Workers,
    frame: Frame,
) -> io::Result<()> {
    let request: Request = match serde_json::from_slice(&frame.payload) {
        Ok(request) => request,
        Err(error) => return reply(port, frame.channel, &Reply::Failed(error.to_string())),
    };
    match &request {
        Request::Echo => return reply(port, frame.channel, &Reply::Done),
        Request::Identify(identity) => return identify(port, frame.channel, identity),
        _ => {}
    }
    let (sender, input) = channel();
    let group = Arc::<AtomicI32>::default();
    let id = frame.channel;
    lock(channels).insert(id, Open { input: sender, group: group.clone() });
    let channel = Channel { output: Output { id, port: port.clone() }, input, group };
    let (port, channels) = (port.clone(), channels.clone());
    let runs_program = matches!(request, Request::Exec(_));
    let job = move || {
        let answer = answer(request, channel).unwrap_or_else(|e| Reply::Failed(e.to_string()));
        lock(&channels).remove(&id);
        let _ = reply(&port, id, &answer);
    };
    if runs_program {
        return workers.run(job);
    }
    // Others may leave the machine's network namespace, which a thread does for good.
    thread::Builder::new().stack_size(256 << 10).spawn(job)?;
    Ok(())
}

/// Nothing else of the machine shall run before the answer, not even a thread that is made for it.
fn identify(port: &Mutex<File>, channel: u32, identity: &Identity) -> io::Result<()> {
    schedule::before_all_others();
    let answer = identity::apply(identity);
    let answer = answer.map_or_else(|why| Reply::Failed(why.to_string()), |()| Reply::Done);
    let sent = reply(port, channel, &answer);
    schedule::as_usual();
    sent
}

fn answer(request: Request, channel: Channel) -> io::Result<Reply> {
    match request {
        Request::Echo | Request::Identify(_) => Err(io::Error::other("has been answered")),
        Request::Exec(exec) => exec::stream(&exec, channel),
        Request::WriteFile { path, mode } => files::write(&path, mode, &channel),
        Request::ReadFile { path } => files::read(&path, &channel),
        Request::Wait { condition, deadline_ms } => wait::wait(&condition, deadline_ms, &channel),
        Request::Network(namespaces) => network::apply(&namespaces),
        Request::Connect(probe) => connect::connect(&probe, &channel),
        Request::Trains(trains) => train::run(&trains),
        Request::NatServers { namespace, endpoints } => {
            nat_server::serve(&namespace, &endpoints, &channel)
        }
        Request::NatProbe(probe) => nat::probe(&probe).map(Reply::Nat),
        Request::Clock => Ok(Reply::Clock {
            monotonic_ns: clock::monotonic_ns(),
            realtime_ns: clock::realtime_ns(),
            source: clock::source(),
        }),
    }
}

fn reply(port: &Mutex<File>, channel: u32, reply: &Reply) -> io::Result<()> {
    send(port, &Frame::json(channel, Kind::Reply, reply)?)
}

fn send(port: &Mutex<File>, frame: &Frame) -> io::Result<()> {
    frame.write(&mut *lock(port))
}

/// A poisoned lock still guards whole frames: the writer panicked outside `write_all`.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use agent::Exec;

    use super::*;

    /// An agent that serves the other end.
    fn agent() -> UnixStream {
        let (ours, its) = UnixStream::pair().unwrap();
        thread::spawn(move || serve(&File::from(OwnedFd::from(its))));
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        ours
    }

    fn ask(port: &mut UnixStream, channel: u32, argv: &[&str]) {
        let argv = argv.iter().map(ToString::to_string).collect();
        let request = Request::Exec(Exec { argv, ..Exec::default() });
        Frame::json(channel, Kind::Request, &request).unwrap().write(port).unwrap();
    }

    /// Each reply with its channel and the length of its output, in order of their arrival.
    fn replies(port: &mut UnixStream, count: usize) -> Vec<(u32, Reply, usize)> {
        let (mut lengths, mut replies) = (HashMap::<u32, usize>::new(), Vec::new());
        while replies.len() < count {
            let frame = Frame::read(port).unwrap();
            match frame.kind {
                Kind::Output => {
                    *lengths.entry(frame.channel).or_default() += frame.payload.len();
                }
                Kind::Reply => {
                    let reply = serde_json::from_slice(&frame.payload).unwrap();
                    let length = lengths.get(&frame.channel).copied().unwrap_or(0);
                    replies.push((frame.channel, reply, length));
                }
                _ => {}
            }
        }
        replies
    }

    #[test]
    fn all_that_a_program_says_arrives_before_its_end() {
        let mut port = agent();
        for channel in 1..=4 {
            ask(&mut port, channel, &["head", "-c", "1000000", "/dev/zero"]);
        }
        for (_, reply, length) in replies(&mut port, 4) {
            assert!(matches!(reply, Reply::Exited { code: Some(0), .. }), "{reply:?}");
            assert_eq!(length, 1_000_000);
        }
    }

    #[test]
    fn a_daemon_that_keeps_the_output_open_delays_nothing() {
        let mut port = agent();
        let start = Instant::now();
        ask(&mut port, 1, &["sh", "-c", "yes >/dev/stderr & sleep 10 & echo started"]);
        let (_, reply, length) = replies(&mut port, 1).remove(0);
        assert!(matches!(reply, Reply::Exited { code: Some(0), .. }), "{reply:?}");
        assert!(length == "started\n".len() && start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_cancelled_program_is_killed() {
        let mut port = agent();
        ask(&mut port, 1, &["sh", "-c", "sleep 60 | cat"]);
        thread::sleep(Duration::from_millis(200));
        let cancel = Frame { channel: 1, kind: Kind::Cancel, payload: Vec::new() };
        cancel.write(&mut port).unwrap();
        let (_, reply, _) = replies(&mut port, 1).remove(0);
        assert!(matches!(reply, Reply::Exited { signal: Some(9), .. }), "{reply:?}");
    }

    #[test]
    fn a_thread_that_ran_a_program_runs_the_next_one() {
        let mut port = agent();
        for channel in 1..=50 {
            ask(&mut port, channel, &["true"]);
            let (answered, reply, _) = replies(&mut port, 1).remove(0);
            assert_eq!(answered, channel);
            assert!(matches!(reply, Reply::Exited { code: Some(0), .. }), "{reply:?}");
        }
    }
}
