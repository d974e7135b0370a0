//! What the workflows' scripts do, in a repository of their own. What they call is written down instead of done: no machine
//! is started, and nothing is built or fetched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::common::{Ended, root, run, skip};

/// A repository with the script `name` of `.github`, and stand-ins for what it calls.
struct Place {
    dir: tempfile::TempDir,
    script: &'static str,
}

impl Place {
    /// None where a program is missing that the script needs.
    fn of(script: &'static str) -> Option<Self> {
        for program in ["git", "jq"] {
            if Command::new(program).arg("--version").output().is_err() {
                skip(&format!("{program} is not installed"));
                return None;
            }
        }
        let place = Self { dir: tempfile::tempdir().unwrap(), script };
        for folder in [".github", "bin", "results/local"] {
            fs::create_dir_all(place.path().join(folder)).unwrap();
        }
        let own = root().join(".github").join(script);
        fs::copy(own, place.path().join(".github").join(script)).unwrap();
        place.git(&["init", "--quiet", "--initial-branch", "main"]);
        place.git(&["commit", "--quiet", "--allow-empty", "--message", "first"]);
        Some(place)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = alone(Command::new("git"));
        git.current_dir(self.path()).args(["-c", "user.name=a", "-c", "user.email=a@localhost"]);
        let output = git.args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// A program that the script finds before any other of that name.
    fn stand_in(&self, name: &str, text: &str) {
        let path = self.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/bash\necho \"{name} $*\" >>\"$CALLS\"\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs the script; with what it has called, a line each.
    fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (Ended, Vec<String>) {
        let calls = self.path().join("calls");
        let mut script = alone(Command::new("bash"));
        script.arg(self.path().join(".github").join(self.script)).args(arguments);
        let path = std::env::var("PATH").unwrap();
        script.env("PATH", format!("{}:{path}", self.path().join("bin").display()));
        script.env("CALLS", &calls).envs(environment.iter().copied());
        let ended = run(&mut script);
        let calls = fs::read_to_string(calls).unwrap_or_default();
        (ended, calls.lines().map(str::to_owned).collect())
    }
}

/// Without what leads git elsewhere: a hook's variables would have scripts commit in the repository that is tested, and
/// its user's settings may ask for signatures.
fn alone(mut command: Command) -> Command {
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
}

/// A published set as far as the referee looks at it.
fn set(environment: &str, clock: &str) -> String {
    let run = format!(r#"{{"clock": "{clock}", "environment": {{{environment}}}}}"#);
    format!(
        "{{\"set\": {{\"run\": {run}}}}}\n{{\"cell\": {{\"key\": [1, \"lan\", \"nebula\", \"ping\"]}}}}\n"
    )
}

/// A referee whose `bench` ends with this exit code, and tells this of the testbed.
fn referee(code: u8, testbed: &str) -> Option<Place> {
    let place = Place::of("referee.sh")?;
    place.stand_in("rustup", "");
    let told = format!(r#""{{\"cells\": [], \"testbed\": {}}}""#, testbed.replace('"', "\\\""));
    place.stand_in(
        "cargo",
        &format!(
            "mkdir -p ../target/referee/release\nbench=../target/referee/release/bench\n\
             printf '%s\\n' '#!/bin/bash' 'echo \"bench $* of ${{MESHBENCH_DEBIAN_MIRROR-any}}\" >>\"$CALLS\"' \
             'echo {told}' 'exit {code}' >$bench\nchmod +x $bench\n"
        ),
    );
    Some(place)
}

#[test]
fn the_referee_judges_what_was_added_edited_or_renamed() {
    let Some(place) = referee(0, "[]") else { return };
    for name in ["edited", "old", "untouched", "gone"] {
        place.write(
            &format!("results/{name}.jsonl"),
            &set(&format!("\"x\": \"{name}\""), "virtual"),
        );
    }
    place.git(&["add", "results"]);
    place.git(&["commit", "--quiet", "--message", "before"]);
    let before = place.git(&["rev-parse", "HEAD"]);
    place.write("results/edited.jsonl", &set("\"x\": \"another\"", "virtual"));
    place.write("results/added.jsonl", &set("", "virtual"));
    place.write("results/real.jsonl", &set("", "real"));
    place.git(&["mv", "results/old.jsonl", "results/new.jsonl"]);
    place.git(&["rm", "--quiet", "results/gone.jsonl"]);
    place.git(&["add", "results"]);
    place.git(&["commit", "--quiet", "--message", "after"]);
    let (ended, calls) = place.run(&[&before], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let judged: Vec<&String> = calls.iter().filter(|call| call.starts_with("bench")).collect();
    let names = ["added", "edited", "new"];
    assert_eq!(judged.len(), names.len(), "{calls:?}");
    for (call, name) in judged.iter().zip(names) {
        let repeat = format!("bench repeat --json ../results/{name}.jsonl 1_lan_nebula of any");
        assert_eq!(**call, repeat);
    }
}

#[test]
fn the_referee_repeats_with_what_was_measured_with_as_far_as_that_is_public() {
    let Some(place) = referee(0, "[]") else { return };
    let before = place.git(&["rev-parse", "HEAD"]);
    let snapshot = "http://snapshot.debian.org/archive/debian/20261130T000000Z";
    let public = format!(
        r#""harness_revision": "{before}", "debian_mirror": "{snapshot}", "runner_compiler": "rustc 1.95.0 (59807616e 2026-04-14)""#
    );
    let strange = r#""harness_revision": "HEAD; touch x", "debian_mirror": "http://evil.example/x", "runner_compiler": "rustc nightly; touch x (a)""#;
    place.write("results/a.jsonl", &set(&public, "virtual"));
    place.write("results/b.jsonl", &set(strange, "virtual"));
    place.git(&["add", "results"]);
    place.git(&["commit", "--quiet", "--message", "after"]);
    let (ended, calls) = place.run(&[&before], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let toolchains: Vec<_> = calls.iter().filter(|call| call.starts_with("rustup")).collect();
    assert_eq!(toolchains, ["rustup toolchain install 1.95.0 --profile minimal --no-self-update"]);
    assert!(
        calls.contains(&format!(
            "bench repeat --json ../results/a.jsonl 1_lan_nebula of {snapshot}"
        ))
    );
    assert!(
        calls.contains(&"bench repeat --json ../results/b.jsonl 1_lan_nebula of any".to_owned())
    );
    assert!(!place.path().join("x").exists());
}

#[test]
fn another_testbed_is_no_failure_of_a_submission_and_another_figure_is() {
    for (testbed, fails) in [("[\"QEMU was 1, and is 2\"]", false), ("[]", true)] {
        let Some(place) = referee(101, testbed) else { return };
        let before = place.git(&["rev-parse", "HEAD"]);
        place.write("results/a.jsonl", &set("", "virtual"));
        place.git(&["add", "results"]);
        place.git(&["commit", "--quiet", "--message", "after"]);
        let (ended, _) = place.run(&[&before], &[]);
        assert_eq!(ended.code, Some(i32::from(fails)), "{}", ended.said());
        let mark = if fails { "::error" } else { "::warning" };
        assert!(ended.stdout.contains(mark), "{}", ended.said());
    }
}

/// A measurement of two modules that are due, whose `--resume` ends with this exit code.
fn measuring(resume: u8) -> Option<Place> {
    let place = Place::of("measure.sh")?;
    place.stand_in(
        "bench",
        &format!(
            r#"case "$1 $2" in
"list modules") echo '[{{"name": "nebula"}}, {{"name": "tinc"}}]' ;;
"results due") printf 'tinc lan,lossy\nnebula lossy\n' ;;
"results latest") exit 4 ;;
"run --resume") exit {resume} ;;
esac"#
        ),
    );
    let begun = place.path().join("results/local/measure-tinc");
    fs::create_dir_all(&begun).unwrap();
    fs::write(begun.join("run.json"), "{}").unwrap();
    Some(place)
}

fn measured(calls: &[String]) -> Vec<&str> {
    let of = |call: &'_ &String| call.contains("--resume") || call.contains("--scenario");
    calls.iter().filter(of).map(String::as_str).collect()
}

const TINC: &str = "bench tinc --clock virtual --seed 1 --blocks 7 --scenario lan,lossy --out results/local/measure-tinc";
const NEBULA: &str = "bench nebula --clock virtual --seed 1 --blocks 7 --scenario lossy --out results/local/measure-nebula";
const RESUMED: &str = "bench run --resume results/local/measure-tinc";

#[test]
fn what_is_half_done_goes_on_and_is_begun_anew_only_where_it_may_not() {
    let Some(place) = measuring(100) else { return };
    let (ended, calls) = place.run(&["10"], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!(measured(&calls), [RESUMED, NEBULA]);
    assert!(!place.path().join("results/local/measure-tinc").exists(), "it is published");

    let Some(place) = measuring(2) else { return };
    assert_eq!(measured(&place.run(&["10"], &[]).1), [RESUMED, TINC, NEBULA]);

    let Some(place) = measuring(69) else { return };
    assert_eq!(measured(&place.run(&["10"], &[]).1), [RESUMED, NEBULA]);
    assert!(place.path().join("results/local/measure-tinc/run.json").exists(), "hours are kept");
}

#[test]
fn the_time_counts_from_the_jobs_beginning_and_what_is_begun_stays() {
    let Some(place) = measuring(0) else { return };
    let (ended, calls) = place.run(&["10"], &[("BEGUN", "1000")]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!(measured(&calls), Vec::<&str>::new());
    assert!(ended.stdout.contains("no time left for tinc"), "{}", ended.said());
    assert!(place.path().join("results/local/measure-tinc/run.json").exists());
}

#[test]
fn versions_and_packages_stay_while_something_is_half_done() {
    let Some(place) = Place::of("renew.sh") else { return };
    place.stand_in("bench", "echo 'nebula: x 1 → 2'; exit 96");
    let (ended, calls) = place.run(&[], &[]);
    assert_eq!((ended.code, calls.len()), (Some(96), 1), "{}", ended.said());
    assert!(ended.stdout.starts_with("mirror=http://snapshot.debian.org/archive/debian/20"));
    assert!(ended.stdout.trim_end().ends_with("T000000Z"), "{}", ended.stdout);

    let older = "http://snapshot.debian.org/archive/debian/20261102T000000Z";
    place.write("results/local/mirror", older);
    let cells = place.path().join("results/local/measure-tinc/cells");
    fs::create_dir_all(&cells).unwrap();
    fs::write(cells.join("1_lan_tinc_ping.json"), "{}").unwrap();
    let (ended, calls) = place.run(&[], &[]);
    assert_eq!((ended.code, calls.len()), (Some(0), 1), "nothing more was called");
    assert_eq!(ended.stdout, format!("mirror={older}\nsnapshot=20261102T000000Z\n"));
}

#[test]
fn results_are_put_on_top_of_what_others_have_pushed_or_beside_it() {
    let Some(place) = Place::of("keep.sh") else { return };
    for folder in ["modules", "results"] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
        place.write(&format!("{folder}/a"), "1\n");
    }
    place.write("flake.lock", "{}");
    place.git(&["add", "modules", "results", "flake.lock"]);
    place.git(&["commit", "--quiet", "--message", "begin"]);
    let upstream = place.path().join("upstream.git");
    let upstream = upstream.to_str().unwrap();
    place.git(&["clone", "--quiet", "--bare", ".", upstream]);
    place.git(&["remote", "add", "origin", upstream]);
    let theirs = place.path().join("theirs");
    let push = |text: &str| {
        let theirs = theirs.to_str().unwrap();
        let _ = fs::remove_dir_all(theirs);
        place.git(&["clone", "--quiet", upstream, theirs]);
        fs::write(Path::new(theirs).join("modules/a"), text).unwrap();
        place.git(&["-C", theirs, "commit", "--quiet", "--all", "--message", "theirs"]);
        place.git(&["-C", theirs, "push", "--quiet", "origin", "HEAD:main"]);
    };
    push("2\n");
    place.write("results/new", "measured\n");
    let (ended, _) = place.run(&["main"], &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!(place.git(&["-C", upstream, "show", "main:modules/a"]), "2");
    assert_eq!(place.git(&["-C", upstream, "show", "main:results/new"]), "measured");

    push("3\n");
    place.write("modules/a", "mine\n");
    let (ended, _) = place.run(&["main"], &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.said());
    assert_eq!(place.git(&["-C", upstream, "show", "main:modules/a"]), "3");
    let branches = place.git(&["-C", upstream, "branch", "--list", "measured-*"]);
    assert_eq!(
        place.git(&["-C", upstream, "show", &format!("{}:modules/a", branches.trim())]),
        "mine"
    );
}
