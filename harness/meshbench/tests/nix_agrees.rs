//! What Nix reads from modules and scenarios is what Rust reads. Needs `nix-instantiate`, and nothing of nixpkgs.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use meshbench::fabric::Scenario;
use meshbench::module::spec;
use serde::Deserialize;
use serde_json::Value;

/// What nix/discover.nix finds.
#[derive(Deserialize)]
struct Found {
    specs: BTreeMap<String, Value>,
    topologies: BTreeMap<String, Value>,
}

const EXPRESSION: &str =
    "let found = import ./nix/discover.nix { lib = import ./nix/tests/stub/lib.nix; root = ./.; };
in { inherit (found) specs topologies; }";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Nothing where there is no Nix; says so in a line that can be counted.
fn found_by_nix() -> Option<Found> {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new("nix-instantiate");
    command.args(["--eval", "--strict", "--json", "--readonly-mode", "-E", EXPRESSION]);
    // Neither a daemon nor /nix is needed to read files.
    command.env("NIX_REMOTE", scratch.path().join("store")).env("HOME", scratch.path());
    command.env("NIX_STATE_DIR", scratch.path().join("state")).current_dir(root());
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skipped: nix-instantiate: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn read_by_rust(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap()
}

/// Numbers alike: TOML's `1.0` is a float in both, but need not be written alike in JSON.
fn normal(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Number(number), Value::from),
        Value::Array(values) => values.into_iter().map(normal).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (key, normal(value))).collect()
        }
        other => other,
    }
}

#[test]
fn nix_and_rust_read_the_same_from_every_module_and_scenario() {
    let Some(found) = found_by_nix() else { return };
    let modules = root().join("modules");
    let names: Vec<&String> = found.specs.keys().collect();
    assert_eq!(names, spec::list(&modules).unwrap().iter().collect::<Vec<_>>());
    for (name, value) in found.specs {
        let read = read_by_rust(&modules.join(&name).join("module.toml"));
        assert_eq!(normal(value), normal(read), "modules/{name}/module.toml");
        spec::load(&modules, &name).unwrap();
    }
    let checks = root().join("checks");
    let files = std::fs::read_dir(&checks).unwrap().map(|entry| entry.unwrap().path());
    let scenarios = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).count();
    assert_eq!(found.topologies.len(), scenarios, "Nix does not see every scenario in checks/");
    for (name, value) in found.topologies {
        let file = checks.join(format!("{name}.toml"));
        assert_eq!(normal(value), normal(read_by_rust(&file)), "checks/{name}.toml");
        Scenario::load(&file, &[]).unwrap();
    }
}
