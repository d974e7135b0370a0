//! What there is to show: result sets, figures of others, findings of contracts; and what could not be read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use meshbench::file;
use meshbench::results::{
    self, CONTRACT, CellRecord, Clock, ContractRecord, ExternalSet, NoiseRecord, Outcome, PACKED,
    Published, ResultSet,
};
use meshbench::workload::Workload;

/// Folders in folders are looked into as deep as this.
const DEEPEST: usize = 4;

/// Runs of one's own, which are shown only when they are named.
const LOCAL: &str = "local";

/// As much of a text that is evidence is read.
const LARGEST_TEXT: u64 = 1 << 20;

/// All that was found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Result sets, the oldest first.
    pub sources: Vec<Source>,
    /// Figures of others.
    pub others: Vec<ExternalSet>,
    /// Findings of contract tests, one for a module and a clock.
    pub contracts: Vec<ContractRecord>,
    /// What could not be read, or is not to be believed.
    pub problems: Vec<Problem>,
}

/// A result set and where it is from.
#[derive(Debug)]
pub struct Source {
    /// As it was found.
    pub place: PathBuf,
    /// Who measured it, in their own words; may be empty.
    pub by: String,
    /// Run and cells.
    pub set: ResultSet,
    /// Texts that are evidence of failures, by their path in the result directory.
    pub texts: BTreeMap<String, String>,
    /// What an A/A run has shown.
    pub noise: Option<NoiseRecord>,
}

/// Something that is not shown, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which file or cell.
    pub place: String,
    /// What is wrong.
    pub reason: String,
    /// How bad that is.
    pub kind: Kind,
}

/// How bad it is that something is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something is wrong with it.
    Wrong,
    /// It is shown already, from another place.
    Twice,
    /// It is as it should be.
    Notice,
}

impl Problem {
    /// Something that is wrong.
    pub fn new(place: impl ToString, reason: impl ToString) -> Self {
        Self { place: place.to_string(), reason: reason.to_string(), kind: Kind::Wrong }
    }

    /// Something that is as it should be, and not shown.
    pub fn notice(place: impl ToString, reason: impl ToString) -> Self {
        Self { kind: Kind::Notice, ..Self::new(place, reason) }
    }
}

/// Reads result directories, published sets, figures of others and findings of contracts; folders are searched for
/// them. What cannot be read is a problem, and takes nothing else with it.
pub fn load(places: &[PathBuf]) -> Loaded {
    let mut loaded = Loaded::default();
    for place in places {
        let before = loaded.found();
        loaded.look(place, 0);
        if loaded.found() == before {
            loaded.problem(place.display(), "there are no results in it");
        }
    }
    loaded.sources.sort_by(|a, b| {
        (&a.set.run.started, &a.set.run.id).cmp(&(&b.set.run.started, &b.set.run.id))
    });
    loaded.drop_the_same_run();
    loaded
}

impl Loaded {
    /// Findings of contract tests by that clock.
    pub fn contracts_by(&self, clock: Clock) -> Vec<ContractRecord> {
        self.contracts.iter().filter(|it| it.clock() == clock).cloned().collect()
    }

    fn found(&self) -> usize {
        self.sources.len() + self.others.len() + self.contracts.len() + self.problems.len()
    }

    fn problem(&mut self, place: impl ToString, reason: impl ToString) {
        self.problems.push(Problem::new(place, reason));
    }

    fn look(&mut self, place: &Path, depth: usize) {
        if place.is_file() {
            return self.file(place, depth == 0);
        }
        let entries = match fs::read_dir(place) {
            Ok(entries) => entries,
            Err(error) => return self.problem(place.display(), format!("cannot be read: {error}")),
        };
        let has = |name: &str| place.join(name).is_file();
        if has(CONTRACT) {
            self.contract(place);
        }
        if has("run.json") {
            return self.run(place);
        }
        if depth == DEEPEST {
            return;
        }
        let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        inside.sort_unstable();
        for path in inside {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let folder = path.is_dir() && name != LOCAL && !name.starts_with('.');
            if folder || path.extension().is_some_and(|it| it == PACKED || it == "json") {
                self.look(&path, depth + 1);
            }
        }
    }

    fn file(&mut self, path: &Path, named: bool) {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(PACKED) => self.published(path),
            Some("json") if path.file_name().is_some_and(|name| name == CONTRACT) => {}
            Some("json") => match results::load_external(path) {
                Ok(set) if self.others.iter().any(|it| it.name == set.name) => {
                    let reason = format!("figures called {} are shown already", set.name);
                    let problem = Problem::new(path.display(), reason);
                    self.problems.push(Problem { kind: Kind::Twice, ..problem });
                }
                Ok(set) => self.others.push(set),
                Err(error) => self.problems.push(of_store(path, &error)),
            },
            _ if named => self.problem(path.display(), "this is no kind of result file"),
            _ => {}
        }
    }

    fn published(&mut self, path: &Path) {
        match results::load_packed(path) {
            Ok(Published { set, by, texts, noise }) => {
                self.source(Source { place: path.into(), by, set, texts, noise });
            }
            Err(error) => self.problems.push(of_store(path, &error)),
        }
    }

    fn run(&mut self, dir: &Path) {
        let (set, problems) = match results::salvage(dir) {
            Ok(found) => found,
            Err(error) => return self.problems.push(of_store(dir, &error)),
        };
        self.problems.extend(problems.iter().map(|error| of_store(dir, error)));
        let noise = results::load_noise(dir).unwrap_or_else(|error| {
            self.problems.push(of_store(dir, &error));
            None
        });
        let (texts, strange) = texts(dir, &set);
        self.problems.extend(strange);
        self.source(Source { place: dir.into(), by: String::new(), set, texts, noise });
    }

    /// A set without the cells that tell other things than their workloads do.
    fn source(&mut self, mut source: Source) {
        let place = source.place.display().to_string();
        let mut misread = None;
        let before = source.set.cells.len();
        source.set.cells.retain(|cell| match misread_by(cell) {
            Some(reason) => {
                misread.get_or_insert(reason);
                false
            }
            None => true,
        });
        if let Some(first) = misread {
            let left = before - source.set.cells.len();
            self.problem(place, format!("{left} cells are left out: {first}"));
        }
        self.sources.push(source);
    }

    fn contract(&mut self, dir: &Path) {
        match results::load_contract(dir) {
            Ok(records) => {
                // The last word on a module counts, by each clock.
                let same = |it: &ContractRecord, other: &ContractRecord| {
                    it.module == other.module && it.clock() == other.clock()
                };
                self.contracts.retain(|other| !records.iter().any(|it| same(it, other)));
                self.contracts.extend(records);
            }
            Err(error) => self.problems.push(of_store(dir, &error)),
        }
    }

    /// A run and its published file are one.
    fn drop_the_same_run(&mut self) {
        let mut seen = BTreeSet::new();
        let (kept, twice): (Vec<Source>, Vec<Source>) = std::mem::take(&mut self.sources)
            .into_iter()
            .partition(|source| seen.insert(source.set.run.id.clone()));
        self.sources = kept;
        for source in twice {
            let reason = format!("the run {} is shown already", source.set.run.id);
            let problem = Problem::new(source.place.display(), reason);
            self.problems.push(Problem { kind: Kind::Twice, ..problem });
        }
    }
}

/// How the figures of a cell contradict what its workload says of them.
pub fn misread_by(cell: &CellRecord) -> Option<String> {
    let reason = Workload::named(&cell.key.workload)?.spec().misread(&cell.metrics)?;
    Some(format!("{}: {reason}", cell.key.workload))
}

/// The error names its file where that is another.
fn of_store(place: &Path, error: &results::StoreError) -> Problem {
    let text = error.to_string();
    let own = place.display().to_string();
    let reason = text.strip_prefix(&own).map(|rest| rest.trim_start_matches([':', '/', ' ']));
    Problem::new(own.clone(), reason.unwrap_or(&text))
}

/// Evidence that is text, of those cells that failed; and what pretends to be evidence.
pub fn texts(dir: &Path, set: &ResultSet) -> (BTreeMap<String, String>, Vec<Problem>) {
    let evidence = set.cells.iter().filter_map(|cell| match &cell.outcome {
        Outcome::Failed { evidence, .. } => Some(evidence),
        _ => None,
    });
    let (mut texts, mut problems) = (BTreeMap::new(), Vec::new());
    for path in evidence.flatten().collect::<BTreeSet<_>>() {
        match text(dir, path) {
            Ok(Some(text)) => drop(texts.insert(path.clone(), text)),
            // What is not text (packets) stays where it is.
            Ok(None) => {}
            Err(reason) => problems.push(Problem::new(dir.join(path).display(), reason)),
        }
    }
    (texts, problems)
}

/// A text of the directory itself; nothing if it is gone, too long or no text. What a link leads to may be any file of
/// whoever reads it here, and would be published.
fn text(dir: &Path, path: &str) -> Result<Option<String>, String> {
    let mut place = dir.to_owned();
    for part in Path::new(path).components() {
        place.push(part);
        match fs::symlink_metadata(&place) {
            Ok(found) if found.is_symlink() => {
                return Err(
                    "it is named as evidence, and is a link: put the file in its place".into()
                );
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        }
    }
    let found = fs::symlink_metadata(&place).map_err(|error| error.to_string())?;
    if found.is_file() && found.len() > LARGEST_TEXT {
        return Ok(None);
    }
    match file::read_text(&place) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(format!("it is named as evidence: {error}")),
    }
}
