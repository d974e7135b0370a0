//! Several sets on one board: which records count, and for what.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::fixture::{Plan, write};
use common::{index, small};
use meshbench::results::{CellKey, CellRecord, Clock, INTERNAL, Outcome, Published, save_packed};
use meshbench_site::board::Board;
use meshbench_site::load::Kind;
use meshbench_site::rank::rank;
use meshbench_site::{Loaded, load};

#[test]
fn clocks_and_processors_are_boards_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut plans = [small("virtual"), small("emulated"), small("quick")];
    plans[1].clock = Clock::Real;
    let places: Vec<PathBuf> = plans.iter().map(|plan| dir.path().join(&plan.id)).collect();
    for (plan, place) in plans.iter().zip(&places) {
        let mut set = plan.set();
        set.run.quick = plan.id == "quick";
        write(place, &set);
    }
    let loaded = load(&places);
    let boards = Board::all(&loaded.sources);
    let folders: Vec<&str> = boards.iter().map(|board| board.folder.as_str()).collect();
    assert_eq!(folders, ["", "virtual-quick", "emulated"]);
    for board in &boards {
        assert_eq!(board.sources.len(), 1);
        assert_eq!(board.cell("lan", "ping", "nebula").len(), 2);
    }
}

#[test]
fn a_cell_that_was_measured_twice_counts_once_and_a_leak_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (small("one").set(), small("other").set());
    write(&dir.path().join("one"), &one);
    write(&dir.path().join("other"), &other);
    let places = [dir.path().join("one"), dir.path().join("other")];
    let loaded = load(&places);
    let boards = Board::all(&loaded.sources);
    assert_eq!(boards[0].pool.confirmed, one.cells.len());
    assert_eq!(boards[0].cell("lan", "ping", "nebula").len(), 2);
    assert!(boards[0].pool.problems.is_empty());

    let mut leaky = small("leaky").set();
    for cell in
        leaky.cells.iter_mut().filter(|cell| cell.key.module == "nebula" && cell.key.block == 1)
    {
        cell.sealed.as_mut().unwrap().said = "ee".repeat(32);
    }
    write(&dir.path().join("leaky"), &leaky);
    let loaded = load(&[dir.path().join("one"), dir.path().join("leaky")]);
    let boards = Board::all(&loaded.sources);
    let said: Vec<&str> = boards[0].pool.problems.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("said different things, which is a leak"), "{said:?}");
}

/// Two sets, of which the first has another edition of a module.
fn with_an_older(dir: &Path, (old, new): (&Plan, &Plan), module: &str) -> Loaded {
    let mut first = old.set();
    first.run.started = "2026-11-01T00:00:00Z".into();
    let own = first.run.modules.iter_mut().find(|it| it.name == module).unwrap();
    (own.version, own.sha256) = (Some("1.0.0".into()), Some("ab".repeat(32)));
    write(&dir.join(&old.id), &first);
    write(&dir.join(&new.id), &new.set());
    load(&[dir.join(&old.id), dir.join(&new.id)])
}

#[test]
fn other_seeds_of_the_same_testbed_are_more_blocks_and_an_older_version_is_left_out_with_a_notice()
{
    let dir = tempfile::tempdir().unwrap();
    let more = Plan { seed: 1000, ..small("more") };
    let loaded = with_an_older(dir.path(), (&small("old"), &more), "tinc");
    let boards = Board::all(&loaded.sources);
    assert_eq!(boards[0].cell("lan", "ping", "nebula").len(), 4);
    assert_eq!(boards[0].cell("lan", "ping", "tinc").len(), 2);
    let problems = &boards[0].pool.problems;
    assert!(problems.len() == 1 && problems[0].kind == Kind::Notice, "{problems:?}");
    assert!(problems[0].reason.contains("4 cells of tinc are of an earlier edition (1.0.0)"));
    assert!(index(dir.path(), &loaded).contains("4 cells of tinc"));
}

#[test]
fn a_network_that_only_an_earlier_edition_was_measured_on_is_shown_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    let old = Plan { scenarios: vec!["lan".into(), "lossy".into()], ..small("old") };
    let loaded = with_an_older(dir.path(), (&old, &small("new")), "tinc");
    let boards = Board::all(&loaded.sources);
    assert_eq!(boards[0].cell("lossy", "ping", "tinc").len(), 2);
    assert_eq!(boards[0].cell("lan", "ping", "tinc")[0].source.set.run.id, "new");
    assert_eq!(boards[0].pool.problems.len(), 1);
    index(dir.path(), &loaded);
    let page = |name: &str| fs::read_to_string(dir.path().join("site").join(name)).unwrap();
    assert!(page("cell/lossy/tinc.html").contains("1.0.0 (an earlier edition"));
    assert!(!page("cell/lan/tinc.html").contains("earlier edition"));
    assert!(page("vpn/tinc.html").contains("1.2.3; an earlier edition of it"));
}

/// What the wire's module looks like is no part of the network that it measures.
#[test]
fn an_edited_internal_takes_no_wire_away() {
    let dir = tempfile::tempdir().unwrap();
    let old = Plan { scenarios: vec!["lossy".into()], ..small("old") };
    for new in [small("new"), Plan { scenarios: old.scenarios.clone(), ..small("again") }] {
        let loaded = with_an_older(dir.path(), (&old, &new), INTERNAL);
        let boards = Board::all(&loaded.sources);
        assert_eq!(boards[0].pool.problems, []);
        assert_eq!(boards[0].cell("lossy", "ping", "internal").len(), 2);
        let lossy = boards[0].scenarios.iter().position(|it| it.name == "lossy").unwrap();
        let rows: Vec<_> = boards[0].rows_of(lossy).filter(|it| it.about.metric == "rtt").collect();
        assert!(rows[0].wire.median.is_some());
        assert!(rows[0].figures.iter().all(|it| it.factor.is_some_and(|factor| factor < 3.0)));
        fs::remove_dir_all(dir.path().join("old")).unwrap();
    }
}

/// Two sets of the same networks: the first without the cells of the wire that `lost` names, the second with nothing else.
fn with_the_wire_elsewhere(dir: &Path, plan: &Plan, lost: impl Fn(&CellKey) -> bool) -> Loaded {
    let (mut first, mut second) = (plan.set(), Plan { id: "wire".into(), ..plan.clone() }.set());
    let is_wire = |key: &CellKey| key.module == INTERNAL;
    first.cells.retain(|cell| !(is_wire(&cell.key) && lost(&cell.key)));
    second.cells.retain(|cell| is_wire(&cell.key));
    write(&dir.join(&plan.id), &first);
    write(&dir.join("wire"), &second);
    load(&[dir.join(&plan.id), dir.join("wire")])
}

/// The factors of all in the round trips on `lan`.
fn factors(boards: &[Board<'_>]) -> Vec<Option<f64>> {
    let row = boards[0].rows.iter().find(|it| it.about.metric == "rtt").unwrap();
    row.figures.iter().map(|it| it.factor).collect()
}

#[test]
fn the_wire_of_another_set_measures_what_shares_its_seed() {
    let dir = tempfile::tempdir().unwrap();
    let beside = {
        write(&dir.path().join("whole"), &small("whole").set());
        let loaded = load(&[dir.path().join("whole")]);
        factors(&Board::all(&loaded.sources))
    };
    let loaded = with_the_wire_elsewhere(dir.path(), &small("alone"), |_| true);
    assert_eq!(factors(&Board::all(&loaded.sources)), beside);
    let mut other = loaded;
    for source in other.sources.iter_mut().filter(|it| it.set.run.id == "wire") {
        source.set.run.seed += 100;
    }
    assert_eq!(factors(&Board::all(&other.sources)), [None; 4]);
}

#[test]
fn a_wire_that_failed_in_its_own_set_is_taken_from_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut loaded = with_the_wire_elsewhere(dir.path(), &small("alone"), |_| false);
    let broken = loaded.sources.iter_mut().find(|it| it.set.run.id == "alone").unwrap();
    for cell in broken.set.cells.iter_mut().filter(|cell| cell.key.module == INTERNAL) {
        cell.metrics.clear();
        cell.outcome = Outcome::Skipped { reason: "not proved".into() };
        cell.sealed.as_mut().unwrap().template = "ff".repeat(32);
    }
    assert!(factors(&Board::all(&loaded.sources)).iter().all(Option::is_some));
}

/// In real time blocks of two runs never meet; and what works is not counted as what does not.
#[test]
fn what_has_figures_and_no_wire_has_no_weight_and_no_place() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { clock: Clock::Real, ..small("others") };
    let (mut others, mut tinc) = (plan.set(), Plan { id: "tinc".into(), ..plan }.set());
    others.cells.retain(|cell| cell.key.module != "tinc");
    tinc.cells.retain(|cell| cell.key.module == "tinc");
    write(&dir.path().join("others"), &others);
    write(&dir.path().join("tinc"), &tinc);
    let loaded = load(&[dir.path().join("others"), dir.path().join("tinc")]);
    let boards = Board::all(&loaded.sources);
    let at = boards[0].modules.iter().position(|it| it.name == "tinc").unwrap();
    let row = boards[0].rows.iter().find(|it| it.about.metric == "rtt").unwrap();
    assert!(row.weight > 0.0 && row.figures[at].median.is_some());
    assert_eq!(row.counted(at), None);
    let ranking = rank(&boards[0], |_| true);
    assert_eq!(ranking.entries.len(), 3);
    let reason = "only 0 of 2 cells have a wire to be measured by";
    assert_eq!(ranking.unranked, [(at, reason.to_owned())]);
    let page = index(dir.path(), &loaded);
    assert!(page.contains(reason) && !page.contains("≥ 100"), "{page}");
}

/// A VPN that failed in one of three blocks, with and without the record that says so.
#[test]
fn a_failure_that_is_left_out_helps_no_more_than_one_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { blocks: 3, ..small("told") };
    let of = |cell: &CellRecord| {
        let CellKey { module, workload, scenario, block } = &cell.key;
        (module.as_str(), workload.as_str(), scenario.as_str(), *block)
            == ("nebula", "ping", "lan", 2)
    };
    let reason = || Outcome::Unsupported { reason: "of the test".into() };
    let figure = |name: &str, change: &dyn Fn(&mut Vec<CellRecord>)| {
        let mut set = Plan { id: name.into(), ..plan.clone() }.set();
        change(&mut set.cells);
        let place = dir.path().join(name);
        write(&place, &set);
        let loaded = load(&[place]);
        let boards = Board::all(&loaded.sources);
        let at = boards[0].modules.iter().position(|it| it.name == "nebula").unwrap();
        let row = boards[0].rows.iter().find(|it| it.about.metric == "rtt").unwrap();
        let figure = &row.figures[at];
        (figure.factor.unwrap(), figure.measured(), figure.tried, figure.is_whole())
    };
    let told = figure("told", &|cells| {
        for cell in cells.iter_mut().filter(|cell| of(cell)) {
            (cell.outcome, cell.metrics) = (reason(), Vec::new());
        }
    });
    let left_out = figure("left-out", &|cells| cells.retain(|cell| !of(cell)));
    assert_eq!(told, left_out);
    assert_eq!((told.1, told.2, told.3), (2, 3, false));
    assert!(figure("whole", &|_| {}).0 < told.0);
}

/// With a value of each seed of each network there would be six, of three measurements of each.
#[test]
fn networks_that_share_no_seed_are_no_more_blocks_than_each_has() {
    let dir = tempfile::tempdir().unwrap();
    let plan = |id: &str, scenario: &str, seed| Plan {
        id: id.into(),
        scenarios: vec![scenario.into()],
        seed,
        blocks: 3,
        ..small(id)
    };
    for plan in [plan("one", "lan", 1), plan("two", "home-dsl", 100)] {
        write(&dir.path().join(&plan.id), &plan.set());
    }
    let loaded = load(&[dir.path().join("one"), dir.path().join("two")]);
    let boards = Board::all(&loaded.sources);
    assert_eq!(rank(&boards[0], |_| true).blocks, 3);
    assert_eq!(rank(&boards[0], |row| row.scenario == 0).blocks, 3);
}

#[test]
fn a_block_without_a_wire_counts_as_the_others_do() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { clock: Clock::Real, blocks: 3, ..small("real") };
    let loaded = with_the_wire_elsewhere(dir.path(), &plan, |key| key.block > 1);
    let boards = Board::all(&loaded.sources);
    let row = boards[0].rows.iter().find(|it| it.about.metric == "rtt").unwrap();
    for figure in &row.figures {
        let counts: Vec<f64> = figure.counts.values().copied().collect();
        assert!(counts.len() == 3 && counts.iter().all(|it| (it - counts[0]).abs() < 1e-9));
        assert!(counts[0] < 3.0, "{counts:?}");
    }
}

/// Nothing contradicts: the network is another one now.
#[test]
fn cells_of_a_network_that_was_changed_since_are_left_out_with_a_notice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut old, new) = (small("old"), small("new"));
    old.started = "2026-11-01T00:00:00Z".into();
    let mut before = old.set();
    before.run.scenarios[0].sha256 = Some("dd".repeat(32));
    write(&dir.path().join("old"), &before);
    write(&dir.path().join("new"), &new.set());
    let loaded = load(&[dir.path().join("old"), dir.path().join("new")]);
    let boards = Board::all(&loaded.sources);
    assert_eq!(boards[0].cell("lan", "ping", "nebula").len(), 2);
    let problems = &boards[0].pool.problems;
    assert!(problems.len() == 1 && problems[0].kind == Kind::Notice, "{problems:?}");
    assert!(problems[0].reason.contains("20 cells are of scenarios"), "{problems:?}");
}

/// What an A/A run has shown goes with a published set, and nothing below it is called a difference.
#[test]
fn a_noise_floor_of_a_published_set_is_used() {
    use meshbench::results::{NoiseFloor, NoiseRecord, Unit};
    use meshbench::stats::Verdict;
    let verdict = |relative: Option<f64>| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.jsonl");
        let set = Plan { blocks: 7, ..small("run") }.set();
        let floor = |relative| NoiseFloor {
            scenario: "lan".into(),
            workload: "ping".into(),
            module: "tinc".into(),
            metric: "rtt".into(),
            unit: Unit::Milliseconds,
            relative: Some(relative),
            absolute: None,
            blocks: 7,
        };
        let noise = relative.map(|it| NoiseRecord::new(["a".into(), "b".into()], vec![floor(it)]));
        let published = Published { set, by: "x".into(), texts: Default::default(), noise };
        save_packed(&file, &published).unwrap();
        let loaded = load(&[file]);
        let boards = Board::all(&loaded.sources);
        let tinc = boards[0].modules.iter().position(|it| it.name == "tinc").unwrap();
        let row = boards[0].rows.iter().find(|it| it.about.metric == "rtt").unwrap();
        row.figures[tinc].verdict
    };
    assert_eq!(verdict(None), Some(Verdict::Larger));
    assert_ne!(verdict(Some(0.9)), Some(Verdict::Larger));
}
