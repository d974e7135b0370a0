//! The site in a browser, as people use it.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/browser.rs"]
mod driven;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::fixture::{Plan, write};
use common::site;
use driven::Browser;
use meshbench_site::board::Board;
use meshbench_site::load;
use meshbench_site::rank::rank;
use thirtyfour::prelude::*;

/// Names of the columns.
const COLUMNS: &str =
    "return [...document.querySelectorAll('#board thead th')].slice(1).map((it) => it.textContent)";

/// First cells of the rows.
const ROWS: &str =
    "return [...document.querySelectorAll('#board tbody th')].map((it) => it.textContent.trim())";

fn made(dir: &Path) -> PathBuf {
    site(dir, &[Plan::default()])
}

#[tokio::test]
async fn sorting_filtering_and_comparing_are_in_the_address_and_back_works() {
    let dir = tempfile::tempdir().unwrap();
    let out = made(dir.path());
    let Some(browser) = Browser::start(true).await else { return };
    browser.open(&out, "index.html").await;
    browser.until("return !document.getElementById('controls').hidden").await;
    let names: Vec<String> = browser.ask(COLUMNS).await;
    assert_eq!(names, ["Nebula", "Tailscale", "Tinc", "Wireguard"]);

    browser
        .ask::<Option<bool>>(
            "document.querySelector('[data-key=\"sort tcp.goodput-forward\"]').click()",
        )
        .await;
    browser.until("return location.hash.includes('sort=tcp.goodput-forward')").await;
    browser
        .until("return document.querySelectorAll('#board th[aria-sort=ascending]').length === 1")
        .await;
    let sorted: Vec<String> = browser.ask(COLUMNS).await;
    assert_eq!(sorted[0], "Nebula");
    assert_eq!(sorted.last().unwrap(), "Tinc");

    browser.ask::<Option<bool>>("document.querySelector('[data-key=\"vpn tinc\"]').click()").await;
    browser
        .until("return !document.querySelector('#board thead').textContent.includes('Tinc')")
        .await;
    choose(&browser, "network", "lan").await;
    browser.until("return document.querySelector('#board tbody td small') !== null").await;
    choose(&browser, "base", "nebula").await;
    browser.until("return document.querySelector('#board td.better') !== null").await;
    browser.ask::<Option<bool>>("document.querySelector('[data-key=turn]').click()").await;
    browser.until("return document.querySelectorAll('#board tbody tr').length === 3").await;

    // The address alone brings everything back.
    let address = browser.driver.current_url().await.unwrap();
    let before: String = browser.ask("return document.getElementById('board').innerHTML").await;
    browser.driver.goto("about:blank").await.unwrap();
    browser.driver.goto(address.as_str()).await.unwrap();
    browser.until("return document.querySelector('#board td.better') !== null").await;
    let again: String = browser.ask("return document.getElementById('board').innerHTML").await;
    assert_eq!(before, again);
    for part in ["vpn=", "net=lan", "base=nebula", "turn=1", "sort=tcp.goodput-forward"] {
        assert!(address.as_str().contains(part), "{address}");
    }

    browser.ask::<Option<bool>>("document.querySelector('[data-key=turn]').click()").await;
    browser.until("return document.querySelectorAll('#board thead th').length === 4").await;
    browser.driver.back().await.unwrap();
    browser.until("return document.querySelectorAll('#board tbody tr').length === 3").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}

async fn choose(browser: &Browser, key: &str, value: &str) {
    let script = format!(
        "const it = document.querySelector('[data-key={key}]'); it.value = '{value}'; it.dispatchEvent(new Event('change'))"
    );
    browser.ask::<Option<bool>>(&script).await;
}

#[tokio::test]
async fn the_script_counts_as_rust_does() {
    let dir = tempfile::tempdir().unwrap();
    let out = made(dir.path());
    let Some(browser) = Browser::start(true).await else { return };
    browser.open(&out, "index.html").await;
    browser.until("return !document.getElementById('controls').hidden").await;
    let cells = "return [...document.querySelectorAll('#board tbody td')].map((it) => it.className + ' ' + it.innerText.replace(/\\s+/g, ' '))";
    let drawn: Vec<String> = browser.ask(cells).await;
    browser.end().await;
    let Some(plain) = Browser::start(false).await else { return };
    plain.open(&out, "index.html").await;
    let written: Vec<String> = plain.ask(cells).await;
    assert!(drawn.len() > 30);
    assert_eq!(drawn, written);
    plain.end().await;
}

/// Of what is left out, nothing stays in the divisor.
#[tokio::test]
async fn a_mean_over_fewer_networks_is_that_of_those_networks() {
    let dir = tempfile::tempdir().unwrap();
    let out = made(dir.path());
    let loaded = load(&[dir.path().join(Plan::default().id)]);
    let boards = Board::all(&loaded.sources);
    let lan = boards[0].scenarios.iter().position(|it| it.name == "lan").unwrap();
    let ranking = rank(&boards[0], |row| {
        row.question == meshbench_site::questions::Question::Overhead && row.scenario == lan
    });
    let Some(browser) = Browser::start(true).await else { return };
    browser.open(&out, "index.html#net=lan").await;
    browser.until("return document.querySelector('#board tbody td small') !== null").await;
    let script = "const row = [...document.querySelectorAll('#board tr.group')].find((it) => it.textContent.includes('cost')); \
                  return [...row.querySelectorAll('td')].map((it) => it.innerText)";
    let shown: Vec<String> = browser.ask(script).await;
    for entry in &ranking.entries {
        let want = format!("{:.2}", entry.score);
        assert_eq!(shown[entry.module], want, "{}", boards[0].modules[entry.module].name);
    }
    browser.end().await;
}

#[tokio::test]
async fn what_is_missing_sorts_last_and_none_chosen_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let out = made(dir.path());
    let Some(browser) = Browser::start(true).await else { return };
    browser.open(&out, "index.html#net=cgnat-both&sort=connectivity").await;
    browser.until("return document.querySelectorAll('#board td.x').length > 0").await;
    let names: Vec<String> = browser.ask(COLUMNS).await;
    assert!(["Tinc", "Wireguard"].contains(&names[3].as_str()) && names[0] != "Tinc", "{names:?}");
    browser.open(&out, "index.html#net=&vpn=").await;
    browser.until("return document.querySelectorAll('#board tbody td').length === 0").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}

#[tokio::test]
async fn only_the_significant_is_left_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let out = made(dir.path());
    let Some(browser) = Browser::start(true).await else { return };
    browser.open(&out, "index.html#only=1&vpn=nebula+tailscale").await;
    browser.until("return document.querySelectorAll('#board tbody th').length > 0").await;
    let rows: Vec<String> = browser.ask(ROWS).await;
    assert!(!rows.iter().any(|row| row.contains("ping loss")), "{rows:?}");
    assert!(rows.iter().any(|row| row.contains("goodput-forward")), "{rows:?}");
    browser.end().await;
}

/// That one connects and the other does not is no gap between two figures, and still the largest difference.
#[tokio::test]
async fn who_fails_where_another_works_is_worse_and_stays_when_only_differences_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let out = made(dir.path());
    let Some(browser) = Browser::start(true).await else { return };
    let vpns = "vpn=nebula+tinc";
    browser.open(&out, &format!("index.html#base=nebula&net=cgnat-both&only=1&{vpns}")).await;
    browser.until("return document.querySelector('#board td.base') !== null").await;
    browser.until("return document.querySelectorAll('#board td.worse').length > 3").await;
    let rows: Vec<String> = browser.ask(ROWS).await;
    assert!(rows.iter().any(|row| row.contains("connect time")), "{rows:?}");
    let text: String = browser.ask("return document.querySelector('td.worse').innerText").await;
    assert!(text.contains('▼'), "{text}");
    browser.open(&out, "index.html#net=cgnat-both&only=1&vpn=tinc").await;
    browser.until("return document.querySelectorAll('#board td.x').length > 3").await;
    browser.end().await;
}

#[tokio::test]
async fn a_reader_finds_their_networks_in_the_table_and_on_the_other_clock() {
    let dir = tempfile::tempdir().unwrap();
    let real = meshbench::results::Clock::Real;
    let other = Plan { id: "real".into(), clock: real, ..Plan::default() };
    let out = site(dir.path(), &[Plan::default(), other]);
    let Some(browser) = Browser::start(true).await else { return };
    browser.open(&out, "index.html").await;
    browser.until("return !document.getElementById('controls').hidden").await;
    browser.ask::<Option<bool>>("document.querySelector('#for-phone a.into').click()").await;
    browser
        .until("return document.getElementById('live').textContent.includes('3 networks')")
        .await;
    browser.until("return scrollY > 100").await;
    browser
        .ask::<Option<bool>>("document.querySelector('.boards a[href*=emulated]').click()")
        .await;
    browser.until("return location.pathname.includes('/emulated/')").await;
    browser
        .until("return document.getElementById('live').textContent.includes('3 networks')")
        .await;
    // What this board does not have chooses nothing.
    browser.open(&out, "index.html#net=mars").await;
    browser
        .until("return document.getElementById('live').textContent.includes('5 networks')")
        .await;
    browser.end().await;
}

/// The pages of every kind, as a phone shows them.
#[tokio::test]
async fn nothing_is_scrolled_sideways_on_a_phone() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = Plan::default().set();
    for scenario in &mut set.run.scenarios {
        scenario.title =
            format!("{} of somebody with a long name for each of their networks", scenario.title);
    }
    set.run.modules[1].choices = vec![format!("https://example.org/{}", "path".repeat(40))];
    write(&dir.path().join("set"), &set);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let loaded = load(&[dir.path().join("set"), root.join("results/external")]);
    let out = dir.path().join("site");
    let known = meshbench_site::Known::default();
    meshbench_site::Site::new(&loaded, &known).unwrap().write(&out).unwrap();
    let Some(browser) = Browser::start(true).await else { return };
    let phone =
        serde_json::json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": false });
    browser.driver.cdp().send_raw("Emulation.setDeviceMetricsOverride", phone).await.unwrap();
    for page in [
        "index.html",
        "index.html#net=lan&base=nebula",
        "network/lan.html",
        "vpn/nebula.html",
        "cell/cgnat-both/tinc.html",
        "cell/lan/nebula.html",
        "pictures.html",
        "method.html",
        "downloads.html",
        "others/thesis-2026.html",
    ] {
        browser.open(&out, page).await;
        browser.until("return document.readyState === 'complete'").await;
        browser
            .ask::<Option<bool>>(
                "document.querySelectorAll('details').forEach((it) => { it.open = true; })",
            )
            .await;
        let wide: (u32, u32) =
            browser.ask("return [document.documentElement.scrollWidth, innerWidth]").await;
        let who: Vec<String> = browser
            .ask("return [...document.querySelectorAll('main *')].filter((it) => it.getBoundingClientRect().right > 391 && !it.closest('.scroll')).slice(0, 3).map((it) => it.outerHTML.slice(0, 200))")
            .await;
        assert!(wide.0 <= 390 && wide.1 <= 390, "{page}: {wide:?} {who:#?}");
    }
    browser.end().await;
}

#[tokio::test]
async fn all_is_reached_by_keyboard_and_evidence_is_a_key_away() {
    let dir = tempfile::tempdir().unwrap();
    let out = made(dir.path());
    let Some(browser) = Browser::start(true).await else { return };
    browser.open(&out, "index.html").await;
    browser.until("return !document.getElementById('controls').hidden").await;
    // From the table on, or it takes a minute to get there.
    browser.ask::<Option<bool>>("document.getElementById('scroll').focus()").await;
    tab_to(&browser, "it.dataset.key === 'more tcp.goodput-forward'").await;
    press(&browser, Key::Enter).await;
    browser.until("return document.querySelectorAll('#board tr.sub').length > 0").await;
    browser.until("return document.querySelector('#board tr.sub td a') !== null").await;
    // What had the focus has it still.
    let focused: String = browser.ask("return document.activeElement.dataset.key || ''").await;
    assert_eq!(focused, "more tcp.goodput-forward");
    tab_to(
        &browser,
        "it.closest('tr.sub td') !== null && it.getAttribute('href').startsWith('cell/')",
    )
    .await;
    press(&browser, Key::Enter).await;
    browser.until("return document.querySelector('h1').textContent.includes(' on ')").await;
    // Blocks are folded until somebody asks for them.
    let page: String = browser.ask("return document.body.textContent").await;
    assert!(page.contains("bench repeat") && page.contains("seed 43"), "{page}");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}

async fn press(browser: &Browser, key: Key) {
    let focused = browser.driver.active_element().await.unwrap();
    focused.send_keys(key).await.unwrap();
}

async fn tab_to(browser: &Browser, is: &str) {
    for _ in 0..60 {
        press(browser, Key::Tab).await;
        let script = format!(
            "const it = document.activeElement; return Boolean(it && it.dataset && ({is}))"
        );
        if browser.ask::<bool>(&script).await {
            return;
        }
    }
    panic!("no way by keyboard to {is}");
}

#[tokio::test]
async fn without_script_the_page_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let out = made(dir.path());
    let Some(browser) = Browser::start(false).await else { return };
    browser.open(&out, "index.html").await;
    let text = browser.driver.find(By::Tag("main")).await.unwrap().text().await.unwrap();
    for part in
        ["The answer", "Two homes", "Does it hold up?", "Nebula", "goodput-forward", "By network"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    browser.open(&out, "network/lan.html").await;
    let text = browser.driver.find(By::Css("table.values")).await.unwrap().text().await.unwrap();
    assert!(text.contains("Mbit/s"), "{text}");
    browser.end().await;
}

/// Whether a page and its script have all that they ask for: a board shows figures of single blocks, which come last.
const ALL_CAME: &str = "
    const whole = (board) => board.querySelector('tbody td small') !== null;
    return document.readyState === 'complete' && [...document.querySelectorAll('#board')].every(whole)";

#[tokio::test]
async fn nobody_but_the_sites_own_folder_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let out = made(dir.path());
    let Some(browser) = Browser::start(true).await else { return };
    for page in [
        "index.html#base=nebula&net=lan",
        "network/lan.html",
        "vpn/nebula.html",
        "cell/lan/nebula.html",
        "pictures.html",
        "method.html",
        "downloads.html",
    ] {
        browser.open(&out, page).await;
        browser.until(ALL_CAME).await;
    }
    let own = format!("file://{}/", out.display());
    let asked = browser.requests().await;
    assert!(asked.len() > 10, "{asked:?}");
    let others: Vec<&String> =
        asked.iter().filter(|it| !it.starts_with(&own) && !it.starts_with("data:")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.end().await;
}

#[tokio::test]
async fn hostile_text_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = Plan { blocks: 3, ..Plan::default() }.set();
    for module in &mut set.run.modules {
        module.title =
            "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
                .into();
    }
    for scenario in &mut set.run.scenarios {
        scenario.title = "</script><script>document.title='run'</script>".into();
    }
    let place = dir.path().join("hostile");
    write(&place, &set);
    let loaded = load(&[place]);
    let out = dir.path().join("site");
    let known = meshbench_site::Known::default();
    meshbench_site::Site::new(&loaded, &known).unwrap().write(&out).unwrap();
    let Some(browser) = Browser::start(true).await else { return };
    for page in [
        "index.html#open=ping.rtt&base=nebula",
        "network/lan.html",
        "vpn/nebula.html",
        "cell/lan/nebula.html",
        "pictures.html",
    ] {
        browser.open(&out, page).await;
        browser.until(ALL_CAME).await;
        assert_ne!(browser.driver.title().await.unwrap(), "run", "{page}");
        let markup: usize =
            browser.ask("return document.querySelectorAll('img, script:not([src])').length").await;
        assert_eq!(markup, 0, "{page}");
    }
    browser.end().await;
}

/// The rules of axe-core, which the npm registry has; they are no part of this repository.
const AXE: &str = "axe-core@4.14.1";

/// Of the archive that the registry gives out for it: what runs in the browser here is what was once looked at.
const AXE_SHA512: &str = "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==";

/// Past the capture of test output, so that skips are seen and counted.
fn skipped(why: &str) {
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

fn axe(dir: &Path) -> Option<String> {
    let packed = Command::new("npm").args(["pack", "--json", AXE]).current_dir(dir).output();
    let Ok(packed) = packed else {
        skipped("there is no npm to fetch axe-core with");
        return None;
    };
    if !packed.status.success() {
        let said = String::from_utf8_lossy(&packed.stderr);
        let why = said.lines().find(|line| !line.is_empty()).unwrap_or("npm does not say why");
        skipped(&format!("{AXE} cannot be fetched: {why}"));
        return None;
    }
    let told: serde_json::Value = serde_json::from_slice(&packed.stdout).unwrap();
    assert_eq!(told[0]["integrity"], AXE_SHA512, "{AXE} is another one");
    let archive = told[0]["filename"].as_str().unwrap();
    let unpacked = Command::new("tar").args(["-xzf", archive]).current_dir(dir).status().unwrap();
    assert!(unpacked.success());
    Some(std::fs::read_to_string(dir.join("package/axe.min.js")).unwrap())
}

#[tokio::test]
async fn axe_finds_no_violation() {
    let dir = tempfile::tempdir().unwrap();
    let out = made(dir.path());
    let rules = dir.path().join("axe");
    std::fs::create_dir(&rules).unwrap();
    let Some(axe) = axe(&rules) else { return };
    let Some(browser) = Browser::start(true).await else { return };
    let mut violations: Vec<String> = Vec::new();
    for page in [
        "index.html",
        "index.html#net=lan&base=nebula&turn=1",
        "network/lte-roaming.html",
        "vpn/tinc.html",
        "cell/cgnat-both/tinc.html",
        "pictures.html",
        "method.html",
        "downloads.html",
    ] {
        for scheme in ["light", "dark"] {
            browser.driver.goto("about:blank").await.unwrap();
            let media = serde_json::json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            browser.driver.cdp().send_raw("Emulation.setEmulatedMedia", media).await.unwrap();
            browser.open(&out, page).await;
            browser.until("return document.readyState === 'complete'").await;
            browser.driver.execute(axe.as_str(), vec![]).await.unwrap();
            let script = "const done = arguments[0]; axe.run().then((found) => done(found.violations.map((it) => `${it.id}: ${it.help}: ${it.nodes.slice(0, 3).map((node) => node.html + ' ' + node.failureSummary).join(' | ')}`)))";
            let found = browser.driver.execute_async(script, vec![]).await.unwrap();
            let found: Vec<String> = found.convert().unwrap();
            violations.extend(found.into_iter().map(|it| format!("{page} {scheme}: {it}")));
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
    browser.end().await;
}
