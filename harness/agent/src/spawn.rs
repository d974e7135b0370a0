//! Starting programs.
//!
//! The C library's posix_spawn(3) resets each of 64 signals by two system calls, and waits until the program
//! is executed, so that the kernel switches between the two memory maps twice more. With a thread made for
//! each program (see [`crate::workers`]) that was a sixth of what `true` took in an emulated machine.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::io::{self, Error, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use agent::Exec;
use nix::unistd::{AccessFlags, Pid, access};

use crate::schedule;

/// What the new process needs until it executes the program.
const STACK: usize = 16 << 10;

/// How often a program is tried, a millisecond apart, whose file somebody has open for writing. Another new
/// process is one of those until it executes its own program, if it began while the agent wrote the file.
const BUSY_TRIES: usize = 1000;

/// A program that has been started.
#[must_use]
pub(crate) struct Started {
    /// Its process, which leads a group of its own.
    pub(crate) group: Pid,
    /// Readable once it has ended.
    pub(crate) ended: OwnedFd,
    name: String,
    /// The process uses it until it executes the program, so that it is kept until the process has ended,
    /// or for ever.
    birth: *mut Birth,
}

/// All that a new process needs: it shares the agent's memory and must not allocate any.
struct Birth {
    path: CString,
    arguments: Strings,
    environment: Strings,
    folder: Option<CString>,
    stdio: [RawFd; 3],
    /// Why the program could not be executed: an `errno`, or 0.
    failure: AtomicI32,
    stack: UnsafeCell<[MaybeUninit<u8>; STACK]>,
}

/// Strings, and pointers to them as execve(2) wants them.
struct Strings(
    #[expect(dead_code, reason = "what the pointers point at")] Vec<CString>,
    Vec<*const c_char>,
);

impl Started {
    /// Starts a program. Its first three descriptors are `stdio`, none of which may be below 3.
    pub(crate) fn new(exec: &Exec, stdio: [BorrowedFd<'_>; 3]) -> io::Result<Self> {
        let name = exec.argv.first().ok_or_else(|| Error::other("no program to run"))?.clone();
        let birth = Birth::of(&name, exec, stdio.map(|fd| fd.as_raw_fd()));
        let birth = Box::into_raw(Box::new(birth.map_err(|why| cannot_run(&name, why))?));
        let (group, ended) = give(birth).map_err(|why| cannot_run(&name, why))?;
        Ok(Self { group, ended, name, birth })
    }

    /// How it ended, once it has; an error if it could not be executed.
    pub(crate) fn wait(self) -> io::Result<ExitStatus> {
        let mut status = 0;
        // SAFETY: the call writes one integer.
        if unsafe { libc::waitpid(self.group.as_raw(), &mut status, 0) } < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: made from a box, which only the process that has ended used.
        let birth = unsafe { Box::from_raw(self.birth) };
        match birth.failure.load(Ordering::SeqCst) {
            0 => Ok(ExitStatus::from_raw(status)),
            errno => Err(cannot_run(&self.name, Error::from_raw_os_error(errno))),
        }
    }
}

impl Birth {
    fn of(name: &str, exec: &Exec, stdio: [RawFd; 3]) -> io::Result<Self> {
        let mut variables: BTreeMap<OsString, OsString> = env::vars_os().collect();
        variables.extend(exec.env.iter().map(|(name, value)| (name.into(), value.into())));
        let path = look_up(name, variables.get(&OsString::from("PATH")))?;
        let environment = variables.into_iter().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(name.into_vec())
        });
        Ok(Self {
            path: CString::new(path.into_os_string().into_vec())?,
            arguments: Strings::new(exec.argv.iter().map(|text| CString::new(&**text)))?,
            environment: Strings::new(environment)?,
            folder: (!exec.cwd.is_empty()).then(|| CString::new(&*exec.cwd)).transpose()?,
            stdio,
            failure: AtomicI32::new(0),
            stack: UnsafeCell::new([MaybeUninit::uninit(); STACK]),
        })
    }

    /// In the new process; returns only if it fails, with the `errno`.
    fn execute(&self) -> i32 {
        schedule::as_usual();
        let errno = || Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        // SAFETY: system calls that take integers, and strings that are kept.
        unsafe {
            let ready = libc::setpgid(0, 0) == 0
                && (0..3).all(|fd| libc::dup2(self.stdio[fd as usize], fd) == fd)
                && self.folder.as_ref().is_none_or(|folder| libc::chdir(folder.as_ptr()) == 0)
                // The only signal that the agent ignores, which programs would inherit.
                && libc::signal(libc::SIGPIPE, libc::SIG_DFL) != libc::SIG_ERR;
            if !ready {
                return errno();
            }
            let (arguments, environment) = (&self.arguments.1, &self.environment.1);
            for _ in 0..BUSY_TRIES {
                libc::execve(self.path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
                match errno() {
                    libc::ETXTBSY => libc::usleep(1000),
                    other => return other,
                };
            }
        }
        libc::ETXTBSY
    }
}

/// Makes the process; also the descriptor that tells of its end. Until it executes its program it uses this
/// thread's local storage, where `errno` is: the thread must live until the process has ended, and does.
fn give(birth: *mut Birth) -> io::Result<(Pid, OwnedFd)> {
    let flags = libc::CLONE_VM | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    // SAFETY: the stack and all that the process reads stay until it has ended. It makes system calls only,
    // each of which leaves this thread's errno alone unless it fails; the agent handles no signal that
    // another process may send. The kernel's descriptor is nobody else's.
    unsafe {
        let top = (*birth).stack.get().add(1);
        let top = top.wrapping_byte_sub(top as usize % 16);
        let pid = libc::clone(execute, top.cast(), flags, birth.cast(), &raw mut pidfd);
        if pid < 0 {
            return Err(Error::last_os_error());
        }
        // Both sides do it: whoever ends the group from now on must find it.
        libc::setpgid(pid, pid);
        Ok((Pid::from_raw(pid), OwnedFd::from_raw_fd(pidfd)))
    }
}

extern "C" fn execute(birth: *mut c_void) -> c_int {
    // SAFETY: what `give` has passed, which nobody changes any more.
    let birth = unsafe { &*birth.cast::<Birth>() };
    birth.failure.store(birth.execute(), Ordering::SeqCst);
    127
}

impl Strings {
    fn new<E>(strings: impl Iterator<Item = Result<CString, E>>) -> Result<Self, E> {
        let strings = strings.collect::<Result<Vec<_>, _>>()?;
        let pointers = strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        Ok(Self(strings, pointers))
    }
}

/// The program's file: the name itself if it has a slash, or the first of that name in PATH.
fn look_up(name: &str, path: Option<&OsString>) -> io::Result<PathBuf> {
    if name.contains('/') {
        return Ok(name.into());
    }
    let folders = path.map(env::split_paths).into_iter().flatten();
    let mut files = folders.map(|folder| folder.join(name));
    let found = files.find(|file| access(file, AccessFlags::X_OK).is_ok());
    found.ok_or_else(|| ErrorKind::NotFound.into())
}

fn cannot_run(name: &str, why: Error) -> Error {
    Error::new(why.kind(), format!("cannot run {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{Read, Seek};
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    /// What a program said, and how it ended.
    fn run(argv: &[&str]) -> io::Result<(String, ExitStatus)> {
        let exec = Exec { argv: argv.iter().map(ToString::to_string).collect(), ..Exec::default() };
        let null = File::open("/dev/null")?;
        let mut said = tempfile::tempfile()?;
        let started = Started::new(&exec, [null.as_fd(), said.as_fd(), said.as_fd()])?;
        let status = started.wait()?;
        let mut text = String::new();
        said.rewind()?;
        said.read_to_string(&mut text)?;
        Ok((text, status))
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let told = |name: &str| run(&[name]).unwrap_err().to_string();
        assert!(
            told("no-such-program").starts_with("cannot run no-such-program: entity not found")
        );
        assert!(told("/no/such/program").contains("No such file or directory"));
        assert!(told("/etc/passwd").contains("Permission denied"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("noise");
        fs::write(&file, [0; 64]).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let said = told(&file.to_string_lossy());
        assert!(said.contains("Exec format error"), "{said}");
    }

    #[test]
    fn a_program_starts_as_if_by_a_shell_whatever_its_thread_is() {
        schedule::in_line();
        let (said, status) = run(&["cat", "/proc/self/status", "/proc/self/stat"]).unwrap();
        assert!(status.success());
        let ignored = said.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        assert_eq!(ignored & 1 << (libc::SIGPIPE - 1), 0, "{said}");
        let stat: Vec<&str> = said.lines().last().unwrap().split(' ').collect();
        // Fields 1, 5 and 41 of proc_pid_stat(5): process, its group, its scheduling policy.
        assert_eq!((stat[0], stat[40]), (stat[4], "0"), "{said}");
    }

    #[test]
    fn a_program_inherits_no_file_of_the_agent_and_its_end_is_told() {
        let _open = File::open("/etc/passwd").unwrap();
        let (said, _) = run(&["ls", "-l", "/proc/self/fd"]).unwrap();
        assert!(said.contains("/dev/null") && !said.contains("passwd"), "{said}");
        assert_eq!(run(&["sh", "-c", "exit 7"]).unwrap().1.code(), Some(7));
        assert_eq!(run(&["sh", "-c", "kill -PIPE $$"]).unwrap().1.signal(), Some(libc::SIGPIPE));
    }

    #[test]
    fn a_program_runs_as_soon_as_it_is_written_whatever_else_is_started() {
        struct Ends<'a>(&'a AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            // Also if this thread panics, which otherwise waits for the others.
            let _ends = Ends(&done);
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        run(&["true"]).unwrap();
                    }
                });
            }
            let program = fs::read("/bin/true").unwrap();
            let folder = tempfile::tempdir().unwrap();
            let failed = (0..200).find_map(|n| {
                let file = folder.path().join(n.to_string());
                fs::write(&file, &program).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
                run(&[&file.to_string_lossy()]).err()
            });
            assert!(failed.is_none(), "{failed:?}");
        });
    }

    #[test]
    fn many_threads_start_programs_at_once() {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                thread::spawn(move || {
                    for round in 0..50 {
                        let text = format!("{n} {round}");
                        assert_eq!(run(&["echo", &text]).unwrap().0, text + "\n");
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
