//! Who uses whom, and who skips unheard, read from the sources.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Modules from the root of a package.
type Place = Vec<String>;

/// What is used, and by what name it is then known.
type Use = (Place, String);

type Files = BTreeMap<Place, Vec<Use>>;

/// Modules that are there for tests.
const TESTS: [&str; 4] = ["sample", "script", "tests", "wire_lab"];

fn expand(head: &str, tree: &str, all: &mut Vec<Use>) {
    let Some((more, rest)) = tree.split_once('{') else {
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, tree));
        let path: Place = format!("{head}{path}").split("::").map(|it| it.trim().into()).collect();
        return all.push((path, name.rsplit("::").next().unwrap().trim().into()));
    };
    let mut depth = 0;
    let ends = |c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0 || depth < 0
    };
    // After a comma or a brace there may be no more.
    let trees = rest.split(ends).filter(|tree| !tree.trim().is_empty());
    trees.for_each(|tree| expand(&format!("{head}{}", more.trim()), tree, all));
}

/// Paths from the root of the package that code names without a `use`, and so under no other name.
fn named_in_full(text: &str) -> Vec<Place> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.flat_map(|line| [line, "\n"]).collect();
    let of = |(at, _): (usize, &str)| {
        // `pub(in crate::room)` says who may see it.
        let seen = code[..at].ends_with("(in ");
        let end = |c: char| !c.is_alphanumeric() && c != '_' && c != ':';
        let path = code[at..].split(end).next().unwrap().trim_end_matches(':');
        (!seen && path != "crate").then(|| path.split("::").map(str::to_owned).collect())
    };
    code.match_indices("crate::").filter_map(of).collect()
}

fn read(folder: &Path, place: &[String], files: &mut Files) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let own = [place, &[name.to_owned()]].concat();
        if path.is_dir() {
            read(&path, &own, files);
        } else if path.extension().is_some_and(|it| it == "rs")
            && !TESTS.contains(&name)
            && !name.ends_with("_test")
        {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("mod tests {").next().unwrap();
            let is_root = ["lib", "main", "mod"].contains(&name);
            let all = files.entry(if is_root { place.to_vec() } else { own }).or_default();
            let trees = text.split(';').filter_map(|item| item.rsplit_once("use "));
            trees.for_each(|(_, tree)| expand("", tree, all));
            all.extend(named_in_full(text).into_iter().map(|path| (path, String::new())));
        }
    }
}

/// The file that has what a path of `place` leads to, by way of those that only hand it on, so `deep` at most.
fn found(files: &Files, place: &Place, path: &[String], deep: usize) -> Option<Place> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let inner = |at: &Place, part: &String| [at.as_slice(), std::slice::from_ref(part)].concat();
    let (mut at, mut rest) = match path[0].as_str() {
        "crate" => (Place::new(), &path[1..]),
        "self" => (place.clone(), &path[1..]),
        "super" => (place[..place.len().checked_sub(ups)?].to_vec(), &path[ups..]),
        // What begins otherwise is another crate's, unless it is a module of this place.
        name => (files.contains_key(&inner(place, &name.into())).then(|| place.clone())?, path),
    };
    while let Some(next) = rest.first().map(|part| inner(&at, part))
        && files.contains_key(&next)
    {
        (at, rest) = (next, &rest[1..]);
    }
    let handed = files.get(&at)?.iter().find(|(_, name)| deep > 0 && rest.first() == Some(name));
    handed.and_then(|(path, _)| found(files, &at, path, deep - 1)).or(Some(at))
}

/// Of each folder of a package, which of its files and folders uses which.
fn uses(package: &Path) -> BTreeMap<Place, BTreeMap<String, BTreeSet<String>>> {
    let (mut files, mut uses) = (Files::new(), BTreeMap::<Place, BTreeMap<_, BTreeSet<_>>>::new());
    read(&package.join("src"), &[], &mut files);
    for (place, all) in &files {
        for to in all.iter().filter_map(|(path, _)| found(&files, place, path, 4)) {
            let shared = place.iter().zip(&to).take_while(|(one, other)| one == other).count();
            if let (Some(one), Some(other)) = (place.get(shared), to.get(shared)) {
                let folder = uses.entry(place[..shared].to_vec()).or_default();
                folder.entry(one.clone()).or_default().insert(other.clone());
            }
        }
    }
    uses
}

#[test]
fn a_path_in_code_is_a_use_and_one_in_a_comment_is_none() {
    let text = "/// See [`crate::one`].\npub(in crate::two) fn a() -> crate::three::B {\n    crate::four(5)\n}";
    let paths: Vec<String> = named_in_full(text).iter().map(|path| path.join(" ")).collect();
    assert_eq!(paths, ["crate three B", "crate four"]);
}

/// The folder of all packages, and what is said of their rooms.
fn packages() -> Option<(&'static Path, String)> {
    let harness = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let text = fs::read_to_string(harness.with_file_name("ARCHITECTURE.md"));
    if text.is_err() {
        let _ = writeln!(io::stderr(), "skipped: this package is not where ARCHITECTURE.md is");
    }
    Some((harness, text.ok()?))
}

#[test]
fn rooms_use_only_what_is_below_them() {
    let Some((harness, text)) = packages() else { return };
    let table = text.split("## ").find(|part| part.starts_with("The library's rooms")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let row = |room: &str| {
        let names = [format!("`{room}/`"), format!("`{room}.rs`")];
        let is_named = |row: &&str| {
            row.split('|').nth(1).is_some_and(|of| names.iter().any(|it| of.contains(it)))
        };
        rows.iter().position(is_named).expect(room)
    };
    for (room, others) in &uses(&harness.join("meshbench"))[&Place::new()] {
        let above: Vec<_> = others.iter().filter(|other| row(other) <= row(room)).collect();
        assert!(above.is_empty(), "{room} uses {above:?}");
        // `everything` is every folder, but those that are named; else those that are.
        let unknown = rows[row(room)].rsplit('|').nth(1).unwrap().trim();
        let is_folder = |other: &str| rows[row(other)].contains(&format!("`{other}/`"));
        let is_unknown = |other: &&String| {
            let named = unknown.contains(&format!("`{other}"));
            if unknown.starts_with("everything") { is_folder(other) && !named } else { named }
        };
        let known: Vec<_> = others.iter().filter(is_unknown).collect();
        assert!(known.is_empty(), "{room} knows no {unknown}, and uses {known:?}");
    }
}

#[test]
fn no_two_files_of_a_folder_use_each_other() {
    let Some((harness, _)) = packages() else { return };
    for package in ["protocol", "agent", "meshbench", "site", "bench"] {
        for (folder, mut uses) in uses(&harness.join(package)) {
            // Whoever uses nobody that is left is in no circle.
            while let Some(last) =
                uses.iter().find(|(_, others)| others.iter().all(|it| !uses.contains_key(it)))
            {
                let last = last.0.clone();
                uses.remove(&last);
            }
            assert!(uses.is_empty(), "in {package}/{}: {uses:?}", folder.join("/"));
        }
    }
}

/// All sources in a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let found = entries.flat_map(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => sources(&entry.path()),
        _ => vec![entry.path()],
    });
    found.filter(|path| path.extension().is_some_and(|it| it == "rs")).collect()
}

/// Names of the public enums of a source, each with whether it is `#[non_exhaustive]`.
fn enums(source: &str) -> Vec<(String, bool)> {
    let mut parts = source.split("\npub enum ");
    let mut above = parts.next().unwrap();
    let mut found = Vec::new();
    for part in parts {
        let attributes = above.rsplit("\n\n").next().unwrap();
        let name = part.split(|c: char| !c.is_alphanumeric()).next().unwrap();
        found.push((name.to_owned(), attributes.contains("#[non_exhaustive]")));
        above = part;
    }
    found
}

/// Whoever reads a record and does not know one of its words must not compile; whoever matches on anything else
/// must go on to.
#[test]
fn words_of_records_and_of_the_protocol_are_closed_and_all_other_enums_are_open() {
    let source =
        "/// X.\n#[non_exhaustive]\npub enum One {}\n\n#[derive(Debug)]\npub enum Two<'a> {}";
    assert_eq!(enums(source), [("One".to_owned(), true), ("Two".to_owned(), false)]);
    let Some((harness, _)) = packages() else { return };
    for package in ["meshbench", "protocol"] {
        let folder = harness.join(package).join("src");
        let records = if package == "protocol" { folder.clone() } else { folder.join("results") };
        for path in sources(&folder) {
            for (name, open) in enums(&fs::read_to_string(&path).unwrap()) {
                let closed = path.starts_with(&records) && !name.ends_with("Error");
                assert_eq!(open, !closed, "{name} in {}", path.display());
            }
        }
    }
}

/// What a test that passes prints by these is kept by the test runner.
const CAPTURED: [&str; 2] = ["print!(", "println!("];

fn skips_unheard(source: &str) -> bool {
    let printed = CAPTURED.iter().flat_map(|by| source.split(by).skip(1));
    printed.map(str::trim_start).any(|what| what.starts_with("\"skipped"))
}

#[test]
fn who_skips_is_heard() {
    assert!(skips_unheard("eprintln!(\n    \"skipped: no `ip`\")"));
    assert!(!skips_unheard("writeln!(io::stderr(), \"skipped: no `ip`\")"));
    let Some((harness, _)) = packages() else { return };
    let unheard = sources(harness).into_iter().filter(|path| {
        let source = fs::read_to_string(path).unwrap();
        skips_unheard(&source)
    });
    let unheard: Vec<PathBuf> = unheard.collect();
    assert!(unheard.is_empty(), "write to `io::stderr()` instead: {unheard:?}");
}
