//! A trial of the machine's clock: many timers and many switches between threads, and all that the clock showed
//! meanwhile in one number. Two runs that print the same had the same time in every place.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

use crate::clock::monotonic_ns;
use crate::firmware;

/// Threads that sleep beside, so that timers of several come close to each other.
const SLEEPERS: u64 = 4;

/// Lines that are printed.
const LINES: u64 = 10;

/// Prints random numbers of the kernel and the processor, then the time as it went on.
pub(crate) fn run(rounds: &str) -> io::Result<()> {
    let rounds: u64 = rounds.parse().map_err(io::Error::other)?;
    let mut kernel = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut kernel)?;
    println!("kernel {:016x}", u64::from_ne_bytes(kernel));
    let processor = firmware::random().map(|bytes| data_encoding::HEXLOWER.encode(&bytes));
    println!("processor {}", processor.unwrap_or_else(|error| error.to_string()));
    let stop = Arc::new(AtomicBool::new(false));
    for number in 0..SLEEPERS {
        let stop = stop.clone();
        spawn(move || sleeper(100 + 37 * number, &stop));
    }
    let (mut near, mut far) = UnixStream::pair()?;
    spawn(move || echo(&mut far));
    let mut chance = Chance(1);
    let mut seen = Mixed::default();
    for round in 1..=rounds {
        sleep(Duration::from_micros(20 + chance.below(200)));
        near.write_all(&[0])?;
        near.read_exact(&mut [0])?;
        seen.add(monotonic_ns());
        if round % (rounds / LINES).max(1) == 0 {
            println!("{round} {} {:016x}", monotonic_ns(), seen.0);
        }
    }
    stop.store(true, Ordering::Relaxed);
    Ok(())
}

/// Does nothing for so long, and prints what the clock says that it took.
pub(crate) fn idle(seconds: &str) -> io::Result<()> {
    let start = monotonic_ns();
    sleep(Duration::from_secs(seconds.parse().map_err(io::Error::other)?));
    println!("{}", monotonic_ns() - start);
    Ok(())
}

fn sleeper(micros: u64, stop: &AtomicBool) {
    let mut chance = Chance(micros as u32);
    while !stop.load(Ordering::Relaxed) {
        sleep(Duration::from_micros(micros + chance.below(50)));
    }
}

fn echo(stream: &mut UnixStream) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte)).is_ok() {}
}

/// A sequence that looks random and is the same each time (C's own example of `rand`).
struct Chance(u32);

impl Chance {
    fn below(&mut self, end: u32) -> u64 {
        self.0 = self.0.wrapping_mul(1_103_515_245).wrapping_add(12345);
        u64::from((self.0 >> 16) % end)
    }
}

/// Fowler, Noll and Vo's hash (FNV-1a, 64 bits).
struct Mixed(u64);

impl Default for Mixed {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Mixed {
    fn add(&mut self, value: u64) {
        for byte in value.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
