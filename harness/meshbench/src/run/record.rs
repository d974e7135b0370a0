use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::network::{link_settings, nat_records};
use super::spec::RunSpec;
use crate::fabric::Scenario;
use crate::guest::{GuestImage, Package};
use crate::hash;
use crate::host;
use crate::lab::Host;
use crate::machine::Start;
use crate::module::spec::Module;
use crate::results::{
    self, Environment, FORMAT, GuestRecord, ModuleRecord, OwnWorkload, PackageRecord, RunRecord,
    ScenarioRecord,
};
use crate::workload::Workload;

/// `run.json` as far as it is known before anything is measured, but for programs in place of packaged ones.
pub fn run_record<'a>(
    spec: &RunSpec,
    machines: &Host,
    start: results::Start,
    guests: impl Iterator<Item = (&'a str, &'a GuestImage)>,
) -> RunRecord {
    let started = results::rfc3339(spec.fixed_date().unwrap_or_else(SystemTime::now));
    let selection = &spec.selection;
    RunRecord {
        format: FORMAT,
        id: id(&started, spec),
        started,
        command: spec.command.clone(),
        seed: selection.seed,
        blocks: selection.blocks,
        workloads: names(selection.all_workloads()),
        own_workloads: own_workloads(spec),
        quick: spec.quick,
        clock: spec.clock,
        environment: environment(machines, start, spec),
        guests: guests.map(|(module, image)| guest(module, image)).collect(),
        scenarios: spec.scenarios.iter().map(|it| scenario(it, spec)).collect(),
        modules: spec.modules.iter().map(|it| module(it)).collect(),
    }
}

/// With the process to tell two apart that began at once; where the date is given, with the seed.
fn id(started: &str, spec: &RunSpec) -> String {
    match spec.fixed_date() {
        Some(_) => results::run_id(started, spec.selection.seed),
        None => results::run_id(started, std::process::id()),
    }
}

fn environment(machines: &Host, start: results::Start, spec: &RunSpec) -> Environment {
    let environment = Environment {
        accelerator: machines.verdict.accelerator,
        accelerator_reason: machines.verdict.reason.clone(),
        start: Some(start),
        qemu_version: machines.qemu_version.clone(),
        host_kernel: host::kernel(),
        host_cpu: host::cpu(),
        host_cores: host::cores() as u32,
        host_memory_bytes: host::memory_bytes(),
        clock_source: None,
        load_average: host::load(),
        harness_version: env!("CARGO_PKG_VERSION").into(),
        harness_revision: spec.revision.clone(),
        runner_sha256: None,
        runner_compiler: None,
        debian_mirror: None,
    };
    if spec.fixed_date().is_some() { of_no_host(environment) } else { environment }
}

/// Without what is the host's, which is in no figure of virtual time.
fn of_no_host(environment: Environment) -> Environment {
    Environment {
        host_kernel: "any".into(),
        host_cpu: "any".into(),
        host_cores: 1,
        host_memory_bytes: 0,
        load_average: [0.0; 3],
        ..environment
    }
}

pub(super) fn started(start: &Start) -> results::Start {
    match start {
        Start::Fork(_) => results::Start::Forked,
        Start::Boot(_) => results::Start::Booted,
    }
}

fn guest(module: &str, image: &GuestImage) -> GuestRecord {
    let manifest = &image.manifest;
    let package = |package: &Package| PackageRecord {
        name: package.name.clone(),
        version: package.version.clone(),
    };
    GuestRecord {
        module: module.to_owned(),
        provider: manifest.provider.name().into(),
        nar_hash: manifest.nar_hash.clone(),
        packages: manifest.packages.iter().map(package).collect(),
    }
}

fn own_workloads(spec: &RunSpec) -> Vec<OwnWorkload> {
    spec.selection.all_workloads().into_iter().filter_map(|it| it.files().cloned()).collect()
}

fn names(workloads: impl IntoIterator<Item = Workload>) -> Vec<String> {
    workloads.into_iter().map(|workload| workload.name().to_owned()).collect()
}

fn scenario(scenario: &Scenario, spec: &RunSpec) -> ScenarioRecord {
    ScenarioRecord {
        name: scenario.name.to_string(),
        title: scenario.title.clone(),
        links: link_settings(scenario),
        nats: nat_records(scenario),
        workloads: names(spec.selection.workloads(&scenario.name).iter().copied()),
        sha256: Some(scenario_sha256(scenario)),
    }
}

/// By which the record of a run tells a module from what its folder holds today: SHA-256 of all of its files, in
/// hexadecimal; absent where one cannot be read.
pub fn module_sha256(module: &Module) -> Option<String> {
    content_of(module.lifecycle().parent().unwrap_or(Path::new(".")))
}

/// By which the record of a run tells a scenario from what its file says today: SHA-256, in hexadecimal.
pub fn scenario_sha256(scenario: &Scenario) -> String {
    hash::sha256(serde_json::to_string(scenario).unwrap_or_default().as_bytes())
}

fn module(module: &Module) -> ModuleRecord {
    ModuleRecord {
        name: module.name.to_string(),
        title: module.spec.title.clone(),
        version: None,
        choices: module.spec.config.choices.clone(),
        binaries: Vec::new(),
        sha256: module_sha256(module),
    }
}

/// Of all files of a module's folder with their names, in order; absent where one cannot be read.
fn content_of(folder: &Path) -> Option<String> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut files: Vec<_> =
        entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>().ok()?;
    files.sort();
    let mut hasher = Sha256::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let name = file.file_name()?.to_string_lossy().into_owned();
        let bytes = std::fs::read(file).ok()?;
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    Some(hash::hex(hasher))
}

/// What a run would be made of otherwise than it was begun, in words; nothing when it may go on.
pub(crate) fn differences(begun: &RunRecord, now: &RunRecord) -> Vec<String> {
    let mut found = otherwise_asked(begun, now);
    found.extend(otherwise_made(begun, now));
    found.extend(otherwise_driven(begun, now));
    found
}

/// What is asked for that was not, and the other way round.
fn otherwise_asked(begun: &RunRecord, now: &RunRecord) -> Vec<String> {
    let mut found = Vec::new();
    let of = [begun, now];
    for (what, [then, now]) in [
        ("scenario", of.map(|run| names_of(run.scenarios.iter().map(|it| &it.name)))),
        ("module", of.map(|run| names_of(run.modules.iter().map(|it| &it.name)))),
        ("workload", of.map(|run| names_of(&run.workloads))),
    ] {
        found.extend(now.difference(&then).map(|name| format!("the {what} {name} was not in it")));
        found.extend(then.difference(&now).map(|name| format!("the {what} {name} was in it")));
    }
    if begun.clock != now.clock {
        let (then, now) = (begun.clock.word(), now.clock.word());
        found.push(format!("its clock was `{then}`, and is `{now}`"));
    }
    if begun.seed != now.seed {
        found.push(format!("its seed was {}, and is {}", begun.seed, now.seed));
    }
    if begun.quick != now.quick {
        found.push("only one of both is quick".into());
    }
    found
}

fn names_of<'a>(names: impl IntoIterator<Item = &'a String>) -> BTreeSet<&'a str> {
    names.into_iter().map(String::as_str).collect()
}

/// What has other contents under the same name.
fn otherwise_made(begun: &RunRecord, now: &RunRecord) -> Vec<String> {
    let mut found = Vec::new();
    for scenario in &now.scenarios {
        let before = begun.scenarios.iter().find(|other| other.name == scenario.name);
        if before.is_some_and(|before| differ(&before.sha256, &scenario.sha256)) {
            found.push(format!("the scenario {} was edited", scenario.name));
        }
    }
    for module in &now.modules {
        let before = begun.modules.iter().find(|other| other.name == module.name);
        let Some(before) = before else { continue };
        if differ(&before.sha256, &module.sha256) {
            found.push(format!("the module {} was edited", module.name));
        }
        if before.binaries != module.binaries {
            found.push(format!("{} has other programs by --binary", module.name));
        }
    }
    for guest in &now.guests {
        let before = begun.guests.iter().find(|other| other.module == guest.module);
        if before.is_some_and(|before| before.nar_hash != guest.nar_hash) {
            found.push(format!("the guest of {} is another one", guest.module));
        }
    }
    found
}

/// What else the figures depend on: the host, QEMU, the harness.
fn otherwise_driven(begun: &RunRecord, now: &RunRecord) -> Vec<String> {
    let mut found = Vec::new();
    // Nothing of the host reaches what is measured in virtual time.
    let is_real = begun.clock.is_real();
    let (then, now) = (&begun.environment, &now.environment);
    if is_real && (&then.host_cpu, then.host_cores) != (&now.host_cpu, now.host_cores) {
        let host = |it: &Environment| format!("{} with {} cores", it.host_cpu, it.host_cores);
        found.push(format!("the host was {}, and is {}", host(then), host(now)));
    }
    if then.accelerator != now.accelerator {
        found.push("the accelerator is another one".into());
    }
    if then.qemu_version != now.qemu_version {
        found.push(format!("QEMU was {}, and is {}", then.qemu_version, now.qemu_version));
    }
    if then.harness_version != now.harness_version {
        let (then, now) = (&then.harness_version, &now.harness_version);
        found.push(format!("the harness was of version {then}, and is of {now}"));
    }
    found.extend(another_harness(then, now));
    if then.start.is_some() && then.start != now.start {
        found.push("machines would be started otherwise (--no-fork)".into());
    }
    found
}

/// In virtual time the program inside measures: a commit that leaves it as it is changes no figure.
fn another_harness(then: &Environment, now: &Environment) -> Option<String> {
    if then.runner_sha256.is_none() || now.runner_sha256.is_none() {
        let differs = differ(&then.harness_revision, &now.harness_revision);
        return differs.then(|| "the harness is of another revision".into());
    }
    let by = |it: &Environment| it.runner_compiler.clone().unwrap_or_else(|| "unknown".into());
    match (by(then), by(now)) {
        _ if then.runner_sha256 == now.runner_sha256 => None,
        (then, now) if then == now => Some("the program inside the machines is another one".into()),
        (then, now) => Some(format!(
            "the program inside the machines is another one: its compiler was {then}, and is {now}"
        )),
    }
}

/// What was not recorded then is no difference; what cannot be told now is one.
fn differ(then: &Option<String>, now: &Option<String>) -> bool {
    then.is_some() && then != now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sample;

    #[test]
    fn what_a_run_is_of_is_compared_by_content() {
        let begun = sample::run();
        assert_eq!(differences(&begun, &begun), Vec::<String>::new());
        let mut now = begun.clone();
        now.scenarios[0].sha256 = Some("other".into());
        now.modules[0].sha256 = Some("other".into());
        now.guests[0].nar_hash = "sha256-other".into();
        now.environment.harness_revision = Some("other".into());
        let mut known = begun.clone();
        known.scenarios[0].sha256 = Some("one".into());
        known.modules[0].sha256 = Some("one".into());
        known.environment.harness_revision = Some("one".into());
        assert_eq!(differences(&known, &now).len(), 4, "{:?}", differences(&known, &now));
        known.modules[0].binaries =
            vec![results::BinaryRecord { name: "wg".into(), sha256: "ab".into() }];
        assert_eq!(differences(&known, &now).len(), 5);
        // What an older harness did not record is no difference.
        assert_eq!(differences(&begun, &now), ["the guest of wireguard is another one"]);
    }

    #[test]
    fn what_is_asked_for_otherwise_is_named() {
        let begun = sample::run();
        let mut now = begun.clone();
        now.modules[0].name = "nebula".into();
        now.seed += 1;
        now.quick = !now.quick;
        let found = differences(&begun, &now);
        for part in ["module nebula was not in it", "was in it", "its seed was", "quick"] {
            assert!(found.iter().any(|it| it.contains(part)), "{part}: {found:?}");
        }
    }

    #[test]
    fn another_version_is_another_harness_and_another_host_another_clock() {
        let begun = sample::run();
        let mut now = begun.clone();
        now.environment.harness_version = "0.2.0".into();
        assert_eq!(
            differences(&begun, &now),
            ["the harness was of version 0.1.0, and is of 0.2.0"]
        );
        let mut now = begun.clone();
        (now.environment.host_cpu, now.environment.host_cores) = ("Another CPU".into(), 8);
        let host = "the host was Example CPU with 2 cores, and is Another CPU with 8 cores";
        assert_eq!(differences(&begun, &now), [host]);
        let of_virtual = |run| RunRecord { clock: results::Clock::Virtual, ..run };
        assert_eq!(differences(&of_virtual(begun), &of_virtual(now)), Vec::<String>::new());
    }

    #[test]
    fn in_virtual_time_the_program_inside_decides_and_no_commit() {
        let of = |revision: &str, runner: Option<&str>, compiler: Option<&str>| {
            let mut run = RunRecord { clock: results::Clock::Virtual, ..sample::run() };
            run.environment.harness_revision = Some(revision.into());
            run.environment.runner_sha256 = runner.map(str::to_owned);
            run.environment.runner_compiler = compiler.map(str::to_owned);
            run
        };
        let begun = of("one", Some("aa"), Some("rustc 1.95.0"));
        let same = of("two", Some("aa"), Some("rustc 1.95.0"));
        assert_eq!(differences(&begun, &same), Vec::<String>::new());
        let other = differences(&begun, &of("one", Some("bb"), Some("rustc 1.96.0")));
        assert!(other.len() == 1 && other[0].ends_with("was rustc 1.95.0, and is rustc 1.96.0"));
        let edited = differences(&begun, &of("one", Some("bb"), Some("rustc 1.95.0")));
        assert_eq!(edited, ["the program inside the machines is another one"]);
        // Where it was not recorded, or in real time, nothing but the revision tells.
        let unknown = differences(&of("one", None, None), &same);
        assert_eq!(unknown, ["the harness is of another revision"]);
    }

    #[test]
    fn an_edited_or_renamed_file_makes_another_module() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("lifecycle"), "a").unwrap();
        let first = content_of(dir.path()).unwrap();
        std::fs::write(dir.path().join("lifecycle"), "b").unwrap();
        let second = content_of(dir.path()).unwrap();
        std::fs::rename(dir.path().join("lifecycle"), dir.path().join("lifecycles")).unwrap();
        let third = content_of(dir.path()).unwrap();
        assert!(first != second && second != third && first != third);
    }
}
