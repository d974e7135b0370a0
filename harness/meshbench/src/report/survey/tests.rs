use super::*;
use crate::report::table::aggregate;
use crate::results::sample::{self, cell, metric};
use crate::results::{Better, Clock, ContractContents, Outcome, OverlayPath, Promise, Unit};

const PLAIN: Style = Style { color: false, width: 100 };

fn set() -> ResultSet {
    let mut cells = Vec::new();
    for (module, factor) in [("internal", 1.0), ("wireguard", 0.8)] {
        for block in 1..=2 {
            let time = metric("time", Unit::Milliseconds, Better::Lower, 900.0 / factor);
            let rtt = metric("rtt", Unit::Milliseconds, Better::Lower, 2.0 / factor);
            let rate = metric("goodput-forward", Unit::BitsPerSecond, Better::Higher, 5e7 * factor);
            cells.push(cell(block, "lan", module, "connect", vec![time.clone()]));
            cells.push(cell(block, "lan", module, "ping", vec![rtt]));
            cells.push(cell(block, "lan", module, "tcp", vec![rate]));
            cells.push(cell(block, "home-dsl", module, "connect", vec![time]));
        }
    }
    cells[8].path = OverlayPath::Relayed;
    for at in [9, 13] {
        cells[at].outcome = Outcome::Failed {
            stage: "connect".into(),
            machine: Some("bob".into()),
            reason: "no answer".into(),
            evidence: vec![],
        };
        cells[at].metrics.clear();
    }
    ResultSet { run: sample::run(), cells }
}

fn finding(promise: Promise, kept: Option<bool>, seen: &str) -> Finding {
    Finding { promise, kept, seen: seen.into() }
}

fn surveyed(set: ResultSet) -> Surveyed {
    let rows = aggregate(&set.run, &set.cells, 0.01);
    Surveyed { set, rows }
}

fn draw(contract: Option<&[ContractRecord]>) -> String {
    render(&[surveyed(set())], contract, PLAIN).unwrap()
}

#[test]
fn each_module_side_by_side() {
    let records = [
        ContractRecord::of(
            "wireguard",
            vec![
                finding(Promise::IsEncrypted, Some(true), "0 of 90 packets"),
                finding(Promise::KeepsStrangersOut, Some(false), "reached\n10.77.0.2"),
            ],
        ),
        ContractRecord::of(
            "internal",
            vec![finding(Promise::KeepsStrangersOut, None, "does not claim to")],
        ),
    ];
    insta::assert_snapshot!(draw(Some(&records)), @"
    2026-11-23-a · TCG · 7 blocks · seed 42

    lan · Public sites, no impairment
     module      connects   after     path      inner MTU    RTT   to wire         TCP   to wire
    ─────────────────────────────────────────────────────────────────────────────────────────────
     internal    yes        900 ms    direct         1420   2 ms             50 Mbit/s
     wireguard   yes        1125 ms   direct,        1420                    40 Mbit/s     0.80×
                                      relayed
     ✗ ping wireguard  failed in connect on bob: no answer (blocks 1, 2)

    home-dsl · Two homes on DSL
     module      connects   after     path     inner MTU   RTT   to wire   TCP   to wire
    ─────────────────────────────────────────────────────────────────────────────────────
     internal    yes        900 ms    direct        1420
     wireguard   yes        1125 ms   direct        1420

    Modules
     module      version        1   2
    ──────────────────────────────────
     internal    -                  –
     wireguard   1.0.20210914   ✓   ✗
     ✗ wireguard keeps strangers out: reached 10.77.0.2

     1 is encrypted
     2 keeps strangers out
    ");
}

#[test]
fn what_was_not_tested_has_no_mark() {
    let text = draw(None);
    assert!(!text.contains('✓') && text.contains("1.0.20210914"), "{text}");
}

#[test]
fn the_modules_of_a_second_run_stand_below_their_own_wire() {
    let mut second = set();
    second.run.id = "2026-11-23-b".into();
    for module in second.run.modules.iter_mut().filter(|module| module.name == "wireguard") {
        module.name = "nebula".into();
        module.version = Some("nebula 1.9".into());
    }
    for cell in second.cells.iter_mut().filter(|cell| cell.key.module == "wireguard") {
        cell.key.module = "nebula".into();
    }
    let text = render(&[surveyed(set()), surveyed(second)], None, PLAIN).unwrap();
    let lan: Vec<&str> = text.split("home-dsl").next().unwrap().lines().collect();
    let first = |line: &&str| line.split_whitespace().next().unwrap_or_default().to_owned();
    let names: Vec<String> = lan.iter().map(first).filter(|n| !n.is_empty()).collect();
    let at = |name: &str| names.iter().rposition(|known| known == name).unwrap();
    assert!(at("wireguard") < at("internal") && at("internal") < at("nebula"), "{text}");
    assert_eq!(names.iter().filter(|name| *name == "internal").count(), 2, "{text}");
    assert!(text.contains("nebula 1.9"), "{text}");
}

#[test]
fn runs_of_two_clocks_are_in_no_table() {
    let mut second = set();
    second.run.id = "another".into();
    second.run.clock = Clock::Virtual;
    let both = [surveyed(second.clone()), surveyed(set())];
    let error = render(&both, None, PLAIN).unwrap_err().to_string();
    let says = "2026-11-23-a was measured in real time and another in virtual time";
    assert!(error.starts_with(says), "{error}");
    assert!(render(&[surveyed(second)], None, PLAIN).is_ok());
}

#[test]
fn a_contract_of_other_contents_than_what_was_measured_is_told() {
    let mut set = set();
    set.run.modules.iter_mut().for_each(|module| module.sha256 = Some("aa".into()));
    let guest = set.run.guests[0].nar_hash.clone();
    let drawn = |sha256: &str, guest: &str, clock| {
        let contents = ContractContents {
            module_sha256: Some(sha256.into()),
            guest_nar_hash: Some(guest.into()),
            harness_version: "0.1.0".into(),
            harness_revision: None,
        };
        let record = ContractRecord {
            clock: Some(clock),
            contents: Some(contents),
            ..ContractRecord::of("wireguard", vec![finding(Promise::ComesUp, Some(true), "1 ms")])
        };
        render(&[surveyed(set.clone())], Some(&[record]), PLAIN).unwrap()
    };
    let said = " ! wireguard its promises were checked of other";
    assert!(!drawn("aa", &guest, Clock::Real).contains(said));
    let edited = drawn("bb", &guest, Clock::Real);
    let expected = format!("{said} files of the module than 2026-11-23-a measured");
    assert!(edited.contains(&expected), "{edited}");
    assert!(drawn("aa", "sha256-other", Clock::Real).contains(&format!("{said} guests")));
    assert!(!drawn("aa", "sha256-other", Clock::Virtual).contains(said), "each clock has its own");
}
