use super::humanise;
use crate::results::{CellRecord, Direction, LinkRecord, Unit};

/// A link passes its proof with more (15 % of its rate): what lies between is said.
const RATE: f64 = 0.1;
const DELAY: f64 = 0.1;
/// The proof's datagrams wait on the wire for one another.
const DELAY_MS: f64 = 3.0;

/// The links of a cell that were off their calibration, in words.
pub(super) fn off(cell: &CellRecord) -> impl Iterator<Item = String> {
    cell.links.iter().flat_map(|link| [rate(link), delay(link)]).flatten()
}

fn rate(link: &LinkRecord) -> Option<String> {
    let asked = link.configured.rate_bits_per_second?;
    let seen = link.measured.rate_bits_per_second?;
    let text = |rate| humanise(rate, Unit::BitsPerSecond);
    off_by(link, (asked, seen), asked * RATE, "rate", &text)
}

fn delay(link: &LinkRecord) -> Option<String> {
    let (asked, seen) = (link.configured.delay_ms?, link.measured.delay_ms?);
    let allowed = asked * DELAY + DELAY_MS + link.configured.jitter_ms.unwrap_or(0.0);
    off_by(link, (asked, seen), allowed, "delay", &|ms| humanise(ms, Unit::Milliseconds))
}

fn off_by(
    link: &LinkRecord,
    (asked, seen): (f64, f64),
    allowed: f64,
    what: &str,
    text: &dyn Fn(f64) -> String,
) -> Option<String> {
    let way = match link.direction {
        Direction::Up => "up",
        Direction::Down => "down",
    };
    ((seen - asked).abs() > allowed).then(|| {
        format!("link {} {way}: {what} {} instead of {}", link.site, text(seen), text(asked))
    })
}
