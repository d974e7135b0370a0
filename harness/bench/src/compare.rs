//! `bench compare`.

use std::path::{Path, PathBuf};

use meshbench::report::compare::{self, Filter, Incomparable, Line, Names, Question, Threshold};
use meshbench::results::{self, NoiseRecord, ResultSet, RunRecord};
use meshbench::stats::SIGNIFICANT;
use serde_json::json;

use crate::args::{Common, CompareArgs, QuestionArgs};
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::output::{draw, print_json, say, style};
use crate::workspace::unknown;

/// Compares two runs, or two modules of a run; exit code 101 if B is a regression from A.
pub fn compare(common: &Common, arguments: &CompareArgs) -> Outcome {
    let compared = Compared::of(&arguments.dirs, &arguments.question, SIGNIFICANT)?;
    if arguments.json {
        print_json(&compared.json())?;
    } else {
        draw(&compared.text(common))?;
    }
    let undecided = arguments.decide && !compared.is_decided();
    Ok(match (compared.is_regression(), undecided) {
        (true, _) => exit::REGRESSION,
        (false, true) => exit::UNDECIDED,
        (false, false) => exit::OK,
    })
}

/// Two sides laid side by side.
pub struct Compared {
    sets: Vec<ResultSet>,
    modules: Vec<String>,
    /// What was found, line by line.
    pub lines: Vec<Line>,
    threshold: Threshold,
    differences: Vec<String>,
    notes: Vec<String>,
    unfinished: bool,
}

impl Compared {
    /// Loads result directories and compares them as asked, at a probability of `alpha` of one false
    /// difference.
    pub fn of(dirs: &[PathBuf], arguments: &QuestionArgs, alpha: f64) -> Result<Self, Failure> {
        let sets: Vec<ResultSet> = dirs.iter().map(|dir| load(dir)).collect::<Result<_, _>>()?;
        let runs: Vec<&RunRecord> = sets.iter().map(|set| &set.run).collect();
        check_metrics(&sets, &arguments.metrics)?;
        let filter = filter(arguments);
        check_names(&runs, &filter)?;
        let mut notes: Vec<String> = sets.iter().filter_map(unfinished).collect();
        let unfinished = !notes.is_empty();
        let noise = noise(dirs, runs[0], arguments, &mut notes)?;
        let threshold = Threshold(arguments.threshold / 100.0);
        let question = Question { filter, threshold, noise: noise.as_ref(), alpha };
        let mut differences = Vec::new();
        let lines = match (sets.as_slice(), arguments.modules.as_slice()) {
            ([a, b], _) => {
                differences = compare::differences(&a.run, &b.run);
                refuse(&differences, arguments.force)?;
                notes.push(made_of(&a.run, &b.run));
                compare::runs(a, b, &question)
            }
            ([set], [a, b]) if a != b => compare::modules(set, (a, b), &question),
            _ => {
                return Err(Failure::usage("one directory, and not two modules of it to compare")
                    .help("name two directories, or two modules: --modules A,B"));
            }
        };
        let lines = lines.map_err(|error: Incomparable| Failure::usage(error))?;
        if lines.is_empty() {
            return Err(Failure::new(exit::NOTHING_SELECTED, "A and B have no cell in common")
                .help("`bench show DIR` prints what a run measured"));
        }
        let modules = arguments.modules.clone();
        Ok(Self { sets, modules, lines, threshold, differences, notes, unfinished })
    }

    /// Whether a line is a regression.
    pub fn is_regression(&self) -> bool {
        self.lines.iter().any(|line| line.is_regression(self.threshold))
    }

    /// Whether it is known of every line in question that it is no regression, or that it is one, and all
    /// was measured that should be.
    pub fn is_decided(&self) -> bool {
        !self.unfinished && self.open().next().is_none()
    }

    /// Lines of which it is not known whether they are regressions.
    pub fn open(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.is_open(self.threshold))
    }

    /// Whether a run lacks what it was asked for.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// Blocks that the two runs have been asked for.
    pub fn blocks(&self) -> impl Iterator<Item = u32> {
        self.sets.iter().map(|set| set.run.blocks)
    }

    /// For people.
    pub fn text(&self, common: &Common) -> String {
        compare::render(self.names(), &self.notes, &self.lines, self.threshold, style(common))
    }

    fn names(&self) -> Names<'_> {
        match self.sets.as_slice() {
            [a, b, ..] => Names::Runs(&a.run, &b.run),
            sets => Names::Modules(&sets[0].run, &self.modules[0], &self.modules[1]),
        }
    }

    fn json(&self) -> serde_json::Value {
        let run = |run: &RunRecord| json!({ "run": run.id, "modules": run.modules });
        let module = |set: &ResultSet, name| json!({ "run": set.run.id, "module": name });
        let (a, b) = match (self.sets.as_slice(), self.modules.as_slice()) {
            ([set], [a, b]) => (module(set, a), module(set, b)),
            (sets, _) => (run(&sets[0].run), run(&sets[sets.len() - 1].run)),
        };
        let regression = |line: &&Line| line.is_regression(self.threshold);
        let regressions: Vec<&Line> = self.lines.iter().filter(regression).collect();
        json!({
            "a": a,
            "b": b,
            "testbed_differences": self.differences,
            "notes": self.notes,
            "threshold": self.threshold.0,
            "decided": self.is_decided(),
            "lines": self.lines,
            "regressions": regressions,
        })
    }
}

fn filter(arguments: &QuestionArgs) -> Filter {
    Filter {
        modules: arguments.modules.clone(),
        scenarios: arguments.scenarios.clone(),
        workloads: arguments.workloads.clone(),
        metrics: arguments.metrics.clone(),
    }
}

/// A result directory.
pub fn load(dir: &Path) -> Result<ResultSet, Failure> {
    results::open(dir).map_err(Failure::usage)
}

fn unfinished(set: &ResultSet) -> Option<String> {
    let part = set.unfinished()?;
    Some(format!("{} is unfinished: {part}; `bench run --resume` goes on", set.run.id))
}

/// What is compared, by content.
fn made_of(a: &RunRecord, b: &RunRecord) -> String {
    let contents = compare::contents(a, b);
    if contents.is_empty() {
        return "A and B are of the same contents, by hash as far as recorded".into();
    }
    format!("what differs between A and B: {}", contents.join("; "))
}

/// The noise floor to use: the one named, else that of A, else that of B.
fn noise(
    dirs: &[PathBuf],
    a: &RunRecord,
    arguments: &QuestionArgs,
    notes: &mut Vec<String>,
) -> Result<Option<NoiseRecord>, Failure> {
    let stored = |dir: &Path| results::load_noise(dir).map_err(Failure::usage);
    let Some(dir) = &arguments.noise else {
        for dir in dirs {
            if let Some(noise) = stored(dir)? {
                notes.push(format!("noise floors of {} and {}", noise.of[0], noise.of[1]));
                return Ok(Some(noise));
            }
        }
        return Ok(None);
    };
    let noise = stored(dir)?.ok_or_else(|| {
        Failure::usage(format!("{} has no noise floor", dir.display()))
            .help("`bench noise A B` finds it, from one thing measured twice")
    })?;
    let differences = compare::differences(&load(dir)?.run, a);
    if !differences.is_empty() && !arguments.force {
        return Err(Failure::usage(format!(
            "the noise floor is of another testbed: {}",
            differences.join("; ")
        ))
        .help("measure one thing twice here, or use it all the same with --force"));
    }
    notes.push(format!("noise floors of {} and {}", noise.of[0], noise.of[1]));
    Ok(Some(noise))
}

fn check_names(runs: &[&RunRecord], filter: &Filter) -> Result<(), Failure> {
    let check = |what: &str, asked: &[String], known: &dyn Fn(&RunRecord) -> Vec<String>| {
        let missing = |run: &&RunRecord| {
            let known = known(run);
            let absent = asked.iter().find(|name| !known.contains(name))?;
            Some(unknown(&format!("{what} in run {}", run.id), absent, &known))
        };
        runs.iter().find_map(missing).map_or(Ok(()), Err)
    };
    check("module", &filter.modules, &|run| run.modules.iter().map(|m| m.name.clone()).collect())?;
    let scenarios = |run: &RunRecord| run.scenarios.iter().map(|s| s.name.clone()).collect();
    check("scenario", &filter.scenarios, &scenarios)?;
    check("workload", &filter.workloads, &|run| run.workloads.clone())
}

fn check_metrics(sets: &[ResultSet], asked: &[String]) -> Result<(), Failure> {
    let cells = sets.iter().flat_map(|set| &set.cells);
    let mut known: Vec<String> =
        cells.flat_map(|cell| &cell.metrics).map(|metric| metric.name.clone()).collect();
    known.sort_unstable();
    known.dedup();
    match asked.iter().find(|name| !known.contains(name)) {
        Some(absent) => Err(unknown("metric", absent, &known)),
        None => Ok(()),
    }
}

fn refuse(differences: &[String], force: bool) -> Result<(), Failure> {
    if differences.is_empty() {
        return Ok(());
    }
    let list = differences.join("; ");
    if force {
        say(format!("compared although the testbeds differ: {list}"));
        return Ok(());
    }
    Err(Failure::usage(format!("the testbeds differ, so the figures do not compare: {list}"))
        .help("measure both on one host in one way, or compare all the same with --force"))
}
