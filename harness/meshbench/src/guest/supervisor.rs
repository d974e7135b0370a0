//! Builders end with the harness, and so does all that they have started, however the harness ends.
//!
//! Between harness and builder stands a process of its own that adopts the builder's orphans
//! (PR_SET_CHILD_SUBREAPER) and hears of the harness's death (PR_SET_PDEATHSIG). A signal to the builder
//! alone would leave what mmdebstrap, apt and cargo have started; a process group is left by `setsid`; a
//! process namespace is not to be had by every user. It is forked and not executed, so that it needs no file.

use std::io;
use std::os::fd::{AsFd, IntoRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpid, getppid, pipe2, read};

/// How long a builder may take to clean up once the harness is gone, in seconds.
pub(super) const GRACE_S: i64 = 5;

/// Has the command started under a supervisor.
pub(super) fn supervise(command: &mut Command) {
    let harness = getpid();
    // SAFETY: system calls only, none of which allocates or takes a lock.
    unsafe { command.pre_exec(move || divide(harness)) };
}

/// In the child of the harness: becomes the supervisor; returns in the builder-to-be.
fn divide(harness: Pid) -> io::Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    set_child_subreaper(true)?;
    set_pdeathsig(Signal::SIGTERM)?;
    if getppid() != harness {
        return Err(Errno::ESRCH.into());
    }
    let supervisor = getpid();
    let (apart, held) = pipe2(OFlag::O_CLOEXEC)?;
    // Not by fork(), whose handlers take locks that another thread of the harness may have held.
    // SAFETY: a child with a copy of this memory, as by fork.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    match Errno::result(child)? {
        0 => {
            // Until the supervisor has let go of the harness's descriptors: one of them tells the harness that the builder
            // runs, and a builder that stopped its supervisor before would have the harness wait for ever.
            drop(held);
            let _ = read(&apart, &mut [0]);
            signals.thread_unblock()?;
            // The supervisor itself may be killed.
            set_pdeathsig(Signal::SIGKILL)?;
            if getppid() == supervisor { Ok(()) } else { Err(Errno::ESRCH.into()) }
        }
        builder => stay(Pid::from_raw(builder as i32), held.into_raw_fd(), &signals),
    }
}

/// Waits for the builder or for the end of the harness, ends all that is left, and ends as the builder did. The builder
/// begins when `held` is closed.
fn stay(builder: Pid, held: RawFd, signals: &SigSet) -> ! {
    // Ports and pipes of the harness must not stay open here when it ends. An old kernel, or a sandbox, may refuse.
    // SAFETY: nothing here uses a descriptor above standard error.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
        libc::close(held);
    }
    let mut ended = None;
    let mut asked = false;
    while ended.is_none() {
        match next_signal(signals, asked.then_some(GRACE_S)) {
            // The grace is over.
            None => break,
            Some(libc::SIGTERM) if !asked => {
                let _ = kill(builder, Signal::SIGTERM);
                // One that is stopped hears of it only then.
                let _ = kill(builder, Signal::SIGCONT);
                asked = true;
            }
            Some(_) => {}
        }
        ended = reap(builder);
    }
    // What a dead child leaves is adopted here, so that no more than direct children need be looked for.
    while has_children() {
        let _ = kill(builder, Signal::SIGKILL);
        kill_children();
        let _ = next_signal(signals, Some(1));
        ended = ended.or(reap(builder));
    }
    leave(ended)
}

/// The next of these signals; `None` when so many seconds pass without one.
fn next_signal(signals: &SigSet, seconds: Option<i64>) -> Option<i32> {
    let limit = seconds.map(|tv_sec| libc::timespec { tv_sec, tv_nsec: 0 });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the set and the limit live; no information on the signal is asked for.
    let signal = unsafe { libc::sigtimedwait(signals.as_ref(), std::ptr::null_mut(), limit) };
    (signal > 0).then_some(signal)
}

/// Takes note of all children that have ended; says how the builder did if it was among them.
fn reap(builder: Pid) -> Option<WaitStatus> {
    let mut ended = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(status) if status.pid() == Some(builder) => ended = Some(status),
            Ok(WaitStatus::StillAlive) | Err(_) => return ended,
            Ok(_) => {}
        }
    }
}

fn has_children() -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, look).is_ok()
}

/// Kills the children that the kernel lists; those that it does not list in one go follow in the next.
fn kill_children() {
    let mode = Mode::empty();
    let Ok(list) = open(c"/proc/thread-self/children", OFlag::O_RDONLY, mode) else { return };
    let mut text = [0; 4096];
    let Ok(length) = read(list.as_fd(), &mut text) else { return };
    // A number at the very end may have been cut.
    let whole = text[..length].iter().rposition(|byte| *byte == b' ').unwrap_or(0);
    for word in text[..whole].split(|byte| *byte == b' ') {
        let digits = word.iter().map(|digit| i32::from(digit.wrapping_sub(b'0')));
        let pid = digits.fold(0_i32, |pid, digit| pid.wrapping_mul(10).wrapping_add(digit));
        if pid > 1 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Ends as the builder did.
fn leave(ended: Option<WaitStatus>) -> ! {
    let code = match ended {
        Some(WaitStatus::Exited(_, code)) => code,
        Some(WaitStatus::Signaled(_, signal, _)) => {
            let mut own = SigSet::empty();
            own.add(signal);
            let _ = own.thread_unblock();
            let _ = kill(getpid(), signal);
            128 + signal as i32
        }
        _ => 128,
    };
    // SAFETY: ends the process without running anything of the harness's.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::super::command;
    use super::*;

    const FILE: &str = "MESHBENCH_TEST_PIDS";

    /// A program that leaves its session, notes its process id in the file, and stays.
    fn orphan(file: &Path) -> String {
        format!("setsid sh -c 'echo $$ >>{}; exec sleep 300'", file.display())
    }

    fn pids(file: &Path, count: usize) -> Vec<Pid> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let text = fs::read_to_string(file).unwrap_or_default();
            let pids: Vec<Pid> =
                text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw).collect();
            if pids.len() >= count {
                return pids;
            }
            assert!(Instant::now() < end, "{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn assert_gone(pids: &[Pid]) {
        let end = Instant::now() + Duration::from_secs(GRACE_S as u64 + 15);
        while let Some(pid) = pids.iter().find(|pid| kill(**pid, None).is_ok()) {
            assert!(Instant::now() < end, "{pid} is left");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn what_a_builder_leaves_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pids");
        let script = format!("{} & while ! [ -s {} ]; do :; done", orphan(&file), file.display());
        command::run(Command::new("sh").args(["-c", &script]), "").unwrap();
        assert_gone(&pids(&file, 1));
    }

    #[test]
    fn a_builder_ends_as_it_would_alone() {
        let status = |script: &str| {
            let mut command = Command::new("sh");
            supervise(command.args(["-c", script]));
            command.status().unwrap().to_string()
        };
        assert!(status("exit 0").contains('0'));
        assert!(status("exit 3").contains('3'));
        assert!(status("kill -9 $$").contains("signal: 9"));
        assert!(status("kill -15 $$").contains("signal: 15"));
    }

    /// The harness of the test below, which is killed while it builds.
    #[test]
    fn builds() {
        let Some(file) = std::env::var_os(FILE) else { return };
        let orphan = orphan(Path::new(&file));
        // One that ignores the request to end, and one that has long left.
        let script = format!("trap '' TERM; ({orphan} &) & {orphan}");
        let _ = command::run(Command::new("sh").args(["-c", &script]), "");
    }

    #[test]
    fn builders_end_with_a_harness_that_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pids");
        let mut harness = Command::new(std::env::current_exe().unwrap());
        harness.args(["guest::supervisor::tests::builds", "--exact"]).env(FILE, &file);
        let mut harness = harness.stdout(std::process::Stdio::null()).spawn().unwrap();
        let pids = pids(&file, 2);
        harness.kill().unwrap();
        harness.wait().unwrap();
        assert_gone(&pids);
    }
}
