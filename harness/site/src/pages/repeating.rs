//! How a cell is measured again: commands, and what is to come of them.

use std::collections::BTreeSet;

use meshbench::results::PACKED;

use crate::board::{Board, Measured};
use crate::load::Source;
use crate::testbed::Class;

/// By which all of it is measured again, and what the machines of virtual time then say.
pub(super) fn command(board: &Board<'_>, all: &[Measured<'_>], module: &str) -> String {
    let mut sources: Vec<&Source> = Vec::new();
    for measured in all {
        if !sources.iter().any(|it| std::ptr::eq(*it, measured.source)) {
            sources.push(measured.source);
        }
    }
    let of_source = |source: &Source| {
        let own = || all.iter().filter(|it| std::ptr::eq(it.source, source));
        let run = &source.set.run;
        let mut lines: Vec<String> = checkout(source);
        if board.testbed.class == Class::Virtual {
            let key = |it: &Measured<'_>| (it.record.key.block, it.record.key.scenario.clone());
            let clusters: BTreeSet<(u32, String)> = own().map(key).collect();
            let clusters =
                clusters.iter().map(|(block, scenario)| format!("{block}_{scenario}_{module}"));
            let clusters: Vec<String> = clusters.collect();
            lines.push(format!("bench repeat {} {}", quoted(&place(source)), clusters.join(" ")));
            lines.extend(alone(own()));
        } else {
            let words: Vec<String> = run.command.iter().map(|word| quoted(word)).collect();
            lines.push(words.join(" "));
        }
        lines.join("\n")
    };
    let kept = kept(board, &sources);
    let blocks: Vec<String> = kept.into_iter().chain(sources.into_iter().map(of_source)).collect();
    blocks.join("\n\n")
}

/// A set is published after it was measured: the revision that it is of does not have it yet.
fn kept(board: &Board<'_>, sources: &[&Source]) -> Option<String> {
    let is_kept = |it: &&&Source| is_published(it) && !checkout(it).is_empty();
    let places: Vec<String> =
        sources.iter().filter(is_kept).map(|it| quoted(&it.place.display().to_string())).collect();
    let repeated = board.testbed.class == Class::Virtual && !places.is_empty();
    repeated.then(|| format!("cp {} /tmp/", places.join(" ")))
}

fn is_published(source: &Source) -> bool {
    source.place.extension().is_some_and(|it| it == PACKED)
}

/// Where a set is when its revision has been checked out.
fn place(source: &Source) -> String {
    match source.place.file_name() {
        Some(name) if is_published(source) && !checkout(source).is_empty() => {
            format!("/tmp/{}", name.to_string_lossy())
        }
        _ => source.place.display().to_string(),
    }
}

/// What is to be checked out and built: other sources, another compiler or other packages are another machine. Of edits
/// that nobody committed, only the commit below them is to be had. The lines are copied into a shell: nothing of a
/// result stands in them but what looks as it should.
fn checkout(source: &Source) -> Vec<String> {
    let environment = &source.set.run.environment;
    let Some(revision) = &environment.harness_revision else { return Vec::new() };
    let commit = revision.split('-').next().unwrap_or_default();
    if commit.is_empty() || !commit.chars().all(|it| it.is_ascii_hexdigit()) {
        return Vec::new();
    }
    let edited = if commit == revision { "" } else { "  # with edits that were not committed" };
    let mut lines = vec![format!("git checkout {commit}{edited}")];
    let compiler = environment.runner_compiler.as_deref().and_then(release);
    lines.extend(compiler.map(|it| format!("export RUSTUP_TOOLCHAIN={it}")));
    let mirror = environment.debian_mirror.as_deref().filter(|it| is_snapshot(it));
    lines.extend(mirror.map(|it| format!("export MESHBENCH_DEBIAN_MIRROR={it}")));
    lines.push("cargo build --release && PATH=$PWD/target/release:$PATH".into());
    lines
}

/// Of `rustc 1.95.0 (59807616e 2026-04-14)`, as rustup calls it.
fn release(compiler: &str) -> Option<&str> {
    let release = compiler.strip_prefix("rustc ")?.split(' ').next()?;
    let parts: Vec<&str> = release.split('.').collect();
    let is_number = |it: &&str| !it.is_empty() && it.chars().all(|it| it.is_ascii_digit());
    (parts.len() == 3 && parts.iter().all(is_number)).then_some(release)
}

/// Any other archive has other packages tomorrow.
fn is_snapshot(mirror: &str) -> bool {
    let time = mirror.strip_prefix("http://snapshot.debian.org/archive/debian/");
    time.is_some_and(|it| !it.is_empty() && it.chars().all(|it| it.is_ascii_alphanumeric()))
}

/// The commands that measure single clusters, each below the hash of what is then said.
fn alone<'a>(cells: impl Iterator<Item = &'a Measured<'a>>) -> Vec<String> {
    let mut lines = Vec::new();
    for measured in cells {
        let Some(sealed) = &measured.record.sealed else { continue };
        let mut line = format!("# seed {} says SHA-256 {}", measured.pair, in_a_line(&sealed.said));
        if !sealed.command.is_empty() {
            let words: Vec<String> = sealed.command.split(' ').map(quoted).collect();
            line = format!("{line}\n{}", words.join(" "));
        }
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// A word as a shell takes it for one, whatever is in it.
fn quoted(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_.,:/=@+…".contains(it);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", in_a_line(word).replace('\'', r"'\''"))
}

/// A comment of a shell ends with its line.
fn in_a_line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

pub(super) fn expect(all: &[Measured<'_>]) -> String {
    if all.iter().any(|it| it.record.sealed.is_some()) {
        "Virtual time: `bench repeat` says “identical” when every byte is the same, and names the first digit that is \
         not. The hashes are of all that a machine is to say."
            .into()
    } else {
        "Real time: the order of magnitude repeats on a like machine, the digits do not.".into()
    }
}
