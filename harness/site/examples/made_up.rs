//! A site of figures that nobody measured, to look at while working on its pages:
//! `cargo run -p meshbench-site --example made_up -- DIR [RESULTS…]`. Never to be published. With results of yours, of
//! those instead.

#[path = "../tests/common/fixture.rs"]
mod fixture;

use std::path::PathBuf;

use meshbench::lab::Catalogue;
use meshbench_site::{Known, Site, load};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("where to?")?);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let catalogue = Catalogue::at(&root)?;
    let (set, out) = (dir.join("set"), dir.join("site"));
    if !set.exists() {
        fixture::write(&set, &fixture::Plan::default().set());
    }
    let scenarios = catalogue.scenario_names()?;
    let scenarios = scenarios.iter().map(|it| catalogue.scenario(it)).collect::<Result<_, _>>()?;
    let known = Known { modules: catalogue.modules()?, scenarios };
    let named: Vec<PathBuf> = std::env::args().skip(2).map(PathBuf::from).collect();
    let places = if named.is_empty() { vec![set, root.join("results")] } else { named };
    let loaded = load(&places);
    Site::new(&loaded, &known)?.write(&out)?;
    println!("{}", out.join("index.html").display());
    Ok(())
}
