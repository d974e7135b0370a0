//! Bad input: a clear message, and the rest of the site whole.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::fixture::{Plan, write};
use common::{index, small};
use meshbench::results::{Better, Outcome, Published, save_packed};
use meshbench_site::board::Board;
use meshbench_site::{Known, Loaded, Site, load};
use rstest::rstest;

/// Each alters one cell of one set; the other set and the other cells are shown all the same.
#[rstest]
#[case::truncated("\"format\": 1", None, "EOF")]
#[case::version("\"format\": 1", Some("\"format\": 9"), "its format is 9")]
#[case::clock(
    "\"clock\": \"virtual\"",
    Some("\"clock\": \"real\""),
    "it was measured by the clock `real`"
)]
#[case::name("\"module\": \"tinc\"", Some("\"module\": \"../tinc\""), "../tinc")]
#[case::key("\"block\": 1", Some("\"block\": 2"), "its key is that of 2_lan_tinc_ping.json")]
#[case::stranger("\"outcome\"", Some("\"x\": 1, \"outcome\""), "unknown field `x`")]
fn a_bad_cell_is_told_and_takes_nothing_with_it(
    #[case] from: &str,
    #[case] to: Option<&str>,
    #[case] says: &str,
) {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("bad");
    write(&place, &small("bad").set());
    let path = place.join("cells/1_lan_tinc_ping.json");
    let good = fs::read_to_string(&path).unwrap();
    assert!(good.contains(from), "{good}");
    let bad = to.map_or_else(|| good[..good.len() / 2].to_owned(), |to| good.replacen(from, to, 1));
    fs::write(&path, bad).unwrap();
    let loaded = load(&[place]);
    assert_eq!(loaded.problems.len(), 1, "{:?}", loaded.problems);
    let problem = &loaded.problems[0];
    assert!(problem.reason.contains(says), "{problem:?}");
    assert!(problem.reason.contains("1_lan_tinc_ping.json"), "{problem:?}");
    let boards = Board::all(&loaded.sources);
    assert_eq!(boards[0].cell("lan", "ping", "tinc").len(), 1);
    assert_eq!(boards[0].cell("lan", "ping", "nebula").len(), 2);
    assert!(index(dir.path(), &loaded).contains("1_lan_tinc_ping.json"));
}

#[test]
fn a_run_that_cannot_be_read_leaves_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good"), dir.path().join("bad"));
    write(&good, &small("good").set());
    write(&bad, &small("bad").set());
    let run = fs::read_to_string(bad.join("run.json")).unwrap();
    fs::write(bad.join("run.json"), &run[..run.len() / 2]).unwrap();
    let loaded = load(&[good, bad, dir.path().join("none")]);
    assert_eq!(loaded.sources.len(), 1);
    let said: Vec<&str> = loaded.problems.iter().map(|it| it.reason.as_str()).collect();
    assert!(said[0].contains("run.json") && said[1].contains("cannot be read"), "{said:?}");
    assert!(index(dir.path(), &loaded).contains("Nebula"));
}

#[test]
fn no_results_at_all_are_a_site_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let loaded = load(&[empty]);
    let page = index(dir.path(), &loaded);
    assert!(page.contains("There is nothing to show yet"), "{page}");
    assert!(page.contains("there are no results in it"), "{page}");
}

/// What is told in another unit would turn a row over.
#[test]
fn a_figure_that_contradicts_its_workload_is_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = small("odd").set();
    let mut odd = 0;
    for metric in set.cells.iter_mut().flat_map(|cell| &mut cell.metrics) {
        if metric.name == "rtt" {
            metric.better = Better::Higher;
            odd += 1;
        }
    }
    write(&dir.path().join("odd"), &set);
    let loaded = load(&[dir.path().join("odd")]);
    assert!(odd > 0);
    assert_eq!(loaded.sources[0].set.cells.len(), set.cells.len() - odd);
    assert!(loaded.problems[0].reason.contains("ping: it told `rtt`"), "{:?}", loaded.problems);
}

#[test]
fn a_run_that_is_not_finished_says_how_much_of_it_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = small("part").set();
    set.run.blocks = 5;
    set.cells.retain(|cell| cell.key.block == 1);
    write(&dir.path().join("part"), &set);
    let loaded = load(&[dir.path().join("part")]);
    assert_eq!(loaded.sources[0].set.unfinished().as_deref(), Some("1 of 5 blocks"));
    assert!(index(dir.path(), &loaded).contains("1 of 5 blocks"));
    let method = fs::read_to_string(dir.path().join("site/method.html")).unwrap();
    assert!(method.contains("1 of 5 blocks"), "{method}");
}

#[test]
fn a_run_and_its_published_file_are_one() {
    let dir = tempfile::tempdir().unwrap();
    let set = small("run").set();
    write(&dir.path().join("run"), &set);
    let published =
        Published { set, by: "somebody".into(), texts: Default::default(), noise: None };
    save_packed(&dir.path().join("run.jsonl"), &published).unwrap();
    let loaded = load(&[dir.path().to_owned()]);
    assert_eq!(loaded.sources.len(), 1);
    assert!(loaded.problems[0].reason.contains("is shown already"), "{:?}", loaded.problems);
}

#[test]
fn a_folder_of_something_else_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "x").unwrap();
    let (loaded, known) = (Loaded::default(), Known::default());
    let site = Site::new(&loaded, &known).unwrap();
    let error = site.write(dir.path()).unwrap_err().to_string();
    assert!(error.contains("no site of meshbench"), "{error}");
    assert!(dir.path().join("thesis.tex").exists());
    let out = dir.path().join("site");
    site.write(&out).unwrap();
    fs::write(out.join("stale.html"), "x").unwrap();
    site.write(&out).unwrap();
    assert!(out.join("index.html").exists() && !out.join("stale.html").exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

/// All files of a folder, and of those in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let inside = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(inside).collect()
}

#[test]
fn text_from_outside_steers_nobody_who_reads_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { scenarios: vec!["cgnat-both".into()], blocks: 1, ..small("run") };
    let mut set = plan.set();
    let hostile = "\u{1b}[2J\u{7}\u{9b}31m\u{202e}";
    set.run.scenarios[0].title = format!("title {hostile}");
    for module in &mut set.run.modules {
        module.title = format!("title {hostile}");
    }
    for cell in &mut set.cells {
        if let Outcome::Failed { reason, .. } = &mut cell.outcome {
            *reason = format!("reason {hostile}");
        }
    }
    write(&dir.path().join("run"), &set);
    fs::create_dir(dir.path().join("run/evidence")).unwrap();
    fs::write(dir.path().join("run/evidence/alice.log"), format!("log {hostile}\n")).unwrap();
    let loaded = load(&[dir.path().join("run")]);
    index(dir.path(), &loaded);
    let mut told = 0;
    for path in files(&dir.path().join("site")) {
        if path.extension().is_some_and(|it| it == "html" || it == "js") {
            let text = fs::read_to_string(&path).unwrap();
            let steers = ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}'];
            assert!(!text.contains(steers), "{}", path.display());
            told += usize::from(text.contains("u{202e}") || text.contains("u202e"));
        }
    }
    assert!(told > 2, "it is told in {told} files");
}

#[test]
fn evidence_travels_with_a_published_set() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { scenarios: vec!["cgnat-both".into()], blocks: 1, ..small("run") };
    let set = plan.set();
    let run = dir.path().join("run");
    write(&run, &set);
    fs::create_dir(run.join("evidence")).unwrap();
    fs::write(run.join("evidence/alice.log"), "no handshake\n<b>\n").unwrap();
    assert!(set.cells.iter().any(|cell| matches!(cell.outcome, Outcome::Failed { .. })));
    let (texts, problems) = meshbench_site::load::texts(&run, &set);
    assert_eq!(problems, []);
    assert_eq!(texts["evidence/alice.log"], "no handshake\n<b>\n");
    let file = dir.path().join("set/run.jsonl");
    fs::create_dir(file.parent().unwrap()).unwrap();
    save_packed(&file, &Published { set, by: "x".into(), texts, noise: None }).unwrap();
    let loaded = load(&[file]);
    index(dir.path(), &loaded);
    let page = fs::read_to_string(dir.path().join("site/cell/cgnat-both/tinc.html")).unwrap();
    assert!(page.contains("no handshake") && !page.contains("<b>\n"), "{page}");
}
