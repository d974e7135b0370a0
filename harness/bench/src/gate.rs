//! `bench gate`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit;
use meshbench::stats::{SIGNIFICANT, alpha_of_look, next_look};
use tokio::time::{Instant, timeout_at};

use crate::args::{Common, GateArgs, GuestArgs, RunArgs, TimeArgs};
use crate::compare::Compared;
use crate::error::{Failure, Outcome};
use crate::output::{draw, print, say};
use crate::run;
use crate::workspace::Workspace;

/// Decides whether AFTER is a regression from BEFORE; with `--minutes`, adds blocks until it is known.
pub async fn gate(common: &Common, arguments: &GateArgs) -> Outcome {
    let minutes = arguments.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let begin = Instant::now();
    let mut more = minutes.map(|time| More::new(arguments, begin + time));
    for look in 1.. {
        let again = more.is_some();
        let alpha = if again { alpha_of_look(SIGNIFICANT, look) } else { SIGNIFICANT };
        let compared = look_at(arguments, alpha)?;
        let known = compared.is_regression() || compared.is_decided();
        let step = more.as_mut().filter(|_| !known);
        let went_on = match step.and_then(|more| Some((more.step(&compared)?, more))) {
            Some((blocks, more)) => {
                let there: Vec<u32> = compared.blocks().collect();
                more.measure(common, blocks, &there).await?
            }
            None => Went::Nowhere,
        };
        match went_on {
            Went::On => {}
            Went::Nowhere => return verdict(common, &compared, look, begin.elapsed()),
            Went::Interrupted => return Ok(exit::INTERRUPTED),
        }
    }
    Ok(exit::UNEXPECTED)
}

fn look_at(arguments: &GateArgs, alpha: f64) -> Result<Compared, Failure> {
    let dirs = [arguments.before.clone(), arguments.after.clone()];
    Compared::of(&dirs, &arguments.question, alpha)
}

/// What is known, and what it took: whose gate takes long reads here of which, blocks or time.
fn verdict(common: &Common, compared: &Compared, looks: u32, took: Duration) -> Outcome {
    draw(&compared.text(common))?;
    let (word, code) = match (compared.is_regression(), compared.is_decided()) {
        (true, _) => ("a regression", exit::REGRESSION),
        (false, true) => ("no regression", exit::OK),
        (false, false) => ("not known", exit::UNDECIDED),
    };
    let blocks: Vec<String> = compared.blocks().map(|blocks| blocks.to_string()).collect();
    let times = if looks == 1 { "look" } else { "looks" };
    print(&format!(
        "gate: {word}, of {} blocks, after {looks} {times} and {:.0} s\n",
        blocks.join(" and "),
        took.as_secs_f64()
    ))?;
    Ok(code)
}

enum Went {
    On,
    Nowhere,
    Interrupted,
}

/// The measuring of more blocks.
struct More<'a> {
    arguments: &'a GateArgs,
    until: Instant,
    /// Whether each can be gone on with: the programs it was measured with may be gone.
    able: [bool; 2],
}

impl<'a> More<'a> {
    fn new(arguments: &'a GateArgs, until: Instant) -> Self {
        Self { arguments, until, able: [true; 2] }
    }

    /// Blocks to have next: what the open lines need, at most twice what is there, since the need is
    /// known no better than the spread; those that are there where one of them is unfinished. Nothing where no number
    /// that is allowed would tell.
    fn step(&self, compared: &Compared) -> Option<u32> {
        let able = compared.blocks().zip(self.able).filter(|(_, able)| *able);
        let there = able.map(|(blocks, _)| blocks).min()?;
        let needs: Vec<Option<usize>> = compared.open().map(|line| line.blocks_needed).collect();
        next_look(there, &needs, self.arguments.max_blocks)
            .or_else(|| compared.is_unfinished().then_some(there))
    }

    /// Measures until both have as many blocks, or as many as are there.
    async fn measure(
        &mut self,
        common: &Common,
        blocks: u32,
        there: &[u32],
    ) -> Result<Went, Failure> {
        let workspace = Workspace::find(common)?;
        let GateArgs { before, after, guests, before_binaries, .. } = self.arguments;
        let of_before = GuestArgs { binaries: before_binaries.clone(), ..guests.clone() };
        let mut went = Went::Nowhere;
        for (at, dir, guests) in [(0, before, of_before), (1, after, guests.clone())] {
            if !self.able[at] {
                continue;
            }
            let blocks = there.get(at).map_or(blocks, |there| blocks.max(*there));
            let arguments = more_of(dir.clone(), blocks, guests);
            match timeout_at(self.until, run::measure(&workspace, &arguments)).await {
                Err(_) => {
                    say("the time is up");
                    self.able = [false; 2];
                    return Ok(Went::On);
                }
                Ok(Ok(Some(measured))) if measured.interrupted => return Ok(Went::Interrupted),
                Ok(Ok(_)) => went = Went::On,
                Ok(Err(failure)) => self.give_up(at, dir, &failure),
            }
        }
        Ok(went)
    }

    fn give_up(&mut self, at: usize, dir: &Path, failure: &Failure) {
        self.able[at] = false;
        say(format!("{} cannot be gone on with: {failure}", dir.display()));
    }
}

fn more_of(dir: PathBuf, blocks: u32, guests: GuestArgs) -> RunArgs {
    RunArgs {
        modules: Vec::new(),
        scenarios: Vec::new(),
        workloads: Vec::new(),
        blocks: Some(blocks),
        seed: None,
        quick: false,
        time: TimeArgs::default(),
        json: false,
        out: None,
        resume: Some(dir),
        dry_run: false,
        strict: false,
        guests,
    }
}
