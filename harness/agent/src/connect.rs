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
    let mut echo = Echo::open(probe.target)?;
    let interval = Duration::from_millis(probe.interval_ms.max(1));
    let patience = Duration::from_millis(probe.deadline_ms);
    let started = Instant::now();
    let started_ns = monotonic_ns();
    let deadline = started + patience;
    let starter = start(probe, deadline, &channel.cancel);
    loop {
        echo.send();
        let probes = echo.tried();
        let next = interval * probes;
        if echo.answered(next.saturating_sub(started.elapsed()), &channel.cancel)? {
            return Ok(Reply::Connected { after_ns: monotonic_ns() - started_ns, probes });
        }
        if let Some(error) = starter.as_ref().and_then(|told| told.try_recv().ok().flatten()) {
            return Ok(Reply::Failed(error));
        }
        if channel.cancel.is_set()? {
            return Ok(Reply::Failed("cancelled".into()));
        }
        if Instant::now() > deadline {
            // A start that is still under way, or fails only now, is no silence of the target's.
            let failure = starter.and_then(|told| told.recv().ok().flatten());
            return failure.map_or_else(
                || echo.silence(patience).map(Reply::Silent),
                |why| Ok(Reply::Failed(why)),
            );
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

#[cfg(test)]
mod tests {
    use meshbench_protocol::Exec;

    use super::*;
    use crate::netns;
    use crate::wait::tests::channel;

    /// What comes of a start command and an address, within a quarter of a second.
    fn reply(start: &[&str], target: &str) -> Reply {
        let argv = start.iter().map(ToString::to_string).collect();
        let start = Exec { argv, ..Exec::default() };
        let target = target.parse().unwrap();
        let probe = Connect { start, target, interval_ms: 20, deadline_ms: 250 };
        connect(&probe, &channel()).unwrap()
    }

    #[test]
    fn only_who_does_not_answer_is_silent() {
        netns::tests::alone(|| {
            let up = reply(&["true"], "192.0.2.1");
            assert!(matches!(up, Reply::Connected { .. }), "{up:?}");
            let silent = reply(&["true"], "198.51.100.1");
            let Reply::Silent(silence) = silent else { panic!("{silent:?}") };
            assert!(silence.probes > 1 && silence.no_way.is_none(), "{silence:?}");
            let Reply::Silent(silence) = reply(&[], "2001:db8::1") else {
                panic!("it has no IPv6")
            };
            assert!(silence.no_way.is_some(), "{silence:?}");
            for start in [&["false"][..], &["sleep", "60"], &["no-such-program"]] {
                let failed = reply(start, "198.51.100.1");
                assert!(matches!(failed, Reply::Failed(_)), "{start:?}: {failed:?}");
            }
        });
    }
}
