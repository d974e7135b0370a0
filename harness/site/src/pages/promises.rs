//! What modules promise, and what the contract test found.

use meshbench::results::ContractRecord;

use super::card::{Card, Ranked};
use super::module_page;
use crate::board::Board;
use crate::words::{count, list};

/// Who kept all promises and who broke some. A promise is kept or broken: there is no interval.
pub(super) fn card(board: &Board<'_>, contracts: &[ContractRecord]) -> Option<Card> {
    let own = |record: &&ContractRecord| board.modules.iter().any(|it| it.name == record.module);
    let mut records: Vec<&ContractRecord> = contracts.iter().filter(own).collect();
    if records.is_empty() {
        return None;
    }
    records.sort_by_key(|record| (broken(record), record.module.clone()));
    let untested = board.modules.len() - records.len();
    Some(Card {
        id: "for-promises".into(),
        title: "Does it keep its promises?".into(),
        wants: "Encrypted on the wire, closed to strangers, nothing left behind: tested by `bench contract`.".into(),
        verdict: verdict(board, &records),
        tiers: tiers(board, &records),
        sure: "A promise is kept or broken; found on public addresses, once.".into(),
        unranked: (untested > 0)
            .then(|| format!("{} not tested.", count(untested, "VPN")))
            .into_iter()
            .collect(),
        ..Card::default()
    })
}

/// Those who broke as many, side by side; of records in that order.
fn tiers(board: &Board<'_>, records: &[&ContractRecord]) -> Vec<Vec<Ranked>> {
    let alike = records.chunk_by(|one, other| broken(one) == broken(other));
    let mut better = 0;
    alike
        .map(|tier| {
            let ranks = match tier.len() {
                1 => (better + 1).to_string(),
                like => format!("{}–{}", better + 1, better + like),
            };
            better += tier.len();
            tier.iter().map(|record| ranked(board, record, &ranks)).collect()
        })
        .collect()
}

fn ranked(board: &Board<'_>, record: &ContractRecord, ranks: &str) -> Ranked {
    let kept = record.findings.iter().filter(|finding| finding.kept == Some(true)).count();
    let made = record.findings.iter().filter(|finding| finding.kept.is_some()).count();
    Ranked {
        title: title(board, record).to_owned(),
        href: format!("{}#promises", module_page(&record.module)),
        ranks: ranks.to_owned(),
        score: String::new(),
        interval: String::new(),
        works: String::new(),
        whole: format!("{kept}/{made}"),
        part: kept < made,
        reach: String::new(),
    }
}

fn verdict(board: &Board<'_>, records: &[&ContractRecord]) -> String {
    let (kept, others): (Vec<&ContractRecord>, Vec<&ContractRecord>) =
        records.iter().copied().partition(|record| broken(record) == 0);
    let others: Vec<&str> = others.iter().map(|record| title(board, record)).collect();
    match (kept.is_empty(), others.is_empty()) {
        (_, true) => format!("All {} kept every promise that was tested.", records.len()),
        (true, _) => format!("Nobody kept every promise: {} broke some.", list(&others)),
        _ => format!(
            "{} of {} kept every promise; {} did not.",
            kept.len(),
            records.len(),
            list(&others)
        ),
    }
}

fn broken(record: &ContractRecord) -> usize {
    record.findings.iter().filter(|finding| finding.kept == Some(false)).count()
}

fn title<'a>(board: &'a Board<'_>, record: &'a ContractRecord) -> &'a str {
    let known = board.modules.iter().find(|it| it.name == record.module);
    known.map_or(&record.module, |known| &known.title)
}
