//! Figures against each other, and outages one after the other.

use meshbench::report::table::humanise;
use meshbench::results::{Better, Unit, names};

use super::{Axis, Chart, Svg, Whose, dots};
use crate::board::{Board, Row};

pub(super) const SIDE: (f64, f64) = (640.0, 360.0);

/// For each network, the rate of a stream against the delay under load, where both were measured: what is fast and
/// what stays quick are two things.
pub(crate) fn against(board: &Board<'_>) -> Vec<(String, Vec<Chart>)> {
    let charts: Vec<Chart> = (0..board.scenarios.len())
        .filter_map(|place| {
            let rows: Vec<&Row> = board.rows_of(place).collect();
            let rate = rows.iter().find(|row| {
                row.workload.starts_with(names::TCP) && row.about.unit == Unit::BitsPerSecond
            })?;
            let delay = rows.iter().find(|row| {
                row.workload == names::LOADED && row.about.unit == Unit::Milliseconds
            })?;
            scatter(board, rate, delay)
        })
        .collect();
    if charts.is_empty() { Vec::new() } else { vec![("Fast and quick".into(), charts)] }
}

/// What is written or drawn on.
struct Area {
    from: (f64, f64),
    to: (f64, f64),
}

impl Area {
    fn of(x: f64, y: f64, width: f64, height: f64) -> Self {
        Self { from: (x, y), to: (x + width, y + height) }
    }

    fn meets(&self, other: &Self) -> bool {
        self.from.0 < other.to.0
            && other.from.0 < self.to.0
            && self.from.1 < other.to.1
            && other.from.1 < self.to.1
    }
}

/// Where the name of a dot begins: beside it, else as near as nothing else stands.
fn label((x, y): (f64, f64), name: &str, taken: &[Area]) -> ((f64, f64), Area) {
    let width = 6.4 * name.chars().count() as f64;
    // Left of the field are the marks of its axis.
    let sides = [x + 8.0, x - 8.0 - width].map(|left| left.clamp(72.0, SIDE.0 - width));
    let steps =
        (0..40).map(|step| f64::from((step + 1) / 2) * if step % 2 == 0 { 6.0 } else { -6.0 });
    let places = steps.flat_map(|step| sides.map(|left| (left, y + 4.0 + step)));
    let area = |(left, line): (f64, f64)| Area::of(left, line - 10.0, width, 12.0);
    let inside = |(_, line): &(f64, f64)| (12.0..SIDE.1 - 44.0).contains(line);
    let free = places.filter(inside).find(|it| !taken.iter().any(|other| area(*it).meets(other)));
    let place = free.unwrap_or((sides[0], y + 4.0));
    (place, area(place))
}

/// One row against another, a dot for each VPN.
fn scatter(board: &Board<'_>, x: &Row, y: &Row) -> Option<Chart> {
    let points: Vec<(Whose<'_>, f64, f64)> = board
        .modules
        .iter()
        .enumerate()
        .filter_map(|(at, module)| {
            Some((Whose::Vpn(&module.title), x.figures[at].median?, y.figures[at].median?))
        })
        .collect();
    let wire = x.wire.median.zip(y.wire.median).map(|(x, y)| (Whose::Wire, x, y));
    let all = || points.iter().chain(wire.iter());
    if points.len() < 2 {
        return None;
    }
    let (width, height) = SIDE;
    let across = Axis::of(all().map(|it| it.1), 70.0, width - 90.0)?;
    let up = Axis::of(all().map(|it| it.2), height - 40.0, 12.0)?;
    let mut svg = Svg::new(width, height);
    across.draw(&mut svg, x.about.unit, 8.0, height - 40.0);
    for tick in up.ticks() {
        svg.line("grid", (70.0, up.at(tick)), (width - 90.0, up.at(tick)));
        svg.text("tick end", (64.0, up.at(tick) + 4.0), &humanise(tick, y.about.unit));
    }
    let dots = all().map(|it| (across.at(it.1), up.at(it.2)));
    let mut taken: Vec<Area> = dots.map(|(x, y)| Area::of(x - 5.0, y - 5.0, 10.0, 10.0)).collect();
    for (whose, right, high) in all() {
        let (left, top) = (across.at(*right), up.at(*high));
        let name = whose.title();
        svg.dot(&format!("dot {}", whose.class()), (left, top), 4.0);
        let (place, area) = label((left, top), name, &taken);
        taken.push(area);
        svg.text("label", place, name);
    }
    let title = &board.scenarios[x.scenario].title;
    let caption = format!(
        "{title}: {} {} to the right, {} {} upwards. Right and low is best.",
        x.workload, x.about.metric, y.workload, y.about.metric
    );
    let said: Vec<String> = all()
        .map(|(whose, right, high)| {
            let (right, high) = (humanise(*right, x.about.unit), humanise(*high, y.about.unit));
            format!("{}: {right}, {high}", whose.title())
        })
        .collect();
    Some(Chart { svg: svg.finish(&format!("{title}. {}", said.join("; "))), caption })
}

/// What a byte costs: of the workload and network on which that says most, a stream on a line that nothing impairs.
pub(crate) fn costs(board: &Board<'_>) -> Vec<(String, Vec<Chart>)> {
    let clear = board.scenarios.iter().position(|it| it.links.is_empty());
    let place = clear.unwrap_or(0);
    let per_byte = |row: &&Row| {
        let unit = matches!(
            row.about.unit,
            Unit::NanosecondsPerByte | Unit::InstructionsPerByte | Unit::Ratio
        );
        row.scenario == place && row.workload == names::TCP && unit
    };
    let charts: Vec<Chart> =
        board.costs.iter().filter(per_byte).filter_map(|row| dots::chart(board, row)).collect();
    if charts.is_empty() {
        return Vec::new();
    }
    vec![(format!("What a byte costs: {}", board.scenarios[place].title), charts)]
}

/// What grows with the number of members, where that was measured on several networks.
pub(crate) fn growth(board: &Board<'_>) -> Vec<(String, Vec<Chart>)> {
    let members = |place: usize| {
        let count = board.rows_of(place).find(|row| row.about.metric == names::MEMBERS)?;
        let known = count.figures.iter().chain([&count.wire]).find_map(|it| it.median)?;
        Some((place, known, count.workload.as_str()))
    };
    let measured: Vec<(usize, f64, &str)> =
        (0..board.scenarios.len()).filter_map(members).collect();
    let Some((first, _, workload)) = measured.first() else { return Vec::new() };
    let rows = board.rows_of(*first).filter(|row| row.workload == *workload);
    let metrics = rows.filter(|row| row.about.better != Better::Neutral);
    let charts: Vec<Chart> = metrics
        .filter_map(|row| {
            if measured.len() > 1 { curves(board, row, &measured) } else { dots::chart(board, row) }
        })
        .collect();
    if charts.is_empty() { Vec::new() } else { vec![("As a mesh grows".into(), charts)] }
}

/// A metric against the number of members, a line for each VPN.
fn curves(board: &Board<'_>, about: &Row, measured: &[(usize, f64, &str)]) -> Option<Chart> {
    let row = |place: usize| {
        let same =
            |row: &&Row| row.workload == about.workload && row.about.metric == about.about.metric;
        board.rows_of(place).find(same)
    };
    let line = |at: usize| -> Vec<(f64, f64)> {
        let point = |(place, members, _): &(usize, f64, &str)| {
            Some((*members, row(*place)?.figures[at].median?))
        };
        let mut points: Vec<(f64, f64)> = measured.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let lines: Vec<(&str, Vec<(f64, f64)>)> = board
        .modules
        .iter()
        .enumerate()
        .map(|(at, module)| (module.title.as_str(), line(at)))
        .filter(|(_, points)| points.len() > 1)
        .collect();
    let (width, height) = SIDE;
    let points = || lines.iter().flat_map(|(_, points)| points.iter());
    let across = Axis::of(points().map(|it| it.0), 90.0, width - 110.0)?;
    let up = Axis::of(points().map(|it| it.1), height - 40.0, 12.0)?;
    let mut svg = Svg::new(width, height);
    across.draw(&mut svg, Unit::Count, 8.0, height - 40.0);
    for tick in up.ticks() {
        svg.line("grid", (90.0, up.at(tick)), (width - 110.0, up.at(tick)));
        svg.text("tick end", (84.0, up.at(tick) + 4.0), &humanise(tick, about.about.unit));
    }
    let mut said = Vec::new();
    for (title, points) in &lines {
        svg.path("curve vpn", points.iter().map(|(x, y)| (across.at(*x), up.at(*y))));
        let Some((x, y)) = points.last() else { continue };
        svg.text("label", (across.at(*x) + 6.0, up.at(*y) + 4.0), title);
        said.push(format!("{title}: {} of {x} members", humanise(*y, about.about.unit)));
    }
    let caption = format!(
        "{} {} upwards, the number of members to the right.",
        about.workload, about.about.metric
    );
    Some(Chart { svg: svg.finish(&said.join("; ")), caption })
}
