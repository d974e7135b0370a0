//! `bench update`: the newest released versions of what modules compile, written into them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::exit;
use meshbench::file;
use meshbench::module::spec::{self, Module};
use meshbench::results;

use crate::args::UpdateArgs;
use crate::error::{Failure, Outcome};
use crate::output::{print, say};
use crate::workspace::Workspace;

/// Something with a version, on a line of a `module.toml`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pinned {
    Crate(String),
    Go(String),
}

impl Pinned {
    fn name(&self) -> &str {
        let (Self::Crate(name) | Self::Go(name)) = self;
        name
    }
}

/// Writes the newest versions, and shows what changed.
pub fn update(workspace: &Workspace, arguments: &UpdateArgs) -> Outcome {
    if workspace.catalogue.is_shipped() && !arguments.dry_run {
        return Err(Failure::usage("there is no modules/ and checks/ here or above to write to")
            .help("clone the repository, name your own folder with --root DIR, or only look with --dry-run"));
    }
    let modules = match arguments.modules.as_slice() {
        [] => workspace.modules()?,
        names => names.iter().map(|name| workspace.module(name)).collect::<Result<_, _>>()?,
    };
    let (mut newest, mut failed, mut changed) = (BTreeMap::new(), 0, 0);
    for module in &modules {
        match of_module(module, &mut newest, arguments.dry_run) {
            Ok(found) => {
                changed += found.changed.len();
                for line in found.changed.iter().chain(&found.by_hand) {
                    print(line)?;
                }
            }
            Err(reason) => {
                failed += 1;
                say(format!("{}: {reason}", module.name));
            }
        }
    }
    if arguments.nixpkgs {
        nixpkgs(&workspace.modules_dir().join(".."), arguments.dry_run)?;
    }
    let done = if arguments.dry_run { "to change" } else { "changed" };
    print(&format!("{changed} versions {done}, {failed} modules could not be looked up\n"))?;
    Ok(if failed == 0 { exit::OK } else { exit::SETUP })
}

/// What became of a module, a line each.
#[derive(Debug, Default)]
struct Found {
    changed: Vec<String>,
    /// What names an old version and is left to people.
    by_hand: Vec<String>,
}

fn of_module(
    module: &Arc<Module>,
    newest: &mut BTreeMap<Pinned, String>,
    dry_run: bool,
) -> Result<Found, String> {
    let path = module.dir.join("module.toml");
    let mut text = file::read_text(&path).map_err(|error| error.to_string())?;
    let debian = &module.spec.software.debian;
    let crates = debian.cargo.iter().map(|it| (Pinned::Crate(it.name.clone()), &it.version));
    let programs = debian.go.iter().map(|it| (Pinned::Go(it.package.clone()), &it.version));
    let (mut found, mut old_ones) = (Found::default(), Vec::new());
    for (pinned, old) in crates.chain(programs) {
        if !newest.contains_key(&pinned) {
            newest.insert(pinned.clone(), look_up(&pinned)?);
        }
        let new = &newest[&pinned];
        if new == old {
            continue;
        }
        text = replaced(&text, pinned.name(), old, new)?;
        found.changed.push(format!("{}: {} {old} → {new}\n", module.name, pinned.name()));
        old_ones.push(old.trim_start_matches('v'));
    }
    if !old_ones.is_empty() {
        found.by_hand =
            by_hand(&module.dir, &text, &old_ones).map_err(|error| error.to_string())?;
    }
    if !old_ones.is_empty() && !dry_run {
        spec::parse(&path, &text).map_err(|error| error.to_string())?;
        write(&path, &text)?;
    }
    Ok(found)
}

/// Where a module still names a version that is no longer its own: what Nix builds has a hash beside it, and what was
/// chosen may have been chosen for that version. `description` is what `module.toml` says now.
fn by_hand(folder: &Path, description: &str, old: &[&str]) -> io::Result<Vec<String>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut lines = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let is_description = file.ends_with("module.toml");
        // What is no text names no version.
        let text = if is_description { description.to_owned() } else { text_of(file)? };
        for (number, line) in (1..).zip(text.lines()) {
            let is_pin = is_description && line.contains("version = \"");
            if let Some(old) = old.iter().find(|old| !is_pin && names(line, old)) {
                lines.push(format!("by hand: {}:{number} still says {old}\n", file.display()));
            }
        }
    }
    Ok(lines)
}

fn text_of(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8(fs::read(path)?).unwrap_or_default())
}

/// Whether a line names this version, and not one of which it is a part.
fn names(line: &str, version: &str) -> bool {
    line.match_indices(version).any(|(at, found)| {
        let before = line[..at].chars().next_back();
        let mut after = line[at + found.len()..].chars();
        let (next, then) = (after.next(), after.next());
        let digit = |it: Option<char>| it.is_some_and(|it| it.is_ascii_digit());
        let goes_on = digit(next) || (next == Some('.') && digit(then));
        !digit(before) && before != Some('.') && !goes_on
    })
}

/// Beside its place, then renamed: a module is there whole or as it was.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let beside = path.with_extension("toml.new");
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// The text with another version on the line that names the package, and wherever else on it the version stands
/// (linker flags).
fn replaced(text: &str, name: &str, old: &str, new: &str) -> Result<String, String> {
    let (quoted, version) = (format!("\"{name}\""), format!("version = \"{old}\""));
    let (bare_old, bare_new) = (old.trim_start_matches('v'), new.trim_start_matches('v'));
    let mut found = false;
    let line = |line: &str| {
        if line.contains(&quoted) && line.contains(&version) {
            found = true;
            return line.replace(bare_old, bare_new);
        }
        line.to_owned()
    };
    let lines: String = text.split_inclusive('\n').map(line).collect();
    if found { Ok(lines) } else { Err(format!("{name} and its version {old} are not on one line")) }
}

fn look_up(pinned: &Pinned) -> Result<String, String> {
    match pinned {
        Pinned::Crate(name) => newest_crate(name),
        Pinned::Go(package) => newest_go(package),
    }
}

/// By cargo, away from any workspace, whose lock it would ask first.
fn newest_crate(name: &str) -> Result<String, String> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["info", "--quiet", "--registry", "crates-io", name])
        .current_dir(std::env::temp_dir());
    version_told(&said(cargo)?).ok_or_else(|| format!("cargo tells no version of {name}"))
}

fn version_told(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("version: "))?;
    // `1.2.3 (latest 1.3.0)` where this toolchain is too old for the latest.
    line.split_whitespace().next().map(str::to_owned)
}

/// By go: the module of a package is the longest beginning of its path that is one.
fn newest_go(package: &str) -> Result<String, String> {
    let mut path = package;
    loop {
        let mut go = Command::new("go");
        go.args(["list", "-m", "-f", "{{.Version}}", &format!("{path}@latest")])
            .env("GOFLAGS", "-mod=mod")
            .env("GOWORK", "off")
            .current_dir(std::env::temp_dir());
        match (said(go), path.rsplit_once('/')) {
            (Ok(version), _) => return Ok(version.trim().to_owned()),
            (Err(_), Some((shorter, _))) => path = shorter,
            (Err(error), None) => return Err(format!("no module of {package}: {error}")),
        }
    }
}

fn said(mut command: Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}", why.lines().last().unwrap_or("failed")))
}

fn nixpkgs(root: &Path, dry_run: bool) -> Result<(), Failure> {
    if dry_run {
        return Ok(());
    }
    let mut nix = Command::new("nix");
    nix.args(["--extra-experimental-features", "nix-command flakes", "flake", "update", "--flake"]);
    let lock = root.join("flake.lock");
    let before = locked(&lock);
    said({
        nix.arg(root);
        nix
    })
    .map_err(|reason| Failure::setup(format!("nixpkgs was not updated: {reason}")))?;
    let now = locked(&lock);
    let line = if before == now {
        format!("flake.lock: nixpkgs is {now}, as it was\n")
    } else {
        format!("flake.lock: nixpkgs {before} → {now}\n")
    };
    print(&line).map(drop)
}

/// Which nixpkgs a lock names: its revision and its day.
fn locked(lock: &Path) -> String {
    let text = file::read_text(lock).unwrap_or_default();
    let lock: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let nixpkgs = &lock["nodes"]["nixpkgs"]["locked"];
    let (Some(revision), Some(seconds)) =
        (nixpkgs["rev"].as_str(), nixpkgs["lastModified"].as_u64())
    else {
        return "unknown".into();
    };
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let day = results::rfc3339(modified);
    format!("{revision} of {}", day.split('T').next().unwrap_or(&day))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"go = [
    { package = "example.org/a/client", version = "v0.74.4", bin = "a", ldflags = "-X example.org/a/version=0.74.4" },
    { package = "example.org/b", version = "v0.74.4", bin = "b" },
]
choices = ["a 0.74.4"]
"#;

    #[test]
    fn only_the_line_of_the_package_is_changed_and_all_of_it() {
        let new = replaced(TOML, "example.org/a/client", "v0.74.4", "v0.75.0").unwrap();
        assert_eq!(new.matches("0.75.0").count(), 2);
        assert_eq!(new.matches("0.74.4").count(), 2);
        let error = replaced(TOML, "example.org/c", "v1", "v2").unwrap_err();
        assert!(error.contains("example.org/c"), "{error}");
    }

    #[test]
    fn a_version_is_the_one_that_this_toolchain_can_build() {
        let text =
            "vpncloud #vpn\nPeer-to-peer VPN\nversion: 2.3.0 (latest 3.0.0)\nlicense: GPL-3.0\n";
        assert_eq!(version_told(text).as_deref(), Some("2.3.0"));
        assert_eq!(version_told("nothing"), None);
    }

    #[test]
    fn what_still_names_the_old_version_is_left_to_people() {
        let dir = tempfile::tempdir().unwrap();
        let nix = "pname = \"a\";\nversion = \"0.74.4\";\nother = \"10.74.4\";\n";
        fs::write(dir.path().join("nixos.nix"), nix).unwrap();
        fs::write(dir.path().join("module.toml"), TOML).unwrap();
        fs::write(dir.path().join("program"), [0xff, 0xfe]).unwrap();
        let lines = by_hand(dir.path(), TOML, &["0.74.4"]).unwrap();
        let ends = ["module.toml:5 still says 0.74.4\n", "nixos.nix:2 still says 0.74.4\n"];
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{lines:?}");
    }

    #[test]
    fn a_version_is_not_found_within_another() {
        for line in ["2.0.3", "v2.0.3", "is 2.0.3.", "2.0.3-rc1", "\"2.0.3\""] {
            assert!(names(line, "2.0.3"), "{line}");
        }
        for line in ["12.0.3", "1.2.0.3", "2.0.30", "2.0.3.1", "2.0"] {
            assert!(!names(line, "2.0.3"), "{line}");
        }
    }

    #[test]
    fn a_lock_tells_revision_and_day() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("flake.lock");
        assert_eq!(locked(&lock), "unknown");
        let text =
            r#"{"nodes": {"nixpkgs": {"locked": {"lastModified": 1784011430, "rev": "8eee"}}}}"#;
        fs::write(&lock, text).unwrap();
        assert_eq!(locked(&lock), "8eee of 2026-07-14");
    }
}
