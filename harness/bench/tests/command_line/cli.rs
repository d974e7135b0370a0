//! What `bench` says to wrong input and on hosts that lack something. No machine is started.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::exit;
use rstest::rstest;
use serde_json::Value;

use crate::common::{root, run, skip};
use crate::program::bench;

#[rstest]
#[case::module(&["wiregaurd"], "wiregaurd", "did you mean `wireguard`?")]
#[case::guest_of(&["guest", "wiregaurd"], "wiregaurd", "did you mean `wireguard`?")]
#[case::scenario(&["wireguard", "--scenario", "losy"], "no scenario `losy`", "did you mean `lossy`?")]
#[case::one_of_many(&["wireguard", "--scenario", "lan,lna"], "no scenario `lna`", "`lan`?")]
#[case::workload(&["wireguard", "--workload", "pnig"], "no workload `pnig`", "did you mean `ping`?")]
#[case::program(&["wireguard", "--binary", "wgg=/bin/true"], "no program `wgg`", "did you mean `wg`?")]
#[case::binary(&["wireguard", "--binary", "wg=/no/such"], "--binary /no/such", "No such file")]
#[case::which_program(&["nebula", "--binary", "a.out"], "which program", "nebula, nebula-cert")]
#[case::directory(&["wireguard", "--binary", "wg=/tmp"], "--binary /tmp", "this is a directory")]
#[case::endless(&["wireguard", "--binary", "wg=/dev/zero"], "--binary /dev/zero", "no plain file")]
#[case::text(&["wireguard", "--binary", "wg=/etc/passwd"], "/etc/passwd", "neither an ELF program")]
#[case::wire(&["internal", "--binary", "wg=/bin/true"], "run no program", "--binary")]
#[case::finished(&["wireguard", "--binary", "wg=/bin/true", "--guest", "wireguard=/x"], "finished guest", "leave --guest out")]
#[case::guest(&["wireguard", "--guest", "wireguard"], "--guest wireguard", "MODULE=GUEST_JSON")]
#[case::command(&["lst", "modules"], "no command and no module `lst`", "did you mean `bench list`?")]
#[case::contract(&["contract", "wiregaurd"], "wiregaurd", "did you mean `wireguard`?")]
#[case::flag(&["wireguard", "--quik"], "--quik", "--quick")]
#[case::blocks(&["wireguard", "--blocks", "0"], "0", "1..=1000")]
#[case::seed(&["wireguard", "--seed", "9007199254740992"], "9007199254740992", "seed")]
#[case::listing(&["list", "module"], "module", "modules")]
#[case::resume(&["run", "--resume", "/no/such"], "/no/such", "No such file")]
#[case::root(&["list", "modules", "--root", "/proc"], "/proc", "no modules/ and checks/")]
#[case::show(&["show", "/no/such"], "/no/such/run.json", "No such file")]
#[case::compared(&["compare", "/no/such", "/no/such"], "/no/such/run.json", "No such file")]
#[case::surveyed(&["survey", "/no/such"], "/no/such/run.json", "No such file")]
#[case::shell(&["shell", "wireguard", "--scenario", "lam"], "no scenario `lam`", "`lan`?")]
fn a_wrong_argument_is_named_and_answered_with_what_would_be_right(
    #[case] arguments: &[&str],
    #[case] wrong: &str,
    #[case] right: &str,
) {
    let ended = run(&mut bench(arguments));
    let text = ended.said();
    assert_eq!(ended.code, Some(exit::USAGE.into()), "{text}");
    assert!(text.contains(wrong) && text.contains(right), "{text}");
    assert_eq!(ended.stdout, "");
    assert!(!ended.stderr.contains('\x1b'), "colours in a file: {:?}", ended.stderr);
}

#[test]
fn nothing_to_measure_has_an_exit_code_of_its_own() {
    let ended = run(&mut bench(&["run"]));
    assert_eq!(ended.code, Some(exit::NOTHING_SELECTED.into()));
    assert!(ended.said().contains("bench list modules"), "{}", ended.stderr);
    let ended = run(bench(&[]).env_remove("MESHBENCH_CACHE").env_remove("MESHBENCH_ROOT"));
    assert_eq!(ended.code, Some(exit::USAGE.into()));
    assert!(ended.stderr.contains("Exit codes: 0 measured"), "{}", ended.stderr);
}

/// A root with one module and one scenario, of which one file was changed.
fn broken_root(dir: &Path, file: &str, from: &str, to: &str) {
    for name in ["modules/internal", "modules/wireguard", "checks"] {
        fs::create_dir_all(dir.join(name)).unwrap();
        for entry in fs::read_dir(root().join(name)).unwrap().flatten() {
            fs::copy(entry.path(), dir.join(name).join(entry.file_name())).unwrap();
        }
    }
    let text = fs::read_to_string(dir.join(file)).unwrap();
    assert!(text.contains(from));
    fs::write(dir.join(file), text.replacen(from, to, 1)).unwrap();
}

#[rstest]
#[case::module_syntax("modules/wireguard/module.toml", "relay = false", "relay = ", 13)]
#[case::module_key("modules/wireguard/module.toml", "relay = false", "realy = false", 13)]
#[case::module_type("modules/wireguard/module.toml", "relay = false", "relay = \"no\"", 13)]
#[case::scenario_syntax("checks/lan.toml", "workloads = [", "workloads = [,", 6)]
#[case::scenario_key("checks/lan.toml", "workloads = [", "worklaods = [", 6)]
#[case::scenario_workload("checks/lan.toml", "\"udp\"", "\"upd\"", 6)]
#[case::scenario_link("checks/lossy.toml", "link = \"lossy\"", "link = \"losy\"", 12)]
fn a_malformed_file_is_named_with_line_and_reason(
    #[case] file: &str,
    #[case] from: &str,
    #[case] to: &str,
    #[case] line: usize,
) {
    let dir = tempfile::tempdir().unwrap();
    broken_root(dir.path(), file, from, to);
    let mut command = bench(&["wireguard", "--scenario", "lan,lossy", "--dry-run"]);
    let ended = run(command.env("MESHBENCH_ROOT", dir.path()));
    let text = ended.said();
    assert_eq!(ended.code, Some(exit::USAGE.into()), "{text}");
    let place = format!("{file}:{line}");
    // A wrapped path has been given blanks.
    assert!(text.replace(' ', "").contains(&place), "no {place} in {text}");
}

#[rstest]
#[case::not_json("{\n  \"format\": 1,\n  oops\n}", "run.json:3")]
#[case::truncated("{\n  \"format\": 1,\n", "run.json:3")]
#[case::other_json("[]\n", "run.json:1")]
fn a_malformed_result_is_named_with_line_and_reason(#[case] text: &str, #[case] place: &str) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("cells")).unwrap();
    fs::write(dir.path().join("run.json"), text).unwrap();
    let path = dir.path().to_string_lossy();
    for arguments in [&["show", &path][..], &["run", "--resume", &path]] {
        let ended = run(&mut bench(arguments));
        assert_eq!(ended.code, Some(exit::USAGE.into()), "{}", ended.stderr);
        assert!(ended.said().replace(' ', "").contains(place), "{}", ended.stderr);
    }
    assert_eq!(fs::read_to_string(dir.path().join("run.json")).unwrap(), text);
}

#[rstest]
#[case("qemu-system-x86_64", "qemu-system-x86")]
#[case("mmdebstrap", "mmdebstrap")]
fn a_missing_program_is_named_with_what_installs_it(#[case] program: &str, #[case] package: &str) {
    if cfg!(not(target_arch = "x86_64")) {
        return skip("the names of QEMU's programs and packages are those of x86-64");
    }
    let path = tempfile::tempdir().unwrap();
    // Without apt, nothing is installed in passing.
    for name in ["qemu-system-x86_64", "mmdebstrap", "mkfs.erofs", "dpkg-deb", "xz"] {
        if name != program {
            symlink("/bin/true", path.path().join(name)).unwrap();
        }
    }
    let mut command = bench(&["internal", "--scenario", "lan"]);
    let cache = tempfile::tempdir().unwrap();
    let ended =
        run(command.env("PATH", path.path()).arg("--cache").arg(cache.path().join("cache")));
    assert_eq!(ended.code, Some(exit::SETUP.into()), "{}", ended.stderr);
    let text = ended.said();
    assert!(text.contains(program) && text.contains("apt-get install"), "{text}");
    let install = text.split_once("apt-get install").unwrap().1;
    assert!(install.split([' ', '`']).any(|word| word == package), "{text}");
    assert!(!cache.path().join("cache").exists(), "it began to build");

    let ended = run(bench(&["doctor"]).env("PATH", path.path()));
    assert_eq!(ended.code, Some(exit::SETUP.into()), "{}", ended.stdout);
    assert!(ended.stdout.contains(&format!("✗ {program}: missing")), "{}", ended.stdout);
}

#[test]
fn a_full_disk_is_told_with_how_much_is_needed_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().to_string_lossy();
    let bench =
        format!("'{}' internal --scenario lan --cache '{cache}'", env!("CARGO_BIN_EXE_bench"));
    // In a mount namespace of its own, which ends with the command.
    let script = format!(
        "mount -t tmpfs -o size=10m none '{cache}' || exit 77
         {bench}; code=$?; echo left: $(ls -A '{cache}' | grep -v lock); exit $code"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    let may = Command::new("unshare").args(["--mount", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        return skip("a small file system needs unshare(1) and the right to mount");
    }
    let ended = run(command.env("MESHBENCH_ROOT", root()));
    if ended.code == Some(77) {
        return skip("a small file system needs the right to mount");
    }
    assert_eq!(ended.code, Some(exit::SETUP.into()), "{}", ended.stderr);
    let text = ended.said();
    assert!(text.contains("no space for guest images") && text.contains("are needed"), "{text}");
    assert_eq!(ended.stdout, "left:\n");
}

#[rstest]
#[case("modules", &["internal", "wireguard"])]
#[case("scenarios", &["lan", "home-dsl", "lossy"])]
#[case("workloads", &["ping", "tcp", "udp", "connect"])]
#[case("profiles", &["dsl", "lossy"])]
#[case("nats", &["none", "home"])]
fn what_there_is_to_choose_from_is_listed(#[case] what: &str, #[case] expected: &[&str]) {
    let plain = run(&mut bench(&["list", what]));
    assert_eq!(plain.code, Some(0), "{}", plain.stderr);
    let names: Vec<&str> =
        plain.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let json: Value =
        serde_json::from_str(&run(&mut bench(&["list", what, "--json"])).stdout).unwrap();
    let entries = json.as_array().unwrap();
    assert_eq!(names.len(), entries.len());
    for (name, entry) in names.iter().zip(entries) {
        assert_eq!(entry["name"], *name);
        assert!(entry["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{entry}");
    }
    assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
}

#[test]
fn an_installed_bench_has_modules_and_scenarios_of_its_own_and_writes_none_there() {
    let (elsewhere, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let away = |arguments: &[&str]| {
        let mut command = bench(arguments);
        command.env_remove("MESHBENCH_ROOT").env("MESHBENCH_CACHE", cache.path());
        run(command.current_dir(elsewhere.path()))
    };
    let ended = away(&["wireguard", "--scenario", "lan", "--blocks", "1", "--dry-run"]);
    assert_eq!(ended.code, Some(exit::OK.into()), "{}", ended.said());
    assert_eq!(away(&["list", "modules"]).stdout, run(&mut bench(&["list", "modules"])).stdout);
    let refused = away(&["new-module", "mine"]);
    assert_eq!(refused.code, Some(exit::USAGE.into()));
    assert!(refused.said().contains("--root DIR"), "{}", refused.stderr);
}

#[test]
fn a_seed_gives_one_schedule_with_the_wire_in_every_block() {
    let schedule = |seed| {
        let ended = run(&mut bench(&["wireguard", "--blocks", "3", "--dry-run", "--seed", seed]));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    assert_eq!(schedule("5"), schedule("5"));
    assert_ne!(schedule("5"), schedule("6"));
    assert_eq!(schedule("5").lines().filter(|line| line.ends_with(" internal")).count(), 3 * 3);
}

#[test]
fn text_from_outside_reaches_no_terminal_as_a_command() {
    let temporary = tempfile::tempdir().unwrap();
    let (modules, checks) = (temporary.path().join("modules"), temporary.path().join("checks"));
    fs::create_dir_all(modules.join("internal")).unwrap();
    fs::create_dir(&checks).unwrap();
    let internal = root().join("modules/internal");
    fs::copy(internal.join("lifecycle"), modules.join("internal/lifecycle")).unwrap();
    let text = fs::read_to_string(internal.join("module.toml")).unwrap();
    let hostile = text.replacen("summary = \"", "summary = \"\\u001b[2J\\u009b31m", 1);
    assert_ne!(hostile, text);
    fs::write(modules.join("internal/module.toml"), hostile).unwrap();
    let lan = fs::read_to_string(root().join("checks/lan.toml")).unwrap();
    fs::write(
        checks.join("titled.toml"),
        lan.replacen("title = \"", "title = \"\\u009b31m\\u202e\\u001b]0;x\\u0007", 1),
    )
    .unwrap();
    fs::write(checks.join("keyed.toml"), format!("\"\\u001b[31mkey\" = 1\n{lan}")).unwrap();
    let listed =
        run(bench(&["list", "scenarios", "--json"]).env("MESHBENCH_ROOT", temporary.path()));
    let read: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let titled = read.as_array().unwrap().iter().find(|one| one["name"] == "titled").unwrap();
    assert!(titled["summary"].as_str().unwrap().starts_with("\u{9b}31m\u{202e}"), "{read}");
    for arguments in [
        &["list", "scenarios"][..],
        &["list", "scenarios", "--json"],
        &["list", "modules"],
        &["internal", "--scenario", "keyed", "--dry-run"],
        &["internal", "--scenario", "titled", "--dry-run"],
        &["internal", "--scenario", "\u{1b}[31mred"],
        &["\u{1b}[31mred"],
        &["--\u{1b}[2J"],
        &["--\u{202e}turned"],
        &["--blocks", "\u{1b}[2J"],
        &["show", "/nowhere/\u{1b}]0;x\u{7}"],
        &["run", "--resume", "/nowhere/\u{9b}31m"],
        &["results", "verify", "/nowhere/\u{1b}[31m"],
    ] {
        let ended = run(bench(arguments).env("MESHBENCH_ROOT", temporary.path()));
        let said = format!("{}{}", ended.stdout, ended.stderr);
        let directs = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let steers = |c: char| (c.is_control() && c != '\n' && c != '\t') || directs(c);
        assert!(!said.contains(steers) && !said.is_empty(), "{arguments:?}: {said:?}");
    }
}

#[test]
fn what_is_no_plain_file_is_refused_at_once_by_whoever_reads_it() {
    let temporary = tempfile::tempdir().unwrap();
    let (modules, checks) = (temporary.path().join("modules"), temporary.path().join("checks"));
    let piped = temporary.path().join("piped");
    let places = [modules.join("internal"), checks.clone(), piped.clone()];
    places.iter().for_each(|place| fs::create_dir_all(place).unwrap());
    for file in ["module.toml", "lifecycle"] {
        let own = Path::new("modules/internal").join(file);
        fs::copy(root().join(&own), temporary.path().join(own)).unwrap();
    }
    let lan = root().join("checks/lan.toml");
    let place = temporary.path().to_string_lossy().into_owned();
    let cache = temporary.path().join("cache").to_string_lossy().into_owned();
    for make in [
        |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        |path: &Path| symlink("/dev/zero", path).unwrap(),
    ] {
        let _ = fs::remove_file(checks.join("lan.toml"));
        for (arguments, file, code) in [
            ("run internal --scenario lan --dry-run", "checks/lan.toml", exit::USAGE),
            (
                "run internal --scenario lan --dry-run --workload PIPED",
                "piped/workload.toml",
                exit::USAGE,
            ),
            ("import thesis PIPED/all.csv --out PIPED/out.json", "piped/all.csv", exit::USAGE),
            ("guest internal --guest internal=PIPED/guest.json", "piped/guest.json", exit::SETUP),
        ] {
            let file = temporary.path().join(file);
            make(&file);
            let arguments = arguments.replace("PIPED", &piped.to_string_lossy());
            let mut command = Command::new("timeout");
            let inner = bench(&arguments.split(' ').collect::<Vec<_>>());
            command.arg("20").arg(inner.get_program()).args(inner.get_args());
            let ended = run(command.args(["--root", &place, "--cache", &cache]));
            assert_eq!(ended.code, Some(code.into()), "{file:?}: {}", ended.said());
            assert!(ended.said().contains("no plain file"), "{}", ended.said());
            fs::remove_file(&file).unwrap();
            let _ = fs::copy(&lan, checks.join("lan.toml"));
        }
    }
}

/// The build script, compiled and run in a checkout of its own.
#[test]
fn an_edit_of_an_edited_harness_makes_another_revision() {
    let dir = tempfile::tempdir().unwrap();
    let package = dir.path().join("harness/bench");
    fs::create_dir_all(package.join("src")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    fs::copy(&script, package.join("build.rs")).unwrap();
    let program = dir.path().join("build-script");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "-o"]).arg(&program).arg(&script);
    if !rustc.output().is_ok_and(|output| output.status.success()) {
        return skip("a build script needs rustc");
    }
    let git = |arguments: &str| {
        let mut git = Command::new("git");
        git.arg("-C").arg(dir.path()).args(["-c", "user.name=a", "-c", "user.email=a@b"]);
        git.args(arguments.split(' ')).output().is_ok_and(|output| output.status.success())
    };
    let write = |file: &str, text: &str| fs::write(package.join(file), text).unwrap();
    write("src/main.rs", "1");
    write("README.md", "1");
    if !git("init -q") {
        return skip("revisions need git");
    }
    assert!(git("add harness") && git("commit -qm x"));
    let revision = || {
        let mut build = Command::new(&program);
        let output = build.env("CARGO_MANIFEST_DIR", &package).env_remove("MESHBENCH_REVISION");
        let text = String::from_utf8(output.output().unwrap().stdout).unwrap();
        let line = text.lines().find_map(|line| line.split_once("MESHBENCH_REVISION="));
        line.unwrap().1.to_owned()
    };
    let commit = revision();
    write("README.md", "2");
    assert_eq!(revision(), commit, "nothing is measured by it");
    write("src/main.rs", "2");
    let once = revision();
    assert!(once.starts_with(&format!("{commit}-dirty-")), "{once}");
    assert_eq!(revision(), once);
    write("src/main.rs", "3");
    let twice = revision();
    write("src/main.rs", "1");
    write("src/more.rs", "1");
    let untracked = revision();
    let all = [&commit, &once, &twice, &untracked];
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{all:?}");
    fs::remove_file(package.join("src/more.rs")).unwrap();
    assert_eq!(revision(), commit);
}

#[test]
fn a_list_that_finds_no_room_is_no_success() {
    for what in
        [&["list", "modules"][..], &["list", "profiles", "--json"], &["schema"], &["--help"]]
    {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = bench(what).stdout(full).output().unwrap();
        assert!(!output.status.success(), "{what:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("No space left"), "{said}");
    }
}

/// What is said beside the results is nobody's loss.
#[test]
fn messages_that_find_no_room_change_nothing() {
    for what in [&["run", "--resume", "/nowhere"][..], &["nebulla"], &["compare", "/a", "/b"]] {
        let heard = bench(what).output().unwrap();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let unheard = bench(what).stderr(full).output().unwrap();
        assert!(!heard.stderr.is_empty(), "{what:?}");
        assert_eq!(unheard.status.code(), heard.status.code(), "{what:?}");
    }
}
