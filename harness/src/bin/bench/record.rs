//! What a run's record says of the run and its host.

use std::time::SystemTime;

use harness::fabric::scenario::Scenario;
use harness::lab::Lab;
use harness::machine::{Accelerator, host_cpu};
use harness::module::spec::Module;
use harness::plan::{Selection, link_settings, nat_records};
use harness::results::{
    self, Environment, FORMAT, GuestRecord, ModuleRecord, PackageRecord, RunRecord, ScenarioRecord,
};
use harness::workload::Workload;

use crate::binaries::Binaries;

/// A seed that JSON readers keep whole.
pub fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64) % 1_000_000
}

/// `run.json` as far as it is known before anything is measured.
pub fn run_record(
    selection: &Selection,
    modules: &[Module],
    scenarios: &[Scenario],
    quick: bool,
    (lab, binaries): (&Lab, &Binaries),
) -> RunRecord {
    let started = results::rfc3339(SystemTime::now());
    RunRecord {
        format: FORMAT,
        id: run_id(&started),
        started,
        command: command(),
        seed: selection.seed,
        blocks: selection.blocks,
        workloads: names(selection.all_workloads()),
        quick,
        environment: environment(lab),
        guests: lab.guests().map(|(module, image)| guest(module, image)).collect(),
        scenarios: scenarios.iter().map(|it| scenario(it, selection)).collect(),
        modules: modules.iter().map(|it| module(it, binaries)).collect(),
    }
}

/// The start, as a name that sorts: `2026-11-22t07-12-18z`, with the process to tell two apart.
fn run_id(started: &str) -> String {
    format!("{}-{}", started.to_lowercase().replace(':', "-"), std::process::id())
}

/// The command line; the program without its folder, which says where and not what.
fn command() -> Vec<String> {
    let mut words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(program) = words.first_mut() {
        *program = "bench".into();
    }
    words
}

fn environment(lab: &Lab) -> Environment {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory_kib = read("/proc/meminfo")
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0_u64);
    let load = read("/proc/loadavg");
    let mut load = load.split_whitespace().map(|word| word.parse().unwrap_or(0.0));
    Environment {
        accelerator: match lab.verdict.accelerator {
            Accelerator::Kvm => results::Accelerator::Kvm,
            Accelerator::Tcg => results::Accelerator::Tcg,
        },
        accelerator_reason: lab.verdict.reason.clone(),
        start: None,
        qemu_version: lab.qemu_version.clone(),
        host_kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        host_cpu: host_cpu(),
        host_cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        host_memory_bytes: memory_kib * 1024,
        clock_source: None,
        load_average: std::array::from_fn(|_| load.next().unwrap_or(0.0)),
        harness_version: env!("CARGO_PKG_VERSION").into(),
        harness_revision: option_env!("MESHBENCH_REVISION").map(str::to_owned),
    }
}

fn guest(module: &str, image: &harness::guest::GuestImage) -> GuestRecord {
    let manifest = &image.manifest;
    let package = |package: &harness::guest::Package| PackageRecord {
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

fn names(workloads: impl IntoIterator<Item = Workload>) -> Vec<String> {
    workloads.into_iter().map(|workload| workload.name().to_owned()).collect()
}

fn scenario(scenario: &Scenario, selection: &Selection) -> ScenarioRecord {
    ScenarioRecord {
        name: scenario.name.clone(),
        title: scenario.title.clone(),
        links: link_settings(scenario),
        nats: nat_records(scenario),
        workloads: names(selection.workloads(&scenario.name).iter().copied()),
    }
}

fn module(module: &Module, binaries: &Binaries) -> ModuleRecord {
    ModuleRecord {
        name: module.name.clone(),
        title: module.spec.title.clone(),
        version: None,
        choices: module.spec.config.choices.clone(),
        binaries: binaries.records(module),
    }
}
