//! `--binary`: programs built by the user, in place of packaged ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshbench::guest;
use meshbench::module::spec::Module;

use crate::args::GuestArgs;
use crate::error::Failure;
use crate::workspace::unknown;

/// The programs given, by the name of what they replace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binaries(BTreeMap<String, PathBuf>);

impl Binaries {
    /// Reads the arguments: each must name a program that a selected module runs, and a file that a
    /// guest of this host can run.
    pub fn of(modules: &[Arc<Module>], arguments: &GuestArgs) -> Result<Self, Failure> {
        let mut binaries = BTreeMap::new();
        for argument in &arguments.binaries {
            let (name, path) = match argument.split_once('=') {
                Some((name, path)) => (named(name, modules)?, PathBuf::from(path)),
                None => (inferred(Path::new(argument), modules)?, PathBuf::from(argument)),
            };
            finished(&name, modules, &arguments.guests)?;
            let path = checked(&path)?;
            if binaries.insert(name.clone(), path).is_some() {
                return Err(Failure::usage(format!("--binary replaces `{name}` twice")));
            }
        }
        Ok(Self(binaries))
    }

    /// Where they are.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        self.0.clone()
    }
}

fn programs(modules: &[Arc<Module>]) -> Vec<String> {
    let all = modules.iter().flat_map(|module| module.spec.software.debian.binaries.clone());
    let mut all: Vec<String> = all.collect();
    all.sort();
    all.dedup();
    all
}

fn named(name: &str, modules: &[Arc<Module>]) -> Result<String, Failure> {
    let programs = programs(modules);
    if programs.iter().any(|program| program == name) {
        return Ok(name.to_owned());
    }
    Err(none_of(&programs).unwrap_or_else(|| unknown("program", name, &programs)))
}

/// Which program a file replaces: the one of its name, or the only one that a module has, or the only one
/// whose name stands as a word in its name (`my-nebula`).
fn inferred(path: &Path, modules: &[Arc<Module>]) -> Result<String, Failure> {
    let programs = programs(modules);
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if programs.contains(&file) {
        return Ok(file);
    }
    if let [only] = programs.as_slice() {
        return Ok(only.clone());
    }
    let mut within: Vec<&String> = programs.iter().filter(|name| is_word(name, &file)).collect();
    // `nebula` stands in whatever `nebula-cert` stands in, which is meant then.
    let all = within.clone();
    within.retain(|name| !all.iter().any(|other| other != name && is_word(name, other)));
    if let [only] = within.as_slice() {
        return Ok((*only).clone());
    }
    Err(none_of(&programs).unwrap_or_else(|| {
        let question = format!("--binary {}: which program is it?", path.display());
        Failure::usage(question).help(format!(
            "write NAME={}, with one of these names: {}",
            path.display(),
            programs.join(", ")
        ))
    }))
}

fn none_of(programs: &[String]) -> Option<Failure> {
    programs
        .is_empty()
        .then(|| Failure::usage("the modules selected run no program that --binary could replace"))
}

/// Whether `name` stands in `text` with no letter or digit beside it.
fn is_word(name: &str, text: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        [before, after].into_iter().flatten().all(|c| !c.is_alphanumeric())
    })
}

/// A finished guest holds its programs already.
fn finished(name: &str, modules: &[Arc<Module>], guests: &[String]) -> Result<(), Failure> {
    let runs =
        |module: &&Arc<Module>| module.spec.software.debian.binaries.iter().any(|it| it == name);
    let given = |module: &&Arc<Module>| {
        guests.iter().any(|guest| guest.split_once('=').is_some_and(|it| module.name == it.0))
    };
    match modules.iter().filter(runs).find(given) {
        None => Ok(()),
        Some(module) => Err(Failure::usage(format!(
            "--binary {name} cannot be put into the finished guest of {}",
            module.name
        ))
        .help("leave --guest out for a Debian guest, or build the program into the Nix package")),
    }
}

/// Its whole path, if it is a program that a guest can run.
fn checked(path: &Path) -> Result<PathBuf, Failure> {
    let refuse = |reason: String| Failure::usage(format!("--binary {}: {reason}", path.display()));
    let path = std::fs::canonicalize(path).map_err(|error| refuse(error.to_string()))?;
    if path.is_dir() {
        return Err(refuse("this is a directory, and should be the program itself".into()));
    }
    // Others have no end, or one for which somebody would have to be waited for.
    if !path.is_file() {
        return Err(refuse("this is no plain file, and should be the program itself".into()));
    }
    let bytes = std::fs::read(&path).map_err(|error| refuse(error.to_string()))?;
    guest::check_program(&bytes).map_err(refuse)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use meshbench::module::spec;
    use rstest::rstest;

    use super::*;

    fn modules(names: &[&str]) -> Vec<Arc<Module>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../modules");
        names.iter().map(|name| Arc::new(spec::load(&dir, name).unwrap())).collect()
    }

    #[rstest]
    #[case::same_name("/x/nebula-cert", &["nebula"], "nebula-cert")]
    #[case::only_program("/x/a.out", &["wireguard"], "wg")]
    #[case::word_in_the_name("./my-nebula", &["nebula"], "nebula")]
    #[case::longer_word_wins("nebula-cert.new", &["nebula"], "nebula-cert")]
    #[case::among_modules("tincd-dev", &["tinc", "n2n"], "tincd")]
    fn a_clear_case_needs_no_name(
        #[case] path: &str,
        #[case] names: &[&str],
        #[case] program: &str,
    ) {
        assert_eq!(inferred(Path::new(path), &modules(names)).unwrap(), program);
    }

    #[rstest]
    #[case::nothing_in_common("a.out", &["nebula"])]
    #[case::part_of_a_word("xnebula1", &["nebula"])]
    #[case::two_words("edge-supernode", &["n2n"])]
    fn an_unclear_case_is_asked_about(#[case] path: &str, #[case] names: &[&str]) {
        assert!(inferred(Path::new(path), &modules(names)).is_err());
    }

    #[test]
    fn every_module_but_the_wire_says_which_programs_may_be_replaced() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../modules");
        for module in spec::load_all(&dir).unwrap() {
            let debian = &module.spec.software.debian;
            let is_wire = module.name == spec::INTERNAL;
            assert_eq!(debian.binaries.is_empty(), is_wire, "{}", module.name);
            let crates = debian.cargo.iter().flat_map(|it| &it.bins);
            for compiled in debian.go.iter().map(|it| &it.bin).chain(crates) {
                assert!(debian.binaries.contains(compiled), "{}: {compiled}", module.name);
            }
            // A path would pass by the program that stands in PATH.
            let lifecycle =
                std::fs::read_to_string(dir.join(&*module.name).join("lifecycle")).unwrap();
            for name in &debian.binaries {
                assert!(!lifecycle.contains(&format!("bin/{name}")), "{}: {name}", module.name);
                assert!(is_word(name, &lifecycle), "{} never runs {name}", module.name);
            }
        }
    }

    #[test]
    fn a_finished_guest_takes_no_program() {
        let arguments = GuestArgs {
            binaries: vec!["/bin/true".into()],
            guests: vec!["wireguard=/x/guest.json".into()],
            ..GuestArgs::default()
        };
        let refusal = Binaries::of(&modules(&["wireguard"]), &arguments).unwrap_err();
        assert!(refusal.to_string().contains("finished guest of wireguard"), "{refusal}");
    }
}
