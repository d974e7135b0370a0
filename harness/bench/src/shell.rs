//! `bench shell`.

use std::io::Write;
use std::time::Duration;

use crate::exit;
use meshbench::cluster::{Bound, Cluster};
use meshbench::machine::Machine;
use meshbench::module::drive::Deployment;
use meshbench::protocol::{Exec, Reply, Request};
use meshbench::run::Events;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::args::ShellArgs;
use crate::error::{Failure, Outcome};
use crate::output;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// A command given by hand may take this long.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Brings a cluster up with a module on it; then one command, or a prompt.
pub async fn shell(workspace: &Workspace, arguments: &ShellArgs) -> Outcome {
    let module = workspace.module(&arguments.module)?;
    let scenario = workspace.scenario(&arguments.scenario)?;
    let modules = [module];
    let events = Events::default().with(Progress::new());
    let lab = crate::lab::prepared(workspace, &modules, &arguments.guests, &events).await?;
    let cluster = lab.cluster(&scenario, &modules[0], 1).await.map_err(crate::lab::failure)?;
    bring_up(&cluster, &modules[0]).await;
    let code = if arguments.command.is_empty() {
        tokio::select! {
            code = prompt(&cluster) => code,
            () = crate::interrupt::requested() => Ok(exit::INTERRUPTED),
        }
    } else {
        one(&cluster, &arguments.command).await
    };
    cluster.down().await;
    code
}

/// A VPN that does not come up is what the shell may be wanted for.
async fn bring_up(cluster: &std::sync::Arc<Cluster>, module: &meshbench::module::spec::Module) {
    let result = async {
        let deployment = Deployment::new(cluster, module).await?;
        let Some(first) = cluster.members().first() else { return Ok(()) };
        deployment.start_others(first).await?;
        deployment.start(first).await
    };
    match result.await {
        Ok(()) => output::say(format!("{} is up", module.name)),
        Err(error) => output::say(format!("{} did not come up: {error}", module.name)),
    }
}

/// Writes down for a while, by `SECONDS FILE`, what passes the uplinks of all sites.
async fn capture(cluster: &Cluster, words: &str) -> Outcome {
    let usage = || Failure::usage("write capture SECONDS FILE");
    let (seconds, file) = words.trim().split_once(' ').ok_or_else(usage)?;
    let seconds = seconds.parse().map_err(|_| usage())?;
    let lost = |error| Failure::new(exit::MACHINES, error);
    let capture = cluster.capture("shell", &cluster.uplinks(), Bound::WHOLE).await.map_err(lost)?;
    let time = Duration::from_secs(seconds);
    // A fabric that is lost captures nothing more; what then ends the capture says so.
    let _ = tokio::time::timeout(time, cluster.fabric().lost()).await;
    let captured = capture.stop(cluster.fabric()).await.map_err(lost)?;
    output::say(format!("{} packets", captured.packets.len()));
    std::fs::write(file.trim(), captured.pcapng()).map_err(Failure::setup)?;
    Ok(exit::OK)
}

fn machine<'a>(cluster: &'a Cluster, name: &str) -> Result<&'a Machine, Failure> {
    if name == "fabric" {
        return Ok(cluster.fabric());
    }
    let names = || cluster.members().iter().map(|m| m.net.name.as_str()).collect::<Vec<_>>();
    cluster.member(name).map(|member| &member.machine).ok_or_else(|| {
        Failure::usage(format!("there is no machine `{name}`"))
            .help(format!("there are: fabric, {}", names().join(", ")))
    })
}

async fn one(cluster: &Cluster, words: &[String]) -> Outcome {
    let (name, command) =
        words.split_first().ok_or_else(|| Failure::usage("no machine is named"))?;
    on(cluster, name, &command.join(" ")).await
}

async fn on(cluster: &Cluster, name: &str, command: &str) -> Outcome {
    match name {
        "capture" => capture(cluster, command).await,
        _ => run(machine(cluster, name)?, command).await,
    }
}

/// Reads `MACHINE COMMAND…` lines until the input ends.
async fn prompt(cluster: &Cluster) -> Outcome {
    // Whoever looks for what happened to one machine asks the others.
    cluster.release();
    let names: Vec<_> = cluster.members().iter().map(|m| m.net.name.as_str()).collect();
    output::say(format!("machines: fabric, {}; write MACHINE COMMAND…", names.join(", ")));
    output::say("capture SECONDS FILE writes a pcapng file of all uplinks; end with ^D");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        output::aside("> ");
        let Some(line) = lines.next_line().await.map_err(Failure::setup)? else { break };
        let Some((name, command)) = line.trim().split_once(' ') else { continue };
        let result = on(cluster, name, command).await;
        match result {
            Ok(0) => {}
            Ok(code) => output::say(format!("exit code {code}")),
            Err(failure) => output::say(failure),
        }
    }
    Ok(exit::OK)
}

/// Runs a command line in a machine, passing its output through.
async fn run(machine: &Machine, command: &str) -> Outcome {
    let argv = ["sh", "-c", command].map(String::from).to_vec();
    let exec = Exec { argv, timeout_ms: PATIENCE.as_millis() as u64, ..Exec::default() };
    let lost = |error| Failure::new(exit::MACHINES, error);
    let mut running = machine.start(&Request::Exec(exec)).await.map_err(lost)?;
    let pass = |said: &[u8], complained: &[u8]| {
        std::io::stdout().write_all(said)?;
        std::io::stderr().write_all(complained)
    };
    match running.follow(pass).await.map_err(Failure::setup)? {
        Ok(Reply::Exited { code: Some(code), .. }) => Ok(code.clamp(0, 255) as u8),
        Ok(_) => Ok(exit::UNEXPECTED),
        Err(error) => Err(lost(error)),
    }
}
