//! Starting programs.

use std::io::{self, Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use meshbench_protocol::Exec;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

/// How often a program is tried, a millisecond apart, whose file somebody has open for writing. Another new
/// process is one of those until it executes its own program, if it began while the agent wrote the file.
const BUSY_TRIES: usize = 1000;

/// A program that has been started, in a process group of its own.
#[must_use]
pub(crate) struct Started {
    /// Readable once it has ended.
    pub(crate) ended: OwnedFd,
    child: Child,
}

impl Started {
    /// Starts a program whose first three descriptors are `stdio`.
    pub(crate) fn new(exec: &Exec, stdio: [Stdio; 3]) -> io::Result<Self> {
        let (name, arguments) =
            exec.argv.split_first().ok_or_else(|| Error::other("no program to run"))?;
        let mut command = Command::new(name);
        let [input, output, errors] = stdio;
        command.args(arguments).envs(&exec.env).process_group(0);
        command.stdin(input).stdout(output).stderr(errors);
        if !exec.cwd.is_empty() {
            command.current_dir(&exec.cwd);
        }
        let child = spawn(&mut command)
            .map_err(|why| Error::new(why.kind(), format!("cannot run {name}: {why}")))?;
        // Nobody has taken its status yet, so that the number is still its own.
        let process = rustix::process::Pid::from_child(&child);
        Ok(Self { ended: pidfd_open(process, PidfdFlags::empty())?, child })
    }

    /// Kills its process group, which nobody else can be: its status has not been taken.
    pub(crate) fn kill(&self) -> io::Result<()> {
        Ok(killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL)?)
    }

    /// How it ended, once it has.
    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

fn spawn(command: &mut Command) -> io::Result<Child> {
    for _ in 0..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
    command.spawn()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{Read, Seek};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    /// What a program said, and how it ended.
    fn run(argv: &[&str]) -> io::Result<(String, ExitStatus)> {
        let exec = Exec { argv: argv.iter().map(ToString::to_string).collect(), ..Exec::default() };
        let mut said = tempfile::tempfile()?;
        let [output, errors] = [said.try_clone()?, said.try_clone()?].map(Stdio::from);
        let started = Started::new(&exec, [Stdio::null(), output, errors])?;
        let status = started.wait()?;
        let mut text = String::new();
        said.rewind()?;
        said.read_to_string(&mut text)?;
        Ok((text, status))
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let told = |name: &str| run(&[name]).unwrap_err().to_string();
        assert!(told("no-such-program").starts_with("cannot run no-such-program: No such file or"));
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
    fn a_program_starts_as_if_by_a_shell() {
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
