//! Time from a daemon's start to the first packet through its overlay.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use agent::{Connect, Reply};

use crate::clock::monotonic_ns;
use crate::exec;
use crate::icmp::Echo;
use crate::serve::{Channel, Input};

/// Starts the daemon and probes the target on a clock until it answers.
pub(crate) fn connect(probe: &Connect, channel: &Channel) -> io::Result<Reply> {
    let echo = Echo::open(probe.target)?;
    let interval = Duration::from_millis(probe.interval_ms.max(1));
    let started = Instant::now();
    let started_ns = monotonic_ns();
    let starter = start(probe);
    let mut probes = 0_u32;
    loop {
        // No route yet, or no interface: the daemon is still starting.
        let _ = echo.send(probes as u16);
        probes += 1;
        let next = interval * probes;
        if echo.answered(next.saturating_sub(started.elapsed()))? {
            return Ok(Reply::Connected { after_ns: monotonic_ns() - started_ns, probes });
        }
        if let Some(error) = failure(&starter) {
            return Ok(Reply::Failed(error));
        }
        if started.elapsed() > Duration::from_millis(probe.deadline_ms) {
            let target = probe.target;
            return Ok(Reply::Failed(format!(
                "{target} did not answer {probes} probes in {} ms",
                probe.deadline_ms
            )));
        }
        if matches!(channel.input.try_recv(), Ok(Input::Cancel)) {
            return Ok(Reply::Failed("cancelled".into()));
        }
    }
}

type Starter = Option<std::sync::mpsc::Receiver<Option<String>>>;

/// Runs the start command beside the probing; its receiver tells how it failed.
fn start(probe: &Connect) -> Starter {
    if probe.start.argv.is_empty() {
        return None;
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let start = probe.start.clone();
    thread::spawn(move || {
        let failure = match exec::quiet(&start) {
            Ok(status) if status.success() => None,
            Ok(status) => Some(format!("{}: {status}", start.argv.join(" "))),
            Err(error) => Some(error.to_string()),
        };
        let _ = sender.send(failure);
    });
    Some(receiver)
}

fn failure(starter: &Starter) -> Option<String> {
    starter.as_ref().and_then(|receiver| receiver.try_recv().ok().flatten())
}
