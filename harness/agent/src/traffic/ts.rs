//! An MPEG transport stream of constant rate (ISO/IEC 13818-1, 2.4.3) in datagrams of seven packets, as encoders send
//! it, and who counts what came of it.

use std::collections::BTreeMap;
use std::io;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

/// The length of a packet, and how many are in a datagram.
const PACKET: usize = 188;
const AT_ONCE: usize = 7;

/// What a packet begins with, and the stream that it says it is of.
const SYNC: u8 = 0x47;
const STREAM: u16 = 0x100;

/// Neither scrambled nor with an adaptation field: payload only.
const PAYLOAD_ONLY: u8 = 0x10;

/// Counters go up to fifteen.
const COUNTER: u8 = 0x0f;

/// How much later than the quickest one may come to be shown in time.
const LATE: Duration = Duration::from_millis(50);

/// How long the first packet is waited for, and how long the last ones are.
const PATIENCE: Duration = Duration::from_secs(60);
const TAIL: Duration = Duration::from_secs(3);

/// Sends a stream for so long; prints how many packets it had.
pub(super) fn send(address: &str, bits_per_second: f64, seconds: f64) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let interval = interval(bits_per_second)?;
    let count = (seconds / interval.as_secs_f64()) as u32;
    let start = Instant::now();
    for number in 0..count {
        thread::sleep((start + interval * number).saturating_duration_since(Instant::now()));
        socket.send_to(&datagram(number), address)?;
    }
    println!("{}", json!({ "sent": count as usize * AT_ONCE }));
    Ok(())
}

/// Hears a stream of so many seconds; prints what came of it.
pub(super) fn receive(address: &str, bits_per_second: f64, seconds: f64) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    let mut heard = Heard::new(interval(bits_per_second)?);
    println!("listening");
    let mut bytes = [0; PACKET * AT_ONCE + 1];
    socket.set_read_timeout(Some(PATIENCE))?;
    let silence = |_| io::Error::other(format!("nothing of the stream came within {PATIENCE:?}"));
    let mut length = socket.recv(&mut bytes).map_err(silence)?;
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds) + TAIL;
    loop {
        heard.take(&bytes[..length], start.elapsed());
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        length = match socket.recv(&mut bytes) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        };
    }
    println!("{}", heard.told());
    Ok(())
}

/// Between two datagrams.
fn interval(bits_per_second: f64) -> io::Result<Duration> {
    let seconds = (8 * PACKET * AT_ONCE) as f64 / bits_per_second;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|interval| !interval.is_zero())
        .ok_or_else(|| io::Error::other(format!("{bits_per_second} bit/s is no rate")))
}

fn datagram(number: u32) -> [u8; PACKET * AT_ONCE] {
    let mut bytes = [0x55; PACKET * AT_ONCE];
    for (packet, place) in bytes.chunks_exact_mut(PACKET).zip(0..) {
        let number = number * AT_ONCE as u32 + place;
        packet[0] = SYNC;
        packet[1..3].copy_from_slice(&STREAM.to_be_bytes());
        packet[3] = PAYLOAD_ONLY | (number as u8 & COUNTER);
        packet[4..8].copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

/// A packet's counter and number; nothing if it is none of the stream.
fn read(packet: &[u8]) -> Option<(u8, u32)> {
    let [SYNC, high, low, flags, rest @ ..] = packet else { return None };
    let known = u16::from_be_bytes([*high, *low]) == STREAM && flags & !COUNTER == PAYLOAD_ONLY;
    let number = u32::from_be_bytes(*rest.first_chunk()?);
    (known && packet.len() == PACKET).then_some((flags & COUNTER, number))
}

/// What has come of a stream.
#[derive(Debug)]
struct Heard {
    interval: Duration,
    /// When each packet came, less when its place in the stream is, in microseconds.
    transits_us: BTreeMap<u32, i64>,
    counter: Option<u8>,
    /// How often the counter of a packet did not follow the one before, which a decoder shows as a fault.
    breaks: u32,
    /// Packets that were none of the stream.
    strange: u32,
}

impl Heard {
    fn new(interval: Duration) -> Self {
        Self { interval, transits_us: BTreeMap::new(), counter: None, breaks: 0, strange: 0 }
    }

    fn take(&mut self, datagram: &[u8], now: Duration) {
        for packet in datagram.chunks(PACKET) {
            let Some((counter, number)) = read(packet) else {
                self.strange += 1;
                continue;
            };
            let follows = self.counter.is_none_or(|last| (last + 1) & COUNTER == counter);
            self.breaks += u32::from(!follows);
            self.counter = Some(counter);
            let place = self.interval * (number / AT_ONCE as u32);
            let transit = now.as_micros() as i64 - place.as_micros() as i64;
            self.transits_us.entry(number).or_insert(transit);
        }
    }

    fn told(&self) -> serde_json::Value {
        let quickest = self.transits_us.values().min().copied().unwrap_or(0);
        let late = |transit: &&i64| **transit - quickest > LATE.as_micros() as i64;
        json!({
            "received": self.transits_us.len(),
            "late": self.transits_us.values().filter(late).count(),
            "breaks": self.breaks,
            "strange": self.strange,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    /// What is told of datagrams that came at these milliseconds.
    fn heard(came: &[(u32, u64)]) -> serde_json::Value {
        let mut heard = Heard::new(INTERVAL);
        for (number, ms) in came {
            heard.take(&datagram(*number), Duration::from_millis(*ms));
        }
        heard.told()
    }

    #[test]
    fn a_stream_in_time_has_no_fault() {
        let told = heard(&[(0, 1000), (1, 1010), (2, 1049)]);
        assert_eq!(told, json!({ "received": 21, "late": 0, "breaks": 0, "strange": 0 }));
    }

    #[test]
    fn what_is_missing_breaks_the_counter_and_what_lags_is_late() {
        let told = heard(&[(0, 1000), (2, 1020), (3, 1081)]);
        assert_eq!(told, json!({ "received": 21, "late": 7, "breaks": 1, "strange": 0 }));
    }

    #[test]
    fn a_copy_is_no_second_packet_and_is_a_fault_of_the_order() {
        let told = heard(&[(0, 0), (1, 10), (1, 90), (2, 20)]);
        assert_eq!((&told["received"], &told["late"]), (&json!(21), &json!(0)));
        assert_eq!(told["breaks"], 1);
    }

    #[test]
    fn noise_is_no_packet() {
        let mut heard = Heard::new(INTERVAL);
        heard.take(b"", Duration::ZERO);
        heard.take(&[SYNC; 3], Duration::ZERO);
        heard.take(&[0; PACKET], Duration::ZERO);
        heard.take(&datagram(0)[..PACKET - 1], Duration::ZERO);
        assert_eq!(heard.told()["received"], 0);
        assert_eq!(heard.told()["strange"], 3);
    }

    #[test]
    fn a_rate_that_is_none_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(interval(rate).is_err(), "{rate}");
        }
        assert_eq!(interval(1_052_800.0).unwrap(), INTERVAL);
    }
}
