//! The pictures that are not of one network: claims, NAT × NAT, one figure against another.

use askama::Template;
use meshbench::fabric::Scenario;
use meshbench::module::spec::Module;
use meshbench::results::ContractRecord;

use super::{Frame, module_page};
use crate::board::Board;
use crate::charts::{Chart, grid, pictures as charts, recovery};
use crate::claims::{Claim, claims};

#[derive(Template)]
#[template(path = "pictures.html")]
struct Page {
    frame: Frame,
    matrix_of: Vec<&'static str>,
    matrix: Vec<Line>,
    grids: Vec<Grid>,
    scatters: Vec<Group>,
    bars: Vec<Group>,
}

struct Line {
    title: String,
    href: String,
    cells: Vec<Cell>,
}

struct Cell {
    class: &'static str,
    mark: &'static str,
    seen: String,
}

struct Grid {
    title: String,
    href: String,
    svg: String,
}

struct Group {
    title: String,
    charts: Vec<Chart>,
}

/// Renders it.
///
/// # Errors
/// None that content could cause.
pub(crate) fn pictures(
    board: &Board<'_>,
    modules: &[Module],
    scenarios: &[Scenario],
    contracts: &[ContractRecord],
) -> Result<String, askama::Error> {
    let known = |name: &str| modules.iter().find(|it| *it.name == *name);
    let claimed: Vec<(String, String, Vec<Claim>)> = board
        .modules
        .iter()
        .filter_map(|it| {
            let claims = claims(board, known(&it.name)?, scenarios, contracts);
            Some((it.title.clone(), module_page(&it.name), claims))
        })
        .collect();
    let groups = |found: Vec<(String, Vec<Chart>)>| {
        found.into_iter().map(|(title, charts)| Group { title, charts }).collect()
    };
    Page {
        frame: Frame::new("Pictures", &board.folder, 0),
        matrix_of: claimed
            .first()
            .map(|(.., claims)| claims.iter().map(|it| it.title).collect())
            .unwrap_or_default(),
        matrix: claimed.into_iter().map(line).collect(),
        grids: board.modules.iter().filter_map(|it| small(board, &it.name, &it.title)).collect(),
        scatters: groups(charts::against(board)),
        bars: groups(
            [recovery::charts(board), charts::costs(board), charts::growth(board)].concat(),
        ),
    }
    .render()
}

fn line((title, href, claims): (String, String, Vec<Claim>)) -> Line {
    let cell = |claim: Claim| Cell {
        class: claim.standing.class(),
        mark: claim.standing.mark(),
        seen: claim.seen,
    };
    Line { title, href, cells: claims.into_iter().map(cell).collect() }
}

fn small(board: &Board<'_>, module: &str, title: &str) -> Option<Grid> {
    let (svg, _) = grid::chart(board, module)?;
    Some(Grid { title: title.into(), href: module_page(module), svg })
}
