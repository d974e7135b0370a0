//! What the script works with. Files of script rather than of JSON, since a page that is opened from disk may load
//! those, and nothing else. Every string in them came from JSON's own writer.

use serde::Serialize;

use meshbench::report::compare::Lack;
use meshbench::report::table::{bare_interval, humanise};
use meshbench::results::Better;
use meshbench::stats::{Comparison, Sides, Verdict, together};
use meshbench::text;

use crate::board::{Board, Figure, Row, sides};
use crate::pages::{evidence_page, module_page, scenario_page};
use crate::questions::Question;

#[derive(Serialize)]
struct Data<'a> {
    modules: Vec<[String; 3]>,
    scenarios: Vec<[String; 3]>,
    questions: Vec<[&'static str; 2]>,
    /// Workload, metric, question: what rows of several networks have in common.
    kinds: Vec<Kind<'a>>,
    /// Scenario, kind, weight, the figures of all modules.
    rows: Vec<(usize, usize, f64, String)>,
}

type Kind<'a> = (&'a str, &'a str, usize);

/// `data.js`: names, and what each figure counts for.
pub(crate) fn data(board: &Board<'_>) -> String {
    let modules = board.modules.iter();
    let scenarios = board.scenarios.iter();
    let mut kinds: Vec<Kind<'_>> = board.judged().map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let data = Data {
        modules: modules
            .map(|it| [it.name.clone(), it.title.clone(), module_page(&it.name)])
            .collect(),
        scenarios: scenarios
            .map(|it| [it.name.clone(), it.title.clone(), scenario_page(&it.name)])
            .collect(),
        questions: Question::ALL.iter().map(|it| [it.name(), it.asked()]).collect(),
        rows: board.judged().map(|it| row(it, &kinds)).collect(),
        kinds,
    };
    script("data", &data)
}

fn kind(row: &Row) -> Kind<'_> {
    (&row.workload, &row.about.metric, row.question as usize)
}

fn row(row: &Row, kinds: &[Kind<'_>]) -> (usize, usize, f64, String) {
    let figures = row.figures.iter().map(|figure| packed(figure, row.about.better));
    let figures = figures.collect::<Vec<_>>().join(",");
    let weight = (row.weight * 1e4).round() / 1e4;
    let kind = kinds.binary_search(&kind(row)).unwrap_or_default();
    (row.scenario, kind, weight, figures)
}

/// What it counts for, then letters: `p` measured in some blocks only, `f` `u` `s` in none; next to the wire `w`
/// worse, `a` alike, `q` undecided, `b` better. `m`: measured, and no more to say. Empty: never tried.
fn packed(figure: &Figure, better: Better) -> String {
    if figure.tried == 0 {
        return String::new();
    }
    if figure.measured() == 0 {
        let letter = match figure.problem {
            Some(Lack::Unsupported) => "u",
            Some(Lack::Skipped) => "s",
            _ => "f",
        };
        return letter.into();
    }
    let factor = figure.factor.map(|it| it.to_string()).unwrap_or_default();
    let part = if figure.measured() < figure.tried { "p" } else { "" };
    let sign = match (figure.alarm, figure.verdict) {
        (true, _) => "b",
        (_, Some(Verdict::Alike)) => "a",
        (_, Some(Verdict::Undecided)) => "q",
        (_, Some(Verdict::Larger)) if better == Better::Lower => "w",
        (_, Some(Verdict::Smaller)) if better == Better::Higher => "w",
        _ => "",
    };
    match format!("{factor}{part}{sign}") {
        bare if bare.is_empty() => "m".into(),
        told => told,
    }
}

/// `values/SCENARIO.js`: of each row of a network, for the wire and all modules, the median, its interval, and the page
/// of its evidence.
pub(crate) fn values(board: &Board<'_>, place: usize) -> String {
    let text = |row: &Row, figure: &Figure| match figure.median {
        None => String::new(),
        Some(median) => {
            let interval = figure
                .interval
                .map(|it| format!("|{}", bare_interval(it.low, it.high, median, row.about.unit)));
            humanise(median, row.about.unit) + &interval.unwrap_or_default()
        }
    };
    let rows: Vec<Vec<String>> = board
        .judged()
        .filter(|row| row.scenario == place)
        .map(|row| {
            let figures = std::iter::once(&row.wire).chain(&row.figures);
            figures.map(|figure| text(row, figure)).collect()
        })
        .collect();
    let name = &board.scenarios[place].name;
    let evidence: Vec<String> =
        board.modules.iter().map(|module| evidence_page(name, &module.name)).collect();
    script("values", &(place, rows, evidence))
}

/// `compare.js`: of each row, for each pair of modules, whether the first is better (`b`), worse (`w`), alike (`a`) or
/// neither (`q`), corrected among all rows of that pair. Who has figures is better than who was tried and has none; `-`
/// where neither has any, or one was never tried.
pub(crate) fn compare(board: &Board<'_>) -> String {
    let n = board.modules.len();
    let rows: Vec<&Row> = board.judged().collect();
    let mut letters = vec![String::new(); rows.len()];
    for i in 0..n {
        for j in i + 1..n {
            for (at, letter) in pair(&rows, i, j).into_iter().enumerate() {
                letters[at].push(letter);
            }
        }
    }
    script("pairs", &letters)
}

fn pair(rows: &[&Row], i: usize, j: usize) -> Vec<char> {
    let both = |row: &&Row| sides(&row.figures[i], &row.figures[j], row.about.better);
    let all: Vec<Option<(Sides, bool)>> = rows.iter().map(both).collect();
    let mut asked = Vec::new();
    for (row, sides) in rows.iter().zip(&all) {
        let noise = row.figures[i].noise.with(row.figures[j].noise);
        let rules = noise.rules(row.about.unit);
        asked.extend(sides.iter().map(|(sides, larger_is_worse)| Comparison {
            sides,
            rules,
            larger_is_worse: *larger_is_worse,
        }));
    }
    let mut judged = together(&asked).into_iter();
    let letter = |(&row, sides): (&&Row, &Option<(Sides, bool)>)| {
        let judged = sides.as_ref().and_then(|(_, worse)| Some((judged.next()?, *worse)));
        let Some((judged, larger_is_worse)) = judged else {
            return unmeasured(&row.figures[i], &row.figures[j]);
        };
        match (judged.verdict, larger_is_worse) {
            (Verdict::Larger, false) | (Verdict::Smaller, true) => 'b',
            (Verdict::Larger | Verdict::Smaller, _) => 'w',
            (Verdict::Alike, _) => 'a',
            _ => 'q',
        }
    };
    rows.iter().zip(&all).map(letter).collect()
}

/// Where at least one has no figures.
fn unmeasured(one: &Figure, other: &Figure) -> char {
    match (one.measured() > 0, other.measured() > 0) {
        (true, false) if other.tried > 0 => 'b',
        (false, true) if one.tried > 0 => 'w',
        _ => '-',
    }
}

fn script(name: &str, value: &impl Serialize) -> String {
    // Only a float that is no number has no JSON, and none is written.
    let json = text::json(&serde_json::to_string(value).unwrap_or_else(|_| "null".into()));
    format!("(window.meshbench=window.meshbench||[]).push([\"{name}\",{json}]);\n")
}
