//! The serial console: a log and a panic detector.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::health::{Health, Loss};

/// Lines kept of each console.
const KEPT: usize = 2000;

/// Bytes of a line, which are four times what a kernel's may have; what follows is taken for another line.
const LONGEST: u64 = 4 << 10;

/// What a panicking kernel, or an initial process that gives up, prints.
const FATAL: [&str; 2] = ["Kernel panic - not syncing", "meshbench: cannot boot"];

/// The lines that a machine has written to its serial port.
#[derive(Debug, Clone)]
pub struct Console {
    lines: Arc<Mutex<VecDeque<String>>>,
    written: watch::Sender<usize>,
}

impl Console {
    /// Follows the port until QEMU closes it; panics are reported to `health`.
    pub(crate) fn follow(port: UnixStream, health: Health) -> Self {
        let console = Self { lines: Arc::default(), written: watch::Sender::new(0) };
        let own = console.clone();
        tokio::spawn(async move {
            let mut reader = BufReader::new(port);
            let mut line = Vec::new();
            let next = async |reader: &mut BufReader<UnixStream>, line: &mut Vec<u8>| {
                reader.take(LONGEST).read_until(b'\n', line).await
            };
            while matches!(next(&mut reader, &mut line).await, Ok(1..)) {
                own.take(&line, &health);
                line.clear();
            }
        });
        console
    }

    /// The last lines, oldest first.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }

    /// Resolves when a line that contains `text` has been written.
    pub(crate) async fn shows(&self, text: &str) {
        let mut written = self.written.subscribe();
        while !self.tail(KEPT).iter().any(|line| line.contains(text)) {
            // The sender lives in `self`, so the channel cannot close.
            let _ = written.changed().await;
        }
    }

    fn take(&self, line: &[u8], health: &Health) {
        let line = printable(line);
        if line.is_empty() {
            return;
        }
        let fatal = FATAL.iter().any(|mark| line.contains(mark)).then(|| line.clone());
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
        drop(lines);
        // Only now: who is told of the loss shows these lines.
        if let Some(line) = fatal {
            health.report(Loss::Panicked(line));
        }
        self.written.send_modify(|count| *count += 1);
    }
}

/// The line without terminal control: guest output must not steer the reader's terminal.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars().filter(|c| !c.is_control()).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn a_panic_on_the_console_is_reported_as_the_machines_loss() {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let health = Health::new();
        let console = Console::follow(host, health.clone());
        guest.write_all(b"booting\r\n[1.0] Kernel panic - not syncing: no init\r\n").await.unwrap();
        assert!(matches!(health.lost().await, Loss::Panicked(line) if line.contains("no init")));
        console.shows("no init").await;
        assert_eq!(console.tail(9), ["booting", "[1.0] Kernel panic - not syncing: no init"]);
    }

    /// Whoever hears of the loss looks at the console at once.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_line_that_tells_of_a_loss_is_there_when_the_loss_is_told() {
        for _ in 0..100 {
            let (mut guest, host) = UnixStream::pair().unwrap();
            let health = Health::new();
            let console = Console::follow(host, health.clone());
            guest.write_all(b"Kernel panic - not syncing: no init\n").await.unwrap();
            health.lost().await;
            assert_eq!(console.tail(9), ["Kernel panic - not syncing: no init"]);
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_kept_in_pieces_of_which_the_last_stay() {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let health = Health::new();
        let console = Console::follow(host, health.clone());
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..10 {
            guest.write_all(&chunk).await.unwrap();
        }
        guest.write_all(b"\nKernel panic - not syncing: full\n").await.unwrap();
        assert!(matches!(health.lost().await, Loss::Panicked(line) if line.contains("full")));
        let lines = console.tail(usize::MAX);
        assert_eq!(lines.len(), KEPT);
        assert!(lines.iter().all(|line| line.len() <= LONGEST as usize));
    }

    #[test]
    fn escape_sequences_lose_their_escape() {
        assert_eq!(printable(b"\x1b[31mred\r\n"), "[31mred");
    }
}
