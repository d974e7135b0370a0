//! A headless Chromium of this machine, driven by its chromedriver.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use thirtyfour::LoggingPrefsLogLevel;
use thirtyfour::prelude::*;

/// A browser; ends with the test.
pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    process: Child,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn found(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let all =
        std::env::split_paths(&path).flat_map(|dir| names.iter().map(move |name| dir.join(name)));
    all.into_iter().find(|path| path.is_file())
}

impl Browser {
    /// Starts one; `None`, having said so, where there is none.
    pub(crate) async fn start(script: bool) -> Option<Self> {
        let (Some(browser), Some(driver)) =
            (found(&["chromium", "chromium-browser", "google-chrome"]), found(&["chromedriver"]))
        else {
            // Past the capture of test output, so that skips are seen and counted.
            let _ = writeln!(io::stderr(), "skipped: chromium and chromedriver are not installed");
            return None;
        };
        let mut process = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = port(&mut process);
        let mut asked = DesiredCapabilities::chrome();
        asked.set_binary(&browser.to_string_lossy()).unwrap();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1300,900",
            "--no-first-run",
            "--disable-background-networking",
        ] {
            asked.add_arg(argument).unwrap();
        }
        asked.set_logging_prefs("browser", LoggingPrefsLogLevel::All).unwrap();
        asked.set_logging_prefs("performance", LoggingPrefsLogLevel::All).unwrap();
        if !script {
            let off =
                serde_json::json!({ "profile.managed_default_content_settings.javascript": 2 });
            asked.add_experimental_option("prefs", off).unwrap();
        }
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), asked).await.unwrap();
        Some(Self { driver, process })
    }

    /// Opens a file of a site as a person would.
    pub(crate) async fn open(&self, site: &Path, page: &str) {
        self.driver.goto(format!("file://{}/{page}", site.display())).await.unwrap();
    }

    /// What a script on the page returns.
    pub(crate) async fn ask<T: serde::de::DeserializeOwned>(&self, script: &str) -> T {
        self.driver.execute(script, vec![]).await.unwrap().convert().unwrap()
    }

    /// Waits until a script on the page returns true.
    pub(crate) async fn until(&self, script: &str) {
        for _ in 0..100 {
            if self.ask::<bool>(script).await {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("never became true: {script}; {}", self.driver.current_url().await.unwrap());
    }

    /// What the console says that is wrong.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.driver.get_log("browser").await.unwrap();
        log.into_iter()
            .filter(|it| it.level != "INFO" && it.level != "DEBUG")
            .map(|it| it.message)
            .collect()
    }

    /// Addresses that were asked for since the last time.
    pub(crate) async fn requests(&self) -> Vec<String> {
        let log = self.driver.get_log("performance").await.unwrap();
        let messages = log
            .into_iter()
            .filter_map(|it| serde_json::from_str::<serde_json::Value>(&it.message).ok());
        messages
            .filter(|it| it["message"]["method"] == "Network.requestWillBeSent")
            .filter_map(|it| Some(it["message"]["params"]["request"]["url"].as_str()?.to_owned()))
            .collect()
    }

    pub(crate) async fn end(self) {
        self.driver.clone().quit().await.unwrap();
    }
}

/// It says on which port it listens.
fn port(process: &mut Child) -> u16 {
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = lines
        .find(|line| line.as_ref().is_ok_and(|line| line.contains("successfully on port")))
        .unwrap()
        .unwrap();
    // Somebody must read on, or it blocks.
    std::thread::spawn(move || lines.for_each(drop));
    line.rsplit(' ').next().unwrap().trim_end_matches('.').parse().unwrap()
}
