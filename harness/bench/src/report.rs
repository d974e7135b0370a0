//! `bench report` and `bench serve`: the leaderboard.

use std::path::Path;

use crate::exit;
use meshbench_site::serve::Server;
use meshbench_site::{Known, Site, WriteError, load};

use crate::args::ReportArgs;
use crate::error::{Failure, Outcome};
use crate::interrupt;
use crate::output::{print, say};
use crate::workspace::Workspace;

/// Writes the site of these results. Without modules and scenarios here, it lacks what only those know.
pub fn report(workspace: Option<&Workspace>, arguments: &ReportArgs) -> Outcome {
    let loaded = load(&arguments.results);
    let known = workspace.map(known).transpose()?.unwrap_or_default();
    let site = Site::new(&loaded, &known).map_err(Failure::setup)?;
    site.write(&arguments.out).map_err(|error| match error {
        WriteError::Foreign(_) => Failure::usage(error),
        _ => Failure::setup(error),
    })?;
    for problem in site.problems() {
        say(format!("not shown: {}: {}", problem.place, problem.reason));
    }
    for board in site.boards() {
        let [ok, failed, unsupported, skipped] = board.outcomes();
        print(&format!(
            "{} ({}): {} VPNs on {} networks, {ok} cells ok, {failed} failed, {} others\n",
            board.testbed.class.title(),
            board.testbed.detail,
            board.modules.len(),
            board.scenarios.len(),
            unsupported + skipped
        ))?;
    }
    print(&format!("{}\n", arguments.out.join("index.html").display()))?;
    Ok(if site.boards().is_empty() { exit::NOTHING_SELECTED } else { exit::OK })
}

fn known(workspace: &Workspace) -> Result<Known, Failure> {
    let modules = workspace.catalogue.modules().map_err(Failure::usage)?;
    let names = workspace.scenario_names()?;
    let scenario = |name: &String| workspace.catalogue.scenario(name).map_err(Failure::usage);
    Ok(Known { modules, scenarios: names.iter().map(scenario).collect::<Result<_, _>>()? })
}

/// Serves a site to this machine, until interrupted.
pub async fn serve(dir: &Path, port: u16) -> Outcome {
    if !dir.join("index.html").is_file() {
        return Err(Failure::usage(format!("{} has no index.html", dir.display()))
            .help("write a site there with `bench report RESULTS… -o DIR`"));
    }
    let server = Server::bind(dir, port).await.map_err(Failure::setup)?;
    print(&format!("http://{}/\n", server.address().map_err(Failure::setup)?))?;
    tokio::select! {
        served = server.run() => served.map(|()| exit::OK).map_err(Failure::setup),
        () = interrupt::requested() => Ok(exit::OK),
    }
}
