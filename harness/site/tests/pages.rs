//! What pages say, and what they cost.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::fixture::{Plan, write};
use common::{page, site};
use meshbench::results::{CellRecord, Clock, Metric, Outcome, Unit};
use meshbench::workload::Workload;
use meshbench_site::board::Board;
use meshbench_site::rank::rank;
use meshbench_site::{Known, Site, load};

/// At most so much is read before evidence is opened, for 16 VPNs on 16 networks with 25 workloads.
const BUDGET: u64 = 300_000;

fn pages(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(pages(&path)) } else { found.push(path) }
    }
    found.retain(|path| path.extension().is_some_and(|it| it == "html"));
    found
}

#[test]
fn the_first_page_of_a_large_set_is_within_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let modules = (1..=16).map(|at| (format!("vpn-number-{at}"), 1.0 + 0.1 * f64::from(at)));
    let checks = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../checks")).unwrap();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    // Those that readers know, so that their answers are there, too.
    let files = checks.map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let mut scenarios: Vec<String> = files.map(stem).collect();
    scenarios.sort_unstable();
    scenarios.truncate(16);
    let plan = Plan {
        modules: modules.collect(),
        scenarios,
        workloads: Workload::all().iter().map(|it| it.name().to_owned()).collect(),
        blocks: 3,
        samples: 0,
        ..Plan::default()
    };
    let place = dir.path().join("set.jsonl");
    let mut set = plan.set();
    assert!(plan.workloads.len() >= 25, "as many as there are");
    set.cells.iter_mut().filter(|cell| cell.outcome.is_ok()).for_each(all_of_its_metrics);
    let published = meshbench::results::Published {
        set,
        by: "x".into(),
        texts: Default::default(),
        noise: None,
    };
    meshbench::results::save_packed(&place, &published).unwrap();
    let loaded = load(&[place]);
    let known = Known::default();
    let out = dir.path().join("site");
    Site::new(&loaded, &known).unwrap().write(&out).unwrap();
    let size = |name: &str| fs::metadata(out.join(name)).unwrap().len();
    let files = ["index.html", "site.css", "site.js", "data.js"].map(|name| (name, size(name)));
    let all: u64 = files.iter().map(|(_, size)| size).sum();
    println!("{all} bytes: {files:?}");
    assert!(all <= BUDGET, "{all} bytes: {files:?}");
}

/// Every metric that a workload may tell, with values of as many digits as measured ones have.
fn all_of_its_metrics(cell: &mut CellRecord) {
    let spread = f64::from(cell.key.block) + cell.key.module.len() as f64 / 7.0;
    let value = |unit, at: usize| match unit {
        Unit::Percent => (7.3 * spread * (at + 1) as f64) % 100.0,
        Unit::OpinionScore => 1.0 + (0.37 * spread * (at + 1) as f64) % 3.5,
        Unit::BitsPerSecond => 1.234_567e6 * spread * (at + 1) as f64,
        _ => 12.345_678 * spread * (at + 1) as f64,
    };
    let spec = Workload::named(&cell.key.workload).unwrap().spec();
    let metrics = spec.metrics.iter().enumerate().map(|(at, measure)| Metric {
        name: measure.name.into(),
        unit: measure.unit,
        better: measure.better,
        value: value(measure.unit, at),
        samples: Vec::new(),
    });
    cell.metrics = metrics.collect();
}

#[test]
fn no_page_asks_anyone_else_for_anything() {
    let dir = tempfile::tempdir().unwrap();
    let out = site(dir.path(), &[Plan::default()]);
    for path in pages(&out) {
        let page = fs::read_to_string(&path).unwrap();
        for attribute in
            ["src=\"http", "src=\"//", "<link rel=\"stylesheet\" href=\"http", "@import", "url("]
        {
            assert!(!page.contains(attribute), "{attribute} in {}", path.display());
        }
        assert!(page.contains("Content-Security-Policy"), "{}", path.display());
    }
}

#[test]
fn every_link_leads_somewhere() {
    let dir = tempfile::tempdir().unwrap();
    let out = site(
        dir.path(),
        &[Plan::default(), Plan { id: "real".into(), clock: Clock::Real, ..Plan::default() }],
    );
    let mut seen = 0;
    for path in pages(&out) {
        let page = fs::read_to_string(&path).unwrap();
        for link in page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            // An anchor with a `=` is a choice in the table.
            let other = file.starts_with("http") || file.starts_with("data:");
            if other || anchor.contains('=') {
                continue;
            }
            let target =
                if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.is_file(), "{link} in {}", path.display());
            if !anchor.is_empty() {
                let there = fs::read_to_string(&target).unwrap();
                assert!(
                    there.contains(&format!("id=\"{anchor}\"")),
                    "{link} in {}",
                    path.display()
                );
            }
            seen += 1;
        }
    }
    assert!(seen > 500, "{seen}");
}

/// Text that tries to become markup wherever a result may say something.
#[test]
fn hostile_text_stays_text() {
    const EVIL: &str =
        "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u{2028}{{7*7}}</title>";
    let dir = tempfile::tempdir().unwrap();
    let mut set = Plan { blocks: 3, ..Plan::default() }.set();
    set.run.environment.host_cpu = EVIL.into();
    set.run.environment.qemu_version = EVIL.into();
    set.run.environment.accelerator_reason = EVIL.into();
    set.run.environment.harness_revision = Some(EVIL.into());
    set.run.command = vec![EVIL.into()];
    for module in &mut set.run.modules {
        (module.title, module.version) = (EVIL.into(), Some(EVIL.into()));
        module.choices = vec![EVIL.into()];
    }
    for scenario in &mut set.run.scenarios {
        scenario.title = EVIL.into();
    }
    for cell in &mut set.cells {
        if let Outcome::Failed { stage, machine, reason, evidence } = &mut cell.outcome {
            (*stage, *machine, *reason) = (EVIL.into(), Some(EVIL.into()), EVIL.into());
            *evidence = vec![EVIL.replace('/', "")];
        }
    }
    let place = dir.path().join("set.jsonl");
    let texts = [(EVIL.replace('/', ""), EVIL.to_owned())].into();
    let published = meshbench::results::Published { set, by: EVIL.into(), texts, noise: None };
    meshbench::results::save_packed(&place, &published).unwrap();
    let loaded = load(&[place]);
    assert_eq!(loaded.problems, []);
    let known = Known::default();
    let out = dir.path().join("site");
    Site::new(&loaded, &known).unwrap().write(&out).unwrap();
    let mut said = 0;
    for path in pages(&out) {
        let page = fs::read_to_string(&path).unwrap();
        assert!(!page.contains("<script>") && !page.contains("<img"), "{}", path.display());
        assert!(!page.contains("'><"), "{}", path.display());
        said += page.matches("alert(1)").count();
    }
    assert!(said > 100, "the text is shown {said} times");
    for name in ["data.js", "values/lan.js", "compare.js"] {
        let script = fs::read_to_string(out.join(name)).unwrap();
        assert_eq!(script.lines().count(), 1, "{name}");
    }
}

/// The defects of js-framework-benchmark's table, one by one.
mod defects {
    use super::*;

    fn score(plan: &Plan, change: impl Fn(&mut meshbench::results::ResultSet)) -> f64 {
        let dir = tempfile::tempdir().unwrap();
        let mut set = plan.set();
        change(&mut set);
        write(&dir.path().join("set"), &set);
        let loaded = load(&[dir.path().join("set")]);
        let boards = Board::all(&loaded.sources);
        let ranking = rank(&boards[0], |_| true);
        let at = boards[0].modules.iter().position(|it| it.name == "nebula").unwrap();
        ranking.entries.iter().find(|entry| entry.module == at).unwrap().score
    }

    fn plan() -> Plan {
        Plan { blocks: 3, scenarios: vec!["lan".into(), "home-dsl".into()], ..Plan::default() }
    }

    #[test]
    fn a_missing_result_never_improves_a_score() {
        let all = score(&plan(), |_| {});
        let is = |cell: &&mut meshbench::results::CellRecord| {
            cell.key.module == "nebula"
                && cell.key.workload == "connect"
                && cell.key.scenario == "lan"
        };
        let failed = score(&plan(), |set| {
            for cell in set.cells.iter_mut().filter(is) {
                cell.metrics.clear();
                cell.outcome = Outcome::Skipped { reason: "not today".into() };
            }
        });
        let one_block = score(&plan(), |set| {
            for cell in set.cells.iter_mut().filter(is).take(1) {
                cell.metrics.clear();
                cell.outcome = Outcome::Skipped { reason: "not today".into() };
            }
        });
        assert!(failed > one_block && one_block > all, "{failed} {one_block} {all}");
    }

    #[test]
    fn a_score_does_not_depend_on_who_else_takes_part() {
        let all = score(&plan(), |_| {});
        let alone = Plan {
            modules: plan().modules.into_iter().filter(|it| it.0 == "nebula").collect(),
            ..plan()
        };
        assert_eq!(all, score(&alone, |_| {}));
    }

    #[test]
    fn the_verdict_does_not_depend_on_the_order_of_columns() {
        let places = |reversed: bool| {
            let mut plan = plan();
            plan.blocks = 7;
            if reversed {
                plan.modules.reverse();
            }
            let dir = tempfile::tempdir().unwrap();
            write(&dir.path().join("set"), &plan.set());
            let loaded = load(&[dir.path().join("set")]);
            let boards = Board::all(&loaded.sources);
            let ranking = rank(&boards[0], |_| true);
            let name = |module: usize| boards[0].modules[module].name.clone();
            ranking.entries.iter().map(|it| (name(it.module), it.place)).collect::<Vec<_>>()
        };
        assert_eq!(places(false), places(true));
    }

    #[test]
    fn an_interval_belongs_to_the_median_that_stands_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("set"), &plan().set());
        let loaded = load(&[dir.path().join("set")]);
        let boards = Board::all(&loaded.sources);
        for figure in boards[0].rows.iter().flat_map(|row| &row.figures) {
            let (Some(median), Some(interval)) = (figure.median, figure.interval) else { continue };
            assert!(interval.low <= median && median <= interval.high, "{figure:?}");
        }
    }
}

/// Five blocks are too few for a rank test among so many, and a failure everywhere is no noise.
#[test]
fn who_works_nowhere_is_told_from_who_works_after_five_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { blocks: 5, scenarios: vec!["cgnat-both".into()], ..Plan::default() };
    write(&dir.path().join("set"), &plan.set());
    let loaded = load(&[dir.path().join("set")]);
    let boards = Board::all(&loaded.sources);
    let ranking = rank(&boards[0], |_| true);
    let of = |name: &str| {
        let at = boards[0].modules.iter().position(|it| it.name == name).unwrap();
        ranking.entries.iter().find(|it| it.module == at).unwrap().place
    };
    assert_eq!((of("nebula").tier, of("tailscale").tier), (1, 1));
    assert_eq!((of("tinc").best, of("tinc").worst), (3, 4));
    assert_eq!(of("tinc"), of("wireguard"));
}

#[test]
fn what_is_told_apart_is_in_tiers_and_what_is_not_shares_one() {
    let dir = tempfile::tempdir().unwrap();
    let out = site(dir.path(), &[Plan::default()]);
    let loaded = load(&[dir.path().join(Plan::default().id)]);
    let boards = Board::all(&loaded.sources);
    let ranking =
        rank(&boards[0], |row| row.question == meshbench_site::questions::Question::Overhead);
    let tiers: Vec<(String, usize)> = ranking
        .entries
        .iter()
        .map(|it| (boards[0].modules[it.module].name.clone(), it.place.tier))
        .collect();
    // Behind carrier-grade NAT wireguard and tinc have no figures, which outweighs what they cost elsewhere.
    assert_eq!(tiers[0].1, 1);
    assert_eq!(tiers.last().unwrap().0, "tinc");
    assert!(tiers.iter().find(|it| it.0 == "wireguard").unwrap().1 > 1, "{tiers:?}");
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(
        page.contains("Behind carrier-grade NAT") && page.contains("do not tell them apart"),
        "{page}"
    );
}

/// The card of that reader or question.
fn card(page: &str, id: &str) -> String {
    let (_, rest) = page.split_once(&format!("id=\"for-{id}\"")).unwrap();
    rest.split("</article>").next().unwrap().to_owned()
}

#[test]
fn who_works_is_better_than_who_fails_where_two_are_compared() {
    let plan = Plan { scenarios: vec!["cgnat-both".into()], ..Plan::default() };
    let script = page(&plan.set(), "compare.js");
    // Pairs of nebula, tailscale, tinc, wireguard; the last two have no figures.
    let letters: Vec<&str> = script.split('"').filter(|it| it.len() == 6).collect();
    assert!(letters.len() > 3, "{script}");
    for row in letters {
        assert_eq!((&row[1..5], &row[5..]), ("bbbb", "-"), "{script}");
    }
}

#[test]
fn who_merely_works_in_more_places_is_not_said_to_be_better_where_others_work() {
    let modules = [("nebula", 1.3), ("tinc", 1.1)].map(|(name, factor)| (name.to_owned(), factor));
    let plan = Plan { modules: modules.into(), ..Plan::default() };
    let page = page(&plan.set(), "index.html");
    let card = card(&page, "connectivity");
    assert!(card.contains("the other did not work on 1 of 5 networks"), "{card}");
    assert!(card.contains("4/5"), "{card}");
}

#[test]
fn a_reader_of_networks_that_nobody_measured_is_told_so() {
    let page = page(&Plan { scenarios: vec!["lan".into()], ..Plan::default() }.set(), "index.html");
    let nat = card(&page, "carrier-nat");
    assert!(nat.contains("Not measured yet: networks cgnat-both, symmetric-both"), "{nat}");
    let servers = card(&page, "servers");
    assert!(servers.contains("1 of 3 networks measured."), "{servers}");
    assert!(servers.contains("networks wan-intercontinental, dual-stack"), "{servers}");
    assert!(!servers.contains("is best"), "{servers}");
    assert!(servers.contains("href=\"#net=lan\""), "{servers}");
}

#[test]
fn the_page_of_a_cell_begins_with_why_it_failed_and_has_no_empty_tables() {
    let plan = Plan { scenarios: vec!["cgnat-both".into()], ..Plan::default() };
    let page = page(&plan.set(), "cell/cgnat-both/tinc.html");
    let heading = "connect: <span class=\"why\">failed in connect on alice: no overlay packet";
    assert!(page.contains(heading), "{page}");
    assert!(!page.contains("Figures of connect"), "{page}");
}

#[test]
fn a_cell_names_the_packages_of_the_vpn_first() {
    use meshbench::results::{GuestRecord, PackageRecord};
    let mut set = Plan { scenarios: vec!["lan".into()], ..Plan::default() }.set();
    let package = |name: &str| PackageRecord { name: name.into(), version: "1".into() };
    let shared: Vec<PackageRecord> =
        ["bash", "tar", "zlib1g", "xz", "uuid", "util-linux", "tzdata", "systemd"]
            .map(package)
            .into();
    let guest = |module: &str, own: &[&str]| GuestRecord {
        module: module.into(),
        provider: "debian".into(),
        nar_hash: "sha256-x".into(),
        packages: own.iter().map(|it| package(it)).chain(shared.clone()).collect(),
    };
    set.run.guests = vec![guest("nebula", &["aardvark", "nebula"]), guest("tinc", &["tinc"])];
    let page = page(&set, "cell/lan/nebula.html");
    assert!(page.contains("with nebula 1, aardvark 1, bash 1"), "{page}");
}

#[test]
fn a_metric_leads_to_what_it_is_and_a_reader_to_its_card() {
    let set = Plan::default().set();
    let index = page(&set, "index.html");
    assert!(index.contains("<a href=\"method.html#ping.rtt\" title=\""), "{index}");
    assert!(page(&set, "method.html").contains("id=\"ping.rtt\""));
    let own = page(&set, "vpn/nebula.html");
    assert!(
        own.contains("../index.html#for-phone") && own.contains("connects on 3 of 3 networks"),
        "{own}"
    );
}

/// A mean over networks is of those where it works, with how many those are; the colour counts the others.
#[test]
fn what_failed_somewhere_is_beside_the_figure_and_not_in_it() {
    let page = page(&Plan::default().set(), "index.html");
    let (_, row) = page.split_once("tcp <i>").unwrap();
    let row = row.split("</tr>").next().unwrap();
    // tinc takes 2.6 times as long where it works, which with one failure in five would be 5.4.
    assert!(row.contains("<td class=r7>2.6") && row.contains("<s>4/5</s>"), "{row}");
}

#[test]
fn the_history_counts_a_leak_as_ranks_do() {
    let plan =
        Plan { scenarios: vec!["lan".into()], workloads: vec!["leak".into()], ..Plan::default() };
    let mut set = plan.set();
    for cell in &mut set.cells {
        cell.metrics.truncate(1);
        let metric = &mut cell.metrics[0];
        metric.name = "in-clear".into();
        metric.unit = meshbench::results::Unit::Count;
        metric.value = if cell.key.module == "internal" { 500.0 } else { 24.0 };
    }
    let page = page(&set, "vpn/nebula.html");
    let (_, history) = page.split_once("<h2>History</h2>").unwrap();
    assert!(history.contains("<td>≥ 100</td>"), "{history}");
}

/// A promise that was kept by one clock says nothing of the machines of another.
#[test]
fn promises_stand_on_the_board_of_their_clock() {
    use meshbench::results::{ContractRecord, Finding, Promise};
    let dir = tempfile::tempdir().unwrap();
    let contract = |place: &str, clock: Option<Clock>, kept: bool| {
        let finding = |kept: bool| Finding {
            promise: Promise::IsEncrypted,
            kept: Some(kept),
            seen: format!("seen by {place}"),
        };
        let record = ContractRecord::of("nebula", vec![finding(kept)]);
        let text = serde_json::to_string(&[ContractRecord { clock, ..record }]).unwrap();
        let place = dir.path().join(place);
        fs::create_dir(&place).unwrap();
        fs::write(place.join("contract.json"), text).unwrap();
        place
    };
    let real = Plan { id: "real".into(), clock: Clock::Real, ..Plan::default() };
    let mut places =
        vec![contract("of-old", None, true), contract("instructions", Some(Clock::Virtual), false)];
    for plan in [Plan::default(), real] {
        let place = dir.path().join(&plan.id);
        write(&place, &plan.set());
        places.push(place);
    }
    let loaded = load(&places);
    let (known, out) = (Known::default(), dir.path().join("site"));
    Site::new(&loaded, &known).unwrap().write(&out).unwrap();
    let said = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let counted = said("vpn/nebula.html");
    assert!(counted.contains("seen by instructions") && !counted.contains("seen by of-old"));
    let timed = said("emulated/vpn/nebula.html");
    assert!(timed.contains("seen by of-old") && !timed.contains("seen by instructions"));
    assert!(card(&said("index.html"), "promises").contains("broke some"));
    assert!(card(&said("emulated/index.html"), "promises").contains("kept every promise"));
    let without_its_board = load(&[places[0].clone(), places[2].clone()]);
    let site = Site::new(&without_its_board, &known).unwrap();
    let [problem] = site.problems() else { panic!("{:?}", site.problems()) };
    assert_eq!(problem.place, "contract of nebula");
    assert!(problem.reason.contains("by real time"), "{}", problem.reason);
}
