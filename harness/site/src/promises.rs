//! What modules promise, and what the contract test found.

use meshbench::results::ContractRecord;

use crate::board::Board;
use crate::pages::{Card, Ranked, module_page};
use crate::words::{count, list};

/// Who kept all promises and who broke some. A promise is kept or broken: there is no interval.
pub(crate) fn card(board: &Board<'_>, contracts: &[ContractRecord]) -> Option<Card> {
    let own = |record: &&ContractRecord| board.modules.iter().any(|it| it.name == record.module);
    let mut records: Vec<&ContractRecord> = contracts.iter().filter(own).collect();
    if records.is_empty() {
        return None;
    }
    records.sort_by_key(|record| (broken(record), record.module.clone()));
    let mut tiers: Vec<Vec<Ranked>> = Vec::new();
    let mut last = None;
    for record in &records {
        let own = broken(record);
        if last.replace(own) != Some(own) {
            tiers.push(Vec::new());
        }
        let better = records.iter().filter(|other| broken(other) < own).count();
        let like = records.iter().filter(|other| broken(other) == own).count();
        let ranks = match like {
            1 => (better + 1).to_string(),
            _ => format!("{}–{}", better + 1, better + like),
        };
        let kept = record.findings.iter().filter(|finding| finding.kept == Some(true)).count();
        let made = record.findings.iter().filter(|finding| finding.kept.is_some()).count();
        let title =
            board.modules.iter().find(|it| it.name == record.module).map(|it| it.title.clone());
        let ranked = Ranked {
            title: title.unwrap_or_else(|| record.module.clone()),
            href: module_page(&record.module),
            ranks,
            score: String::new(),
            interval: String::new(),
            works: String::new(),
            whole: format!("{kept}/{made}"),
        };
        tiers.last_mut().into_iter().for_each(|tier| tier.push(ranked.clone()));
    }
    let kept: Vec<&str> =
        records.iter().filter(|it| broken(it) == 0).map(|it| title(board, it)).collect();
    let others: Vec<&str> =
        records.iter().filter(|it| broken(it) > 0).map(|it| title(board, it)).collect();
    let verdict = match (kept.is_empty(), others.is_empty()) {
        (_, true) => format!("All {} kept every promise that was tested.", records.len()),
        (true, _) => format!("Nobody kept every promise: {} broke some.", list(&others)),
        _ => format!(
            "{} of {} kept every promise; {} did not.",
            kept.len(),
            records.len(),
            list(&others)
        ),
    };
    let untested = board.modules.len() - records.len();
    Some(Card {
        id: "for-promises".into(),
        title: "Does it keep its promises?".into(),
        wants: "Encrypted on the wire, closed to strangers, nothing left behind: tested by `bench contract`.".into(),
        verdict,
        tiers,
        sure: "A promise is kept or broken; found on public addresses, once.".into(),
        unranked: (untested > 0)
            .then(|| format!("{} not tested.", count(untested, "VPN")))
            .into_iter()
            .collect(),
    })
}

fn broken(record: &ContractRecord) -> usize {
    record.findings.iter().filter(|finding| finding.kept == Some(false)).count()
}

fn title<'a>(board: &'a Board<'_>, record: &'a ContractRecord) -> &'a str {
    let known = board.modules.iter().find(|it| it.name == record.module);
    known.map_or(&record.module, |known| &known.title)
}
