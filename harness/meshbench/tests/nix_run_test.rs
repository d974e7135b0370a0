//! NixOS tests whose script is Rust: what `lib.runTest` (nix/run-test.nix) runs. Their guests come from the environment.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meshbench::fabric::Scenario;
use meshbench::guest::{self, Provider};
use meshbench::lab::{Lab, Settings, default_cache};
use meshbench::machine::{self, Machine, MachineSpec, Preparation, Start, Templates};
use meshbench::module::drive::Deployment;
use meshbench::module::spec;

/// Guests by node, as `runTest` hands them over; nothing when what runs this has none with that name.
fn guests(wanted: &str) -> Option<BTreeMap<String, PathBuf>> {
    let json = std::env::var("MESHBENCH_GUESTS").unwrap_or_else(|_| "{}".into());
    let guests: BTreeMap<_, _> = serde_json::from_str(&json).expect("MESHBENCH_GUESTS is JSON");
    if guests.contains_key(wanted) {
        return Some(guests);
    }
    let _ = writeln!(std::io::stderr(), "skipped: MESHBENCH_GUESTS names no guest {wanted}");
    None
}

#[tokio::test]
async fn wireguard_connects_two_machines() {
    let Some(guests) = guests("wireguard") else { return };
    let root = std::env::var_os("MESHBENCH_ROOT").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    let modules = [spec::load(&root.join("modules"), "wireguard").unwrap()];
    let scenario = Scenario::load(&root.join("checks/lan.toml"), &[]).unwrap();
    let lab = Lab::new(Settings { guests, ..Settings::default() });
    let cluster = lab.cluster(&scenario, &modules[0], 1).await.unwrap();
    let deployment = Deployment::new(&cluster, &modules[0]).await.unwrap();
    let [alice, bob, ..] = cluster.members() else { panic!("lan has two machines") };
    deployment.start_others(alice).await.unwrap();
    let connected = deployment.connect(alice, bob).await.unwrap();
    println!("connected after {:?}", connected.after);
    cluster.down().await;
}

#[tokio::test]
async fn an_image_that_nix_makes_boots_and_can_become_another_system() {
    let Some(guests) = guests("image") else { return };
    let image = Arc::new(guest::load(&guests["image"]).unwrap());
    assert_eq!(image.manifest.provider, Provider::Nixos);
    assert_eq!(image.manifest.nar_hash, image.nar_hash().unwrap());
    assert!(image.manifest.packages.iter().any(|package| package.version.contains("/nix/store/")));

    let version = machine::qemu_version().await.unwrap();
    let verdict = machine::choose(&image, &default_cache().unwrap(), &version).await.unwrap();
    let start = Start::Boot("a template would hide its boot".into());
    let version = machine::qemu_version().await.unwrap();
    let templates = Templates::new(start, verdict.accelerator, version);
    let spec = MachineSpec {
        name: "nix".into(),
        image: image.clone(),
        memory_mib: 512,
        cpus: 1,
        cards: 0,
    };
    let machine = templates.machine(spec, &Preparation::default(), Vec::new()).await.unwrap();

    let init = image.manifest.cmdline.split(' ').find_map(|word| word.strip_prefix("init="));
    assert_eq!(run(&machine, "readlink /sbin/init").await, init.unwrap());
    assert_eq!(run(&machine, "findmnt -n -o FSTYPE /").await, "overlay");
    assert_eq!(run(&machine, "findmnt -n -o FSTYPE /run").await, "tmpfs");
    // What the second stage of NixOS does, and what the harness does to files there.
    run(&machine, "mount -n -o remount,rw none / && touch /nix/store/new").await;
    let root = run(&machine, "ls -ld / /tmp /var/lib").await;
    assert!(root.lines().all(|line| line.starts_with("drwxr-xr-x")), "{root}");

    let change = "mkdir -p /var/lib/meshbench/other
        printf '#!/bin/sh\\necho other >/run/system\\nexec /nix/store/*-system/init\\n' >/var/lib/meshbench/other/init
        chmod +x /var/lib/meshbench/other/init
        echo /var/lib/meshbench/other >/var/lib/meshbench/system; sync";
    run(&machine, change).await;
    machine.power_cycle().await.unwrap();
    machine.wait_booted().await.unwrap();
    assert_eq!(run(&machine, "cat /run/system").await, "other");
    println!("booted from {}", image.manifest.nar_hash);
    machine.end().await;
}

async fn run(machine: &Machine, script: &str) -> String {
    let output =
        machine.run(&["sh", "-c", script]).await.unwrap_or_else(|e| panic!("{script}: {e}"));
    output.text().trim().to_owned()
}
