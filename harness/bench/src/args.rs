//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use meshbench::results::MOST_BLOCKS;

/// Measures mesh VPNs on clusters of virtual machines behind real NATs and bad links.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 measured; 1 unexpected error; 2 wrong usage or input; 4 nothing selected; \
69 machines cannot run here; 96 setup failed; 100 some cells failed; 101 regression; 102 undecided; \
130 interrupted."
)]
pub struct Cli {
    /// A command; without one, the arguments are those of `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to measure.
    #[command(flatten)]
    pub run: RunArgs,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Settings of every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Folder that holds `modules/` and `checks/` [default: found from here upwards, else meshbench's own].
    #[arg(long, global = true, env = "MESHBENCH_ROOT", value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Where guests and templates are kept.
    #[arg(long, global = true, env = "MESHBENCH_CACHE", value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Colours.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What `bench` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure modules and print a table.
    Run(RunArgs),
    /// List what there is to choose from.
    List {
        /// Of what.
        what: Listing,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check whether this host can run measurements; name the fix for what is missing.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Bring a cluster up with a module on it, then give commands to its machines.
    Shell(ShellArgs),
    /// Check what every module promises: comes up, is encrypted, keeps strangers out, leaves nothing.
    Contract(ContractArgs),
    /// Make guest images without starting them; print MODULE=DIR, as --guest takes it.
    Guest(ImageArgs),
    /// Connect two sites behind every pair of NAT kinds, and show which pairs get through.
    NatGrid(NatGridArgs),
    /// Compare two runs, or two modules of one run; exit code 101 if B is a regression from A.
    Compare(CompareArgs),
    /// Decide for CI whether AFTER is a regression from BEFORE: exit code 0 no, 101 yes, 102 not known.
    Gate(GateArgs),
    /// Find the noise floor, from one thing measured twice, and store it with the run.
    Noise(NoiseArgs),
    /// Import figures that others have published, to show them beside ours.
    Import(ImportArgs),
    /// Print a line for each module of finished runs: connects, path, speed, promises kept.
    Survey {
        /// Their result directories; each module stands below the wire of its own run.
        #[arg(value_name = "DIR", required = true)]
        dirs: Vec<PathBuf>,
        /// Where `bench contract --out` wrote its findings.
        #[arg(long, value_name = "DIR")]
        contract: Option<PathBuf>,
    },
    /// Begin a module of your own, which works as it stands: modules/NAME, from the template.
    NewModule {
        /// Its name: a-z, 0-9 and -.
        name: String,
    },
    /// Measure again what a run measured in virtual time, and compare it to the last digit; exit code 101 where
    /// anything is different.
    Repeat(RepeatArgs),
    /// Print the JSON Schema of the results.
    Schema,
    /// Make the leaderboard: a static site of result sets.
    Report(ReportArgs),
    /// Show a site in browsers of this machine, until ^C.
    Serve {
        /// What `bench report` wrote.
        dir: PathBuf,
        /// Port on 127.0.0.1 [default: any].
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Write the newest released versions of crates and Go programs into modules/, and show what changed.
    Update(UpdateArgs),
    /// Publish result sets, list and check published ones.
    #[command(subcommand)]
    Results(ResultsCommand),
    /// Print the table of a finished run.
    Show {
        /// Its result directory, its published set, or a file of imported figures.
        dir: PathBuf,
        /// What each workload cost the members that carried it, instead of what it measured.
        #[arg(long)]
        costs: bool,
        /// Imported figures to show beside it; they are never ranked with ours.
        #[arg(long, value_name = "FILE")]
        beside: Vec<PathBuf>,
    },
}

/// Arguments of `bench report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Result directories, published sets, figures of others, findings of `bench contract --out`, and folders of those.
    #[arg(value_name = "RESULTS", required = true)]
    pub results: Vec<PathBuf>,
    /// Where to write the site, in place of an earlier one.
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
}

/// Arguments of `bench update`.
#[derive(Debug, Clone, Args)]
pub struct UpdateArgs {
    /// VPNs [default: all].
    #[arg(value_name = "MODULE")]
    pub modules: Vec<String>,
    /// Only show what would change.
    #[arg(long)]
    pub dry_run: bool,
    /// Also move the flake's nixpkgs to today, which needs Nix.
    #[arg(long)]
    pub nixpkgs: bool,
}

/// What can be done with published result sets.
#[derive(Debug, Subcommand)]
pub enum ResultsCommand {
    /// Pack finished runs into one file each, and put them among the published ones.
    Add {
        /// Result directories.
        #[arg(value_name = "DIR", required = true)]
        dirs: Vec<PathBuf>,
        /// Who measured, and on what, in words: shown with every figure.
        #[arg(long, value_name = "TEXT")]
        by: String,
        /// Folder of published sets.
        #[arg(long, value_name = "DIR", default_value = "results")]
        to: PathBuf,
    },
    /// List published sets.
    List {
        /// Folder of published sets.
        #[arg(value_name = "DIR", default_value = "results")]
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the modules that no published set has measured as they and the scenarios are now, of those that can be built here.
    Due {
        /// Folder of published sets.
        #[arg(value_name = "DIR", default_value = "results")]
        dir: PathBuf,
    },
    /// Print the published set that measured a module last; exit code 4 if there is none.
    Latest {
        /// The VPN.
        module: String,
        /// Folder of published sets.
        #[arg(value_name = "DIR", default_value = "results")]
        dir: PathBuf,
    },
    /// Check published sets: form, hashes, clocks, what contradicts; exit code 2 if anything is wrong.
    Verify {
        /// Published sets, or folders of them.
        #[arg(value_name = "FILE", default_value = "results")]
        places: Vec<PathBuf>,
    },
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Listing {
    /// VPNs.
    Modules,
    /// Networks.
    Scenarios,
    /// What is measured.
    Workloads,
    /// Links.
    Profiles,
    /// NATs and firewalls.
    Nats,
}

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

/// Arguments of `bench compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// Result directories: the baseline A, then B; or one, with --modules A,B.
    #[arg(value_name = "DIR", required = true, num_args = 1..=2)]
    pub dirs: Vec<PathBuf>,
    /// What is asked.
    #[command(flatten)]
    pub question: QuestionArgs,
    /// Exit code 102 if there is no regression, but a line may be one or a run is unfinished.
    #[arg(long)]
    pub decide: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is asked of a comparison.
#[derive(Debug, Clone, Args)]
pub struct QuestionArgs {
    /// Only these modules; with one directory, the two to compare, baseline first.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub modules: Vec<String>,
    /// Only these scenarios. Fewer lines need fewer blocks to tell a difference.
    #[arg(long = "scenario", value_name = "NAME", value_delimiter = ',')]
    pub scenarios: Vec<String>,
    /// Only these workloads.
    #[arg(long = "workload", value_name = "NAME", value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// Only these metrics; that blocks failed is always told.
    #[arg(long = "metric", value_name = "NAME", value_delimiter = ',')]
    pub metrics: Vec<String>,
    /// What is of consequence, in percent: a significant difference beyond is a regression, an interval within is alike.
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = percent)]
    pub threshold: f64,
    /// Run whose noise floor (`bench noise`) to use [default: that of A, or of B, else 1 %].
    #[arg(long, value_name = "DIR")]
    pub noise: Option<PathBuf>,
    /// Compare although accelerator, CPU, QEMU, the wire or scenarios differ.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `bench gate`.
#[derive(Debug, Clone, Args)]
pub struct GateArgs {
    /// Result directory of the baseline.
    pub before: PathBuf,
    /// Result directory of what shall be no worse.
    pub after: PathBuf,
    /// What is asked.
    #[command(flatten)]
    pub question: QuestionArgs,
    /// Add blocks to both until it is known, for so many minutes at most [default: judge what is there].
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub minutes: Option<u64>,
    /// Blocks at most in either.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_BLOCKS)))]
    pub max_blocks: u32,
    /// The programs of BEFORE, as it was measured with --binary; --binary itself is for AFTER.
    #[arg(long = "before-binary", value_name = "[NAME=]PATH")]
    pub before_binaries: Vec<String>,
    /// How to get guests and how to start them.
    #[command(flatten)]
    pub guests: GuestArgs,
}

/// Arguments of `bench noise`.
#[derive(Debug, Clone, Args)]
pub struct NoiseArgs {
    /// Two runs of one thing, or one run with --modules A,B.
    #[arg(value_name = "DIR", required = true, num_args = 1..=2)]
    pub dirs: Vec<PathBuf>,
    /// With one directory: two modules that are one thing under two names.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub modules: Vec<String>,
    /// Although they are not made of the same things.
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `bench import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// What the file is.
    pub kind: Import,
    /// The file.
    pub file: PathBuf,
    /// Where to write the figures.
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
}

/// What can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Import {
    /// The results of the thesis behind vpn-bench, as a table of vpn, profile, metric, unit, value.
    Thesis,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(value) if (0.0..=100.0).contains(&value) => Ok(value),
        _ => Err("expected a percentage from 0 to 100".into()),
    }
}

/// Arguments of `bench nat-grid`.
#[derive(Debug, Clone, Args)]
pub struct NatGridArgs {
    /// The VPNs, one grid each.
    #[arg(value_name = "MODULE", required = true)]
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
