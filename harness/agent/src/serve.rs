//! The agent's loop: one thread reads frames, each channel has a thread of its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread;

use meshbench_protocol::{Frame, Hello, Identity, Kind, PROTOCOL, Reply, Request};

use crate::channel::{Channel, Input, Open, Output, Port, lock};
use crate::{
    clock, connect, container, exec, files, identity, nat, nat_server, network, schedule, train,
    wait,
};

type Channels = Arc<Mutex<HashMap<u32, Open>>>;

/// Serves requests until the port breaks, or has ended and `more` says that nobody will come back to it.
/// What still runs then is cancelled: nobody is left to hear of it.
pub(crate) fn serve(port: OwnedFd, mut more: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let mut reader = BufReader::new(File::from(port.try_clone()?));
    let port = Port::new(port);
    let channels = Channels::default();
    let served =
        port.send(&Frame::json(0, Kind::Hello, &Hello { protocol: PROTOCOL })?).and_then(|()| {
            loop {
                match Frame::read(&mut reader) {
                    Ok(frame) => take(&port, &channels, frame)?,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        if !more()? {
                            return Ok(());
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        });
    lock(&channels).values().for_each(|open| open.take(Input::Cancel));
    served
}

fn take(port: &Port, channels: &Channels, frame: Frame) -> io::Result<()> {
    let input = match frame.kind {
        Kind::Request => return open(port, channels, &frame),
        Kind::Input => Input::Bytes(frame.payload),
        Kind::InputEnd => Input::End,
        Kind::Cancel => Input::Cancel,
        _ => return Ok(()),
    };
    if let Some(open) = lock(channels).get(&frame.channel) {
        open.take(input);
    }
    Ok(())
}

fn open(port: &Port, channels: &Channels, frame: &Frame) -> io::Result<()> {
    let id = frame.channel;
    let request: Request = match serde_json::from_slice(&frame.payload) {
        Ok(request) => request,
        Err(error) => return reply(port, id, &Reply::Failed(error.to_string())),
    };
    match &request {
        Request::Echo => return reply(port, id, &Reply::Done),
        Request::Identify(identity) => return identify(port, id, identity),
        _ => {}
    }
    let (channel, opened) = Channel::open(Output { id, port: port.clone() })?;
    lock(channels).insert(id, opened);
    let (port, channels) = (port.clone(), channels.clone());
    let job = move || {
        let answer = answer(request, channel).unwrap_or_else(|e| Reply::Failed(e.to_string()));
        lock(&channels).remove(&id);
        let _ = reply(&port, id, &answer);
    };
    // A thread of its own, since some leave the machine's network namespace, which a thread does for good.
    thread::Builder::new().stack_size(256 << 10).spawn(job)?;
    Ok(())
}

/// Nothing else of the machine shall run before the answer, not even a thread that is made for it.
fn identify(port: &Port, channel: u32, identity: &Identity) -> io::Result<()> {
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
        Request::Container(it) => container::run(&it, &channel),
        Request::Clock => Ok(Reply::Clock { source: clock::source() }),
    }
}

fn reply(port: &Port, channel: u32, reply: &Reply) -> io::Result<()> {
    port.send(&Frame::json(channel, Kind::Reply, reply)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use meshbench_protocol::Exec;

    use super::*;

    /// An agent that serves the other end.
    fn agent() -> UnixStream {
        let (ours, its) = UnixStream::pair().unwrap();
        thread::spawn(move || serve(its.into(), || Ok(false)));
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
        ask(&mut port, 1, &["sh", "-c", "echo started; sleep 60 | cat"]);
        while Frame::read(&mut port).unwrap().kind != Kind::Output {}
        let cancel = Frame { channel: 1, kind: Kind::Cancel, payload: Vec::new() };
        cancel.write(&mut port).unwrap();
        let (_, reply, _) = replies(&mut port, 1).remove(0);
        assert!(matches!(reply, Reply::Exited { signal: Some(9), .. }), "{reply:?}");
    }

    #[test]
    fn a_program_that_never_stops_talking_ends_at_its_deadline() {
        let mut port = agent();
        let argv = vec!["yes".to_owned()];
        let request = Request::Exec(Exec { argv, timeout_ms: 100, ..Exec::default() });
        Frame::json(1, Kind::Request, &request).unwrap().write(&mut port).unwrap();
        let (_, reply, _) = replies(&mut port, 1).remove(0);
        assert!(matches!(reply, Reply::Exited { timed_out: true, .. }), "{reply:?}");
    }

    #[test]
    fn a_program_that_is_cancelled_before_it_runs_is_killed_too() {
        let mut port = agent();
        for channel in 1..=50 {
            ask(&mut port, channel, &["sleep", "60"]);
            let cancel = Frame { channel, kind: Kind::Cancel, payload: Vec::new() };
            cancel.write(&mut port).unwrap();
            let (answered, reply, _) = replies(&mut port, 1).remove(0);
            assert_eq!(answered, channel);
            assert!(matches!(reply, Reply::Exited { signal: Some(9), .. }), "{reply:?}");
        }
    }

    #[test]
    fn what_runs_for_a_connection_ends_with_it() {
        let (mut ours, its) = UnixStream::pair().unwrap();
        let serving = thread::spawn(move || serve(its.into(), || Ok(false)));
        ask(&mut ours, 1, &["sh", "-c", "echo $$; exec sleep 60"]);
        let frame = std::iter::repeat_with(|| Frame::read(&mut ours).unwrap());
        let said = frame.take(10).find(|frame| frame.kind == Kind::Output).unwrap().payload;
        let process = format!("/proc/{}", String::from_utf8(said).unwrap().trim());
        drop(ours);
        serving.join().unwrap().unwrap();
        let gone = || !std::path::Path::new(&process).exists();
        assert!((0..500).any(|_| gone() || {
            thread::sleep(Duration::from_millis(20));
            false
        }));
    }
}
