//! Waits that are decided inside the machine, by events wherever there are some: in virtual time each look is
//! work that the machine does beside what is measured.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use meshbench_protocol::{Condition, Exec, Reply, Silence};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::channel::{Cancel, Channel, timeout};
use crate::clock::monotonic_ns;
use crate::exec;
use crate::icmp::Echo;

/// The first and the longest pause between two looks at a state that sends no events.
const LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// Between two echo requests.
const ECHOES: Duration = Duration::from_millis(50);

/// Blocks until the condition holds, fails for good, or the deadline passes.
pub(crate) fn wait(
    condition: &Condition,
    deadline_ms: u64,
    channel: &Channel,
) -> io::Result<Reply> {
    let start_ns = monotonic_ns();
    let allowed = Duration::from_millis(deadline_ms);
    let patience = Patience { deadline: Instant::now() + allowed, cancel: &channel.cancel };
    let late = |holds: bool| {
        let why = format!("not within {} s", allowed.as_secs_f64());
        (!holds).then_some(Reply::Failed(why))
    };
    let missed = match condition {
        Condition::Booted => late(booted(&patience)?),
        Condition::UnitEnded(unit) => late(unit_ended(unit, &patience)?),
        Condition::Reachable(address) => silent(*address, allowed, &patience)?.map(Reply::Silent),
        Condition::Succeeds(command) => late(succeeds(command, &patience)?),
    };
    Ok(match missed {
        None => Reply::Reached { after_ns: monotonic_ns() - start_ns },
        Some(_) if patience.cancel.is_set()? => Reply::Failed("cancelled".into()),
        Some(missed) => missed,
    })
}

/// How long a wait may take.
struct Patience<'a> {
    deadline: Instant,
    cancel: &'a Cancel,
}

impl Patience<'_> {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn ends(&self) -> io::Result<bool> {
        Ok(self.left().is_zero() || self.cancel.is_set()?)
    }

    /// Looks until it holds, ever more rarely; whether it held.
    fn look(&self, mut holds: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
        let (mut pause, longest) = LOOKS;
        loop {
            if holds()? {
                return Ok(true);
            }
            if self.cancel.within(pause.min(self.left()))? || self.ends()? {
                return Ok(false);
            }
            pause = (pause * 3 / 2).min(longest);
        }
    }
}

fn booted(patience: &Patience<'_>) -> io::Result<bool> {
    // It answers at the end of the boot, but before systemd listens at once: it then says "offline" or nothing.
    patience.look(|| {
        let state = systemctl(&["is-system-running", "--wait"], patience)?;
        Ok(!["", "offline", "initializing", "starting"].contains(&state.trim()))
    })
}

fn unit_ended(unit: &str, patience: &Patience<'_>) -> io::Result<bool> {
    patience.look(|| {
        let shown = systemctl(&["show", unit, "-p", "ActiveState,ControlGroup"], patience)?;
        let property = |name| shown.lines().find_map(|line| line.strip_prefix(name));
        let state = property("ActiveState=").unwrap_or_default();
        match property("ControlGroup=") {
            _ if !lives(state) => Ok(!state.is_empty()),
            // What systemd makes of it, it says a moment later.
            Some(group) if !group.is_empty() => {
                emptied(Path::new(&format!("/sys/fs/cgroup{group}/cgroup.events")), patience)?;
                Ok(false)
            }
            _ => Ok(false),
        }
    })
}

fn lives(state: &str) -> bool {
    ["active", "activating", "reloading", "refreshing"].contains(&state)
}

/// Waits until a control group has no process, of which its file of events tells; whether it came so far.
fn emptied(events: &Path, patience: &Patience<'_>) -> io::Result<bool> {
    let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let watched = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DELETE_SELF;
    if changes.add_watch(events, watched).is_err() {
        // The group is gone, or there is none of this version of them.
        return Ok(true);
    }
    while fs::read_to_string(events).is_ok_and(|text| text.contains("populated 1")) {
        let fds = [changes.as_fd(), patience.cancel.as_fd()];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        poll(&mut fds, timeout(patience.left()))?;
        if patience.ends()? {
            return Ok(false);
        }
        let _ = changes.read_events();
    }
    Ok(true)
}

/// What systemctl prints; nothing if it does not come to an end in time.
fn systemctl(arguments: &[&str], patience: &Patience<'_>) -> io::Result<String> {
    let argv = ["systemctl"].iter().chain(arguments).map(ToString::to_string).collect();
    let exec = Exec { argv, ..Exec::default() };
    exec::output(&exec, patience.deadline, patience.cancel)
}

fn succeeds(command: &Exec, patience: &Patience<'_>) -> io::Result<bool> {
    patience.look(|| {
        let status = exec::quiet(command, patience.deadline, patience.cancel)?;
        Ok(status.is_some_and(|status| status.success()))
    })
}

/// The silence of an address, unless it answers.
fn silent(
    address: IpAddr,
    allowed: Duration,
    patience: &Patience<'_>,
) -> io::Result<Option<Silence>> {
    let mut echo = Echo::open(address)?;
    loop {
        echo.send();
        if echo.answered(ECHOES, patience.cancel)? {
            return Ok(None);
        }
        if patience.ends()? {
            return echo.silence(allowed).map(Some);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::thread;

    use super::*;
    use crate::channel::{Output, Port};
    use crate::netns;

    /// One whose output nobody reads.
    pub(crate) fn channel() -> Channel {
        let null = fs::File::options().write(true).open("/dev/null").unwrap();
        Channel::open(Output { id: 1, port: Port::new(null.into()) }).unwrap().0
    }

    #[test]
    fn a_command_that_never_ends_holds_a_wait_no_longer_than_its_deadline() {
        let argv = vec!["sleep".to_owned(), "60".to_owned()];
        let condition = Condition::Succeeds(Exec { argv, ..Exec::default() });
        let start = Instant::now();
        let reply = wait(&condition, 100, &channel()).unwrap();
        assert!(matches!(reply, Reply::Failed(_)), "{reply:?}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    fn reaching(address: &str) -> io::Result<Reply> {
        wait(&Condition::Reachable(address.parse().unwrap()), 100, &channel())
    }

    #[test]
    fn an_address_is_silent_that_was_asked_and_one_that_could_not_be_is_told_from_it() {
        netns::tests::alone(|| {
            assert!(matches!(reaching("192.0.2.1").unwrap(), Reply::Reached { .. }));
            let asked = reaching("198.51.100.1").unwrap();
            assert!(matches!(&asked, Reply::Silent(it) if it.no_way.is_none()), "{asked:?}");
            // Of a family that the machine lacks.
            let unasked = reaching("2001:db8::1").unwrap();
            assert!(matches!(&unasked, Reply::Silent(it) if it.no_way.is_some()), "{unasked:?}");
        });
    }

    #[test]
    fn whoever_may_send_no_probe_finds_nobody_silent() {
        let there = thread::spawn(|| {
            // SAFETY: makes this thread nobody's, and no other.
            unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
            assert!(reaching("127.0.0.1").is_err());
        });
        there.join().unwrap();
    }

    #[test]
    fn the_end_of_the_last_process_of_a_control_group_is_an_event() {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let version_2 = |root: &&&str| Path::new(root).join("cgroup.controllers").exists();
        let group = roots
            .iter()
            .find(version_2)
            .map(|root| Path::new(root).join(format!("meshbench-test-{}", std::process::id())));
        let Some(group) = group.filter(|group| fs::create_dir(group).is_ok()) else {
            let _ = writeln!(io::stderr(), "skipped: this machine lets nobody make control groups");
            return;
        };
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
        let channel = channel();
        let deadline = Instant::now() + Duration::from_secs(20);
        let events = group.join("cgroup.events");
        let alive = Patience {
            deadline: Instant::now() + Duration::from_millis(50),
            cancel: &channel.cancel,
        };
        assert!(!emptied(&events, &alive).unwrap());
        let waiting = thread::spawn({
            let events = events.clone();
            move || emptied(&events, &Patience { deadline, cancel: &channel.cancel }).unwrap()
        });
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(waiting.join().unwrap());
        fs::remove_dir(&group).unwrap();
        let gone = self::channel();
        assert!(emptied(&events, &Patience { deadline, cancel: &gone.cancel }).unwrap());
    }
}
