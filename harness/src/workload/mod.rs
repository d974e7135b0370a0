//! One thing measured: run it, parse it.

pub mod iperf3;
pub mod ping;

mod recover;
mod run;
pub use run::{Route, Workload, WorkloadError, connect_metric};
pub use run::{ping as run_ping, recover as run_recover, tcp as run_tcp, udp as run_udp};
