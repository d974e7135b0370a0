//! NAT × NAT: which pairs of gateways a VPN gets through.

use meshbench::fabric::KINDS;
use meshbench::results::{CellRecord, Outcome, OverlayPath};

use super::Svg;
use crate::board::Board;

const CELL: f64 = 26.0;
const NAMES: f64 = 110.0;

/// What a field of the grid shows: sign, class, word.
fn field(cell: &CellRecord) -> (&'static str, &'static str, &'static str) {
    match (&cell.outcome, cell.path) {
        (Outcome::Ok {}, OverlayPath::Relayed) => ("◐", "relayed", "relayed"),
        (Outcome::Ok {}, OverlayPath::Direct) => ("●", "direct", "direct"),
        (Outcome::Ok {}, OverlayPath::Unknown) => ("○", "direct", "connected"),
        (Outcome::Failed { .. }, _) => ("✗", "failed", "failed"),
        _ => ("–", "unsupported", "not claimed"),
    }
}

/// Kinds of a module's grid, from what lets everything in to what lets nothing.
fn kinds<'a>(board: &Board<'a>, module: &str) -> Vec<&'a str> {
    let own = board.grid.keys().filter(|(name, ..)| *name == module);
    let mut kinds: Vec<&str> = own.flat_map(|(_, alice, bob)| [*alice, *bob]).collect();
    let place = |name: &str| KINDS.iter().position(|kind| kind.name == name).unwrap_or(usize::MAX);
    kinds.sort_unstable_by_key(|name| (place(name), *name));
    kinds.dedup();
    kinds
}

/// The grid of a module, and what it says in words; none where it was not measured.
pub(crate) fn chart(board: &Board<'_>, module: &str) -> Option<(String, String)> {
    let kinds = kinds(board, module);
    if kinds.is_empty() {
        return None;
    }
    let side = kinds.len() as f64 * CELL;
    let mut svg = Svg::new(NAMES + side + 10.0, side + 80.0);
    let mut counts =
        [("direct", 0), ("connected", 0), ("relayed", 0), ("failed", 0), ("not claimed", 0)];
    for (row, alice) in kinds.iter().enumerate() {
        let y = row as f64 * CELL + 4.0;
        svg.text("name end", (NAMES - 6.0, y + CELL / 2.0 + 4.0), alice);
        svg.text("name turned", (NAMES + y + CELL / 2.0, side + 12.0), alice);
        for (column, bob) in kinds.iter().enumerate() {
            let x = NAMES + column as f64 * CELL;
            let Some(cell) = board.grid.get(&(module, *alice, *bob)) else { continue };
            let (sign, class, word) = field(cell);
            svg.rect(&format!("field {class}"), (x, y), (CELL - 2.0, CELL - 2.0));
            svg.text("mark mid", (x + CELL / 2.0 - 1.0, y + CELL / 2.0 + 4.0), sign);
            counts.iter_mut().filter(|(name, _)| *name == word).for_each(|(_, count)| *count += 1);
        }
    }
    let seen: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let words = format!(
        "Of {} pairs of gateways: {}. Rows are the side that begins, columns the other: ● direct, ○ connected, ◐ relayed, \
         ✗ failed, – not claimed.",
        kinds.len() * kinds.len(),
        seen.join(", ")
    );
    Some((svg.finish(&words), words))
}
