//! The program inside every machine: its initial process while the root is put together, then the agent.

mod channel;
mod clock;
mod connect;
mod container;
mod container_init;
mod control_group;
mod exec;
mod files;
mod firmware;
mod icmp;
mod identity;
mod init;
mod ip;
mod nat;
mod nat_server;
mod netns;
mod network;
mod port;
mod schedule;
mod sealed;
mod serve;
mod spawn;
mod timers;
mod traffic;
mod train;
mod uevent;
mod wait;

use std::io;
use std::path::Path;

use meshbench_protocol::{CONTAINER_DIR, SOCKET_NAME};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        [container::FIRST_PROCESS, start] => container_init::run(start),
        _ if std::process::id() == 1 => init::run(),
        ["--socket", path] => port::socket(Path::new(path)),
        ["traffic", ref words @ ..] => traffic::run(words),
        ["timers", rounds] => timers::run(rounds),
        ["idle", seconds] => timers::idle(seconds),
        [] if sealed::asked() && !container::inside() => {
            sealed::run(true).map(|never| match never {})
        }
        [] if container::inside() => port::socket(&Path::new(CONTAINER_DIR).join(SOCKET_NAME)),
        [] => port::virtio(),
        _ => Err(io::Error::other("usage: meshbench-agent [--socket PATH]")),
    };
    if let Err(error) = done {
        eprintln!("meshbench agent: {error}");
        std::process::exit(1);
    }
}
