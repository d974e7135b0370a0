//! A web page: what people wait for.

use std::net::SocketAddr;
use std::time::Duration;

use super::spec::{Measure, Phase, Question, Run, Seconds, Software, Spec, Yield};
use super::tool::{command, make_folder, remove_folder};
use super::{Setting, WorkloadError, certificate, nginx, traffic};
use crate::machine::PROMPT;
use crate::results::{Better, Unit};
use crate::stats;

pub(super) const SPEC: Spec = Spec {
    name: "web",
    summary: "a page of 50 objects, 1.5 MiB together, by HTTP/2 and by HTTP/3 (nginx, curl)",
    question: Question::Overhead,
    phase: Phase::Calm,
    members: 2,
    software: Software { debian: &["nginx"], nixpkgs: &["curl", "nginx", "openssl"] },
    seconds: Seconds { full: 20.0, quick: 8.0 },
    metrics: &[PAGE_2, FIRST_2, PAGE_3, FIRST_3],
    run: Run::BuiltIn(|setting, _| Box::pin(run(setting))),
};

const PAGE: &str = "the agent around curl: from its start to its end, all objects asked for at once over a new connection";
const FIRST: &str =
    "curl: from before its connection to the first byte of an object, handshake included";
const PAGE_2: Measure = Measure::new("page-http2", Unit::Milliseconds, Better::Lower, PAGE);
const OVER_3: &str =
    "the same over HTTP/3; not told where the guest's curl or nginx was made without it";
const PAGE_3: Measure =
    Measure::new("page-http3", Unit::Milliseconds, Better::Lower, OVER_3).optional();
const FIRST_2: Measure = Measure::new("first-byte-http2", Unit::Milliseconds, Better::Lower, FIRST);
const FIRST_3: Measure =
    Measure::new("first-byte-http3", Unit::Milliseconds, Better::Lower, OVER_3).optional();

const PORT: u16 = 7003;
const FOLDER: &str = "/run/meshbench-web";

/// Objects of a page, and their sizes in KiB, taken in turn.
const OBJECTS: usize = 50;
const SIZES_KIB: [usize; 10] = [1, 2, 4, 8, 16, 24, 32, 48, 64, 108];

/// How long a page may take.
const DEADLINE: Duration = PROMPT.saturating_mul(3);

/// A version of HTTP.
#[derive(Debug)]
struct Version {
    /// As curl is told it.
    flag: &'static str,
    /// As curl tells it.
    name: &'static str,
    metrics: [Measure; 2],
}

const HTTP_2: Version = Version { flag: "--http2", name: "2", metrics: [PAGE_2, FIRST_2] };
const HTTP_3: Version = Version { flag: "--http3-only", name: "3", metrics: [PAGE_3, FIRST_3] };

/// What curl is to tell of each object.
const TELL: &str =
    "object %{http_version} %{http_code} %{num_connects} %{time_starttransfer} %{size_download}\\n";

async fn run(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let loaded = load(setting).await;
    for member in [setting.from, setting.to] {
        remove_folder(&member.machine, FOLDER).await;
    }
    loaded
}

async fn load(setting: &Setting<'_>) -> Result<Yield, WorkloadError> {
    let (from, to) = (setting.from, setting.to);
    for member in [from, to] {
        make_folder(&member.machine, FOLDER).await?;
    }
    let sizes = SIZES_KIB.map(|kib| (kib << 10).to_string()).join(",");
    let objects = format!("{FOLDER}/objects");
    traffic::make(to, &["files", &objects, &OBJECTS.to_string(), &sizes]).await?;
    certificate::make(to, from, FOLDER, setting.target).await?;
    let client = from.machine.exec(command(&["curl", "--version"]), None, PROMPT).await?;
    let server = to.machine.exec(command(&["nginx", "-V"]), None, PROMPT).await?;
    let both = speak_3(&client.text(), &String::from_utf8_lossy(&server.stderr));
    let block = block(SocketAddr::new(setting.target, PORT), both);
    let server = nginx::serve(&to.machine, FOLDER, &block).await?;
    let pages = pages(setting, both).await;
    traffic::end(server).await;
    pages
}

/// Whether curl and nginx were made with HTTP/3.
fn speak_3(curl: &str, nginx: &str) -> bool {
    curl.split_whitespace().any(|word| word == "HTTP3") && nginx.contains("http_v3_module")
}

fn block(address: SocketAddr, version_3: bool) -> String {
    let quic = if version_3 { format!("listen {address} quic; http3 on;") } else { String::new() };
    format!(
        "server {{ listen {address} ssl; http2 on; {quic} root {FOLDER}/objects; ssl_protocols TLSv1.3; \
         ssl_certificate {FOLDER}/{}; ssl_certificate_key {FOLDER}/{}; }}",
        certificate::CERTIFICATE,
        certificate::KEY
    )
}

async fn pages(setting: &Setting<'_>, version_3: bool) -> Result<Yield, WorkloadError> {
    let (mut told, mut pages) = (Vec::new(), 0);
    let rounds = if setting.quick { 2 } else { 5 };
    for version in [Some(HTTP_2), version_3.then_some(HTTP_3)].into_iter().flatten() {
        let mut seen = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            let (page_ms, first_ms) = page(setting, &version).await?;
            seen[0].push(page_ms);
            seen[1].push(first_ms);
            pages += 1;
        }
        for (metric, samples) in version.metrics.iter().zip(seen) {
            let median = stats::median(&samples);
            told.extend(median.map(|median| metric.of(median, samples)));
        }
    }
    Ok(Yield::carried(told, f64::from(pages) * page_bytes() as f64))
}

/// Loads a page; milliseconds to its end and to its first byte.
async fn page(setting: &Setting<'_>, version: &Version) -> Result<(f64, f64), WorkloadError> {
    let url = format!(
        "https://{}/[0-{}]",
        SocketAddr::new(setting.target, PORT),
        OBJECTS.saturating_sub(1)
    );
    let (trusted, at_once) =
        (format!("{FOLDER}/{}", certificate::CERTIFICATE), OBJECTS.to_string());
    let mut argv = vec!["curl", "--disable", "--silent", "--show-error", version.flag];
    argv.extend(["--cacert", &trusted, "--parallel", "--parallel-max", &at_once]);
    argv.extend(["--fail", "--output", "/dev/null", "--write-out", TELL, &url]);
    let (seconds, said) = traffic::timed(setting.from, command(&argv), DEADLINE).await?;
    let first = first_byte(&said, version.name);
    let first = first.map_err(|reason| WorkloadError::tool(&setting.from.machine, reason))?;
    Ok((1e3 * seconds, 1e3 * first))
}

fn page_bytes() -> usize {
    (0..OBJECTS).map(|number| SIZES_KIB[number % SIZES_KIB.len()] << 10).sum()
}

/// Seconds to the first byte of a page that came as a whole.
///
/// # Errors
/// A sentence: an object is missing, was cut off, or came by another version.
fn first_byte(said: &str, version: &str) -> Result<f64, String> {
    let lines: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("object ")).collect();
    if lines.len() != OBJECTS {
        return Err(format!("curl told of {} objects of {OBJECTS}", lines.len()));
    }
    let (mut first, mut bytes) = (f64::INFINITY, 0);
    for line in lines {
        let strange = || format!("curl said of an object: {line:?}");
        let [spoken, status, connects, start, size] =
            line.split_whitespace().collect::<Vec<_>>().try_into().map_err(|_| strange())?;
        if spoken != version || status != "200" {
            return Err(format!("an object came by HTTP/{spoken} with status {status}"));
        }
        bytes += size.parse::<usize>().map_err(|_| strange())?;
        let start: f64 = start.parse().map_err(|_| strange())?;
        if !start.is_finite() || start <= 0.0 {
            return Err(strange());
        }
        // The others' clocks began when there was a connection.
        if connects != "0" {
            first = first.min(start);
        }
    }
    if bytes != page_bytes() {
        return Err(format!("{bytes} bytes came of a page of {}", page_bytes()));
    }
    Some(first).filter(|first| first.is_finite()).ok_or_else(|| "curl made no connection".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = include_str!("fixtures/curl-page-http3.txt");

    #[test]
    fn a_page_is_told_by_its_first_byte() {
        let first = first_byte(SAID, "3").unwrap();
        assert!((0.001..1.0).contains(&first), "{first}");
    }

    #[test]
    fn what_is_no_whole_page_is_no_number() {
        let refused = |said: &str| first_byte(said, "3").unwrap_err();
        assert_eq!(refused(""), "curl told of 0 objects of 50");
        let lines: Vec<&str> = SAID.lines().collect();
        assert_eq!(refused(&lines[1..].join("\n")), "curl told of 49 objects of 50");
        let with = |line: &str| [&[line], &lines[1..]].concat().join("\n");
        assert_eq!(
            refused(&with("object 2 200 1 0.1 1024")),
            "an object came by HTTP/2 with status 200"
        );
        assert_eq!(
            refused(&with("object 3 404 1 0.1 1024")),
            "an object came by HTTP/3 with status 404"
        );
        for line in [
            "object 3 200 1 NaN 1024",
            "object 3 200 1 -1 1024",
            "object 3 200",
            "object 3 200 1 0.1 x",
        ] {
            let reason = refused(&with(line));
            assert!(
                reason.starts_with("curl said of an object: ") || reason.contains("status"),
                "{reason}"
            );
        }
        assert!(refused(&with("object 3 200 1 0.1 1")).contains(" bytes came of a page of "));
    }

    #[test]
    fn the_page_is_of_the_size_that_its_summary_tells() {
        assert!((1.45..1.55).contains(&(page_bytes() as f64 / f64::from(1 << 20))));
    }

    #[test]
    fn version_3_needs_both_ends() {
        let (curl, nginx) =
            ("Features: HTTP2 HTTP3 IPv6", "--with-http_v2_module --with-http_v3_module");
        assert!(speak_3(curl, nginx));
        assert!(!speak_3("Features: HTTP2 HTTPS-proxy", nginx));
        assert!(!speak_3(curl, "--with-http_v2_module"));
    }
}
