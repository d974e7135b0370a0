use std::fs;

use rstest::rstest;
use tempfile::TempDir;

use super::*;

const GOOD: &str = r#"title = "Example"
summary = "one line"
homepage = "https://example.org/"

[software.debian]
apt = ["iproute2"]
cargo = [{ crate = "example", version = "1.2.3", bins = ["example"], build-packages = ["protobuf-compiler"] }]
binaries = ["example"]
kernel-modules = ["tun"]

[claims]
encryption = true
nat-traversal = "hole-punching"
relay = true
ipv6-underlay = false

[[role]]
name = "coordinator"
ports = { udp = [3478], tcp = [443] }
[[role]]
name = "peer"

[overlay]
interface = "ex*"
mtu = 1400

[config]
choices = ["cipher: AES"]
documentation = "https://example.org/mesh"
"#;

fn folder(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        let module = dir.path().join(name);
        fs::create_dir(&module).unwrap();
        fs::write(module.join("module.toml"), GOOD).unwrap();
        fs::write(module.join("lifecycle"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(module.join("lifecycle"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

fn refusal(text: &str) -> String {
    parse(Path::new("module.toml"), text).unwrap_err().to_string()
}

#[test]
fn a_complete_file_is_read_into_every_field() {
    let spec = parse(Path::new("module.toml"), GOOD).unwrap();
    assert_eq!(spec.title, "Example");
    assert!(spec.has_coordinator());
    assert_eq!(spec.roles[0].ports, Ports { udp: vec![3478], tcp: vec![443] });
    assert_eq!(spec.roles[1], Part::of(Role::Peer));
    assert_eq!(spec.claims.nat_traversal, NatTraversal::HolePunching);
    assert_eq!(spec.software.debian.cargo[0].build_packages, ["protobuf-compiler"]);
    let overlay = spec.overlay.unwrap();
    assert!(overlay.matches("ex0") && !overlay.matches("eth0"));
}

#[rstest]
#[case::number("mtu = 1400", "mtu = \"big\"", "25:7: invalid type")]
#[case::url("https://example.org/mesh", "example", "29:17: `example` is not a web address")]
#[case::version("version = \"1.2.3\"", "version = \"1.2\"", "7:41: `1.2` is not an exact version")]
#[case::unknown_key("relay = true", "relays = true", "14:1: unknown field `relays`")]
#[case::unknown_word("hole-punching", "magic", "13:17: unknown variant `magic`")]
#[case::option_as_name(
    "binaries = [\"example\"]",
    "binaries = [\"--x\"]",
    "8:12: `--x` is not a plain name"
)]
#[case::path_as_name("[\"tun\"]", "[\"a/b\"]", "9:18: `a/b` is not a plain name")]
#[case::unlisted("binaries = [\"example\"]", "binaries = []", "`binaries` lacks `example`")]
#[case::long_name("ex*", "averylonginterface", "longer than 15 characters")]
#[case::ports_of_a_peer(
    "name = \"peer\"",
    "name = \"peer\"\nports = { udp = [1] }",
    "only a `coordinator` has `ports`"
)]
#[case::no_port("udp = [3478]", "udp = [70000]", "19:18: ")]
#[case::syntax("[claims]", "[claims", "11:8: ")]
fn a_wrong_value_is_refused_with_its_place(
    #[case] from: &str,
    #[case] to: &str,
    #[case] expected: &str,
) {
    assert!(GOOD.contains(from));
    let message = refusal(&GOOD.replace(from, to));
    assert!(message.starts_with("module.toml:"), "{message}");
    assert!(message.contains(expected), "{message}");
}

#[test]
fn peer_must_be_the_last_role() {
    let swapped = GOOD
        .replace("\"coordinator\"", "\"x\"")
        .replace("name = \"peer\"", "name = \"coordinator\"")
        .replace("\"x\"", "\"peer\"");
    assert!(refusal(&swapped).contains("`coordinator` and then `peer`"));
}

#[test]
fn programs_without_a_source_are_missing_on_debian() {
    let line = GOOD.lines().find(|line| line.starts_with("cargo")).unwrap();
    let local = GOOD.replace(line, "").replace("apt = [\"iproute2\"]", "");
    let spec = parse(Path::new("module.toml"), &local).unwrap();
    assert_eq!(spec.software.debian.missing_programs(), ["example"]);
    let spec = parse(Path::new("module.toml"), GOOD).unwrap();
    assert!(spec.software.debian.missing_programs().is_empty());
    let library =
        local.replace("binaries =", "apt = [\"libstdc++6\"]\nlocal-binaries = true\nbinaries =");
    let spec = parse(Path::new("module.toml"), &library).unwrap();
    assert_eq!(spec.software.debian.missing_programs(), ["example"]);
    let helper =
        "go = [{ package = \"example.org/helper\", version = \"v1.0.0\", bin = \"helper\" }]";
    let helped = library.replace("binaries = [", &format!("{helper}\nbinaries = [\"helper\", "));
    let spec = parse(Path::new("module.toml"), &helped).unwrap();
    assert_eq!(spec.software.debian.missing_programs(), ["example"]);
}

#[test]
fn skeletons_and_stray_files_are_not_modules() {
    let dir = folder(&["tinc", "_template", "nebula"]);
    fs::write(dir.path().join("README.md"), "").unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    assert_eq!(list(dir.path()).unwrap(), ["nebula", "tinc"]);
    assert_eq!(load_all(dir.path()).unwrap().len(), 2);
}

#[rstest]
#[case("wiregard", "did you mean `wireguard`?")]
#[case("NEBULA", "did you mean `nebula`?")]
#[case("zzz", "there are: nebula, wireguard")]
#[case("../nebula", "there is no module `../nebula`")]
fn an_unknown_module_is_answered_with_a_hint(#[case] name: &str, #[case] expected: &str) {
    let dir = folder(&["nebula", "wireguard"]);
    let message = load(dir.path(), name).unwrap_err().to_string();
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_lifecycle_that_cannot_be_run_is_refused() {
    let dir = folder(&["tinc"]);
    let script = dir.path().join("tinc/lifecycle");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(load(dir.path(), "tinc"), Err(Error::NotExecutable { .. })));
    fs::remove_file(&script).unwrap();
    assert!(matches!(load(dir.path(), "tinc"), Err(Error::Read { .. })));
}

#[test]
fn every_module_of_the_repository_is_valid() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../modules");
    let names: Vec<Name> = load_all(&dir).unwrap().into_iter().map(|module| module.name).collect();
    assert!(names.iter().any(|name| *name == INTERNAL), "{names:?}");
}

#[test]
fn the_template_of_a_new_module_is_valid() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../modules/_template");
    let text = fs::read_to_string(dir.join("module.toml")).unwrap();
    let spec = parse(Path::new("module.toml"), &text.replace("NAME", "example")).unwrap();
    assert_eq!(spec.title, "example");
    check_executable(&dir.join("lifecycle")).unwrap();
}

#[test]
fn a_folder_whose_name_results_could_not_bear_is_refused_when_it_is_read() {
    let dir = folder(&["MyVPN", "tinc"]);
    let error = load(dir.path(), "MyVPN").unwrap_err().to_string();
    assert!(error.contains("MyVPN: the name") && error.contains("rename"), "{error}");
    assert!(load(dir.path(), "tinc").is_ok());
    assert!(load_all(dir.path()).is_err());
}
