//! Result sets that nobody measured: test data, and never to be published.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses its own part, and may fail")]

use meshbench::hash::fnv1a;
use meshbench::results::*;

/// What is made up.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) started: String,
    pub(crate) modules: Vec<(String, f64)>,
    pub(crate) scenarios: Vec<String>,
    pub(crate) workloads: Vec<String>,
    pub(crate) blocks: u32,
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
    pub(crate) accelerator: Accelerator,
    pub(crate) samples: usize,
}

impl Default for Plan {
    fn default() -> Self {
        let names = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        Self {
            id: "2026-11-29-made-up".into(),
            started: "2026-11-29T00:00:00Z".into(),
            modules: [("wireguard", 1.04), ("nebula", 1.3), ("tailscale", 1.31), ("tinc", 2.6)]
                .map(|(name, factor)| (name.to_owned(), factor))
                .to_vec(),
            scenarios: names(&["lan", "home-dsl", "lossy", "cgnat-both", "lte-roaming"]),
            workloads: names(&["connect", "ping", "tcp", "udp", "recover"]),
            blocks: 7,
            seed: 42,
            clock: Clock::Virtual,
            accelerator: Accelerator::Tcg,
            samples: 40,
        }
    }
}

/// A number from 0 to 1 that looks random and is not.
fn chance(parts: &[&str], block: u32) -> f64 {
    let hash = fnv1a(format!("{}{block}", parts.join("/")).as_bytes());
    ((hash ^ (hash >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Plan {
    /// The set, in which tinc fails behind carrier-grade NAT and wireguard does not claim to get through it.
    pub(crate) fn set(&self) -> ResultSet {
        let wire = (INTERNAL.to_owned(), 1.0);
        let everyone: Vec<_> = std::iter::once(&wire).chain(&self.modules).collect();
        let mut cells = Vec::new();
        for block in 1..=self.blocks {
            for scenario in &self.scenarios {
                for (module, factor) in &everyone {
                    for workload in self.workloads.iter().filter(|it| fits(it, scenario)) {
                        cells.push(self.cell(block, scenario, module, workload, *factor));
                    }
                }
            }
        }
        cells.sort_by(|a, b| a.key.cmp(&b.key));
        ResultSet { run: self.run(), cells }
    }

    fn run(&self) -> RunRecord {
        let module = |name: &str| ModuleRecord {
            name: name.into(),
            title: title(name),
            version: Some("1.2.3".into()),
            choices: vec!["UDP port 51820".into(), "MTU 1420".into()],
            binaries: vec![],
            sha256: Some("aa".repeat(32)),
        };
        let scenario = |name: &String| ScenarioRecord {
            name: name.clone(),
            title: title(name),
            links: if name == "lan" { vec![] } else { vec![uplink()] },
            nats: if name == "lan" { vec![] } else { vec![gateway()] },
            workloads: vec![],
            sha256: Some("bb".repeat(32)),
        };
        let modules = std::iter::once(INTERNAL).chain(self.modules.iter().map(|it| it.0.as_str()));
        RunRecord {
            format: FORMAT,
            id: self.id.clone(),
            started: self.started.clone(),
            command: vec!["bench".into(), "made-up".into()],
            seed: self.seed,
            blocks: self.blocks,
            workloads: self.workloads.clone(),
            own_workloads: Vec::new(),
            quick: false,
            clock: self.clock,
            environment: Environment {
                accelerator: self.accelerator,
                accelerator_reason: "made up".into(),
                start: Some(Start::Forked),
                qemu_version: "10.0.3".into(),
                host_kernel: "any".into(),
                host_cpu: "Example CPU".into(),
                host_cores: 2,
                host_memory_bytes: 8 << 30,
                clock_source: None,
                load_average: [0.0; 3],
                harness_version: "0.1.0".into(),
                harness_revision: None,
                runner_sha256: None,
                runner_compiler: None,
                debian_mirror: None,
            },
            guests: vec![],
            scenarios: self.scenarios.iter().map(scenario).collect(),
            modules: modules.map(module).collect(),
        }
    }

    fn cell(
        &self,
        block: u32,
        scenario: &str,
        module: &str,
        workload: &str,
        factor: f64,
    ) -> CellRecord {
        let fate = match (module, scenario) {
            ("tinc", "cgnat-both") => Outcome::Failed {
                stage: "connect".into(),
                machine: Some("alice".into()),
                reason: "no overlay packet was answered within 60 s".into(),
                evidence: vec!["evidence/alice.log".into()],
            },
            ("wireguard", "cgnat-both") => Outcome::Unsupported {
                reason: "does not claim to cross such a network, and does not".into(),
            },
            ("tinc", "nat-cgnat-home") if block == 2 => Outcome::Failed {
                stage: "connect".into(),
                machine: Some("bob".into()),
                reason: "no overlay packet was answered within 20 s".into(),
                evidence: vec![],
            },
            ("tailscale", "lossy") if block == 2 && workload == "tcp" => Outcome::Failed {
                stage: "measure".into(),
                machine: None,
                reason: "iperf3: the server has terminated".into(),
                evidence: vec![],
            },
            _ => Outcome::ok(),
        };
        let ok = fate.is_ok();
        let luck =
            1.0 + 0.04 * (chance(&[scenario, module, workload], block + self.seed as u32) - 0.5);
        let metrics =
            if ok { self.metrics(workload, scenario, factor * luck, block) } else { vec![] };
        CellRecord {
            format: FORMAT,
            key: CellKey {
                block,
                scenario: scenario.into(),
                module: module.into(),
                workload: workload.into(),
            },
            started: self.started.clone(),
            duration_seconds: 4.5,
            outcome: fate,
            metrics,
            costs: if ok { costs(12.0 * factor * luck) } else { vec![] },
            path: if module == "nebula" { OverlayPath::Relayed } else { OverlayPath::Direct },
            inner_mtu: Some(1420),
            underlay: Some(Family::Ipv4),
            links: vec![LinkRecord {
                site: "alice".into(),
                direction: Direction::Up,
                configured: Impairment {
                    rate_bits_per_second: Some(10e6),
                    delay_ms: Some(12.0),
                    ..Impairment::default()
                },
                measured: Impairment {
                    rate_bits_per_second: Some(9.97e6),
                    delay_ms: Some(12.1),
                    ..Impairment::default()
                },
                earlier: false,
            }],
            nats: if scenario == "lan" { vec![] } else { vec![probed()] },
            events: if workload == "recover" { events() } else { vec![] },
            standing: Vec::new(),
            after: None,
            clock: self.clock,
            sealed: (self.clock == Clock::Virtual).then(|| Sealed {
                template: "cc".repeat(32),
                said: format!("{:064x}", u64::from(block) + self.seed),
                workloads: self.workloads.clone(),
                patience_ms: None,
                watched: false,
                command: format!("bench run {} --seed {}", "wireguard", self.seed),
                wall_seconds: 31.0,
                virtual_seconds: None,
            }),
        }
    }

    fn metrics(&self, workload: &str, scenario: &str, factor: f64, block: u32) -> Vec<Metric> {
        let base = 10.0 * (1.0 + chance(&[scenario], 0));
        let samples = |middle: f64| {
            (0..self.samples)
                .map(|at| {
                    middle
                        * (0.9
                            + 0.3
                                * chance(&[scenario, workload, "s"], block * 1000 + at as u32)
                                    .powi(4))
                })
                .collect::<Vec<f64>>()
        };
        let metric = |name: &str, unit, better, value: f64, samples| Metric {
            name: name.into(),
            unit,
            better,
            value,
            samples,
        };
        let (ms, rate) = (Unit::Milliseconds, Unit::BitsPerSecond);
        match workload {
            "connect" => {
                vec![metric("time", ms, Better::Lower, base * 5.0 * factor.powi(3), vec![])]
            }
            "ping" => vec![
                metric(
                    "rtt",
                    ms,
                    Better::Lower,
                    base * factor.sqrt(),
                    samples(base * factor.sqrt()),
                ),
                metric("loss", Unit::Percent, Better::Lower, 0.0, vec![]),
            ],
            "tcp" => vec![
                metric(
                    "goodput-forward",
                    rate,
                    Better::Higher,
                    1e7 / factor,
                    samples(1e7 / factor),
                ),
                metric(
                    "retransmits-forward",
                    Unit::Count,
                    Better::Lower,
                    (8.0 * factor).round(),
                    vec![],
                ),
            ],
            "loaded" => {
                vec![metric(
                    "rtt-up",
                    ms,
                    Better::Lower,
                    base * 4.0 * factor,
                    samples(base * factor),
                )]
            }
            "many-peers" => {
                let members = f64::from(members(scenario).unwrap_or(3));
                vec![
                    metric("members", Unit::Count, Better::Neutral, members, vec![]),
                    metric("time", ms, Better::Lower, base * members * factor, vec![]),
                ]
            }
            "udp" => vec![metric("loss", Unit::Percent, Better::Lower, 2.0 * factor, vec![])],
            "recover" => vec![metric(
                "silence",
                ms,
                Better::Lower,
                900.0 * factor.powi(4),
                vec![300.0, 600.0 * factor.powi(4)],
            )],
            _ => ["time", "time-p95", "time-p99"]
                .map(|name| metric(name, ms, Better::Lower, base * factor, vec![]))
                .to_vec(),
        }
    }
}

fn costs(value: f64) -> Vec<Metric> {
    let (unit, better) = (Unit::NanosecondsPerByte, Better::Lower);
    vec![Metric { name: "daemon-cpu-per-byte".into(), unit, better, value, samples: vec![] }]
}

fn fits(workload: &str, scenario: &str) -> bool {
    match workload {
        "recover" => scenario == "lte-roaming",
        "many-peers" => members(scenario).is_some(),
        _ => true,
    }
}

/// Of a network that is named by them.
fn members(scenario: &str) -> Option<u32> {
    scenario.strip_prefix("many-")?.parse().ok()
}

fn uplink() -> LinkSetting {
    let configured = Impairment {
        rate_bits_per_second: Some(10e6),
        delay_ms: Some(12.0),
        ..Impairment::default()
    };
    LinkSetting { site: "alice".into(), direction: Direction::Up, configured }
}

fn gateway() -> NatRecord {
    NatRecord {
        site: "alice".into(),
        kind: "home".into(),
        mapping: "endpoint-independent".into(),
        filtering: "address-and-port-dependent".into(),
    }
}

fn probed() -> NatCheck {
    NatCheck {
        site: "alice".into(),
        underlay: Family::Ipv4,
        configured: "home".into(),
        measured: "home".into(),
        behaviour: "endpoint-independent mapping".into(),
    }
}

fn events() -> Vec<EventRecord> {
    let event = |at_seconds: f64, action: &str| EventRecord {
        at_seconds,
        action: action.into(),
        late: false,
        happened_seconds: None,
    };
    vec![event(5.0, "roam"), event(15.0, "nat-rebind")]
}

fn title(name: &str) -> String {
    if let Some(field) = meshbench::grid::grid_scenario_named(name) {
        return field.title;
    }
    let mut title: String = name.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

/// Writes a set as a run would have.
pub(crate) fn write(dir: &std::path::Path, set: &ResultSet) {
    let store = Store::create(dir, &set.run).unwrap();
    for cell in &set.cells {
        store.write_cell(cell).unwrap();
    }
}
