//! `bench noise`.

use meshbench::report::compare::{self, Question};
use meshbench::results::{self, NOISE, NoiseRecord, RunRecord};

use crate::args::{Common, NoiseArgs};
use crate::compare::load;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::output::{draw, say, style};

/// Finds the noise floor of each metric from one thing measured twice, and stores it with the first run.
pub fn noise(common: &Common, arguments: &NoiseArgs) -> Outcome {
    let sets: Vec<_> = arguments.dirs.iter().map(|dir| load(dir)).collect::<Result<_, _>>()?;
    let question = Question::default();
    let (of, lines, module) = match (sets.as_slice(), arguments.modules.as_slice()) {
        ([a, b], []) => {
            let mut differences = compare::differences(&a.run, &b.run);
            differences.extend(compare::contents(&a.run, &b.run));
            one_thing(&differences, arguments.force)?;
            of_other_seeds(&a.run, &b.run)?;
            ([a.run.id.clone(), b.run.id.clone()], compare::runs(a, b, &question), None)
        }
        ([set], [a, b]) if a != b => {
            of_one_module(&set.run, [a, b], arguments.force)?;
            let of = [a, b].map(|module| format!("{}/{module}", set.run.id));
            (of, compare::modules(set, (a, b), &question), Some(a.as_str()))
        }
        _ => {
            return Err(Failure::usage("this is not one thing measured twice")
                .help("name two runs of the same, or one run and two modules: --modules A,B"));
        }
    };
    let lines = lines.map_err(Failure::usage)?;
    let floors = compare::floors(&lines, module);
    if floors.is_empty() {
        let message = "no metric was measured in three blocks on both sides";
        return Err(Failure::new(exit::NOTHING_SELECTED, message).help(
            "the floor is known as well as there are blocks: measure as many as you compare",
        ));
    }
    draw(&compare::render_floors(&floors, &lines, style(common)))?;
    let record = NoiseRecord::new(of, floors);
    results::save_noise(&arguments.dirs[0], &record).map_err(Failure::setup)?;
    say(format!("stored: {}", arguments.dirs[0].join(NOISE).display()));
    Ok(exit::OK)
}

/// Two names of one module: in real time, since blocks of one seed, which are all that a run has of both, repeat in virtual time.
fn of_one_module(run: &RunRecord, names: [&String; 2], force: bool) -> Result<(), Failure> {
    if !run.clock.is_real() {
        return Err(Failure::usage("in virtual time blocks of one seed do not differ, and both modules of a run have the same ones")
            .help("measure the module in two runs with other seeds, and name both"));
    }
    let of = |name: &String| {
        let module = run.modules.iter().find(|module| module.name == *name);
        module.ok_or_else(|| Failure::usage(format!("the run has no module `{name}`")))
    };
    let [a, b] = names.map(of);
    let (a, b) = (a?, b?);
    let mut differences = Vec::new();
    if a.sha256.is_none() || a.sha256 != b.sha256 {
        differences.push("the files of the modules".to_owned());
    }
    if a.binaries != b.binaries {
        differences.push("programs by --binary".to_owned());
    }
    one_thing(&differences, force)
}

fn one_thing(differences: &[String], force: bool) -> Result<(), Failure> {
    if differences.is_empty() || force {
        return Ok(());
    }
    Err(Failure::usage(format!("this is not one thing measured twice: {}", differences.join("; ")))
        .help("what differs would be taken for noise; --force does so"))
}

/// In virtual time blocks of one seed are the same to the last digit: what they differ by is nothing by construction,
/// and no floor of anything.
fn of_other_seeds(a: &RunRecord, b: &RunRecord) -> Result<(), Failure> {
    // Block b has the seed N + b.
    let end = |run: &RunRecord| run.seed.saturating_add(run.blocks.into());
    let (first, last) = (a.seed.max(b.seed), end(a).min(end(b)));
    if a.clock.is_real() || b.clock.is_real() || first >= last {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "in virtual time blocks of one seed do not differ, and A and B share {} of theirs: A begins at {}, B at {}",
        last - first,
        a.seed,
        b.seed
    ))
    .help(format!(
        "measure the second one with another seed: --clock virtual --seed {}",
        a.seed.saturating_add(results::MOST_BLOCKS.into())
    )))
}
