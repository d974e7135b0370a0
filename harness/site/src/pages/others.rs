//! Figures of others, as they were published.

use askama::Template;
use meshbench::results::{ExternalFigure, ExternalMetric, ExternalSet};

use super::Frame;

#[derive(Template)]
#[template(path = "others.html")]
struct Page<'a> {
    frame: Frame,
    set: &'a ExternalSet,
    tables: Vec<Table>,
}

struct Table {
    title: String,
    lines: Vec<Line>,
}

struct Line {
    name: String,
    cells: Vec<String>,
}

/// Renders them: a table a metric.
///
/// # Errors
/// None that content could cause.
pub(crate) fn others(set: &ExternalSet) -> Result<String, askama::Error> {
    let frame = Frame::new(&set.title, "", 1);
    let tables = set.metrics.iter().map(|metric| table(set, metric)).collect();
    Page { frame, set, tables }.render()
}

fn table(set: &ExternalSet, metric: &ExternalMetric) -> Table {
    let line = |module: &str| {
        let cell = |network: &meshbench::results::ExternalNetwork| {
            set.figure(module, &network.name, &metric.name).map(shown).unwrap_or_default()
        };
        Line { name: module.into(), cells: set.networks.iter().map(cell).collect() }
    };
    let lines = set.modules().into_iter().map(line).collect();
    Table { title: format!("{} in {}", metric.name, metric.unit), lines }
}

fn shown(figure: &ExternalFigure) -> String {
    let ExternalFigure { value, ok, of } = figure;
    let part = if ok == of { String::new() } else { format!(" ({ok} of {of})") };
    value.map_or("failed".into(), |value| format!("{value}{part}"))
}
