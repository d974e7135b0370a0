//! What machines are to do, and how they are got.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use meshbench::results::MOST_BLOCKS;

/// What to measure, and how.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// VPNs to measure; `internal`, the wire itself, is always measured beside them.
    #[arg(value_name = "MODULE")]
    pub modules: Vec<String>,
    /// Networks to measure on [default: lan, home-dsl, lossy].
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',')]
    pub scenarios: Vec<String>,
    /// What to measure; `all`, or a folder with a workload.toml for one of your own [default: what each scenario is for].
    #[arg(long = "workload", value_name = "NAME|FOLDER", value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// Passes over all modules; 7 are needed for a ranking [default: 7, with --quick 1].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_BLOCKS)))]
    pub blocks: Option<u32>,
    /// Seed of all that is random.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..1 << 53))]
    pub seed: Option<u64>,
    /// Short workloads and one block: a first impression.
    #[arg(long)]
    pub quick: bool,
    /// Whose time it is.
    #[command(flatten)]
    pub time: TimeArgs,
    /// Print the results as JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Where to write the results [default: results/local/RUN].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with the run in this directory, with --blocks N until it has N of them.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["modules", "scenarios", "workloads", "seed", "quick", "clock", "out"])]
    pub resume: Option<PathBuf>,
    /// Print the schedule and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// Count it as a failure if a VPN stays relayed where the scenario lets it expect a direct path.
    #[arg(long)]
    pub strict: bool,
    /// How to get guests and how to start them.
    #[command(flatten)]
    pub guests: GuestArgs,
}

/// How to get guests and how to start them.
#[derive(Debug, Clone, Default, Args)]
pub struct GuestArgs {
    /// Boot every machine instead of forking it from a template.
    #[arg(long)]
    pub no_fork: bool,
    /// Use this program instead of the packaged one of the same name.
    #[arg(long = "binary", value_name = "[NAME=]PATH")]
    pub binaries: Vec<String>,
    /// A finished guest image for a module: its `guest.json`, made by Nix.
    #[arg(long = "guest", value_name = "MODULE=GUEST_JSON")]
    pub guests: Vec<String>,
    /// Build guests anew, with the packages of today.
    #[arg(long)]
    pub refresh: bool,
    /// The QEMU of virtual time, whose version decides the figures [default: one that is brought along].
    #[arg(long, env = "MESHBENCH_QEMU", value_name = "PATH")]
    pub qemu: Option<PathBuf>,
    /// What runs the machines [default: kvm where a trial guest runs under it, else tcg].
    #[arg(long, value_enum)]
    pub accelerator: Option<Accelerator>,
}

/// Whose time it is, and how many clusters share the host.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct TimeArgs {
    /// Whose time is measured: the host's, or counted instructions, which repeat to the last digit
    /// [default: real where KVM can be used, else virtual].
    #[arg(long, value_enum)]
    pub clock: Option<Clock>,
    /// Clusters at once in virtual time, which do not disturb each other [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
}

/// Whose time is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Clock {
    /// The host's.
    Real,
    /// Instructions, of which 10^9 are a second.
    Virtual,
}

/// What runs the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accelerator {
    /// The processor's own virtualisation; it is an error if it does not work.
    Kvm,
    /// Emulation.
    Tcg,
}

/// Arguments of `bench repeat`.
#[derive(Debug, Clone, Args)]
pub struct RepeatArgs {
    /// The run's result directory, or its published set.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Only these cells: names of files in `cells/`, or the beginning of one, such as `1_lan_wireguard` [default: all].
    #[arg(value_name = "CELL")]
    pub cells: Vec<String>,
    /// Measure all of it so many times, to look for what repeats only most of the time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub times: u16,
    /// Clusters at once [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// How to get guests and how to start them.
    #[command(flatten)]
    pub guests: GuestArgs,
}

/// Arguments of `bench shell`.
#[derive(Debug, Clone, Args)]
pub struct ShellArgs {
    /// The VPN.
    pub module: String,
    /// The network.
    #[arg(long, default_value = "lan")]
    pub scenario: String,
    /// Run this on a machine, written MACHINE COMMAND…, or `capture SECONDS FILE`, and stop.
    #[arg(last = true)]
    pub command: Vec<String>,
    /// How to get guests and how to start them.
    #[command(flatten)]
    pub guests: GuestArgs,
}

/// Arguments of `bench contract`.
#[derive(Debug, Clone, Args)]
pub struct ContractArgs {
    /// VPNs to check [default: all].
    #[arg(value_name = "MODULE")]
    pub modules: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Also write contract.json and junit.xml there, beside what they hold of other modules.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Whose time it is.
    #[command(flatten)]
    pub time: TimeArgs,
    /// How to get guests and how to start them.
    #[command(flatten)]
    pub guests: GuestArgs,
}

/// Arguments of `bench guest`.
#[derive(Debug, Clone, Args)]
pub struct ImageArgs {
    /// VPNs; `internal` is the guest of the network itself.
    #[arg(value_name = "MODULE", required = true)]
    pub modules: Vec<String>,
    /// How to get guests and how to start them.
    #[command(flatten)]
    pub guests: GuestArgs,
}

/// Arguments of `bench nat-grid`.
#[derive(Debug, Clone, Args)]
pub struct NatGridArgs {
    /// The VPNs, one grid each [default: all].
    #[arg(value_name = "MODULE")]
    pub modules: Vec<String>,
    /// NAT kinds for both sides [default: none, full-cone, restricted-cone, home, symmetric, cgnat].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub kinds: Vec<String>,
    /// Seconds that the first packet may take, and after it a direct path instead of a relayed one.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub patience: u64,
    /// Seed of all that is random.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..1 << 53))]
    pub seed: Option<u64>,
    /// Where to write the results [default: results/local/RUN].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Whose time it is.
    #[command(flatten)]
    pub time: TimeArgs,
    /// How to get guests and how to start them.
    #[command(flatten)]
    pub guests: GuestArgs,
}
