//! Results on the disk: what `bench run`, `show`, `survey`, `import`, `results`, `schema` and `serve` make of files. No
//! machine is started.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::shared_turn;
use crate::exit;
use crate::made_up::{Results, run};
use crate::program::bench;

/// How long a server may take to begin and to answer.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// Ends with the test, whatever comes of it.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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
    let mut serving = Ending(bench(&["serve", site]).stdout(Stdio::piped()).spawn().unwrap());
    let (tell, told) = mpsc::channel();
    let mut said = BufReader::new(serving.0.stdout.take().unwrap());
    std::thread::spawn(move || {
        let mut line = String::new();
        said.read_line(&mut line).map(|_| tell.send(line))
    });
    let address = told.recv_timeout(PATIENCE).unwrap();
    let host = address.trim().strip_prefix("http://").unwrap().trim_end_matches('/');
    assert!(host.starts_with("127.0.0.1:"), "{address}");
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("the leaderboard"), "{answer}");
}
