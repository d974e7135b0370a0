//! Requests and answers over TCP: first as fast as they go, then on a schedule that does not ask how fast they went,
//! where each request is counted from when it was due: what waits behind a slow one is late, too.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;

/// The length of what follows, before each request and each answer.
const HEADER: usize = 4;

/// Larger requests are refused.
const LARGEST: usize = 1 << 20;

/// The longest that is told apart, in microseconds.
const LONGEST_US: u64 = 600_000_000;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Bytes of a request.
    pub(super) size: usize,
    /// How many are under way at once.
    pub(super) at_once: usize,
}

/// When it is asked, whatever came of earlier requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// Requests a second, all connections together.
    pub(super) rate: f64,
    pub(super) seconds: f64,
}

impl Schedule {
    /// Between two requests of one connection of so many, and how many there are of each.
    fn of_each(self, at_once: usize) -> (Duration, u32) {
        let interval = at_once as f64 / self.rate.max(0.1);
        (Duration::from_secs_f64(interval), (self.seconds / interval).ceil() as u32)
    }
}

/// Answers requests, as long as they are, until it is ended.
pub(super) fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening");
    for client in listener.incoming() {
        let client = client?;
        thread::spawn(move || answer(client));
    }
    Ok(())
}

fn answer(mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut message = vec![0; HEADER];
    loop {
        client.read_exact(&mut message[..HEADER])?;
        let mut length = [0; HEADER];
        length.copy_from_slice(&message[..HEADER]);
        let length = u32::from_be_bytes(length) as usize;
        if length > LARGEST {
            return Err(io::Error::other("a request that is too long"));
        }
        message.resize(HEADER + length, 0);
        client.read_exact(&mut message[HEADER..])?;
        client.write_all(&message)?;
    }
}

/// Asks as fast as answers come for so many seconds, then on the schedule, and prints what came of it.
pub(super) fn ask(address: &str, load: Load, seconds: f64, schedule: Schedule) -> io::Result<()> {
    let Load { size, at_once } = load;
    let clients =
        (0..at_once).map(|_| Client::to(address, size)).collect::<io::Result<Vec<_>>>()?;
    let (clients, closed) = together(clients, move |client, start| {
        let end = start + Duration::from_secs_f64(seconds);
        client.each(|_| Some(Instant::now()).filter(|now| *now < end))
    })?;
    let (interval, count) = schedule.of_each(at_once);
    let (_, open) = together(clients, move |client, start| {
        // Not all at the same moment.
        let start = start + interval.mul_f64(client.place);
        client.each(|round| (round < count).then(|| start + interval * round))
    })?;
    let at = |quantile| open.value_at_quantile(quantile);
    let document = json!({
        "requests": closed.len(), "scheduled": open.len(), "rate": closed.len() as f64 / seconds,
        "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999),
        "bytes": (closed.len() + open.len()) * 2 * (size + HEADER) as u64,
    });
    println!("{document}");
    Ok(())
}

/// One connection.
struct Client {
    stream: TcpStream,
    message: Vec<u8>,
    /// Its share of an interval, so that connections take turns.
    place: f64,
}

impl Client {
    fn to(address: &str, size: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut message = (size as u32).to_be_bytes().to_vec();
        message.resize(HEADER + size, 0x55);
        Ok(Self { stream, message, place: 0.0 })
    }

    /// Asks when each round is due, until there is none; how long after that each answer came.
    fn each(&mut self, due: impl Fn(u32) -> Option<Instant>) -> io::Result<Histogram<u64>> {
        let mut seen = histogram()?;
        for round in 0.. {
            let Some(due) = due(round) else { break };
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.stream.write_all(&self.message)?;
            self.stream.read_exact(&mut self.message)?;
            seen.saturating_record(due.elapsed().as_micros() as u64);
        }
        Ok(seen)
    }
}

fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).map_err(io::Error::other)
}

/// Has all clients work at once, from one moment on.
fn together(
    clients: Vec<Client>,
    work: impl Fn(&mut Client, Instant) -> io::Result<Histogram<u64>> + Send + Sync + 'static,
) -> io::Result<(Vec<Client>, Histogram<u64>)> {
    let count = clients.len();
    let (work, ready) = (Arc::new(work), Arc::new(Barrier::new(count)));
    let run = |(place, mut client): (usize, Client)| {
        let (work, ready) = (work.clone(), ready.clone());
        client.place = place as f64 / count as f64;
        thread::spawn(move || {
            ready.wait();
            let seen = work(&mut client, Instant::now())?;
            Ok::<_, io::Error>((client, seen))
        })
    };
    let running: Vec<_> = clients.into_iter().enumerate().map(run).collect();
    let mut all = histogram()?;
    let mut back = Vec::new();
    for thread in running {
        let (client, seen) = thread.join().map_err(|_| io::Error::other("a client panicked"))??;
        all.add(seen).map_err(io::Error::other)?;
        back.push(client);
    }
    Ok((back, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_a_schedule() {
        let schedule = Schedule { rate: 80.0, seconds: 20.0 };
        assert_eq!(schedule.of_each(16), (Duration::from_millis(200), 100));
        assert_eq!(schedule.of_each(1), (Duration::from_micros(12_500), 1600));
    }

    /// A server of which the first answer takes long.
    #[test]
    fn requests_are_counted_from_when_they_were_due() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut message = [0; HEADER + 1];
            for round in 0.. {
                if client.read_exact(&mut message).is_err() {
                    return;
                }
                if round == 0 {
                    thread::sleep(Duration::from_millis(100));
                }
                client.write_all(&message).unwrap();
            }
        });
        let mut client = Client::to(&address, 1).unwrap();
        let start = Instant::now();
        let seen =
            client.each(|round| (round < 10).then(|| start + Duration::from_millis(10) * round));
        let seen = seen.unwrap();
        assert_eq!(seen.len(), 10);
        let late = seen.iter_recorded().filter(|it| it.value_iterated_to() > 9_000);
        let late: u64 = late.map(|it| it.count_at_value()).sum();
        assert!(late >= 9, "only {late} of 10 waited behind the slow one");
    }

    #[test]
    fn every_answer_is_as_long_as_its_request() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || answer(listener.accept().unwrap().0));
        let mut client = Client::to(&address, 4096).unwrap();
        let seen = client.each(|round| (round < 3).then(Instant::now)).unwrap();
        assert_eq!((seen.len(), client.message.len()), (3, 4096 + HEADER));
    }
}
