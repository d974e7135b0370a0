//! Builds real guest images from a Debian archive: needs network and what `bench doctor` asks for.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use meshbench::guest::debian::{Debian, ModuleSoftware};
use meshbench::guest::{self, GuestImage, Preparing, Provider, tools};

/// A provider that notes what it builds.
fn provider(cache: &Path, agent: &[u8]) -> (Debian, Arc<Mutex<Vec<String>>>) {
    let built = Arc::new(Mutex::new(Vec::new()));
    let log = built.clone();
    let progress = Arc::new(move |preparing: &Preparing| {
        if let Preparing::Building { part } = preparing {
            log.lock().unwrap().push(part.clone());
        }
    });
    (Debian::new(cache, agent).progress(progress), built)
}

/// The image, and what was built for it.
fn image(cache: &Path, agent: &[u8], software: &[ModuleSoftware]) -> (GuestImage, Vec<String>) {
    let (debian, built) = provider(cache, agent);
    let image = debian.image(software).unwrap_or_else(|error| panic!("{error}"));
    let built = built.lock().unwrap().clone();
    (image, built)
}

/// Each stage said what it builds, in this order, and no other was there.
fn assert_built(stages: &[String], expected: &[&str]) {
    assert_eq!(stages.len(), expected.len(), "{stages:?}");
    for (stage, words) in stages.iter().zip(expected) {
        assert!(stage.contains(words), "{stages:?}");
    }
}

fn wireguard() -> ModuleSoftware {
    let apt = vec!["wireguard-tools".to_owned()];
    ModuleSoftware { name: "wireguard".to_owned(), apt, ..Default::default() }
}

#[test]
fn an_image_is_built_once_and_later_only_what_changed() {
    guest::install_missing(tools::DEBIAN, &|_| ()).unwrap_or_else(|error| panic!("{error}"));
    let cache = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cache = cache.path();
    let (first, built) = image(cache, b"agent one", &[]);
    assert_built(&built, &["the base system", "the agent", "the whole"]);
    assert_eq!(first.manifest.provider, Provider::Debian);
    assert_eq!(first.manifest.layers.len(), 3);
    for package in ["libc6", "nftables", "systemd"] {
        assert!(first.manifest.packages.iter().any(|p| p.name == package), "no {package}");
    }
    let kernel = first.manifest.packages.iter().find(|p| p.name.starts_with("linux-image-"));
    assert!(kernel.is_some(), "the kernel's version is not recorded");

    let (second, built) = image(cache, b"agent one", &[]);
    assert!(built.is_empty(), "built again: {built:?}");
    assert_eq!(first, second);
    assert_eq!(guest::load(&first.dir).unwrap(), first);

    let (other_agent, built) = image(cache, b"agent two", &[]);
    assert_built(&built, &["the agent", "the whole"]);
    assert_ne!(other_agent.manifest.nar_hash, first.manifest.nar_hash);
    assert_eq!(other_agent.manifest.packages, first.manifest.packages);
    let initrd = fs::read(other_agent.initrd()).unwrap();
    assert!(initrd.windows(9).any(|window| window == b"agent two"));

    a_module_adds_layers_and_its_programs_can_be_replaced(cache, &first);
    faults_are_told_and_leave_no_waste(cache);
    what_changes_after_the_build_is_refused(cache, &second);
}

fn a_module_adds_layers_and_its_programs_can_be_replaced(cache: &Path, plain: &GuestImage) {
    let (image_apt, built) = image(cache, b"agent one", &[wireguard()]);
    assert_built(&built, &["packages of wireguard", "the whole"]);
    assert_eq!(image_apt.manifest.layers.len(), plain.manifest.layers.len() + 1);
    let tools = image_apt.manifest.packages.iter().find(|p| p.name == "wireguard-tools");
    assert!(tools.is_some_and(|package| package.version.starts_with("1.0")), "{tools:?}");
    let layer = fs::read(image_apt.dir.join("module-wireguard.erofs")).unwrap();
    assert!(layer.windows(8).any(|window| window == b"wg-quick"));

    let script = cache.join("wg");
    fs::write(&script, "#!/bin/sh\necho patched\n").unwrap();
    let binaries = BTreeMap::from([("wg".to_owned(), script)]);
    let patched = ModuleSoftware { binaries, ..wireguard() };
    let (image, built) = image(cache, b"agent one", &[patched]);
    assert_built(&built, &["your own program for wireguard", "the whole"]);
    let last = image.layers().pop().unwrap();
    assert!(last.ends_with("local-wireguard.erofs"), "{}", last.display());
    assert!(image.manifest.packages.iter().any(|p| p.name == "wg" && p.version == "local"));
}

fn faults_are_told_and_leave_no_waste(cache: &Path) {
    let mut software = wireguard();
    software.apt = vec!["no-such-vpn".to_owned()];
    let message = provider(cache, b"agent one").0.image(&[software]).unwrap_err().to_string();
    assert!(message.contains("no-such-vpn") && message.contains("apt-get"), "{message}");

    let foreign = cache.join("foreign");
    fs::write(&foreign, b"MZ").unwrap();
    let binaries = BTreeMap::from([("wg".to_owned(), foreign)]);
    let software = ModuleSoftware { binaries, ..wireguard() };
    let message = provider(cache, b"agent one").0.image(&[software]).unwrap_err().to_string();
    assert!(message.contains("foreign cannot run in the guest"), "{message}");

    let waste = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().file_name());
    let waste: Vec<_> = waste.filter(|name| name.to_string_lossy().ends_with(".tmp")).collect();
    assert!(waste.is_empty(), "{waste:?}");
}

fn what_changes_after_the_build_is_refused(cache: &Path, image: &GuestImage) {
    let file = image.dir.join("guest.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"layers\": [", "\"layers\": [,")).unwrap();
    let message = guest::load(&image.dir).unwrap_err().to_string();
    assert!(message.contains("guest.json:8: "), "{message}");
    let again = provider(cache, b"agent one").0.image(&[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again, *image, "who can build it makes it anew");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    fs::remove_file(image.kernel()).unwrap();
    let message = guest::load(&image.dir).unwrap_err().to_string();
    assert!(message.contains("guest.json:5: `kernel` names"), "{message}");
}
