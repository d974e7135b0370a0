//! Waits that are decided inside the machine.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use agent::{Condition, Reply};

use crate::clock::monotonic_ns;
use crate::exec;
use crate::icmp::Echo;
use crate::serve::{Channel, Input};

/// Between two looks at a state that sends no events.
const LOOK: Duration = Duration::from_millis(10);

/// Blocks until the condition holds, fails for good, or the deadline passes.
pub(crate) fn wait(
    condition: &Condition,
    deadline_ms: u64,
    channel: &Channel,
) -> io::Result<Reply> {
    let start_ns = monotonic_ns();
    let deadline = Instant::now() + Duration::from_millis(deadline_ms);
    let mut pause = LOOK;
    loop {
        if holds(condition, deadline)? {
            return Ok(Reply::Reached { after_ns: monotonic_ns() - start_ns });
        }
        if Instant::now() > deadline {
            return Ok(Reply::Failed(format!("after {deadline_ms} ms still not {condition:?}")));
        }
        if matches!(channel.input.try_recv(), Ok(Input::Cancel)) {
            return Ok(Reply::Failed("cancelled".into()));
        }
        sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(200));
    }
}

fn holds(condition: &Condition, deadline: Instant) -> io::Result<bool> {
    match condition {
        Condition::Booted => Ok(systemctl(&["is-system-running"])?.1 != "starting"),
        Condition::UnitActive(unit) => unit_active(unit),
        Condition::TcpOpen(address) => Ok(tcp_open(address)),
        Condition::Reachable(address) => reachable(*address, deadline),
        Condition::File(path) => Ok(Path::new(path).exists()),
        Condition::Succeeds(command) => Ok(exec::quiet(command)?.success()),
    }
}

fn unit_active(unit: &str) -> io::Result<bool> {
    match systemctl(&["is-active", unit])?.1.as_str() {
        "active" => Ok(true),
        "failed" => Err(io::Error::other(format!("{unit} has failed"))),
        _ => Ok(false),
    }
}

fn systemctl(arguments: &[&str]) -> io::Result<(bool, String)> {
    let output = std::process::Command::new("systemctl").args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // Before systemd listens, systemctl prints "offline" or nothing.
    let text = if text.is_empty() || text == "offline" || text == "initializing" {
        "starting".into()
    } else {
        text
    };
    Ok((output.status.success(), text))
}

fn tcp_open(address: &SocketAddr) -> bool {
    TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok()
}

fn reachable(address: IpAddr, deadline: Instant) -> io::Result<bool> {
    let echo = Echo::open(address)?;
    for sequence in 0.. {
        let _ = echo.send(sequence);
        if echo.answered(Duration::from_millis(50))? {
            return Ok(true);
        }
        if Instant::now() > deadline {
            break;
        }
    }
    Ok(false)
}
