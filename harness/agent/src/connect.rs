//! Time from a daemon's start to the first packet through its overlay.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use meshbench_protocol::{Connect, Reply};

use crate::channel::{Cancel, Channel};
use crate::clock::monotonic_ns;
use crate::exec;
use crate::icmp::Echo;

/// Starts the daemon and probes the target on a clock until it answers.
pub(crate) fn connect(probe: &Connect, channel: &Channel) -> io::Result<Reply> {
    let echo = Echo::open(probe.target)?;
    let interval = Duration::from_millis(probe.interval_ms.max(1));
    let started = Instant::now();
    let started_ns = monotonic_ns();
    let deadline = started + Duration::from_millis(probe.deadline_ms);
    let starter = start(probe, deadline, &channel.cancel);
    let mut probes = 0_u32;
    loop {
        // No route yet, or no interface: the daemon is still starting.
        let _ = echo.send(probes as u16);
        probes += 1;
        let next = interval * probes;
        if echo.answered(next.saturating_sub(started.elapsed()), &channel.cancel)? {
            return Ok(Reply::Connected { after_ns: monotonic_ns() - started_ns, probes });
        }
        if let Some(error) = failure(&starter) {
            return Ok(Reply::Failed(error));
        }
        if Instant::now() > deadline {
            let target = probe.target;
            return Ok(Reply::Failed(format!(
                "{target} did not answer {probes} probes in {} ms",
                probe.deadline_ms
            )));
        }
        if channel.cancel.is_set()? {
            return Ok(Reply::Failed("cancelled".into()));
        }
    }
}

type Starter = Option<std::sync::mpsc::Receiver<Option<String>>>;

/// Runs the start command beside the probing; its receiver tells how it failed.
fn start(probe: &Connect, deadline: Instant, cancel: &Cancel) -> Starter {
    if probe.start.argv.is_empty() {
        return None;
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let (start, cancel) = (probe.start.clone(), cancel.clone());
    thread::spawn(move || {
        let failure = match exec::quiet(&start, deadline, &cancel) {
            Ok(Some(status)) if status.success() => None,
            Ok(None) => Some(format!("{} did not end in time", start.argv.join(" "))),
            Ok(Some(status)) => Some(format!("{}: {status}", start.argv.join(" "))),
            Err(error) => Some(error.to_string()),
        };
        let _ = sender.send(failure);
    });
    Some(receiver)
}

fn failure(starter: &Starter) -> Option<String> {
    starter.as_ref().and_then(|receiver| receiver.try_recv().ok().flatten())
}
