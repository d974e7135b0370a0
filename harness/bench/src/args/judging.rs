//! What is to be made of results.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use meshbench::results::MOST_BLOCKS;
use meshbench::run::RANKING_BLOCKS;

use super::GuestArgs;

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
    /// List the modules that no published set has measured in virtual time as they and the scenarios are now, of those that
    /// can be built here, each with the scenarios that it lacks; the longest unmeasured first.
    Due {
        /// In fewer blocks it is not measured.
        #[arg(long, default_value_t = RANKING_BLOCKS)]
        blocks: u32,
        /// Folder of published sets.
        #[arg(value_name = "DIR", default_value = "results")]
        dir: PathBuf,
    },
    /// Print the published set that measured a module last in virtual time; exit code 4 if there is none.
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
