//! Files for whoever wants to compute otherwise.

use serde::Serialize;

use meshbench::results::{self, Published};

use crate::board::{Board, Figure, Row};
use crate::error::WriteError;
use crate::load::{Loaded, Source};

/// A file to be had.
#[derive(Debug)]
pub(crate) struct File {
    /// In `downloads/`.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) about: String,
}

#[derive(Serialize)]
struct Record<'a> {
    scenario: &'a str,
    workload: &'a str,
    metric: &'a str,
    unit: &'a str,
    better: &'a str,
    module: &'a str,
    blocks: usize,
    measured: usize,
    problem: &'a str,
    median: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    ratio: Option<f64>,
    counted: Option<f64>,
}

/// Writes them by `put`, and says what they are.
///
/// # Errors
/// Those of `put`, and of results that cannot be written.
pub(crate) fn write(
    loaded: &Loaded,
    boards: &[Board<'_>],
    put: &dyn Fn(&str, &str) -> Result<(), WriteError>,
) -> Result<Vec<File>, WriteError> {
    let mut files = Vec::new();
    let mut file = |name: String, about: String, text: &str| {
        put(&format!("downloads/{name}"), text)?;
        files.push(File { name, about });
        Ok(())
    };
    for board in boards {
        let slug = if board.folder.is_empty() { board.testbed.class.slug() } else { &board.folder };
        let records = records(board);
        let title = board.testbed.class.title();
        let json = serde_json::to_string_pretty(&records).map_err(|error| fault(slug, error))?;
        file(format!("{slug}.json"), format!("all figures of {title}, as JSON"), &json)?;
        let csv = table(&records).map_err(|error| fault(slug, error))?;
        file(format!("{slug}.csv"), "the same as a table".into(), &csv)?;
    }
    let schema = format!("{:#}\n", results::schema());
    file("schema.json".into(), "JSON Schema of runs and cells".into(), &schema)?;
    for source in &loaded.sources {
        let Source { set, by, texts, noise, .. } = source;
        let id = &set.run.id;
        let published = Published {
            set: set.clone(),
            by: by.clone(),
            texts: texts.clone(),
            noise: noise.clone(),
        };
        let text = results::packed_text(&published).map_err(|error| fault(id, error))?;
        let about = format!("{} cells with all samples", source.set.cells.len());
        file(format!("{id}.{}", results::PACKED), about, &text)?;
    }
    Ok(files)
}

fn fault(page: &str, error: impl ToString) -> WriteError {
    WriteError::Page { page: page.into(), reason: error.to_string() }
}

fn records<'a>(board: &'a Board<'_>) -> Vec<Record<'a>> {
    let of_row = |row: &'a Row| {
        let everyone = board.modules.iter().map(|it| it.name.as_str()).zip(&row.figures);
        let wire = std::iter::once((results::INTERNAL, &row.wire));
        wire.chain(everyone).map(|(module, figure)| record(board, row, module, figure))
    };
    board.rows.iter().flat_map(of_row).collect()
}

fn record<'a>(
    board: &'a Board<'_>,
    row: &'a Row,
    module: &'a str,
    figure: &'a Figure,
) -> Record<'a> {
    Record {
        scenario: &board.scenarios[row.scenario].name,
        workload: &row.workload,
        metric: &row.about.metric,
        unit: row.about.unit.symbol(),
        better: row.about.better.word(),
        module,
        blocks: figure.tried,
        measured: figure.measured(),
        problem: figure.problem.map_or("", |problem| problem.word()),
        median: figure.median,
        low: figure.interval.map(|it| it.low),
        high: figure.interval.map(|it| it.high),
        ratio: figure.ratio.map(|it| it.median),
        counted: figure.factor.filter(|_| module != results::INTERNAL),
    }
}

fn table(records: &[Record<'_>]) -> Result<String, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records {
        writer.serialize(record).map_err(|error| error.to_string())?;
    }
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}
