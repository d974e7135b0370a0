//! The runner inside a sealed machine. In the template it makes the members ready and waits; in a fork it is told
//! whose they are, and does the job.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use meshbench_protocol::sealed::AGENT_VARIABLE;

use crate::cluster::{Cluster, Spares};
use crate::lab::network;
use crate::results::Clock;
use crate::run::{
    self, ERRAND_FILE, Errand, Event, Events, Evidence, Job, Listener, ListenerError, SETUP_FILE,
    Setup, Told, What, Work,
};
use crate::workload::Workload;
use crate::{contract, grid};

/// Where the runner that waits is told what to do.
const DOOR: &str = "/run/meshbench-runner/door";

/// Where the agent of this machine is asked.
const AGENT: &str = "/run/meshbench-runner/agent";

/// What the runner that waits has to say of its own failures.
const LOG: &str = "/run/meshbench-runner/log";

const MODULES: &str = "/run/meshbench-runner/modules";
const RESULTS: &str = "/run/meshbench-runner/results";

/// What it says once the members are ready.
const READY: &str = "ready";

type Done = Result<(), Box<dyn Error + Send + Sync>>;

/// The program: `prepare` and `errand` are the jobs of a sealed machine, `wait` is what stays between them.
pub fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_default();
    let done = match word.as_str() {
        "prepare" => prepare(),
        "wait" => wait(),
        "errand" => errand(),
        _ => Err("usage: meshbench-runner prepare|wait|errand, inside a sealed machine".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Leaves a runner behind that has the members ready.
fn prepare() -> Done {
    let agent = std::env::var(AGENT_VARIABLE)?;
    let log_file = || File::options().create(true).append(true).open(LOG);
    let mut agent = Command::new(agent);
    agent.args(["--socket", AGENT]).process_group(0);
    agent.stdin(Stdio::null()).stdout(log_file()?).stderr(log_file()?).spawn()?;
    let mut runner = Command::new(std::env::current_exe()?);
    runner.arg("wait").process_group(0).stdin(Stdio::null()).stderr(log_file()?);
    let mut runner = runner.stdout(Stdio::piped()).spawn()?;
    let mut said = Vec::new();
    if let Some(output) = runner.stdout.take() {
        BufReader::new(output).read_until(b'\n', &mut said)?;
    }
    if said.trim_ascii() == READY.as_bytes() { Ok(()) } else { Err(log()?.into()) }
}

/// What the runner that waits has said, whatever is no text put into signs.
fn log() -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(LOG)?).into_owned())
}

/// Makes members, and waits in the template for what is to be done with them in a fork.
fn wait() -> Done {
    let setup: Setup = serde_json::from_slice(&fs::read(SETUP_FILE)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let agent = Path::new(AGENT);
    let Setup { members, preparation } = setup;
    let spares = Spares::make(agent, layers()?, first_process()?, preparation, members);
    let spares = runtime.block_on(spares)?;
    let door = UnixListener::bind(DOOR)?;
    {
        let mut output = io::stdout();
        writeln!(output, "{READY}")?;
        output.flush()?;
    }
    let (mut visitor, _) = door.accept()?;
    let mut text = Vec::new();
    visitor.read_to_end(&mut text)?;
    let errand: Errand = serde_json::from_slice(&text)?;
    runtime.block_on(carry_out(&errand, spares, visitor))
}

/// Hands the errand to the runner that waits, and passes on what it tells.
fn errand() -> Done {
    let mut door = UnixStream::connect(DOOR)?;
    door.write_all(&fs::read(ERRAND_FILE)?)?;
    door.shutdown(Shutdown::Write)?;
    io::copy(&mut door, &mut io::stdout())?;
    // Whether it was done is known by what was told.
    eprint!("{}", log().unwrap_or_default());
    Ok(())
}

async fn carry_out(errand: &Errand, spares: Spares, visitor: UnixStream) -> Done {
    let begun = Instant::now();
    let module = Arc::new(errand.unpack(Path::new(MODULES))?);
    let scenario = Arc::new(errand.scenario()?);
    let teller = Teller(Arc::new(Mutex::new(visitor)));
    let events = Events::default().with(teller.clone());
    let cluster = Cluster::inside(network(&scenario, &module, errand.seed), spares).await?;
    // Which block it belongs to is known outside: what is said here shall not depend on it.
    let (scenario_name, module_name) = (scenario.name.to_string(), module.name.to_string());
    let job = Job { block: 1, scenario: scenario_name, module: module_name };
    let (workloads, quick, evidence) = match &errand.what {
        What::Job { workloads, custom, quick, evidence } => {
            for files in custom {
                files.clone().register()?;
            }
            (run::workloads_named(workloads)?, *quick, *evidence)
        }
        What::Pair { evidence, .. } => (vec![Workload::CONNECT], true, *evidence),
        What::Contract => Default::default(),
    };
    let work = Work {
        job: &job,
        module: &module,
        scenario: &scenario,
        workloads: &workloads,
        seed: errand.seed,
        quick,
        // Here, the machine's time is time.
        clock: Clock::Real,
        date: None,
        results: evidence.then_some(Path::new(RESULTS)),
        proved: &Default::default(),
        events: events.of_job(0),
    };
    let learned = match &errand.what {
        What::Job { .. } => run::on(&cluster, &work, begun).await,
        What::Pair { patience_ms, .. } => {
            let patience = Duration::from_millis(*patience_ms);
            grid::Pair { work: &work, patience }.on(&cluster, begun).await
        }
        What::Contract => {
            contract::examine(&cluster, &module, &work.events).await;
            run::Learned::default()
        }
    };
    for file in files(Path::new(RESULTS))? {
        let name = file.strip_prefix(RESULTS)?.to_string_lossy().into_owned();
        teller.tell(&Told::File(Evidence::new(name, &fs::read(&file)?)))?;
    }
    teller.tell(&Told::Done(learned))?;
    match events.failure() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// The directories of the guest's layers, the uppermost first.
fn layers() -> io::Result<Vec<String>> {
    let numbers = fs::read_dir("/layers")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<usize>().ok());
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers.into_iter().map(|number| format!("/layers/{number}")).collect())
}

/// What this machine's kernel was told to start first.
fn first_process() -> io::Result<Vec<String>> {
    let options = fs::read_to_string("/proc/cmdline")?;
    let named = options.split_whitespace().rev().find_map(|option| option.strip_prefix("init="));
    Ok(vec![named.unwrap_or("/sbin/init").to_owned()])
}

/// All files below a folder, sorted.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

/// Passes a job's events on.
#[derive(Debug, Clone)]
struct Teller(Arc<Mutex<UnixStream>>);

impl Teller {
    fn tell(&self, told: &Told) -> Result<(), ListenerError> {
        let mut line = serde_json::to_vec(told)?;
        line.push(b'\n');
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)?)
    }
}

impl Listener for Teller {
    fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
        self.tell(&Told::Event(event.kind.clone()))
    }
}
