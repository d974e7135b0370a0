//! The command line of meshbench.

#![allow(unreachable_pub)]

mod args;
mod binaries;
mod compare;
mod contract;
mod doctor;
mod due;
mod error;
mod exit;
mod external;
#[cfg(test)]
#[path = "../../site/tests/common/fixture.rs"]
mod fixture;
mod gate;
mod guest;
mod interrupt;
mod lab;
mod list;
mod nat_grid;
mod new_module;
mod noise;
mod output;
mod progress;
mod repeat;
mod report;
mod results_sets;
mod run;
mod shell;
mod survey;
mod update;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use meshbench::module::spec;
use meshbench::name;
use meshbench::results;

use meshbench::text;

use args::{Cli, Command};
use error::{Failure, Outcome};
use workspace::Workspace;

/// Out of which revision this was built; see the build script.
const REVISION: Option<&str> = option_env!("MESHBENCH_REVISION");

/// How long what is still being done may take once the command is over.
const ENDING: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error),
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let started = interrupt::listen().and_then(|()| tokio::runtime::Runtime::new());
    let runtime = match started {
        Ok(runtime) => runtime,
        Err(error) => return tell(Failure::setup(error)),
    };
    let code = match runtime.block_on(dispatch(cli)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => tell(failure),
    };
    // A build that was given up is not waited for: it ends with the harness.
    runtime.shutdown_timeout(ENDING);
    code
}

/// What cannot be understood is shown as it came, but for what a terminal would obey.
fn unparsed(error: &clap::Error) -> ExitCode {
    let steers = |word: std::ffi::OsString| {
        let word = word.to_string_lossy();
        text::plain(&word) != word || word.contains(['\n', '\t'])
    };
    if std::env::args_os().any(steers) {
        output::say(error.render().to_string().trim_end());
    } else if let Err(error) = error.print()
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return tell(Failure::setup(error));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE))
}

fn tell(failure: Failure) -> ExitCode {
    let code = failure.code;
    output::aside(&format!("{:?}\n", miette::Report::new(failure)));
    ExitCode::from(code)
}

/// Without a command, the first word is a module's name, unless it was meant to be a command's.
fn no_command_misspelt(workspace: &Workspace, modules: &[String]) -> Result<(), Failure> {
    let Some(word) = modules.first() else { return Ok(()) };
    let commands = Cli::command();
    let commands: Vec<String> =
        commands.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let known: Vec<String> = spec::list(&workspace.modules_dir()).map_err(Failure::usage)?;
    match name::nearest(word, &commands) {
        Some(near) if name::nearest(word, &known).is_none() => {
            Err(Failure::usage(format!("there is no command and no module `{word}`"))
                .help(format!("did you mean `bench {near}`?")))
        }
        _ => Ok(()),
    }
}

async fn dispatch(cli: Cli) -> Outcome {
    let workspace = || Workspace::find(&cli.common);
    match &cli.command {
        None => {
            let workspace = workspace()?;
            no_command_misspelt(&workspace, &cli.run.modules)?;
            run::run(&workspace, &cli.common, &cli.run).await
        }
        Some(Command::Run(arguments)) => run::run(&workspace()?, &cli.common, arguments).await,
        Some(Command::List { what, json }) => list::list(&workspace()?, *what, *json),
        Some(Command::Doctor { json }) => doctor::doctor(&workspace()?, *json).await,
        Some(Command::Shell(arguments)) => shell::shell(&workspace()?, arguments).await,
        Some(Command::Contract(arguments)) => contract::contract(&workspace()?, arguments).await,
        Some(Command::Guest(arguments)) => guest::guest(&workspace()?, arguments).await,
        Some(Command::NatGrid(arguments)) => nat_grid::nat_grid(&workspace()?, arguments).await,
        Some(Command::Compare(arguments)) => compare::compare(&cli.common, arguments),
        Some(Command::Gate(arguments)) => gate::gate(&cli.common, arguments).await,
        Some(Command::Noise(arguments)) => noise::noise(&cli.common, arguments),
        Some(Command::Import(arguments)) => external::import(arguments),
        Some(Command::Survey { dirs, contract }) => {
            survey::survey(&cli.common, dirs, contract.as_deref())
        }
        Some(Command::NewModule { name }) => new_module::new_module(&workspace()?, name),
        Some(Command::Repeat(arguments)) => repeat::repeat(&workspace()?, arguments).await,
        Some(Command::Schema) => output::print_json(&results::schema()),
        Some(Command::Report(arguments)) => report::report(workspace().ok().as_ref(), arguments),
        Some(Command::Serve { dir, port }) => report::serve(dir, *port).await,
        Some(Command::Update(arguments)) => update::update(&workspace()?, arguments),
        Some(Command::Results(command)) => results_sets::results(workspace, command),
        Some(Command::Show { dir, costs, beside }) => {
            external::show(&cli.common, dir, *costs, beside)
        }
    }
}
