//! The test that the README shows, as it stands there.

use std::error::Error;

use meshbench::lab::Lab;
use rstest::{fixture, rstest};

#[fixture]
#[once]
fn lab() -> Lab {
    Lab::from_env()
}

#[rstest]
#[case::homes("home-dsl")]
#[case::offices("lan")]
#[tokio::test]
async fn wireguard_connects(lab: &Lab, #[case] network: &str) -> Result<(), Box<dyn Error>> {
    let vpn = lab.bring_up("wireguard", network).await?;
    let (alice, bob) = (&vpn.cluster()["alice"], &vpn.cluster()["bob"]);
    let address = vpn.addresses(bob).await?[0].to_string();
    alice.machine.run(&["ping", "-c", "3", &address]).await?;
    Ok(())
}

#[test]
fn the_readme_shows_this_test() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let shown = include_str!("readme.rs").split("#[test]").next().unwrap();
    let shown = shown.split_once("use std::error::Error;").unwrap().1.trim();
    assert!(readme.contains(shown), "not in the README:\n{shown}");
}

#[test]
fn the_readme_names_every_workload() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    for workload in meshbench::workload::Workload::all() {
        let name = format!("`{}`", workload.name());
        let row = readme.lines().any(|line| line.starts_with('|') && line.contains(&name));
        assert!(row, "no row of a table names {name}");
    }
}

#[test]
fn the_guide_of_scenarios_names_each() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let guide = std::fs::read_to_string(root.join("checks/README.md")).unwrap();
    for file in std::fs::read_dir(root.join("checks")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // Of meshes, the smallest and the largest stand for those between.
        let between = ["many-8", "many-16", "many-32"].contains(&&*name);
        if path.extension().is_some_and(|it| it == "toml") && !between {
            assert!(guide.contains(&format!("`{name}`")), "the guide does not name {name}");
        }
    }
}
