//! Both sides of a telephone call: each sends fifty packets a second, as large as G.711 in RTP makes them, and tells
//! in each how long ago it heard the other's last one, as RTCP's LSR and DLSR do (RFC 3550, 6.4.1).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::clock::monotonic_ns;

/// Between two packets: 20 ms of sound.
const INTERVAL: Duration = Duration::from_millis(20);

/// RTP's header, and 20 ms of sound at 64 kbit/s.
const PACKET: usize = 12 + 160;

/// How long the one who is called waits for the first packet.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a packet says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Packet {
    /// Its number, from 0.
    number: u32,
    /// When it was sent, by its sender's clock.
    sent_ns: u64,
    /// When the last packet heard was sent, by the clock of who hears this; 0 for none.
    heard_ns: u64,
    /// How long ago it was heard.
    held_ns: u64,
}

impl Packet {
    fn write(&self) -> [u8; PACKET] {
        let mut bytes = [0x55; PACKET];
        bytes[..4].copy_from_slice(&self.number.to_be_bytes());
        for (at, value) in [(4, self.sent_ns), (12, self.heard_ns), (20, self.held_ns)] {
            bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let number = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
        let packet = Self { number, sent_ns: word(4)?, heard_ns: word(12)?, held_ns: word(20)? };
        (bytes.len() == PACKET).then_some(packet)
    }
}

/// What one side has heard.
#[derive(Debug, Default)]
struct Heard {
    last: Option<(Packet, Instant)>,
    /// When each packet came, less when it was sent by the other's clock, in nanoseconds.
    transits_ns: BTreeMap<u32, i128>,
    round_trips_ns: Vec<u64>,
}

impl Heard {
    fn take(&mut self, packet: Packet, now_ns: u64) {
        let transit = i128::from(now_ns) - i128::from(packet.sent_ns);
        // A copy is no second packet.
        let Entry::Vacant(first) = self.transits_ns.entry(packet.number) else { return };
        first.insert(transit);
        self.last = Some((packet, Instant::now()));
        let since = now_ns.checked_sub(packet.heard_ns).filter(|_| packet.heard_ns > 0);
        if let Some(trip) = since.and_then(|since| since.checked_sub(packet.held_ns)) {
            self.round_trips_ns.push(trip);
        }
    }
}

/// How long one speaks, and how long packets under way are then waited for, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    pub(super) speech: f64,
    pub(super) tail: f64,
}

/// Waits to be called, and speaks to whoever calls.
pub(super) fn answer(address: &str, length: Length) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("listening");
    socket.set_read_timeout(Some(PATIENCE))?;
    let (_, caller) = socket.peek_from(&mut [0; PACKET])?;
    speak(&socket, caller, length)
}

/// Calls somebody.
pub(super) fn dial(address: &str, length: Length) -> io::Result<()> {
    let other: SocketAddr = address.parse().map_err(io::Error::other)?;
    let any = if other.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    speak(&UdpSocket::bind(any)?, other, length)
}

/// Speaks for so long, hears until all has come or for a little longer, prints what was heard.
fn speak(socket: &UdpSocket, other: SocketAddr, length: Length) -> io::Result<()> {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let count = (length.speech / INTERVAL.as_secs_f64()) as u32;
    let start = Instant::now();
    // The other one speaks as long.
    let end = start + INTERVAL * count + Duration::from_secs_f64(length.tail);
    let listening = {
        let (socket, heard) = (socket.try_clone()?, heard.clone());
        thread::spawn(move || listen(&socket, &heard, count as usize, end))
    };
    for number in 0..count {
        thread::sleep((start + INTERVAL * number).saturating_duration_since(Instant::now()));
        let last = heard.lock().unwrap_or_else(PoisonError::into_inner).last;
        let packet = Packet {
            number,
            sent_ns: monotonic_ns(),
            heard_ns: last.map_or(0, |(packet, _)| packet.sent_ns),
            held_ns: last.map_or(0, |(_, at)| at.elapsed().as_nanos() as u64),
        };
        // A route that is gone for a moment loses packets, and does not end a call.
        let _ = socket.send_to(&packet.write(), other);
    }
    listening.join().map_err(|_| io::Error::other("the listener panicked"))??;
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{}", told(&heard, count));
    Ok(())
}

/// Hears until as many packets have come as were sent, or until then.
fn listen(socket: &UdpSocket, heard: &Mutex<Heard>, count: usize, end: Instant) -> io::Result<()> {
    let mut bytes = [0; PACKET + 1];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let all = heard.lock().unwrap_or_else(PoisonError::into_inner).transits_ns.len() >= count;
        if all || left.is_zero() {
            return Ok(());
        }
        socket.set_read_timeout(Some(left))?;
        // Silence, or an error that an earlier packet has met.
        let Ok(length) = socket.recv(&mut bytes) else { continue };
        let now = monotonic_ns();
        if let Some(packet) = Packet::read(&bytes[..length]) {
            heard.lock().unwrap_or_else(PoisonError::into_inner).take(packet, now);
        }
    }
}

/// Delays are told relative to the quickest packet, since the clocks of two machines do not agree; what that one took,
/// by these clocks, is told for those who know that both are one machine's.
fn told(heard: &Heard, sent: u32) -> serde_json::Value {
    let quickest = heard.transits_ns.values().min().copied().unwrap_or(0);
    let microseconds = |transit: &i128| ((transit - quickest) / 1000) as i64;
    let delays: Vec<i64> = heard.transits_ns.values().map(microseconds).collect();
    let trips: Vec<u64> = heard.round_trips_ns.iter().map(|ns| ns / 1000).collect();
    let quickest = (quickest / 1000) as i64;
    json!({ "sent": sent, "quickest_us": quickest, "delays_us": delays, "round_trips_us": trips })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_as_it_was_written() {
        let packet = Packet { number: 7, sent_ns: 1 << 40, heard_ns: 3, held_ns: 9 };
        assert_eq!(Packet::read(&packet.write()), Some(packet));
        assert_eq!(Packet::read(&packet.write()[1..]), None);
        assert_eq!(Packet::read(b""), None);
    }

    #[test]
    fn a_round_trip_is_without_the_time_that_the_other_held_it() {
        let mut heard = Heard::default();
        let answer = Packet { number: 0, sent_ns: 5, heard_ns: 1_000_000, held_ns: 15_000_000 };
        heard.take(answer, 21_000_000);
        heard.take(answer, 90_000_000);
        assert_eq!(heard.round_trips_ns, [5_000_000], "a copy is no second packet");
        assert_eq!(heard.transits_ns[&0], 20_999_995, "nor does it take the first one's place");
        heard.take(Packet { number: 1, ..Packet::default() }, 22_000_000);
        assert_eq!(heard.round_trips_ns.len(), 1, "nothing was heard before that one was sent");
    }

    #[test]
    fn what_the_quickest_packet_took_is_told_and_of_others_how_much_longer() {
        let mut heard = Heard::default();
        for (number, sent_ns, now_ns) in [(0, 1_000_000, 6_000_000), (1, 2_000_000, 2_002_000_000)]
        {
            heard.take(Packet { number, sent_ns, ..Packet::default() }, now_ns);
        }
        let told = told(&heard, 3);
        assert_eq!((&told["sent"], &told["quickest_us"]), (&json!(3), &json!(5000)));
        assert_eq!(told["delays_us"], json!([0, 1_995_000]), "two seconds late is not lost");
    }

    #[test]
    fn a_call_on_the_same_machine_loses_nothing_and_ends_when_all_has_come() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (other, address) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), socket.local_addr().unwrap());
        let theirs = other.local_addr().unwrap();
        let length = Length { speech: 0.2, tail: 60.0 };
        let begun = Instant::now();
        let answering = thread::spawn(move || speak(&socket, theirs, length));
        speak(&other, address, length).unwrap();
        answering.join().unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing was left to wait for");
    }
}
