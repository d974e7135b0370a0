//! NAT × NAT: which pairs of gateways a VPN gets through.

use meshbench::fabric::KINDS;
use meshbench::results::{CellRecord, Outcome, OverlayPath, ScenarioRecord};

use super::Svg;
use crate::board::{self, Board};

const CELL: f64 = 26.0;
const NAMES: f64 = 110.0;

/// How a pair of gateways was got through, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Direct,
    Connected,
    Relayed,
    NotClaimed,
    Failed,
}

impl Way {
    const ALL: [Self; 5] =
        [Self::Direct, Self::Connected, Self::Relayed, Self::NotClaimed, Self::Failed];

    fn of(cell: &CellRecord) -> Self {
        match (&cell.outcome, cell.path) {
            (Outcome::Ok {}, OverlayPath::Relayed) => Self::Relayed,
            (Outcome::Ok {}, OverlayPath::Direct) => Self::Direct,
            (Outcome::Ok {}, OverlayPath::Unknown) => Self::Connected,
            (Outcome::Failed { .. }, _) => Self::Failed,
            (Outcome::Unsupported { .. } | Outcome::Skipped { .. }, _) => Self::NotClaimed,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Connected => "connected",
            Self::Relayed => "relayed",
            Self::NotClaimed => "not claimed",
            Self::Failed => "failed",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Direct => "●",
            Self::Connected => "○",
            Self::Relayed => "◐",
            Self::NotClaimed => "–",
            Self::Failed => "✗",
        }
    }

    /// In the style sheet.
    fn class(self) -> &'static str {
        match self {
            Self::Direct | Self::Connected => "direct",
            Self::Relayed => "relayed",
            Self::NotClaimed => "unsupported",
            Self::Failed => "failed",
        }
    }
}

/// A field of the grid of a module.
pub(crate) struct Field<'a> {
    /// Name of its network.
    pub(crate) scenario: &'a str,
    /// The kinds of gateway of the side that begins, and of the other.
    pub(crate) kinds: (&'a str, &'a str),
    /// How each block ended, the worst last.
    ways: Vec<Way>,
}

impl Field<'_> {
    /// The worst that happened: a seed that got through makes none good that did not.
    fn way(&self) -> Option<Way> {
        self.ways.last().copied()
    }

    /// How it ended, in words: of blocks that differ, each way with its number.
    pub(crate) fn words(&self) -> String {
        let count = |way: &Way| self.ways.iter().filter(|it| *it == way).count();
        let ways: Vec<(Way, usize)> =
            Way::ALL.iter().map(|way| (*way, count(way))).filter(|it| it.1 > 0).collect();
        match ways.as_slice() {
            [(way, _)] => way.word().into(),
            many => {
                let each = many.iter().map(|(way, count)| format!("{count} {}", way.word()));
                each.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// The fields of a module that were measured, from what lets everything in to what lets nothing.
pub(crate) fn fields<'a>(board: &'a Board<'_>, module: &str) -> Vec<Field<'a>> {
    let Some(grid) = &board.grid else { return Vec::new() };
    let field = |scenario: &&'a ScenarioRecord| {
        let cells = grid.pool.current.values().map(|it| it.record);
        let own = cells.filter(|it| it.key.module == module && it.key.scenario == scenario.name);
        let mut ways: Vec<Way> = own.map(Way::of).collect();
        ways.sort_unstable();
        let field = Field { scenario: &scenario.name, kinds: board::kinds(scenario)?, ways };
        (!field.ways.is_empty()).then_some(field)
    };
    let mut fields: Vec<Field<'a>> = grid.scenarios.iter().filter_map(field).collect();
    fields.sort_by_key(|it| (place(it.kinds.0), place(it.kinds.1)));
    fields
}

/// Of a kind among all.
fn place(kind: &str) -> (usize, &str) {
    (KINDS.iter().position(|it| it.name == kind).unwrap_or(usize::MAX), kind)
}

/// The grid of a module, and what it says in words; none where it was not measured.
pub(crate) fn chart(board: &Board<'_>, module: &str) -> Option<(String, String)> {
    let fields = fields(board, module);
    if fields.is_empty() {
        return None;
    }
    let mut kinds: Vec<&str> = fields.iter().flat_map(|it| [it.kinds.0, it.kinds.1]).collect();
    kinds.sort_unstable_by_key(|it| place(it));
    kinds.dedup();
    let side = kinds.len() as f64 * CELL;
    let mut svg = Svg::new(NAMES + side + 10.0, side + 80.0);
    for (row, kind) in kinds.iter().enumerate() {
        let y = row as f64 * CELL + 4.0;
        svg.text("name end", (NAMES - 6.0, y + CELL / 2.0 + 4.0), kind);
        svg.text("name turned", (NAMES + y + CELL / 2.0, side + 12.0), kind);
    }
    for field in &fields {
        let at = |kind: &str| kinds.iter().position(|it| *it == kind).unwrap_or(0) as f64 * CELL;
        let (x, y) = (NAMES + at(field.kinds.1), at(field.kinds.0) + 4.0);
        let Some(way) = field.way() else { continue };
        svg.rect(&format!("field {}", way.class()), (x, y), (CELL - 2.0, CELL - 2.0));
        svg.text("mark mid", (x + CELL / 2.0 - 1.0, y + CELL / 2.0 + 4.0), way.sign());
    }
    let words = words(&fields);
    Some((svg.finish(&words), words))
}

fn words(fields: &[Field<'_>]) -> String {
    let count = |way: &Way| fields.iter().filter(|it| it.way() == Some(*way)).count();
    let seen = Way::ALL.iter().filter(|way| count(way) > 0);
    let seen: Vec<String> = seen.map(|way| format!("{} {}", count(way), way.word())).collect();
    let differ = fields.iter().filter(|it| it.ways.first() != it.ways.last()).count();
    let differ = match differ {
        0 => String::new(),
        some => format!(" On {some} of them blocks differ, and the worst is shown."),
    };
    format!(
        "Of {} pairs of gateways: {}.{differ} Rows are the side that begins, columns the other: ● direct, ○ connected, ◐ \
         relayed, ✗ failed, – not claimed.",
        fields.len(),
        seen.join(", ")
    )
}
