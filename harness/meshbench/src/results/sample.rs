//! Records for tests.

use super::*;

pub(crate) fn run() -> RunRecord {
    let module = |name: &str, title: &str, version: &str| ModuleRecord {
        name: name.into(),
        title: title.into(),
        version: Some(version.into()),
        choices: vec![],
        binaries: vec![],
        sha256: None,
    };
    let scenario = |name: &str, title: &str, links, nats| ScenarioRecord {
        name: name.into(),
        title: title.into(),
        links,
        nats,
        workloads: vec![],
        sha256: None,
    };
    let dsl = Impairment {
        rate_bits_per_second: Some(10e6),
        delay_ms: Some(15.0),
        ..Impairment::default()
    };
    RunRecord {
        format: FORMAT,
        id: "2026-11-23-a".into(),
        started: "2026-11-23T07:12:18Z".into(),
        command: vec!["bench".into(), "wireguard".into()],
        seed: 42,
        blocks: 7,
        workloads: ["connect", "ping", "tcp", "udp"].map(String::from).to_vec(),
        own_workloads: Vec::new(),
        quick: false,
        clock: Clock::Real,
        environment: Environment {
            accelerator: Accelerator::Tcg,
            accelerator_reason: "there is no /dev/kvm".into(),
            start: Some(Start::Forked),
            qemu_version: "10.0.3".into(),
            host_kernel: "6.12.57".into(),
            host_cpu: "Example CPU".into(),
            host_cores: 2,
            host_memory_bytes: 8 << 30,
            clock_source: Some("tsc".into()),
            load_average: [0.5, 0.25, 0.125],
            harness_version: "0.1.0".into(),
            harness_revision: None,
            runner_sha256: None,
            runner_compiler: None,
            debian_mirror: None,
        },
        guests: vec![GuestRecord {
            module: "wireguard".into(),
            provider: "debian".into(),
            nar_hash: "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".into(),
            packages: vec![PackageRecord {
                name: "wireguard-tools".into(),
                version: "1.0.20210914-3".into(),
            }],
        }],
        scenarios: vec![
            scenario("lan", "Public sites, no impairment", vec![], vec![]),
            scenario(
                "home-dsl",
                "Two homes on DSL",
                vec![LinkSetting {
                    site: "alice".into(),
                    direction: Direction::Up,
                    configured: dsl,
                }],
                vec![NatRecord {
                    site: "alice".into(),
                    kind: "home".into(),
                    mapping: "endpoint-independent".into(),
                    filtering: "address-and-port-dependent".into(),
                }],
            ),
        ],
        modules: vec![
            module("internal", "The wire", "-"),
            module("wireguard", "WireGuard", "1.0.20210914"),
        ],
    }
}

pub(crate) fn cell(
    block: u32,
    scenario: &str,
    module: &str,
    workload: &str,
    metrics: Vec<Metric>,
) -> CellRecord {
    CellRecord {
        format: FORMAT,
        key: CellKey {
            block,
            scenario: scenario.into(),
            module: module.into(),
            workload: workload.into(),
        },
        started: "2026-11-23T07:15:00Z".into(),
        duration_seconds: 4.5,
        outcome: Outcome::ok(),
        metrics,
        costs: Vec::new(),
        path: OverlayPath::Direct,
        inner_mtu: Some(1420),
        underlay: Some(Family::Ipv4),
        links: vec![],
        nats: vec![],
        clock: Clock::Real,
        events: Vec::new(),
        standing: Vec::new(),
        after: None,
        sealed: None,
    }
}

pub(crate) fn metric(name: &str, unit: Unit, better: Better, value: f64) -> Metric {
    Metric { name: name.into(), unit, better, value, samples: vec![] }
}

pub(crate) fn failed() -> CellRecord {
    let mut cell = cell(1, "lan", "wireguard", "tcp", vec![]);
    cell.outcome = Outcome::Failed {
        stage: "measure".into(),
        machine: Some("bob".into()),
        reason: "iperf3: \"the server has terminated\",\nafter 2 s".into(),
        evidence: vec!["logs/1-lan-wireguard/bob.log".into()],
    };
    cell
}

/// One of each outcome.
pub(crate) fn cells() -> Vec<CellRecord> {
    let rtt = |value: f64| Metric {
        samples: vec![0.5, value],
        ..metric("rtt", Unit::Milliseconds, Better::Lower, value)
    };
    let loss = metric("loss", Unit::Percent, Better::Lower, 0.0);
    let mut skipped = cell(1, "home-dsl", "internal", "connect", vec![]);
    skipped.outcome = Outcome::Skipped { reason: "there is no VPN to start".into() };
    let mut unsupported = cell(1, "home-dsl", "wireguard", "udp", vec![]);
    unsupported.outcome = Outcome::Unsupported { reason: "no hole punching".into() };
    vec![
        cell(1, "lan", "internal", "ping", vec![rtt(0.41), loss.clone()]),
        cell(1, "lan", "wireguard", "ping", vec![rtt(0.62), loss]),
        failed(),
        skipped,
        unsupported,
    ]
}
