//! `bench compare`, `survey` and `new-module` on files alone. No machine is started.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::exit;
use rstest::rstest;
use serde_json::{Value, json};

use crate::common::{Ended, root, shared_turn, skip};
use crate::program::bench;

fn run(command: &mut Command) -> Ended {
    let _turn = shared_turn();
    crate::common::run(command)
}

/// A run of `blocks` in which wireguard carries `factor` of what the wire does.
struct Results {
    run: Value,
    cells: Vec<Value>,
}

impl Results {
    fn new(id: &str, blocks: u32, factor: f64) -> Self {
        let module =
            |name: &str| json!({"name": name, "title": name, "version": "1.0", "choices": []});
        let run = json!({
            "format": 1, "id": id, "started": "2026-11-23T07:12:18Z", "command": ["bench"],
            "seed": 1, "blocks": blocks, "workloads": ["tcp"], "quick": false,
            "environment": {
                "accelerator": "tcg", "accelerator_reason": "x", "qemu_version": "10.0.3",
                "host_kernel": "6.12", "host_cpu": "Example CPU", "host_cores": 2,
                "host_memory_bytes": 1, "clock_source": null, "load_average": [0, 0, 0],
                "harness_version": "0.1.0", "harness_revision": null
            },
            "guests": [],
            "scenarios": [{"name": "lan", "title": "LAN", "links": [], "nats": []}],
            "modules": [module("internal"), module("wireguard")],
        });
        let mut cells = Vec::new();
        for block in 1..=blocks {
            for (name, factor) in [("internal", 1.0), ("wireguard", factor)] {
                let value = 5e7 * factor * (1.0 + f64::from(block % 3) / 1000.0);
                cells.push(json!({
                    "format": 1, "started": "2026-11-23T07:15:00Z", "duration_seconds": 1,
                    "key": {"block": block, "scenario": "lan", "module": name, "workload": "tcp"},
                    "outcome": {"status": "ok"},
                    "metrics": [{"name": "goodput-forward", "unit": "bit/s", "better": "higher",
                                 "value": value, "samples": []}],
                    "path": "direct", "inner_mtu": 1420, "underlay": "ipv4", "links": []
                }));
            }
        }
        Self { run, cells }
    }

    fn fail_wireguard(mut self) -> Self {
        for cell in self.cells.iter_mut().filter(|cell| cell["key"]["module"] == "wireguard") {
            cell["metrics"] = json!([]);
            cell["outcome"] = json!({"status": "failed", "stage": "connect", "machine": "bob",
                                     "reason": "no answer", "evidence": []});
        }
        self
    }

    fn write(&self, dir: &Path) -> String {
        let dir = dir.join(self.run["id"].as_str().unwrap());
        fs::create_dir_all(dir.join("cells")).unwrap();
        fs::write(dir.join("run.json"), self.run.to_string()).unwrap();
        for cell in &self.cells {
            let key = &cell["key"];
            let name = format!("{}_lan_{}_tcp.json", key["block"], key["module"].as_str().unwrap());
            fs::write(dir.join("cells").join(name), cell.to_string()).unwrap();
        }
        dir.to_string_lossy().into_owned()
    }
}

fn compared(a: &Results, b: &Results, more: &[&str]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (a.write(dir.path()), b.write(dir.path()));
    run(&mut bench(&[&["compare", &a, &b], more].concat()))
}

#[rstest]
#[case::slower(0.9, 0.7, exit::REGRESSION, "regression: wireguard lan tcp goodput-forward: 0.78×")]
#[case::faster(0.7, 0.9, exit::OK, "1 better")]
#[case::same(0.9, 0.9, exit::OK, "0 better, 0 worse")]
#[case::a_little_slower(0.9, 0.87, exit::OK, "1 worse")]
fn a_regression_has_an_exit_code_of_its_own(
    #[case] a: f64,
    #[case] b: f64,
    #[case] code: u8,
    #[case] says: &str,
) {
    let ended = compared(&Results::new("run-a", 7, a), &Results::new("run-b", 7, b), &[]);
    assert_eq!(ended.code, Some(code.into()), "{}", ended.said());
    assert!(ended.stdout.contains(says), "{}", ended.stdout);
    assert!(ended.stdout.contains("A  run-a") && ended.stdout.contains("B  run-b"));
}

#[test]
fn the_threshold_is_in_percent() {
    let (a, b) = (Results::new("a", 7, 0.9), Results::new("b", 7, 0.7));
    assert_eq!(compared(&a, &b, &["--threshold", "30"]).code, Some(exit::OK.into()));
    assert_eq!(compared(&a, &b, &["--threshold", "20%"]).code, Some(exit::REGRESSION.into()));
    assert_eq!(compared(&a, &b, &["--threshold", "much"]).code, Some(exit::USAGE.into()));
}

#[test]
fn a_module_that_fails_now_is_a_regression_even_with_one_block() {
    let (a, b) = (Results::new("a", 1, 0.9), Results::new("b", 1, 0.9).fail_wireguard());
    let ended = compared(&a, &b, &[]);
    assert_eq!(ended.code, Some(exit::REGRESSION.into()), "{}", ended.said());
    assert!(ended.stdout.contains("not measured in B (failed)"), "{}", ended.stdout);
    let back = compared(&b, &a, &[]);
    assert_eq!(back.code, Some(exit::OK.into()));
    assert!(back.stdout.contains("0 better"), "{}", back.stdout);
}

#[test]
fn testbeds_that_differ_are_refused_with_the_reason_unless_forced() {
    let (a, mut b) = (Results::new("a", 7, 0.9), Results::new("b", 7, 0.9));
    b.run["environment"]["host_cpu"] = json!("Another CPU");
    b.run["environment"]["accelerator"] = json!("kvm");
    let ended = compared(&a, &b, &[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(exit::USAGE.into()), ""));
    let text = ended.said();
    assert!(text.contains("Another CPU") && text.contains("TCG in A, KVM in B"), "{text}");
    assert!(text.contains("--force"), "{text}");
    let forced = compared(&a, &b, &["--force"]);
    assert_eq!(forced.code, Some(exit::OK.into()));
    assert!(forced.stderr.contains("Another CPU"), "{}", forced.stderr);
}

#[test]
fn json_says_what_the_table_says() {
    let (a, b) = (Results::new("a", 7, 0.9), Results::new("b", 7, 0.7));
    let ended = compared(&a, &b, &["--json"]);
    assert_eq!(ended.code, Some(exit::REGRESSION.into()));
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&json["a"]["run"], &json["b"]["run"]), (&json!("a"), &json!("b")));
    assert_eq!(json["lines"].as_array().unwrap().len(), 2);
    let regression = &json["regressions"][0];
    assert_eq!(regression["change"], "worse");
    assert_eq!(regression["a"]["measured"], 7);
    assert!(regression["p_adjusted"].as_f64().unwrap() < 0.05);
    assert!((regression["ratio"].as_f64().unwrap() - 7.0 / 9.0).abs() < 1e-9);
}

#[test]
fn two_modules_of_a_run_are_compared_with_the_same_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let path = Results::new("a", 7, 0.5).write(dir.path());
    let ended = run(&mut bench(&["compare", &path, "--modules", "internal,wireguard"]));
    assert_eq!(ended.code, Some(exit::REGRESSION.into()), "{}", ended.said());
    assert!(ended.stdout.contains("0.50× ▼"), "{}", ended.stdout);
    let ended = run(&mut bench(&["compare", &path, "--modules", "wireguard,internal"]));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
    for (modules, says) in [("wireguard", "two modules"), ("internal,wireguad", "`wireguard`?")] {
        let ended = run(&mut bench(&["compare", &path, "--modules", modules]));
        assert_eq!(ended.code, Some(exit::USAGE.into()));
        assert!(ended.said().contains(says), "{}", ended.stderr);
    }
    let ended = run(&mut bench(&["compare", &path]));
    assert_eq!(ended.code, Some(exit::USAGE.into()));
    assert!(ended.said().contains("--modules A,B"), "{}", ended.stderr);
}

/// As an author would try it: the same build again, and one that carries 0.45 of it, in 5 blocks.
#[test]
fn a_gate_says_no_yes_or_not_known_by_its_exit_code() {
    let gate = |a: &Results, b: &Results| {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (a.write(dir.path()), b.write(dir.path()));
        run(&mut bench(&["gate", &a, &b]))
    };
    let before = Results::new("a", 5, 0.9);
    for (b, code, says) in [
        (Results::new("b", 5, 0.9), exit::OK, "gate: no regression"),
        (Results::new("b", 5, 0.9 * 0.45), exit::REGRESSION, "gate: a regression"),
        (Results::new("b", 2, 0.9 * 0.45), exit::UNDECIDED, "gate: not known"),
    ] {
        let ended = gate(&before, &b);
        assert_eq!(ended.code, Some(code.into()), "{}", ended.said());
        assert!(ended.stdout.contains(says), "{}", ended.stdout);
        assert!(ended.stdout.contains(" blocks, after 1 look and "), "{}", ended.stdout);
    }
    let ended = gate(&Results::new("a", 3, 0.9), &Results::new("b", 3, 0.9 * 0.45));
    assert!(ended.stdout.contains("needs about 4 blocks, has 3"), "{}", ended.stdout);
}

#[test]
fn undecided_has_an_exit_code_on_request_and_so_has_an_unfinished_run() {
    let (a, b) = (Results::new("a", 2, 0.9), Results::new("b", 2, 0.8));
    assert_eq!(compared(&a, &b, &[]).code, Some(exit::OK.into()));
    assert_eq!(compared(&a, &b, &["--decide"]).code, Some(exit::UNDECIDED.into()));
    let (a, mut b) = (Results::new("a", 7, 0.9), Results::new("b", 7, 0.9));
    assert_eq!(compared(&a, &b, &["--decide"]).code, Some(exit::OK.into()));
    for (left, part) in [(13, "13 of 14 cells"), (12, "6 of 7 blocks")] {
        b.cells.truncate(left);
        let ended = compared(&a, &b, &["--decide"]);
        assert_eq!(ended.code, Some(exit::UNDECIDED.into()));
        let told = format!("b is unfinished: {part}");
        assert!(ended.stdout.contains(&told), "{}", ended.stdout);
    }
}

#[test]
fn other_contents_are_told_and_another_wire_is_refused() {
    let (mut a, mut b) = (Results::new("a", 7, 0.9), Results::new("b", 7, 0.9));
    assert!(compared(&a, &b, &[]).stdout.contains("of the same contents"));
    a.run["modules"][1]["sha256"] = json!("one");
    b.run["modules"][1]["sha256"] = json!("two");
    let ended = compared(&a, &b, &[]);
    assert_eq!(ended.code, Some(exit::OK.into()));
    assert!(ended.stdout.contains("wireguard: the files of its module"), "{}", ended.stdout);
    a.run["scenarios"][0]["sha256"] = json!("one");
    b.run["scenarios"][0]["sha256"] = json!("two");
    let ended = compared(&a, &b, &[]);
    assert_eq!(ended.code, Some(exit::USAGE.into()));
    assert!(ended.said().contains("scenario lan: its file"), "{}", ended.stderr);
}

#[test]
fn the_noise_floor_of_one_thing_measured_twice_is_stored_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let write = |results: &Results| results.write(dir.path());
    let (a, again) = (write(&Results::new("a", 7, 0.9)), write(&Results::new("again", 7, 0.83)));
    let slower = write(&Results::new("slower", 7, 0.85));
    assert_eq!(run(&mut bench(&["compare", &a, &slower])).code, Some(exit::REGRESSION.into()));
    let ended = run(&mut bench(&["noise", &a, &again]));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
    assert!(ended.stdout.contains("8.54 %"), "{}", ended.stdout);
    assert!(ended.stdout.contains("more than noise is at work"), "{}", ended.stdout);
    assert!(Path::new(&a).join("noise.json").exists());
    let ended = run(&mut bench(&["compare", &a, &slower]));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.stdout);
    assert!(ended.stdout.contains("noise floors of a and again"), "{}", ended.stdout);
    let ended = run(&mut bench(&["compare", &a, &slower, "--decide"]));
    assert_eq!(ended.code, Some(exit::UNDECIDED.into()), "{}", ended.stdout);
    assert!(ended.stdout.contains("8.54 %, is above the threshold"), "{}", ended.stdout);
    let ended = run(&mut bench(&["compare", &again, &slower, "--noise", &again]));
    assert_eq!(ended.code, Some(exit::USAGE.into()));
    assert!(ended.said().contains("bench noise A B"), "{}", ended.stderr);
}

/// Blocks of one seed are the same to the last digit in virtual time: a floor of nothing, of nothing.
#[test]
fn runs_of_virtual_time_that_share_seeds_have_no_noise_floor() {
    let dir = tempfile::tempdir().unwrap();
    let of = |id: &str, seed: u32| {
        let mut results = Results::new(id, 7, 0.9);
        (results.run["seed"], results.run["clock"]) = (json!(seed), json!("virtual"));
        results.cells.iter_mut().for_each(|cell| cell["clock"] = json!("virtual"));
        results.write(dir.path())
    };
    let (a, overlaps, apart) = (of("a", 1), of("b", 7), of("c", 8));
    let ended = run(&mut bench(&["noise", &a, &overlaps]));
    assert_eq!(ended.code, Some(exit::USAGE.into()), "{}", ended.said());
    assert!(ended.said().contains("A and B share 1 of theirs"), "{}", ended.said());
    assert!(ended.said().contains("--seed 1001"), "{}", ended.said());
    let ended = run(&mut bench(&["noise", &a, &apart]));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
}

#[test]
fn a_run_is_asked_for_more_blocks_but_not_for_fewer() {
    let dir = tempfile::tempdir().unwrap();
    let path = Results::new("a", 2, 0.9).write(dir.path());
    let resume = |blocks: &str| {
        let words = ["run", "--resume", &path, "--blocks", blocks, "--dry-run"];
        run(&mut bench(&words))
    };
    let ended = resume("3");
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
    assert_eq!(ended.stdout.lines().count(), 6, "{}", ended.stdout);
    assert!(ended.stdout.contains("3 lan wireguard"), "{}", ended.stdout);
    let ended = resume("1");
    assert_eq!(ended.code, Some(exit::USAGE.into()));
    assert!(ended.said().contains("cannot be fewer"), "{}", ended.stderr);
}

#[test]
fn figures_of_others_are_imported_and_shown_beside_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (table, file) = (dir.path().join("thesis.csv"), dir.path().join("thesis.json"));
    let text = "vpn,profile,metric,unit,value
Internal,baseline,tcp_fwd_receiver,Mbit/s,934.0
Wireguard,baseline,tcp_fwd_receiver,Mbit/s,860.0\n";
    fs::write(&table, text).unwrap();
    let (table, file) = (table.to_string_lossy(), file.to_string_lossy());
    let ended = run(&mut bench(&["import", "thesis", &table, "-o", &file]));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
    let path = Results::new("a", 7, 0.5).write(dir.path());
    let ended = run(&mut bench(&["show", &path, "--beside", &file]));
    assert!(ended.stdout.contains("0.50×") && ended.stdout.contains("0.92×"), "{}", ended.said());
    let ended = run(&mut bench(&["show", &file]));
    assert!(ended.stdout.contains("860"), "{}", ended.said());
    fs::write(&*table, "vpn\n").unwrap();
    let ended = run(&mut bench(&["import", "thesis", &table, "-o", &file]));
    assert_eq!(ended.code, Some(exit::USAGE.into()));
}

#[test]
fn results_are_not_written_over_others_and_that_is_said_before_a_guest_is_built() {
    let dir = tempfile::tempdir().unwrap();
    let path = Results::new("a", 1, 0.5).write(dir.path());
    let before = fs::read_to_string(Path::new(&path).join("run.json")).unwrap();
    let ended = run(&mut bench(&["wireguard", "--scenario", "lan", "--out", &path]));
    assert_eq!(ended.code, Some(exit::USAGE.into()), "{}", ended.said());
    assert!(ended.said().contains("--resume"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(Path::new(&path).join("run.json")).unwrap(), before);
}

#[test]
fn a_survey_joins_results_and_contract() {
    let dir = tempfile::tempdir().unwrap();
    let path = Results::new("a", 1, 0.5).write(dir.path());
    let contract = dir.path().join("contract.json");
    let text = json!([{"module": "wireguard", "findings": [
        {"promise": "keeps strangers out", "kept": false, "seen": "got in"}]}]);
    fs::write(&contract, text.to_string()).unwrap();
    let place = dir.path().to_string_lossy().into_owned();
    let ended = run(&mut bench(&["survey", &path, "--contract", &place]));
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
    assert!(ended.stdout.contains("0.50×") && ended.stdout.contains("1420"), "{}", ended.stdout);
    assert!(ended.stdout.contains("✗ wireguard keeps strangers out: got in"), "{}", ended.stdout);
    let mut other = Results::new("b", 1, 0.5);
    other.run["clock"] = json!("virtual");
    other.cells.iter_mut().for_each(|cell| cell["clock"] = json!("virtual"));
    let other = other.write(dir.path());
    let ended = run(&mut bench(&["survey", &other, &path]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(exit::USAGE.into()), ""));
    let said = ended.said();
    assert!(said.contains("a was measured in real time and b in virtual time"), "{said}");
    fs::write(&contract, "[\n{}]").unwrap();
    let ended = run(&mut bench(&["survey", &path, "--contract", &place]));
    assert_eq!(ended.code, Some(exit::USAGE.into()));
    assert!(ended.said().replace(' ', "").contains("contract.json:2"), "{}", ended.stderr);
}

fn root_with_template() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let template = dir.path().join("modules/_template");
    fs::create_dir_all(&template).unwrap();
    fs::create_dir_all(dir.path().join("checks")).unwrap();
    for entry in fs::read_dir(root().join("modules/_template")).unwrap().flatten() {
        fs::copy(entry.path(), template.join(entry.file_name())).unwrap();
    }
    let modules = dir.path().join("modules");
    (dir, modules)
}

#[test]
fn a_new_module_is_the_template_under_its_name_and_can_be_listed() {
    let (dir, modules) = root_with_template();
    let with_root = |arguments: &[&str]| run(bench(arguments).env("MESHBENCH_ROOT", dir.path()));
    let ended = with_root(&["new-module", "my-vpn"]);
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
    assert!(ended.stdout.contains("bench contract my-vpn"), "{}", ended.stdout);
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    for file in ["module.toml", "lifecycle", "nixos.nix"] {
        let template = read(&modules.join("_template").join(file));
        let written = read(&modules.join("my-vpn").join(file));
        assert_eq!(written, template.replace("NAME", "my-vpn"), "{file}");
    }
    assert!(with_root(&["list", "modules"]).stdout.contains("my-vpn"));

    fs::write(modules.join("my-vpn/lifecycle"), "mine").unwrap();
    let again = with_root(&["new-module", "my-vpn"]);
    assert_eq!(again.code, Some(exit::USAGE.into()));
    assert!(again.said().contains("is there already"), "{}", again.stderr);
    assert_eq!(read(&modules.join("my-vpn/lifecycle")), "mine");
}

#[rstest]
#[case("_x")]
#[case("My")]
#[case("../up")]
#[case("")]
fn a_name_that_is_no_module_name_is_refused_and_nothing_is_written(#[case] name: &str) {
    let (dir, modules) = root_with_template();
    let ended = run(bench(&["new-module", name]).env("MESHBENCH_ROOT", dir.path()));
    assert_eq!(ended.code, Some(exit::USAGE.into()));
    assert_eq!(fs::read_dir(&modules).unwrap().count(), 1);
}

#[test]
fn the_flake_template_is_the_same_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let mut nix = Command::new("nix-instantiate");
    let path = "toString (import ./nix/templates.nix).vpn.path";
    nix.args(["--eval", "--strict", "--json", "--readonly-mode", "-E", path]).current_dir(root());
    // Neither a daemon nor /nix is needed to read files.
    nix.env("NIX_REMOTE", scratch.path().join("store")).env("HOME", scratch.path());
    nix.env("NIX_STATE_DIR", scratch.path().join("state"));
    let Ok(output) = nix.output() else { return skip("nix/templates.nix needs nix-instantiate") };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder: PathBuf = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(folder, root().join("modules/_template").canonicalize().unwrap());
}

#[test]
fn a_run_of_a_workload_that_nobody_knows_is_not_taken_for_a_finished_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut results = Results::new("unknown", 1, 0.9);
    for (workloads, own, says) in [
        (json!(["pnig"]), json!([]), "no workload `pnig`"),
        (json!(["tcp"]), json!(["tcp", "pnig"]), "lan asks for pnig, the run does not"),
    ] {
        results.run["workloads"] = workloads;
        results.run["scenarios"][0]["workloads"] = own;
        results.cells.clear();
        let place = results.write(dir.path());
        let ended = run(&mut bench(&["run", "--resume", &place]));
        assert_eq!(ended.code, Some(exit::USAGE.into()), "{}", ended.said());
        assert!(ended.said().contains(says), "{}", ended.said());
    }
}

#[test]
fn evidence_that_leads_elsewhere_is_published_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut results = Results::new("leads-elsewhere", 7, 0.9).fail_wireguard();
    let to = dir.path().join("set");
    for (evidence, from, make) in [
        ("logs/secret.txt", "logs/secret.txt", "ln -s /etc/passwd"),
        ("away/passwd", "away", "ln -s /etc"),
        ("logs/pipe", "logs/pipe", "mkfifo"),
    ] {
        for cell in results.cells.iter_mut().filter(|cell| cell["outcome"]["status"] == "failed") {
            cell["outcome"]["evidence"] = json!([evidence]);
        }
        let place = results.write(dir.path());
        fs::create_dir_all(Path::new(&place).join("logs")).unwrap();
        let script = format!("{make} '{place}/{from}'");
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        let (to, out) = (to.to_string_lossy(), dir.path().join("site"));
        let ended = run(&mut bench(&["results", "add", &place, "--by", "Ada", "--to", &to]));
        assert_eq!(ended.code, Some(exit::USAGE.into()), "{}", ended.said());
        // A wrapped path has been given blanks.
        assert!(ended.said().replace(' ', "").contains(evidence), "{}", ended.said());
        let out = out.to_string_lossy();
        let ended = run(&mut bench(&["report", "--out", &out, &place]));
        assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
        assert!(ended.said().replace(' ', "").contains(evidence), "{}", ended.said());
        let leaked = Command::new("grep").args(["-rl", "root:x:", &out]).output().unwrap();
        assert!(leaked.stdout.is_empty(), "{leaked:?}");
    }
}

#[test]
fn cells_whose_run_is_gone_are_adopted_by_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let place = Results::new("gone", 1, 0.9).write(dir.path());
    fs::remove_file(Path::new(&place).join("run.json")).unwrap();
    let arguments = ["run", "internal", "--scenario", "lan", "--dry-run", "--out", &place];
    let ended = run(&mut bench(&arguments));
    assert_eq!(ended.code, Some(exit::USAGE.into()), "{}", ended.said());
    assert!(ended.said().contains("holds cells"), "{}", ended.said());
}

/// Whether `bench show` reads a run with this record in place of its own.
fn is_read(run_record: &Value, cell: &Value) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let set = Results { run: run_record.clone(), cells: Vec::new() };
    let place = set.write(dir.path());
    let file = Path::new(&place).join("cells/1_lan_internal_tcp.json");
    fs::write(file, cell.to_string()).unwrap();
    run(&mut bench(&["show", &place])).code == Some(exit::OK.into())
}

#[test]
fn the_schema_asks_for_what_is_refused_when_it_is_missing_and_knows_all_else() {
    let ended = run(&mut bench(&["schema"]));
    let schema: Value = serde_json::from_str(&ended.stdout).unwrap();
    let Results { run: run_record, cells } = Results::new("whole", 1, 0.9);
    assert!(is_read(&run_record, &cells[0]));
    for (name, record) in [("RunRecord", &run_record), ("CellRecord", &cells[0])] {
        let definition = &schema["$defs"][name];
        let known = definition["properties"].as_object().unwrap();
        let required = definition["required"].as_array().unwrap();
        let fields = record.as_object().unwrap();
        assert!(fields.keys().all(|field| known.contains_key(field)), "{name}: {fields:?}");
        for field in fields.keys().filter(|field| *field != "id") {
            let mut torn = record.clone();
            torn.as_object_mut().unwrap().remove(field);
            let read = if name == "RunRecord" {
                is_read(&torn, &cells[0])
            } else {
                is_read(&run_record, &torn)
            };
            assert_eq!(read, !required.contains(&json!(field)), "{name}.{field}");
        }
    }
}

#[test]
fn a_site_is_served_to_this_machine() {
    let _turn = shared_turn();
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().to_str().unwrap();
    let ended = crate::common::run(&mut bench(&["serve", site]));
    assert_eq!(ended.code, Some(exit::USAGE.into()), "{}", ended.said());
    fs::write(dir.path().join("index.html"), "the leaderboard").unwrap();
    let mut serving = bench(&["serve", site]).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(serving.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let host = address.trim().strip_prefix("http://").unwrap().trim_end_matches('/');
    assert!(host.starts_with("127.0.0.1:"), "{address}");
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serving.kill().unwrap();
    serving.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("the leaderboard"), "{answer}");
}
