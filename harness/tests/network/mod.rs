//! Clusters for tests of the network itself: any scenario, no VPN.

#![allow(dead_code)]

use std::sync::Arc;
use std::time::Instant;

use harness::cluster::{Blueprint, Cluster};
use harness::fabric::plan::Plan;
use harness::fabric::scenario::Scenario;
use harness::guest::GuestImage;
use harness::guest::debian::{Debian, ModuleSoftware};
use harness::lab::{Lab, Settings, default_cache};
use harness::machine::Machine;

/// A scenario from the text of its sites.
pub(crate) fn scenario(sites: &str) -> Scenario {
    let text = format!("title = \"t\"\ndescription = \"d\"\n{sites}");
    Scenario::parse("test", "test.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// The guest with these Debian packages, one layer each.
pub(crate) fn image(packages: &[&str]) -> Arc<GuestImage> {
    let software: Vec<ModuleSoftware> = packages
        .iter()
        .map(|name| ModuleSoftware {
            name: (*name).to_owned(),
            apt: vec![(*name).to_owned()],
            ..ModuleSoftware::default()
        })
        .collect();
    let cache = default_cache().expect("a place for guests");
    let provider = Debian::new(&cache, harness::AGENT);
    Arc::new(provider.image(&software).unwrap_or_else(|error| panic!("{error}")))
}

/// The scenario's cluster, as it stands, with these packages in the fabric and in the members.
pub(crate) async fn cluster(scenario: &Scenario, fabric: &[&str], member: &[&str]) -> Cluster {
    cluster_with(scenario, fabric, member, &[]).await
}

/// As `cluster`, with kernel modules loaded in the members.
pub(crate) async fn cluster_with(
    scenario: &Scenario,
    fabric: &[&str],
    member: &[&str],
    kernel_modules: &[String],
) -> Cluster {
    let lab = Lab::open(Settings::default(), &[]).await.unwrap_or_else(|error| panic!("{error}"));
    let blueprint = Blueprint {
        plan: Plan::new(scenario, 1),
        fabric_image: image(fabric),
        member_image: image(member),
        kernel_modules: kernel_modules.to_vec(),
    };
    let mut templates = lab.templates.clone();
    let start = Instant::now();
    let made = blueprint.warm(&mut templates).await.unwrap_or_else(|error| panic!("{error}"));
    let warmed = start.elapsed();
    let cluster = Cluster::up(&blueprint, &templates).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    println!(
        "{} templates made in {:.1} s; {} machines up in {:.1} s ({})",
        made,
        warmed.as_secs_f64(),
        cluster.members().len() + 1,
        (start.elapsed() - warmed).as_secs_f64(),
        lab.verdict.accelerator,
    );
    cluster
}

/// The machine of that name.
pub(crate) fn machine<'a>(cluster: &'a Cluster, name: &str) -> &'a Machine {
    &cluster.member(name).unwrap_or_else(|| panic!("no {name}")).machine
}

/// What a shell script prints on a machine; it must succeed.
pub(crate) async fn sh(machine: &Machine, script: &str) -> String {
    let output = machine.run(&["bash", "-c", script]).await;
    output.unwrap_or_else(|error| panic!("{error}")).text()
}
