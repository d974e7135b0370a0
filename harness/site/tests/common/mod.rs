pub(crate) mod fixture;

use std::path::{Path, PathBuf};

use fixture::Plan;
use meshbench_site::{Known, Loaded, Site, load};

/// Writes a set and a site of it; the folder of the site.
#[allow(dead_code)]
pub(crate) fn site(dir: &Path, plans: &[Plan]) -> PathBuf {
    let places: Vec<PathBuf> = plans.iter().map(|plan| dir.join(&plan.id)).collect();
    for (plan, place) in plans.iter().zip(&places) {
        fixture::write(place, &plan.set());
    }
    let out = dir.join("site");
    let loaded = load(&places);
    Site::new(&loaded, &Known::default()).unwrap().write(&out).unwrap();
    out
}

/// The page of a site of one set.
#[allow(dead_code)]
pub(crate) fn page(set: &meshbench::results::ResultSet, name: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    fixture::write(&dir.path().join("set"), set);
    let loaded = load(&[dir.path().join("set")]);
    let (known, out) = (Known::default(), dir.path().join("site"));
    Site::new(&loaded, &known).unwrap().write(&out).unwrap();
    std::fs::read_to_string(out.join(name)).unwrap()
}

/// Two workloads on one network, twice.
#[allow(dead_code)]
pub(crate) fn small(id: &str) -> Plan {
    let names = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    Plan {
        id: id.into(),
        scenarios: names(&["lan"]),
        workloads: names(&["ping", "tcp"]),
        blocks: 2,
        ..Plan::default()
    }
}

/// The first page of a site of all that was loaded.
#[allow(dead_code)]
pub(crate) fn index(dir: &Path, loaded: &Loaded) -> String {
    let (known, out) = (Known::default(), dir.join("site"));
    Site::new(loaded, &known).unwrap().write(&out).unwrap();
    std::fs::read_to_string(out.join("index.html")).unwrap()
}
