//! A binary cache of Nix at home: how long a closure takes to arrive.

use std::net::SocketAddr;
use std::time::Duration;

use meshbench_protocol::Exec;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::{command, make_folder, remove_folder};
use super::{Setting, WorkloadError, nginx, traffic};
use crate::results::{Better, Unit, names};
use crate::stats;

pub(super) const SPEC: Spec = Spec {
    name: names::NIX_CACHE,
    summary: "`nix copy` of 60 store paths, 12 MiB together, from a signed binary cache (nix, nginx)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software { debian: &["nginx", "nix-bin"], nixpkgs: &["nginx", "nix"] },
    seconds: Seconds { full: 40.0, quick: 20.0 },
    metrics: &[TIME, GOODPUT],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const TIME: Measure = Measure::new(
    names::TIME,
    Unit::Milliseconds,
    Better::Lower,
    "the agent around nix: from its start to its end, into an empty store that checks signatures",
);
const GOODPUT: Measure = Measure::new(
    names::GOODPUT,
    Unit::BitsPerSecond,
    Better::Higher,
    "bytes of all store paths, by that time",
);

const PORT: u16 = 7005;
const FOLDER: &str = "/run/meshbench-nix-cache";

/// Paths of the closure, and their sizes in KiB, taken in turn.
const PATHS: usize = 60;
const SIZES_KIB: [usize; 6] = [4, 16, 48, 128, 336, 696];

/// The path that has all others in its closure.
const ROOT: &str = "/nix/store/00000000000000000000000000000000-meshbench-0";

/// How long making the cache may take, and one copy.
const DEADLINE: Duration = Duration::from_secs(600);

/// Makes the cache out of an archive of store paths, all in the working directory.
const MAKE: &str = r#"
set -e
store=local?root=$PWD/store
nix key generate-secret --key-name meshbench-1 >secret
nix key convert-secret-to-public <secret >public
nix-store --store "$store" --import <archive >/dev/null
nix copy --quiet --from "$store" --to "file://$PWD/cache?compression=zstd&secret-key=$PWD/secret" "$0"
rm -rf archive store
"#;

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let copied = serve_and_copy(setting).await;
    for member in [setting.from, setting.to] {
        remove_folder(&member.machine, FOLDER).await;
    }
    copied
}

async fn serve_and_copy(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let Setting { from, to, .. } = setting;
    for member in [from, to] {
        make_folder(&member.machine, FOLDER).await?;
    }
    let sizes = SIZES_KIB.map(|kib| (kib << 10).to_string()).join(",");
    let archive = format!("{FOLDER}/archive");
    traffic::make(to, &["closure", &archive, &PATHS.to_string(), &sizes]).await?;
    to.machine.exec(nix(&["sh", "-c", MAKE, ROOT], ""), None, DEADLINE).await?;
    let key = to.machine.read_file(&format!("{FOLDER}/public")).await?;
    let key = String::from_utf8_lossy(&key).trim().to_owned();
    let address = SocketAddr::new(setting.target, PORT);
    let block = format!("server {{ listen {address}; root {FOLDER}/cache; }}");
    let server = nginx::serve(&to.machine, FOLDER, &block).await?;
    let copied = copies(setting, address, &key).await;
    traffic::end(server).await;
    copied
}

async fn copies(
    setting: &Setting<'_>,
    address: SocketAddr,
    key: &str,
) -> Result<Yield, WorkloadError> {
    let rounds = if setting.quick { 1 } else { 3 };
    let mut times = Vec::new();
    for _ in 0..rounds {
        // Nix remembers what it was told of a cache.
        make_folder(&setting.from.machine, FOLDER).await?;
        times.push(copy(setting, address, key).await?);
    }
    let rates: Vec<f64> = times.iter().map(|ms| 8e3 * closure_bytes() as f64 / ms).collect();
    let metrics = [(TIME, times), (GOODPUT, rates)].into_iter();
    let metrics = metrics.filter_map(|(measure, samples)| {
        stats::median(&samples).map(|median| measure.of(median, samples))
    });
    Ok(Yield::carried(metrics.collect(), (rounds * closure_bytes()) as f64))
}

/// Copies the closure into an empty store; the milliseconds that it took.
async fn copy(setting: &Setting<'_>, address: SocketAddr, key: &str) -> Result<f64, WorkloadError> {
    let machine = &setting.from.machine;
    let (cache, store) = (format!("http://{address}"), format!("local?root={FOLDER}/store"));
    let argv = ["nix", "copy", "--quiet", "--from", &cache, "--to", &store, ROOT];
    let (seconds, _) = traffic::timed(setting.from, nix(&argv, key), DEADLINE).await?;
    let argv = ["nix", "path-info", "--store", &store, "--recursive", "--size", ROOT];
    let held = machine.exec(nix(&argv, key), None, DEADLINE).await?.text();
    whole(&held).map_err(|reason| WorkloadError::tool(machine, reason))?;
    Ok(1e3 * seconds)
}

/// A command with nothing of Nix's but what lies in the folder, and no cache but the one it is told.
fn nix(argv: &[&str], trusted: &str) -> Exec {
    let settings = format!(
        "experimental-features = nix-command\nsubstituters =\nbuild-users-group =\n\
         trusted-public-keys = {trusted}\nrequire-sigs = true\n"
    );
    let mut exec = Exec { cwd: FOLDER.to_owned(), ..command(argv) };
    let places = [("HOME", "home"), ("NIX_CONF_DIR", "etc"), ("XDG_CACHE_HOME", "home/cache")];
    exec.env.extend(places.map(|(name, place)| (name.to_owned(), format!("{FOLDER}/{place}"))));
    exec.env.insert("NIX_CONFIG".to_owned(), settings);
    exec
}

fn closure_bytes() -> usize {
    (0..PATHS).map(|number| SIZES_KIB[number % SIZES_KIB.len()] << 10).sum()
}

/// Whether the store holds all of the closure, by the words of `nix path-info`: a path and its size a line.
///
/// # Errors
/// A sentence: what is missing.
fn whole(held: &str) -> Result<(), String> {
    let size = |line: &str| {
        let (path, size) = line.split_once(char::is_whitespace)?;
        path.starts_with("/nix/store/").then(|| size.trim().parse::<usize>().ok()).flatten()
    };
    let sizes: Vec<usize> = held.lines().filter_map(size).collect();
    let (paths, bytes) = (sizes.len(), sizes.iter().sum::<usize>());
    // An archive of a path is a little larger than what is in it.
    if paths == PATHS && bytes >= closure_bytes() {
        return Ok(());
    }
    let wanted = closure_bytes();
    Err(format!("{paths} store paths of {bytes} bytes came, of {PATHS} with at least {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &str = include_str!("fixtures/nix-path-info.txt");

    #[test]
    fn a_closure_is_whole_or_it_has_no_time() {
        assert_eq!(whole(HELD), Ok(()));
        let cut: Vec<&str> = HELD.lines().skip(1).collect();
        assert!(whole(&cut.join("\n")).unwrap_err().starts_with("59 store paths of "));
        for nothing in ["", "error: path is not valid\n", "/nix/store/x NaN\n"] {
            assert!(whole(nothing).unwrap_err().starts_with("0 store paths of 0 bytes"));
        }
    }

    #[test]
    fn the_closure_is_of_the_size_that_its_summary_tells() {
        assert!((11.9..12.1).contains(&(closure_bytes() as f64 / f64::from(1 << 20))));
    }
}
