//! Figures of others, as they were published.

use askama::Template;
use meshbench::module::spec::Module;
use meshbench::results::{ExternalFigure, ExternalMetric, ExternalSet, INTERNAL};

use super::Frame;
use crate::words::WIRE;

#[derive(Template)]
#[template(path = "others.html")]
struct Page<'a> {
    frame: Frame,
    set: &'a ExternalSet,
    networks: Vec<String>,
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
pub(crate) fn others(set: &ExternalSet, known: &[Module]) -> Result<String, askama::Error> {
    let frame = Frame::new(&set.title, "", 1);
    let tables = set.metrics.iter().map(|metric| table(set, known, metric)).collect();
    let networks = set.networks.iter().map(|it| readable(&it.name)).collect();
    Page { frame, set, networks, tables }.render()
}

fn table(set: &ExternalSet, known: &[Module], metric: &ExternalMetric) -> Table {
    let line = |module: &str| {
        let cell = |network: &meshbench::results::ExternalNetwork| {
            set.figure(module, &network.name, &metric.name).map(shown).unwrap_or_default()
        };
        let title = known.iter().find(|it| *it.name == *module).map(|it| it.spec.title.as_str());
        let name = if module == INTERNAL { WIRE } else { title.unwrap_or(module) };
        Line { name: name.into(), cells: set.networks.iter().map(cell).collect() }
    };
    let lines = set.modules().into_iter().map(line).collect();
    Table { title: format!("{} in {}", readable(&metric.name), metric.unit), lines }
}

fn shown(figure: &ExternalFigure) -> String {
    let ExternalFigure { value, ok, of } = figure;
    let part = if ok == of { String::new() } else { format!(" ({ok} of {of})") };
    value.map_or("failed".into(), |value| format!("{}{part}", digits(value)))
}

/// A name of theirs in words.
fn readable(name: &str) -> String {
    let words = name.split('_').map(|word| match word {
        "tcp" | "udp" | "quic" | "rtt" | "ttfb" | "rist" => word.to_uppercase(),
        "fwd" => "forward".into(),
        "rev" => "reverse".into(),
        "avg" => "mean".into(),
        _ => word.into(),
    });
    words.collect::<Vec<String>>().join(" ")
}

/// Three digits, and all of those before the point.
fn digits(value: f64) -> String {
    let before = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let after = usize::try_from(2 - before).unwrap_or(0).min(6);
    let text = format!("{value:.after$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(937.426_519, "937")]
    #[case(12_345.6, "12346")]
    #[case(1.0, "1")]
    #[case(0.012_345, "0.0123")]
    #[case(10.04, "10")]
    #[case(0.0, "0")]
    fn figures_have_three_digits(#[case] value: f64, #[case] want: &str) {
        assert_eq!(digits(value), want);
    }

    #[test]
    fn names_are_words() {
        assert_eq!(readable("tcp_fwd_sender"), "TCP forward sender");
        assert_eq!(readable("low_impairment"), "low impairment");
    }
}
