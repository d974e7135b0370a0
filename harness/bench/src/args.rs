//! The command line.

mod judging;
mod measuring;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use judging::{
    CompareArgs, GateArgs, Import, ImportArgs, NoiseArgs, QuestionArgs, ReportArgs, ResultsCommand,
};
pub use measuring::{
    Accelerator, Clock, ContractArgs, GuestArgs, ImageArgs, NatGridArgs, RepeatArgs, RunArgs,
    ShellArgs, TimeArgs,
};

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
