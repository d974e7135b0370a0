//! The program inside every machine: its initial process while the root is put together, then the agent.

mod clock;
mod connect;
mod exec;
mod files;
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
mod serve;
mod spawn;
mod train;
mod wait;
mod workers;

fn main() {
    if std::process::id() == 1 {
        init::run();
    }
    if let Err(error) = port::open().and_then(|port| serve::serve(&port)) {
        eprintln!("meshbench agent: {error}");
        std::process::exit(1);
    }
}
