//! What is drawn, and what is said of claims.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use common::fixture::{Plan, write};
use meshbench::lab::Catalogue;
use meshbench::results::{ResultSet, ScenarioRecord};
use meshbench_site::{Known, Site, load};

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|it| (*it).to_owned()).collect()
}

fn plan(scenarios: &[&str], workloads: &[&str]) -> Plan {
    let (scenarios, workloads) = (names(scenarios), names(workloads));
    Plan { scenarios, workloads, blocks: 3, ..Plan::default() }
}

/// A site of a plan that knows the modules and the scenarios of this repository; a page of it by its name.
fn site(plan: Plan) -> impl Fn(&str) -> String {
    site_of(&plan.set())
}

fn site_of(set: &ResultSet) -> impl Fn(&str) -> String + use<> {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("set"), set);
    let catalogue = Catalogue::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    let scenario = |it: &ScenarioRecord| catalogue.scenario(&it.name).unwrap();
    let known = set.run.scenarios.iter().filter(|it| !it.name.starts_with("nat-"));
    let known =
        Known { modules: catalogue.modules().unwrap(), scenarios: known.map(scenario).collect() };
    let (loaded, out) = (load(&[dir.path().join("set")]), dir.path().join("site"));
    assert_eq!(loaded.problems, []);
    Site::new(&loaded, &known).unwrap().write(&out).unwrap();
    move |page| fs::read_to_string(dir.path().join("site").join(page)).unwrap()
}

/// The claim of a VPN, with its class.
fn claim(page: &str, title: &str) -> String {
    let (before, after) = page.split_once(&format!(" {title}</b>: ")).unwrap();
    let class = before.rsplit("<li class=\"").next().unwrap().split('"').next().unwrap();
    format!("{class}: {}", after.split("</li>").next().unwrap())
}

#[test]
fn a_claim_is_shown_where_it_was_seen_and_refuted_where_it_was_not() {
    let page = site(plan(&["home-dsl", "cgnat-both"], &["connect"]));
    let of = |module: &str, title: &str| claim(&page(&format!("vpn/{module}.html")), title);
    assert!(of("tailscale", "NAT traversal").starts_with("shown: works on "));
    // Relayed where the claim promises a direct path, and not connected at all.
    let nebula = of("nebula", "NAT traversal");
    assert!(nebula.starts_with("refuted: ") && nebula.contains("cgnat-both"), "{nebula}");
    assert!(of("tinc", "NAT traversal").starts_with("refuted: "));
    assert_eq!(of("wireguard", "relay"), "unclaimed: not claimed");
    assert_eq!(of("nebula", "IPv6 underlay"), "unmeasured: not measured");
    assert_eq!(of("nebula", "encryption"), "unmeasured: not measured");
    let matrix = page("pictures.html");
    assert!(matrix.contains("What is claimed, and what was seen"), "{matrix}");
    assert!(matrix.contains("class=\"refuted\"") && matrix.contains("class=\"shown\""));
}

#[test]
fn what_was_told_in_clear_refutes_encryption_whatever_else_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&["lan"], &["leak"]);
    let mut set = plan.set();
    for cell in &mut set.cells {
        cell.metrics.truncate(1);
        let metric = &mut cell.metrics[0];
        (metric.name, metric.unit) = ("in-clear".into(), meshbench::results::Unit::Count);
        metric.value = f64::from(u8::from(cell.key.module == "tinc"));
    }
    write(&dir.path().join("set"), &set);
    let catalogue = Catalogue::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    let known = Known { modules: catalogue.modules().unwrap(), scenarios: vec![] };
    let (loaded, out) = (load(&[dir.path().join("set")]), dir.path().join("site"));
    Site::new(&loaded, &known).unwrap().write(&out).unwrap();
    let of = |module: &str| {
        claim(&fs::read_to_string(out.join(format!("vpn/{module}.html"))).unwrap(), "encryption")
    };
    assert_eq!(of("tinc"), "refuted: sends in clear, or to strangers, on lan");
    assert_eq!(of("nebula"), "shown: nothing in clear was overheard");
}

#[test]
fn a_network_is_drawn_with_its_gateways_and_lines() {
    let page = site(plan(&["lan", "home-dsl"], &["ping"]));
    let homes = page("network/home-dsl.html");
    assert!(homes.contains("class=\"site walled\""), "{homes}");
    assert!(homes.contains("alice: alice, behind home, ↑ 10 Mbit/s, 12 ms"), "{homes}");
    assert!(!page("network/lan.html").contains("site walled"));
    // Of each link, what was asked for and what was found.
    let evidence = page("cell/home-dsl/nebula.html");
    assert!(evidence.contains("12 ms, 12.1 ms"), "{evidence}");
    assert!(evidence.contains("alice (ipv4): asked for home, found home"), "{evidence}");
}

#[test]
fn a_field_of_the_grid_shows_the_worst_of_its_seeds_and_opens_its_evidence() {
    let page = site(plan(&["nat-home-home", "nat-cgnat-home"], &["connect"]));
    let tinc = page("vpn/tinc.html");
    assert!(
        tinc.contains("Of 2 pairs of gateways: 1 direct, 1 failed. On 1 of them blocks differ"),
        "{tinc}"
    );
    assert_eq!(tinc.matches("class=\"field failed\"").count(), 1);
    let link = "<a href=\"../cell/nat-cgnat-home/tinc.html\">cgnat to home</a>: 2 direct, 1 failed";
    assert!(tinc.contains(link), "{tinc}");
    let evidence = page("cell/nat-cgnat-home/tinc.html");
    assert!(evidence.contains("on cgnat to home</h1>") && evidence.contains("bench repeat"));
    assert!(evidence.contains("(in 1 of 3 blocks)") && evidence.contains("seed 44"), "{evidence}");
    assert!(page("vpn/nebula.html").contains("Of 2 pairs of gateways: 2 relayed."));
    let pictures = page("pictures.html");
    assert_eq!(pictures.matches("<h2>NAT × NAT</h2>").count(), 1);
    assert!(!page("index.html").contains("network/nat-"));
}

#[test]
fn speed_is_drawn_against_delay_under_load_with_every_name() {
    let page = site(plan(&["home-dsl"], &["tcp", "loaded"]))("pictures.html");
    let (_, scatter) = page.split_once("<h2>Fast and quick</h2>").unwrap();
    let svg = scatter.split("</svg>").next().unwrap();
    assert_eq!(svg.matches("class=\"dot vpn\"").count(), 4);
    assert_eq!(svg.matches("class=\"dot wire\"").count(), 1);
    for name in ["Nebula", "Tailscale", "Tinc", "Wireguard", "The wire"] {
        assert!(svg.contains(&format!(">{name}</text>")), "{name}: {svg}");
    }
}

#[test]
fn what_grows_with_members_is_a_line_through_all_meshes() {
    let page = site(plan(&["many-3", "many-8", "many-16"], &["many-peers"]))("pictures.html");
    let (_, growth) = page.split_once("<h2>As a mesh grows</h2>").unwrap();
    let svg = growth.split("</svg>").next().unwrap();
    assert_eq!(svg.matches("class=\"curve vpn\"").count(), 4);
    assert!(svg.contains("of 16 members"), "{svg}");
    let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(points.split(' ').count(), 3);
}

#[test]
fn outages_say_what_happened_and_that_they_are_laid_end_to_end() {
    let page = site(plan(&["lte-roaming"], &["recover"]))("pictures.html");
    assert!(page.contains("class=\"outage\""), "{page}");
    assert!(page.contains("What happened: roam after 5 s, nat-rebind after 15 s."), "{page}");
    assert!(page.contains("laid end to end"), "{page}");
}

#[test]
fn outages_that_tell_when_they_began_are_drawn_there_beside_what_happened() {
    let mut set = plan(&["lte-roaming"], &["recover"]).set();
    for cell in &mut set.cells {
        let silence = cell.metrics[0].clone();
        let name = "silence-begins".to_owned();
        let better = meshbench::results::Better::Neutral;
        cell.metrics.push(meshbench::results::Metric {
            name,
            better,
            value: 5e3,
            samples: vec![5e3, 15e3],
            ..silence
        });
    }
    let page = site_of(&set)("pictures.html");
    let (_, part) = page.split_once("<h2>Silence when the network changes</h2>").unwrap();
    let svg = part.split("</svg>").next().unwrap();
    assert_eq!(svg.matches("class=\"event\"").count(), 2, "{svg}");
    assert!(part.contains("each where it began, after the first answer"), "{part}");
    assert!(!part.contains("laid end to end"), "{part}");
}

#[test]
fn samples_of_a_block_have_a_box_of_their_middle_half() {
    let page = site(plan(&["lan"], &["ping"]))("cell/lan/nebula.html");
    let svg = page.split("<svg").nth(1).unwrap().split("</svg>").next().unwrap();
    assert_eq!(svg.matches("class=\"box vpn\"").count(), 3);
    assert_eq!(svg.matches("class=\"sample\"").count(), 3 * 40);
}

#[test]
fn a_vpn_is_compared_with_one_of_fewer_blocks_by_the_blocks_of_both() {
    let plan = Plan { blocks: 7, ..plan(&["lan"], &["tcp"]) };
    let letters = |blocks: u32| {
        let dir = tempfile::tempdir().unwrap();
        let (mut set, mut tinc) =
            (plan.set(), Plan { id: "tinc".into(), blocks, ..plan.clone() }.set());
        set.cells.retain(|cell| cell.key.module != "tinc");
        tinc.cells.retain(|cell| cell.key.module == "tinc");
        let places = [("set", set), ("tinc", tinc)].map(|(name, set)| {
            let place = dir.path().join(name);
            write(&place, &set);
            place
        });
        let (loaded, out) = (load(&places), dir.path().join("site"));
        Site::new(&loaded, &Known::default()).unwrap().write(&out).unwrap();
        let script = fs::read_to_string(out.join("compare.js")).unwrap();
        script.split('"').find(|it| it.len() == 6).unwrap().to_owned()
    };
    // Pairs of nebula, tailscale, tinc, wireguard: the second is nebula with tinc.
    assert_eq!(&letters(7)[1..2], "b");
    assert_eq!(&letters(5)[1..2], "b");
    assert_eq!(&letters(1)[1..2], "q", "one block tells nothing");
    for blocks in [7, 5, 1] {
        assert_eq!(&letters(blocks)[2..3], &letters(7)[2..3], "nebula with wireguard");
    }
}
