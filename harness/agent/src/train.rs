//! One-way measurements between network namespaces of this machine.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use meshbench_protocol::{Arrival, Datagram, End, Reply, Train};

use crate::clock::monotonic_ns;
use crate::netns;

/// Sequence number and send time.
const HEADER: usize = 12;

/// Runs all trains at once.
pub(crate) fn run(trains: &[Train]) -> io::Result<Reply> {
    let running: Vec<_> = trains
        .iter()
        .cloned()
        .map(|train| thread::Builder::new().stack_size(256 << 10).spawn(move || measure(&train)))
        .collect::<io::Result<_>>()?;
    let arrivals = running
        .into_iter()
        .map(|t| t.join().unwrap_or_else(|_| Err(io::Error::other("a train panicked"))));
    Ok(Reply::Trains(arrivals.collect::<io::Result<_>>()?))
}

fn measure(train: &Train) -> io::Result<Arrival> {
    let receiver = socket(&train.to, train.port)?;
    let sender = socket(&train.from, train.port)?;
    // The buffer must hold a whole train: its loss shall be the link's, not the socket's.
    for end in [&receiver, &sender] {
        nix::sys::socket::setsockopt(end, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20))?;
        nix::sys::socket::setsockopt(end, nix::sys::socket::sockopt::SndBufForce, &(8 << 20))?;
    }
    let target = target_of(train, &receiver, &sender)?;
    let train = train.clone();
    let count = train.count as usize;
    let patience = Duration::from_millis(train.patience_ms);
    let whole = Duration::from_micros(train.interval_us * u64::from(train.count)) + patience;
    let sending = thread::spawn(move || send(&train, &sender, target));
    let received = collect(&receiver, count, whole, patience)?;
    let sent = sending.join().map_err(|_| io::Error::other("a train's sender panicked"))??;
    Ok(Arrival { sent, received })
}

/// Where the sender reaches the receiver. A gateway admits only answers and may translate, so both
/// ends speak, as often as the link's loss demands, until one has been heard.
fn target_of(train: &Train, receiver: &UdpSocket, sender: &UdpSocket) -> io::Result<SocketAddr> {
    let hello = [0; 1];
    let mut heard = [0; 1];
    let [to, from] = [&train.to, &train.from].map(|end| SocketAddr::new(end.address, train.port));
    let patience = Duration::from_millis(train.patience_ms.max(100) / 2);
    sender.set_read_timeout(Some(patience))?;
    receiver.set_read_timeout(Some(patience))?;
    for _ in 0..20 {
        // One direction may be filtered, or have no route.
        let _ = sender.send_to(&hello, to);
        let _ = receiver.send_to(&hello, from);
        if let Ok((_, seen)) = sender.recv_from(&mut heard) {
            return Ok(seen);
        }
        if receiver.recv(&mut heard).is_ok() {
            return Ok(to);
        }
    }
    Err(io::Error::other(format!(
        "nothing passes between {} ({}) and {} ({})",
        train.from.namespace, train.from.address, train.to.namespace, train.to.address
    )))
}

fn send(train: &Train, sender: &UdpSocket, target: SocketAddr) -> io::Result<u32> {
    let mut datagram = vec![0; usize::from(train.size).max(HEADER)];
    let start = Instant::now();
    for number in 0..train.count {
        let due = Duration::from_micros(train.interval_us * u64::from(number));
        if let Some(wait) = due.checked_sub(start.elapsed()) {
            thread::sleep(wait);
        }
        datagram[..4].copy_from_slice(&number.to_le_bytes());
        datagram[4..HEADER].copy_from_slice(&monotonic_ns().to_le_bytes());
        sender.send_to(&datagram, target)?;
    }
    Ok(train.count)
}

/// Takes what arrives until all has, or the time is up.
fn collect(
    receiver: &UdpSocket,
    count: usize,
    whole: Duration,
    patience: Duration,
) -> io::Result<Vec<Datagram>> {
    let mut arrivals = Vec::with_capacity(count);
    // A copy of one does not stand for another.
    let (mut come, mut missing) = (vec![false; count], count);
    let mut bytes = [0; 2048];
    let start = Instant::now();
    let start_us = monotonic_ns() / 1000;
    let mut last = start;
    receiver.set_read_timeout(Some(Duration::from_millis(20)))?;
    while missing > 0 && (start.elapsed() < whole || last.elapsed() < patience) {
        let Ok(length) = receiver.recv(&mut bytes) else { continue };
        let now = monotonic_ns();
        last = Instant::now();
        if let (true, Some(header)) = (length >= HEADER, bytes.first_chunk::<HEADER>()) {
            let [n0, n1, n2, n3, sent @ ..] = *header;
            let delay_us = now.saturating_sub(u64::from_le_bytes(sent)) / 1000;
            let number = u32::from_le_bytes([n0, n1, n2, n3]);
            let arrived_us = (now / 1000).saturating_sub(start_us);
            if let Some(come) = come.get_mut(number as usize) {
                missing -= usize::from(!std::mem::replace(come, true));
            }
            arrivals.push(Datagram { number, delay_us, arrived_us });
        }
    }
    Ok(arrivals)
}

/// A socket that lives in the end's namespace: a thread joins it, a socket stays where it was made.
pub(crate) fn socket(end: &End, port: u16) -> io::Result<UdpSocket> {
    let end = end.clone();
    let made = thread::spawn(move || {
        netns::enter(&end.namespace)?;
        UdpSocket::bind((end.address, port))
    });
    made.join().map_err(|_| io::Error::other("a namespace thread panicked"))?
}
