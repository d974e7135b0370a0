//! A fabric of network namespaces on this machine: the kernel's own NAT, no impairment.
//! They need root, `nft`, `ip`, `ping`, `conntrack`, `unshare` and `nsenter`; without them a test says why it is skipped.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use super::address::CORE_V4;
use super::event::Action;
use super::plan::{MachineNet, Plan};
use super::scenario::Scenario;

/// For what may or must not arrive.
pub(super) const PATIENCE: Duration = Duration::from_millis(300);

/// For what must arrive, however busy this machine is.
const LONG: Duration = Duration::from_secs(10);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// A fabric and its machines, as namespaces of a mount and network namespace of their own.
pub(super) struct Lab {
    shell: Child,
    pub(super) plan: Plan,
}

impl Lab {
    /// Builds the scenario, or says why this machine cannot.
    pub(super) fn new(sites: &str) -> Option<Self> {
        let text = format!("title = \"t\"\ndescription = \"d\"\n{sites}");
        let plan = Plan::new(&Scenario::parse("lab", "lab.toml", &text, &[]).unwrap(), 1);
        if let Err(why) = possible() {
            // Past the capture of test output, so that skips are seen and counted.
            let _ = writeln!(std::io::stderr(), "skipped: {why}");
            return None;
        }
        let mut shell = Command::new("unshare")
            // A process namespace as well: whatever runs in the lab dies with it.
            .args(["-nmpf", "--kill-child", "--mount-proc", "--propagation", "private"])
            .args(["sh", "-eu"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut script = String::from("mount -t tmpfs none /run\nmkdir /run/netns\n");
        for net in plan.machines() {
            let name = &net.name;
            script += &format!("ip netns add m-{name}\n");
            script +=
                &format!("ip link add card{} type veth peer name eth0 netns m-{name}\n", net.card);
            script += &format!("ip -n m-{name} link set lo up\nip -n m-{name} link set eth0 up\n");
        }
        script += &super::script::script(&plan.namespaces());
        script += "echo ready\ncat >/dev/null\n";
        shell.stdin.as_mut().unwrap().write_all(script.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the plan does not apply");
        let lab = Self { shell, plan };
        lab.plan.machines().iter().for_each(|net| lab.configure(net));
        lab.settle();
        Some(lab)
    }

    /// Waits until each link passes packets, or is down: the kernel makes a link ready some time after it was set up.
    fn settle(&self) {
        let links = "for net in /run/netns/*; do ip -n ${net##*/} -o link show up; done\nip -o link show up\n";
        self.until("every link settled", links, |output| output.lines().all(is_settled));
    }

    /// Gives a machine its addresses and routes.
    fn configure(&self, net: &MachineNet) {
        let mut script = String::from(
            "ip -4 address flush dev eth0\nip -6 address flush dev eth0 scope global\n",
        );
        for address in &net.addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            script += &format!("ip address add {address} dev eth0 {nodad}\n");
        }
        for gateway in &net.gateways {
            script += &format!("ip route replace default via {gateway}\n");
        }
        self.sh(&format!("nsenter --net=/run/netns/m-{} sh -eu <<'X'\n{script}X\n", net.name));
    }

    pub(super) fn sh(&self, script: &str) -> String {
        let pid = self.shell.id().to_string();
        let mut child = Command::new("nsenter")
            .args(["-t", &pid, "-n", "-m", "sh", "-eu"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "failed:\n{script}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Repeats the script until what it prints is as hoped for.
    pub(super) fn until(&self, what: &str, script: &str, holds: impl Fn(&str) -> bool) {
        let start = Instant::now();
        loop {
            let output = self.sh(script);
            if holds(&output) {
                return;
            }
            assert!(start.elapsed() < LONG, "still not {what}:\n{output}");
            std::thread::sleep(LOOK);
        }
    }

    pub(super) fn change(&mut self, action: &Action) {
        let change = self.plan.change(action).unwrap();
        self.sh(&super::script::script(&change.namespaces));
        change.readdressed.iter().for_each(|net| self.configure(net));
        self.settle();
    }

    /// A socket of a namespace; it stays in it whoever uses it.
    pub(super) fn socket(&self, namespace: &str, at: impl Into<IpAddr>, port: u16) -> UdpSocket {
        let at = SocketAddr::new(at.into(), port);
        self.within(namespace, move || {
            let socket = UdpSocket::bind(at).unwrap_or_else(|why| panic!("bind {at}: {why}"));
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        })
    }

    /// What is made in a namespace.
    pub(super) fn within<T: Send + 'static>(
        &self,
        namespace: &str,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let path = format!("/proc/{}/root/run/netns/{namespace}", self.shell.id());
        let made = move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            make()
        };
        std::thread::spawn(made).join().unwrap()
    }

    pub(super) fn machine(&self, name: &str, port: u16) -> UdpSocket {
        let member = self.plan.members().into_iter().find(|member| member.name == name).unwrap();
        self.socket(&format!("m-{name}"), member.local[0], port)
    }

    /// Servers on three addresses and two ports of the core: 1a, 1b, 2a, 2b, 3a.
    pub(super) fn servers(&self) -> Vec<UdpSocket> {
        [(0, 7001), (0, 7002), (1, 7001), (1, 7002), (2, 7001)]
            .map(|(n, port)| self.socket("internet", CORE_V4[n], port))
            .into()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

fn possible() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("only root may make network namespaces".to_owned());
    }
    for tool in ["nft", "ip", "unshare", "nsenter", "ping", "conntrack"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return Err(format!("there is no `{tool}`"));
        }
    }
    Ok(())
}

/// Whether the state of a link that is set up follows its carrier, as `ip -o link` tells both.
fn is_settled(link: &str) -> bool {
    let has = |word: &str| link.contains(word);
    if has("LOWER_UP") { has(" state UP ") || has(" state UNKNOWN ") } else { !has(" state UP ") }
}

/// Sends a word, and says from where it came when it came.
pub(super) fn seen(from: &UdpSocket, to: &UdpSocket, at: SocketAddr) -> Option<SocketAddr> {
    let _ = from.send_to(b"word", at);
    let mut buffer = [0; 64];
    to.recv_from(&mut buffer).ok().map(|(_, source)| source)
}

/// Sends a word that must arrive.
pub(super) fn arrives(from: &UdpSocket, to: &UdpSocket, at: SocketAddr) -> SocketAddr {
    to.set_read_timeout(Some(LONG)).unwrap();
    let source = seen(from, to, at);
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    source.unwrap_or_else(|| panic!("nothing arrived at {at}"))
}

pub(super) fn mapped(from: &UdpSocket, server: &UdpSocket) -> SocketAddr {
    arrives(from, server, server.local_addr().unwrap())
}
