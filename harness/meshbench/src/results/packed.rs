//! A result set in one file of JSON lines, as it is published: `results/README.md` describes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::{self, StoreError, write_file};
use super::read::{belongs, load};
use super::{
    After, Better, CellKey, CellRecord, EventRecord, Family, LinkRecord, Metric, NatCheck,
    NoiseRecord, Outcome, OverlayPath, ResultSet, RunRecord, Sealed, Unit, check_format,
};
use crate::hash::{self, sha256};

/// What the names of such files end in.
pub const PACKED: &str = "jsonl";

/// Version of this form; that of the records is in the run.
const VERSION: u32 = 1;

/// Texts longer than this are not published: their end says how something failed.
const LONGEST_TEXT: usize = 4 << 10;

/// A result set as it is published.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Run and cells.
    pub set: ResultSet,
    /// Who measured it, in their own words; empty if they do not say.
    pub by: String,
    /// What is left of texts that are evidence of failures, by their path in the result directory.
    pub texts: BTreeMap<String, String>,
    /// What an A/A run has shown, if one was made.
    pub noise: Option<NoiseRecord>,
}

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Line {
    Set(Box<Head>),
    Noise(NoiseRecord),
    Cluster(Cluster),
    Cell(Cell),
    Text { path: String, end: String },
    End(End),
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    by: String,
    run: RunRecord,
    metrics: Vec<Column>,
}

/// What a metric is, told once.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: String,
    unit: Unit,
    better: Better,
}

/// What the cells that follow have in common.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    links: Vec<LinkRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    nats: Vec<NatCheck>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

/// The rest of a cell. Its key is block, scenario, module, workload; a metric is the number of its column, its
/// value, its samples.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cell {
    key: (u32, String, String, String),
    started: String,
    seconds: f64,
    outcome: Outcome,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<(usize, f64, Vec<f64>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    costs: Vec<(usize, f64, Vec<f64>)>,
    path: OverlayPath,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inner_mtu: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    underlay: Option<Family>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    standing: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<After>,
}

/// The last line: a file without it is not whole.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    cells: usize,
    /// SHA-256 of all lines before, in hexadecimal.
    sha256: String,
}

/// Writes a result set into one file.
///
/// # Errors
/// If a record is unsound or a file operation fails.
pub fn save_packed(path: &Path, published: &Published) -> Result<(), StoreError> {
    let text = packed_text(published)
        .map_err(|reason| StoreError::Unsound { what: path.display().to_string(), reason })?;
    write_file(path, text.as_bytes())
}

/// A result set as the text of one file.
///
/// # Errors
/// If a record is unsound.
pub fn packed_text(published: &Published) -> Result<String, String> {
    let Published { set, by, texts, noise } = published;
    set.run.check()?;
    let columns = columns(set);
    let head =
        Head { version: VERSION, by: by.clone(), run: set.run.clone(), metrics: columns.clone() };
    let mut out = String::new();
    line(&mut out, &Line::Set(Box::new(head)))?;
    if let Some(noise) = noise {
        noise.check()?;
        line(&mut out, &Line::Noise(noise.clone()))?;
    }
    let mut common = None;
    for cell in &set.cells {
        cell.check()?;
        belongs(cell, &set.run)?;
        let cluster = Cluster {
            links: cell.links.clone(),
            nats: cell.nats.clone(),
            sealed: cell.sealed.clone(),
        };
        if common.as_ref() != Some(&cluster) {
            line(&mut out, &Line::Cluster(cluster.clone()))?;
            common = Some(cluster);
        }
        line(&mut out, &Line::Cell(packed(cell, &columns)))?;
    }
    for (path, text) in texts {
        line(&mut out, &Line::Text { path: path.clone(), end: end_of(text).to_owned() })?;
    }
    let end = End { cells: set.cells.len(), sha256: sha256(out.as_bytes()) };
    line(&mut out, &Line::End(end))?;
    Ok(out)
}

fn line(out: &mut String, line: &Line) -> Result<(), String> {
    let text = serde_json::to_string(line).map_err(|error| error.to_string())?;
    let _ = writeln!(out, "{text}");
    Ok(())
}

fn columns(set: &ResultSet) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for metric in set.cells.iter().flat_map(|cell| cell.metrics.iter().chain(&cell.costs)) {
        let column = column(metric);
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

fn column(metric: &Metric) -> Column {
    Column { name: metric.name.clone(), unit: metric.unit, better: metric.better }
}

fn packed(cell: &CellRecord, columns: &[Column]) -> Cell {
    let CellKey { block, scenario, module, workload } = cell.key.clone();
    let metric = |metric: &Metric| {
        let own = column(metric);
        let at = columns.iter().position(|column| *column == own).unwrap_or_default();
        (at, metric.value, metric.samples.clone())
    };
    Cell {
        key: (block, scenario, module, workload),
        started: cell.started.clone(),
        seconds: cell.duration_seconds,
        outcome: cell.outcome.clone(),
        metrics: cell.metrics.iter().map(metric).collect(),
        costs: cell.costs.iter().map(metric).collect(),
        path: cell.path,
        inner_mtu: cell.inner_mtu,
        underlay: cell.underlay,
        events: cell.events.clone(),
        standing: cell.standing.clone(),
        after: cell.after,
    }
}

/// The end of a text, of whole characters.
fn end_of(text: &str) -> &str {
    let from = text.len().saturating_sub(LONGEST_TEXT);
    let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    &text[from..]
}

/// Reads a published result set.
///
/// # Errors
/// If the file cannot be read, is not whole, does not hold what it should, or was changed since it was written;
/// names file, line and reason.
pub fn load_packed(path: &Path) -> Result<Published, StoreError> {
    let text = file::read_text(path)?;
    let mut reader = Reader::default();
    for (at, own) in text.split_inclusive('\n').enumerate() {
        reader.take(own).map_err(|reason| StoreError::Malformed {
            path: path.into(),
            line: Some(at + 1),
            reason,
        })?;
    }
    reader.finish().map_err(|reason| StoreError::Malformed {
        path: path.into(),
        line: None,
        reason,
    })
}

/// Reads a run, be it a result directory or a published set.
///
/// # Errors
/// As [`load`] and [`load_packed`].
pub fn open(place: &Path) -> Result<ResultSet, StoreError> {
    if place.is_file() { load_packed(place).map(|published| published.set) } else { load(place) }
}

#[derive(Default)]
struct Reader {
    head: Option<Box<Head>>,
    noise: Option<NoiseRecord>,
    cluster: Cluster,
    cells: BTreeMap<CellKey, CellRecord>,
    texts: BTreeMap<String, String>,
    hash: Sha256,
    whole: bool,
}

impl Reader {
    fn take(&mut self, own: &str) -> Result<(), String> {
        if self.whole {
            return Err("something follows the last line".into());
        }
        match serde_json::from_str(own).map_err(|error| error.to_string())? {
            Line::Set(head) if self.head.is_none() => self.begin(head)?,
            Line::Set(_) => return Err("it is another set: a file holds one".into()),
            Line::Noise(noise) => self.noise(noise)?,
            Line::Cluster(cluster) => self.cluster = cluster,
            Line::Cell(cell) => self.cell(cell)?,
            Line::Text { path, end } => drop(self.texts.insert(path, end)),
            Line::End(end) => self.end(&end)?,
        }
        self.hash.update(own.as_bytes());
        Ok(())
    }

    fn begin(&mut self, head: Box<Head>) -> Result<(), String> {
        if head.version != VERSION {
            let version = head.version;
            return Err(format!("its version is {version}, this program reads version {VERSION}"));
        }
        check_format(head.run.format)?;
        head.run.check()?;
        self.head = Some(head);
        Ok(())
    }

    fn noise(&mut self, noise: NoiseRecord) -> Result<(), String> {
        noise.check()?;
        match self.noise.replace(noise) {
            None => Ok(()),
            Some(_) => Err("its noise floor is there twice".into()),
        }
    }

    fn cell(&mut self, cell: Cell) -> Result<(), String> {
        let head = self.head.as_ref().ok_or("the first line is no set")?;
        let metric = |(at, value, samples): (usize, f64, Vec<f64>)| {
            let Some(column) = head.metrics.get(at) else {
                return Err(format!("there is no metric number {at}"));
            };
            let Column { name, unit, better } = column.clone();
            Ok(Metric { name, unit, better, value, samples })
        };
        let (block, scenario, module, workload) = cell.key;
        let record = CellRecord {
            format: head.run.format,
            key: CellKey { block, scenario, module, workload },
            started: cell.started,
            duration_seconds: cell.seconds,
            outcome: cell.outcome,
            metrics: cell.metrics.into_iter().map(metric).collect::<Result<_, _>>()?,
            costs: cell.costs.into_iter().map(metric).collect::<Result<_, _>>()?,
            path: cell.path,
            inner_mtu: cell.inner_mtu,
            underlay: cell.underlay,
            links: self.cluster.links.clone(),
            nats: self.cluster.nats.clone(),
            events: cell.events,
            standing: cell.standing,
            after: cell.after,
            clock: head.run.clock,
            sealed: self.cluster.sealed.clone(),
        };
        record.check()?;
        belongs(&record, &head.run)?;
        let name = record.key.file_name();
        match self.cells.insert(record.key.clone(), record) {
            Some(_) => Err(format!("the cell {name} is there twice")),
            None => Ok(()),
        }
    }

    fn end(&mut self, end: &End) -> Result<(), String> {
        let sha256 = hash::hex(self.hash.clone());
        if end.sha256 != sha256 {
            return Err("it was changed after it was written: its hash is another".into());
        }
        if end.cells != self.cells.len() {
            return Err(format!("it has {} cells instead of {}", self.cells.len(), end.cells));
        }
        self.whole = true;
        Ok(())
    }

    fn finish(self) -> Result<Published, String> {
        let head = self.head.ok_or("it is empty")?;
        if !self.whole {
            let cells = self.cells.len();
            return Err(format!("it is not whole: it ends after {cells} cells"));
        }
        let set = ResultSet { run: head.run, cells: self.cells.into_values().collect() };
        Ok(Published { set, by: head.by, texts: self.texts, noise: self.noise })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::{NoiseFloor, sample};
    use super::*;

    fn published() -> Published {
        let mut cells = sample::cells();
        cells.sort_by(|a, b| a.key.cmp(&b.key));
        // A number that a careless reader gets wrong in its last digit.
        if let Some(metric) = cells.iter_mut().find_map(|cell| cell.metrics.first_mut()) {
            metric.samples = vec![9_782_337.882_203_512, 0.1 + 0.2, 5e-324];
        }
        let texts = [("logs/1-lan-wireguard/bob.log".to_owned(), "no route\n".to_owned())];
        Published {
            set: ResultSet { run: sample::run(), cells },
            by: "somebody, on a laptop".into(),
            texts: texts.into(),
            noise: None,
        }
    }

    fn noise() -> NoiseRecord {
        let floor = NoiseFloor {
            scenario: "lan".into(),
            workload: "ping".into(),
            module: "wireguard".into(),
            metric: "rtt".into(),
            unit: Unit::Milliseconds,
            relative: Some(0.1 + 0.2),
            absolute: None,
            blocks: 7,
        };
        NoiseRecord::new(["a".into(), "b".into()], vec![floor])
    }

    #[test]
    fn what_is_written_is_read_back_to_the_last_digit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        save_packed(&path, &published()).unwrap();
        assert_eq!(load_packed(&path).unwrap(), published());
    }

    #[test]
    fn a_noise_floor_travels_along_and_is_there_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let loud = Published { noise: Some(noise()), ..published() };
        save_packed(&path, &loud).unwrap();
        assert_eq!(load_packed(&path).unwrap(), loud);
        let text = packed_text(&loud).unwrap();
        let own = text.lines().nth(1).unwrap();
        std::fs::write(&path, text.replacen(own, &format!("{own}\n{own}"), 1)).unwrap();
        let error = load_packed(&path).unwrap_err().to_string();
        assert!(error.contains(":3: its noise floor is there twice"), "{error}");
        let mut wrong = noise();
        wrong.floors[0].relative = Some(-0.1);
        let error = packed_text(&Published { noise: Some(wrong), ..published() }).unwrap_err();
        assert!(error.contains("is not a share"), "{error}");
    }

    #[test]
    fn only_the_end_of_a_long_text_is_kept() {
        let long = "é".repeat(LONGEST_TEXT);
        assert_eq!(end_of(&long).len(), LONGEST_TEXT);
        assert_eq!(end_of("short"), "short");
    }

    /// Each alters the file; the error says what is wrong.
    #[rstest]
    #[case::version("\"version\":1", "\"version\":9", ":1: its version is 9")]
    #[case::format("\"format\":1", "\"format\":7", ":1: its format is 7")]
    #[case::value(
        "\"key\":[1,\"lan\",\"internal\"",
        "\"key\":[2,\"lan\",\"internal\"",
        "its hash is another"
    )]
    #[case::name("\"lan\",\"internal\",\"ping\"", "\"lan\",\"../x\",\"ping\"", "../x")]
    #[case::stranger(
        "\"lan\",\"internal\",\"ping\"",
        "\"mars\",\"internal\",\"ping\"",
        "has no scenario mars"
    )]
    #[case::twice(
        "\"lan\",\"wireguard\",\"ping\"",
        "\"lan\",\"internal\",\"ping\"",
        "is there twice"
    )]
    #[case::metric("\"metrics\":[[0,", "\"metrics\":[[7,", "there is no metric number 7")]
    #[case::field("{\"cell\":{", "{\"cell\":{\"more\":1,", "unknown field `more`")]
    fn an_altered_file_is_refused(#[case] from: &str, #[case] to: &str, #[case] want: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let text = packed_text(&published()).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = load_packed(&path).unwrap_err().to_string();
        assert!(error.contains("a.jsonl") && error.contains(want), "{error}");
    }

    #[test]
    fn a_file_that_ends_early_is_refused_wherever_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let text = packed_text(&published()).unwrap();
        for (at, _) in text.char_indices().step_by(97) {
            std::fs::write(&path, &text[..at]).unwrap();
            assert!(load_packed(&path).is_err(), "{at} of {}", text.len());
        }
        let lines: Vec<&str> = text.lines().collect();
        std::fs::write(&path, lines[..lines.len() - 1].join("\n")).unwrap();
        let error = load_packed(&path).unwrap_err().to_string();
        assert!(error.contains("it is not whole: it ends after 5 cells"), "{error}");
    }
}
