//! Containers, made by the agent itself on this machine's kernel.

#![allow(clippy::unwrap_used)]

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use meshbench_protocol::{Container, Exec, Frame, Kind, Reply, Request};
use nix::unistd::Uid;

const AGENT: &str = env!("CARGO_BIN_EXE_meshbench-agent");

/// An agent on a socket, and what it has mounted.
struct Outer {
    process: Child,
    folder: tempfile::TempDir,
}

impl Outer {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let process = Command::new(AGENT).arg("--socket").arg(socket).spawn().unwrap();
        Self { process, folder }
    }

    fn connect(&self) -> UnixStream {
        connect(&self.folder.path().join("socket"))
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = nix::mount::umount2(&self.state(), nix::mount::MntFlags::MNT_DETACH);
    }
}

fn connect(socket: &Path) -> UnixStream {
    let mut port = None;
    let listens = comes(|| {
        port = UnixStream::connect(socket).ok();
        port.is_some()
    });
    assert!(listens, "nobody listens on {}", socket.display());
    let port = port.unwrap();
    port.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    port
}

fn ask(port: &mut UnixStream, channel: u32, request: &Request) {
    Frame::json(channel, Kind::Request, request).unwrap().write(port).unwrap();
}

/// The channel's next frame that is not its output, and the output before it.
fn reply(port: &mut UnixStream, channel: u32) -> (String, Reply) {
    let mut said = Vec::new();
    loop {
        let frame = Frame::read(port).unwrap();
        match frame.kind {
            Kind::Output if frame.channel == channel => said.extend(frame.payload),
            Kind::Reply if frame.channel == channel => {
                let reply = serde_json::from_slice(&frame.payload).unwrap();
                return (String::from_utf8(said).unwrap(), reply);
            }
            _ => {}
        }
    }
}

/// What a shell in the container prints.
fn shell(port: &mut UnixStream, script: &str) -> String {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    ask(port, 7, &Request::Exec(Exec { argv, ..Exec::default() }));
    let (said, reply) = reply(port, 7);
    assert!(matches!(reply, Reply::Exited { code: Some(0), .. }), "{script}: {reply:?}: {said}");
    said.trim().to_owned()
}

fn name() -> String {
    format!("alice-{}", std::process::id())
}

fn container(outer: &Outer, fresh: bool) -> Container {
    // A first process that is none of systemd, beside which the agent of the container runs.
    let init = format!("{AGENT} & while :; do wait; sleep 60; done");
    Container {
        name: name(),
        lower: vec!["/".into()],
        state: outer.state().to_string_lossy().into_owned(),
        fresh,
        init: ["/bin/sh", "-c", &init].map(str::to_owned).to_vec(),
        card: format!("mb{}", std::process::id()),
    }
}

/// Starts a container; `None`, told, where the machine does not permit it.
fn start(port: &mut UnixStream, container: &Container) -> Option<UnixStream> {
    ask(port, 1, &Request::Container(container.clone()));
    loop {
        let frame = Frame::read(port).unwrap();
        match frame.kind {
            Kind::Output => return Some(connect(Path::new(&container.socket()))),
            Kind::Reply => {
                let reply: Reply = serde_json::from_slice(&frame.payload).unwrap();
                let denied = ["EPERM", "ENODEV", "control groups of version 2", "not permitted"];
                let told = format!("{reply:?}");
                assert!(denied.iter().any(|why| told.contains(why)), "{told}");
                let _ = writeln!(io::stderr(), "skipped: no container here: {told}");
                return None;
            }
            _ => {}
        }
    }
}

fn end(port: &mut UnixStream) -> Reply {
    Frame { channel: 1, kind: Kind::Cancel, payload: Vec::new() }.write(port).unwrap();
    reply(port, 1).1
}

#[test]
fn a_container_is_a_machine_of_its_own_and_its_disk_outlives_it() {
    if !Uid::effective().is_root() {
        let _ = writeln!(io::stderr(), "skipped: only root makes containers");
        return;
    }
    let outer = Outer::start();
    let mut port = outer.connect();
    let first = container(&outer, true);
    let card = Path::new("/sys/class/net").join(&first.card);
    let Some(mut inner) = start(&mut port, &first) else { return };
    assert_eq!(shell(&mut inner, "uname -n; cat /proc/1/comm"), name() + "\nsh");
    assert_eq!(shell(&mut inner, "ls /sys/class/net | xargs"), "eth0 lo");
    assert_eq!(
        shell(&mut inner, "ls /sys/fs/cgroup/cgroup.procs; grep ^0 /proc/self/cgroup"),
        "/sys/fs/cgroup/cgroup.procs\n0::/"
    );
    assert_eq!(
        shell(&mut inner, "head -c 3 /dev/zero | wc -c; ls /dev/net; stat -f -c %T /run"),
        "3\ntun\ntmpfs"
    );
    shell(&mut inner, "echo kept > /srv/kept; echo lost > /run/lost; exec 3<>/dev/ptmx");
    assert!(!Path::new("/srv/kept").exists());
    assert!(card.exists());
    shell(&mut inner, "sleep 61 >/dev/null 2>&1 &");

    let ended = end(&mut port);
    assert!(matches!(ended, Reply::Exited { signal: Some(9), .. }), "{ended:?}");
    assert!(!card.exists());

    let mut inner = start(&mut port, &container(&outer, false)).unwrap();
    assert_eq!(shell(&mut inner, "cat /srv/kept; ls /run/lost 2>/dev/null; true"), "kept");
    end(&mut port);

    let mut inner = start(&mut port, &container(&outer, true)).unwrap();
    assert_eq!(shell(&mut inner, "ls /srv/kept 2>/dev/null; true"), "");
    // Whoever asked for it goes away: so does the container.
    drop(port);
    assert!(comes(|| !card.exists()));

    let mut port = outer.connect();
    start(&mut port, &container(&outer, true)).unwrap();
    assert!(card.exists());
    drop(outer);
    assert!(comes(|| !card.exists()), "it outlives the agent that made it");
    // The next agent would remove it.
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    let mut groups = roots.map(|root| root.join(format!("meshbench-{}", name()))).into_iter();
    assert!(groups.any(|group| std::fs::remove_dir(group).is_ok()));
}

fn comes(mut there: impl FnMut() -> bool) -> bool {
    (0..500).any(|_| {
        thread::sleep(Duration::from_millis(20));
        there()
    })
}

#[test]
fn why_a_container_cannot_run_is_told() {
    if !Uid::effective().is_root() {
        let _ = writeln!(io::stderr(), "skipped: only root makes containers");
        return;
    }
    let outer = Outer::start();
    let mut port = outer.connect();
    let mut broken = container(&outer, true);
    (broken.name, broken.card) =
        (name().replace("alice", "bob"), format!("mc{}", std::process::id()));
    broken.lower = vec!["/no/such/layer".into()];
    ask(&mut port, 1, &Request::Container(broken));
    let (_, told) = reply(&mut port, 1);
    assert!(
        matches!(&told, Reply::Failed(why) if why.contains("its root") || why.contains("control groups")),
        "{told:?}"
    );
}
