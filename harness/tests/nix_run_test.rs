//! A NixOS test whose script is Rust: what `lib.runTest` (nix/run-test.nix) runs. Its guests come from the environment.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use harness::fabric::scenario::Scenario;
use harness::lab::{Lab, Settings};
use harness::module::drive::Deployment;
use harness::module::spec;

/// Guests by node, as `runTest` hands them over; nothing when it is not what runs this.
fn guests() -> Option<BTreeMap<String, PathBuf>> {
    let Ok(json) = std::env::var("MESHBENCH_GUESTS") else {
        let _ = writeln!(std::io::stderr(), "skipped: MESHBENCH_GUESTS names no guests");
        return None;
    };
    Some(serde_json::from_str(&json).expect("MESHBENCH_GUESTS is JSON"))
}

#[tokio::test]
async fn wireguard_connects_two_machines() {
    let Some(guests) = guests() else { return };
    let root = std::env::var_os("MESHBENCH_ROOT").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let modules = [spec::load(&root.join("modules"), "wireguard").unwrap()];
    let scenario = Scenario::load(&root.join("checks/lan.toml"), &[]).unwrap();
    let settings = Settings { guests, ..Settings::default() };
    let mut lab = Lab::open(settings, &modules).await.unwrap();
    let cluster = lab.cluster(&scenario, &modules[0], 1).await.unwrap();
    let deployment = Deployment::new(&cluster, &modules[0]).await.unwrap();
    let [alice, bob, ..] = cluster.members() else { panic!("lan has two machines") };
    deployment.start_others(alice).await.unwrap();
    let connected = deployment.connect(alice, bob).await.unwrap();
    println!("connected after {:?}", connected.after);
    cluster.down().await;
}
