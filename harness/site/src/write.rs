//! A site, written as files: it is there whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use meshbench::fabric::Scenario;
use meshbench::module::spec::Module;
use meshbench::results::{Clock, ContractRecord};
use meshbench::run::scenario_sha256;
use meshbench::text;

use crate::board::Board;
use crate::error::WriteError;
use crate::load::{Loaded, Problem, Source};
use crate::pages::{self, Link};
use crate::questions::{Reader, readers};
use crate::{data, downloads};

/// Marks a folder as a site of ours, which may be replaced.
const MARK: &str = ".meshbench-site";

const STYLE: &str = include_str!("../assets/site.css");
const SCRIPT: &str = include_str!("../assets/site.js");

/// What is known of VPNs and networks beyond what results say.
#[derive(Debug, Default)]
pub struct Known {
    /// Modules.
    pub modules: Vec<Module>,
    /// Scenarios.
    pub scenarios: Vec<Scenario>,
}

/// A site to be written.
#[derive(Debug)]
pub struct Site<'a> {
    loaded: &'a Loaded,
    known: &'a Known,
    boards: Vec<Board<'a>>,
    readers: Vec<Reader>,
    problems: Vec<Problem>,
}

impl<'a> Site<'a> {
    /// Of what was found.
    ///
    /// # Errors
    /// None, unless a file of this crate is wrong.
    pub fn new(loaded: &'a Loaded, known: &'a Known) -> Result<Self, WriteError> {
        let readers = readers().map_err(|error| WriteError::Page {
            page: "readers.toml".into(),
            reason: error.to_string(),
        })?;
        let boards = Board::all(&loaded.sources);
        let of_boards = boards.iter().flat_map(|board| board.pool.problems.clone());
        let problems = loaded.problems.iter().cloned().chain(of_boards);
        let problems = problems.chain(unshown(loaded, &boards)).collect();
        Ok(Self { loaded, known, boards, readers, problems })
    }

    /// What it shows together.
    pub fn boards(&self) -> &[Board<'a>] {
        &self.boards
    }

    /// What it does not show, and why.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Writes it, in place of an earlier one.
    ///
    /// # Errors
    /// If a file operation fails, or something else is there; what was there is then untouched.
    pub fn write(&self, dir: &Path) -> Result<(), WriteError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| WriteError::Io { path, error }
        };
        let empty = !dir.exists() || fs::read_dir(dir).map_err(io(dir))?.next().is_none();
        if !empty && !dir.join(MARK).exists() {
            return Err(WriteError::Foreign(dir.into()));
        }
        let parent = dir.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(io(parent))?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let beside = |what: &str| parent.join(format!(".{name}-{what}-{}", std::process::id()));
        let (fresh, old) = (beside("new"), beside("old"));
        let written = self.fill(&Folder { dir: fresh.clone() });
        if let Err(error) = written {
            // What was begun is of no use to anyone.
            let _ = fs::remove_dir_all(&fresh);
            return Err(error);
        }
        if dir.exists() {
            fs::rename(dir, &old).map_err(io(dir))?;
        }
        fs::rename(&fresh, dir).map_err(io(dir))?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(io(&old))?;
        }
        Ok(())
    }

    fn fill(&self, out: &Folder) -> Result<(), WriteError> {
        out.put(MARK, "This folder is written by `bench report`, which replaces all of it.\n")?;
        out.put("site.css", STYLE)?;
        out.put("site.js", SCRIPT)?;
        for board in &self.boards {
            self.board(out, board)?;
        }
        if self.boards.is_empty() {
            self.index(out, None)?;
        }
        out.page("method.html", pages::method(self.loaded, &self.boards))?;
        for other in &self.loaded.others {
            out.page(
                &format!("others/{}.html", other.name),
                pages::others(other, &self.known.modules),
            )?;
        }
        let files = downloads::write(self.loaded, &self.boards, &|name, text| out.put(name, text))?;
        out.page("downloads.html", pages::downloads(&files))
    }

    fn index(&self, out: &Folder, board: Option<&Board<'_>>) -> Result<(), WriteError> {
        let folder = board.map_or("", |board| &board.folder);
        let up = if folder.is_empty() { "" } else { "../" };
        let contracts = board.map(|board| self.contracts(board)).unwrap_or_default();
        let content = pages::Content {
            board,
            boards: &self.boards,
            readers: &self.readers,
            contracts: &contracts,
            scenarios: &self.known.scenarios,
            others: self
                .loaded
                .others
                .iter()
                .map(|it| Link {
                    href: format!("{up}others/{}.html", it.name),
                    title: it.title.clone(),
                })
                .collect(),
            problems: &self.problems,
        };
        out.page(&place(folder, "index.html"), pages::index(content))
    }

    /// The evidence of everyone on a network.
    fn evidence(out: &Folder, board: &Board<'_>, at: usize) -> Result<(), WriteError> {
        for module in pages::everyone(board) {
            let page = pages::evidence_page(&board.scenarios[at].name, module);
            if let Some(text) = pages::evidence(board, at, module).transpose() {
                out.page(&place(&board.folder, &page), text)?;
            }
        }
        Ok(())
    }

    /// What was promised by the clock of a board: its machines are others than those of another clock.
    fn contracts(&self, board: &Board<'_>) -> Vec<ContractRecord> {
        self.loaded.contracts_by(board.testbed.class.clock())
    }

    fn board(&self, out: &Folder, board: &Board<'a>) -> Result<(), WriteError> {
        let at = |page: &str| place(&board.folder, page);
        self.index(out, Some(board))?;
        out.put(&at("data.js"), &data::data(board))?;
        out.put(&at("compare.js"), &data::compare(board))?;
        let contracts = &self.contracts(board);
        let (modules, scenarios) = (&self.known.modules, &self.known.scenarios);
        out.page(&at("pictures.html"), pages::pictures(board, modules, scenarios, contracts))?;
        for (place, record) in board.scenarios.iter().enumerate() {
            let known = scenarios.iter().find(|it| {
                it.name == record.name && record.sha256.as_ref() == Some(&scenario_sha256(it))
            });
            let page = pages::scenario(board, place, known);
            out.page(&at(&pages::scenario_page(&record.name)), page)?;
            out.put(&at(&format!("values/{}.js", record.name)), &data::values(board, place))?;
            Self::evidence(out, board, place)?;
        }
        if let Some(grid) = &board.grid {
            (0..grid.scenarios.len()).try_for_each(|place| Self::evidence(out, grid, place))?;
        }
        let of_one = |source: &&'a Source| Board::all(std::slice::from_ref(*source));
        let alone: Vec<Board<'_>> = board.sources.iter().flat_map(of_one).collect();
        for (at_module, record) in board.modules.iter().enumerate() {
            let known = modules.iter().find(|it| *it.name == *record.name);
            let page =
                pages::module(board, at_module, known, scenarios, contracts, &alone, &self.readers);
            out.page(&at(&pages::module_page(&record.name)), page)?;
        }
        Ok(())
    }
}

/// Findings of contracts by a clock that nothing else was measured by: they stand on the board of their clock.
fn unshown(loaded: &Loaded, boards: &[Board<'_>]) -> Vec<Problem> {
    let is_shown = |clock| boards.iter().any(|it| it.testbed.class.clock() == clock);
    let clocks = [Clock::Real, Clock::Virtual].into_iter().filter(|clock| !is_shown(*clock));
    let told = clocks.filter_map(|clock| {
        let modules: Vec<String> =
            loaded.contracts_by(clock).into_iter().map(|it| it.module).collect();
        let reason = format!(
            "findings by {} time, of which there are no measurements, are not shown",
            clock.word()
        );
        (!modules.is_empty())
            .then(|| Problem::notice(format!("contract of {}", modules.join(", ")), reason))
    });
    told.collect()
}

fn place(folder: &str, page: &str) -> String {
    if folder.is_empty() { page.into() } else { format!("{folder}/{page}") }
}

struct Folder {
    dir: PathBuf,
}

impl Folder {
    fn put(&self, name: &str, text: &str) -> Result<(), WriteError> {
        let path = self.dir.join(name);
        let io = |error| WriteError::Io { path: path.clone(), error };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        fs::write(&path, text).map_err(io)
    }

    fn page(&self, name: &str, page: Result<String, askama::Error>) -> Result<(), WriteError> {
        let page = page
            .map_err(|error| WriteError::Page { page: name.into(), reason: error.to_string() })?;
        // A page is also read in terminals and mails.
        self.put(name, &text::plain(&page))
    }
}
