//! `bench gate`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit;
use meshbench::report::compare::Line;
use meshbench::stats::SIGNIFICANT;
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
    let mut more = minutes.map(|time| More::new(arguments, Instant::now() + time));
    for look in 1.. {
        let compared = look_at(arguments, alpha(look, more.is_some()))?;
        let known = compared.is_regression() || compared.is_decided();
        let step = more.as_mut().filter(|_| !known);
        let went_on = match step.and_then(|more| Some((more.step(&compared)?, more))) {
            Some((blocks, more)) => more.measure(common, blocks).await?,
            None => Went::Nowhere,
        };
        match went_on {
            Went::On => {}
            Went::Nowhere => return verdict(common, &compared),
            Went::Interrupted => return Ok(exit::INTERRUPTED),
        }
    }
    Ok(exit::UNEXPECTED)
}

fn look_at(arguments: &GateArgs, alpha: f64) -> Result<Compared, Failure> {
    let dirs = [arguments.before.clone(), arguments.after.clone()];
    Compared::of(&dirs, &arguments.question, alpha)
}

/// Whoever looks again and again finds a difference at last. Each look spends half of what is left, so
/// that all of them together are as often wrong as one.
fn alpha(look: i32, again: bool) -> f64 {
    if again { SIGNIFICANT * 0.5_f64.powi(look) } else { SIGNIFICANT }
}

fn verdict(common: &Common, compared: &Compared) -> Outcome {
    draw(&compared.text(common))?;
    let (word, code) = match (compared.is_regression(), compared.is_decided()) {
        (true, _) => ("a regression", exit::REGRESSION),
        (false, true) => ("no regression", exit::OK),
        (false, false) => ("not known", exit::UNDECIDED),
    };
    print(&format!("gate: {word}\n"))?;
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
    /// known no better than the spread. Nothing where no number that is allowed would tell.
    fn step(&self, compared: &Compared) -> Option<u32> {
        let able = compared.blocks().zip(self.able).filter(|(_, able)| *able);
        let there = able.map(|(blocks, _)| blocks).min()?;
        let open = compared.open();
        let most = self.arguments.max_blocks;
        let needed = open.filter_map(|line: &Line| u32::try_from(line.blocks_needed?).ok());
        let needed = needed.filter(|needed| *needed <= most).max();
        next(there, needed.or((there < 5).then_some(5)), most)
    }

    async fn measure(&mut self, common: &Common, blocks: u32) -> Result<Went, Failure> {
        let workspace = Workspace::find(common)?;
        let GateArgs { before, after, guests, before_binaries, .. } = self.arguments;
        let of_before = GuestArgs { binaries: before_binaries.clone(), ..guests.clone() };
        let mut went = Went::Nowhere;
        for (at, dir, guests) in [(0, before, of_before), (1, after, guests.clone())] {
            if !self.able[at] {
                continue;
            }
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

fn next(there: u32, needed: Option<u32>, most: u32) -> Option<u32> {
    let next = needed?.clamp(there + 1, 2 * there).min(most);
    (next > there).then_some(next)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_looks_together_are_as_often_wrong_as_one() {
        let spent: f64 = (1..50).map(|look| alpha(look, true)).sum();
        assert!(spent <= SIGNIFICANT && alpha(1, false) == SIGNIFICANT);
    }

    #[test]
    fn a_step_is_at_most_twice_what_is_there_and_never_beyond_the_limit() {
        assert_eq!(next(5, Some(7), 60), Some(7));
        assert_eq!(next(5, Some(40), 60), Some(10));
        assert_eq!(next(40, Some(60), 60), Some(60));
        assert_eq!(next(60, Some(61), 60), None);
        assert_eq!(next(5, None, 60), None);
    }
}
